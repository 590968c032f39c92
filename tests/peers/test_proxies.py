"""`check` against real servers: verdict, evidence, exits and capabilities of each configuration."""

import pytest

from tests.peers.place import PROTOCOLS
from tests.peers.programs import version
from tests.peers.servers import PEERS
from tests.peers.table import ROWS, Row

pytestmark = pytest.mark.timeout(600)  # the first one starts them all


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.id)
def test_check(peer, fleet):
    peer.require()
    row = ROWS[peer.id] = Row(peer.name, version(peer.package), peer.configuration, summary(peer.open, peer.relays))
    assert peer.id not in fleet.failures, fleet.failures[peer.id]
    report, site = fleet.reports[peer.id], fleet.sites[peer.id]
    got = {item["protocol"]: item for item in report["endpoints"]}
    relays = [protocol for protocol in PROTOCOLS if got[protocol]["evidence"] == "relayed"]
    row.got = summary(report["verdict"] == "open", relays, report["verdict"])

    wrong = {
        protocol: (got[protocol]["evidence"], got[protocol]["detail"])
        for protocol in PROTOCOLS
        if got[protocol]["evidence"] not in peer.kinds(protocol)
    }
    assert not wrong, f"expected {peer.evidence}\n{site.said()}"
    assert report["verdict"] == ("open" if peer.open else "closed"), report["why"]
    assert report["exits"] == ([peer.exit(site)] if peer.open else [])
    capabilities = {protocol: set(got[protocol]["capabilities"] or ()) for protocol in relays}
    expected = {protocol: peer.capabilities(protocol, site.place) for protocol in relays}
    assert capabilities == expected, site.said()
    assert bool(report["mail"]) is any("mail" in reached for reached in capabilities.values())


def summary(opened, relays, verdict="closed"):
    return f"open: {', '.join(relays)}" if opened else verdict
