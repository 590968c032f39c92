"""The daemon and real mail servers: listed on RSS by a letter that arrived, and off it when relaying is refused."""

import pytest

from tests.peers.servers.mail import RELAYS
from tests.peers.story import check_listing, check_removal, lived_through

pytestmark = pytest.mark.timeout(600)  # the first one lives through it all


@pytest.fixture(scope="module")
def story(relays):
    return lived_through(relays, RELAYS)


@pytest.mark.parametrize("peer", RELAYS, ids=lambda peer: peer.id)
def test_a_nomination_lists_who_relays(peer, relays, story):
    peer.require()
    check_listing(peer, relays, story, "rss")


@pytest.mark.parametrize("peer", [peer for peer in RELAYS if peer.listed], ids=lambda peer: peer.id)
def test_a_removal_request_ends_as_the_server_is_by_then(peer, relays, story):
    peer.require()
    check_removal(peer, relays, story)
