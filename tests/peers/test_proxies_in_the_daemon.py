"""The daemon and real proxies: a nomination lists what is open, and a removal request delists what was closed since."""

import pytest

from tests.peers.servers import PEERS
from tests.peers.story import check_listing, check_removal, lived_through

pytestmark = pytest.mark.timeout(600)  # the first one lives through it all


@pytest.fixture(scope="module")
def story(fleet):
    return lived_through(fleet, PEERS)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.id)
def test_a_nomination_lists_what_is_open(peer, fleet, story):
    peer.require()
    check_listing(peer, fleet, story, "ops")


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.open], ids=lambda peer: peer.id)
def test_a_removal_request_ends_as_the_server_is_by_then(peer, fleet, story):
    peer.require()
    check_removal(peer, fleet, story)
