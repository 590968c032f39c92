"""`check` against real mail servers: verdict and exact evidence of each configuration."""

import json

import pytest

from tests.peers.fleet import proxywarden
from tests.peers.programs import version
from tests.peers.servers.mail import RELAY, RELAYS
from tests.peers.table import ROWS, Row

pytestmark = pytest.mark.timeout(600)  # the first one starts them all


@pytest.mark.parametrize("peer", RELAYS, ids=lambda peer: peer.id)
def test_check(peer, relays):
    peer.require()
    row = ROWS[peer.id] = Row(peer.name, version(peer.package, peer.folder), peer.configuration, peer.summary)
    assert peer.id not in relays.failures, relays.failures[peer.id]
    report, site = relays.reports[peer.id], relays.sites[peer.id]
    seen = {item["port"]: item for item in report["endpoints"]}
    got = seen[peer.port]
    kind = got["evidence"]
    row.got = f"open: {RELAY}" if report["verdict"] == "open" else f"{report['verdict']}: {kind}"

    assert kind in peer.kinds(RELAY), (got, site.said())
    arrived = f"letter arrived at canary main from {peer.exit(site)}; " if kind == "relayed" else ""
    assert got["detail"].startswith(arrived + peer.says), got["detail"]
    assert report["verdict"] == ("open" if kind == "relayed" else "closed"), report["why"]
    assert report["exits"] == ([peer.exit(site)] if kind == "relayed" else [])
    assert got["capabilities"] == (["mail"] if kind == "relayed" else None)
    assert [item["evidence"] for port, item in seen.items() if port != peer.port] in ([], ["refused"])


@pytest.mark.parametrize("peer", [peer for peer in RELAYS if peer.hidden], ids=lambda peer: peer.id)
def test_only_a_thorough_check_tries_every_form(peer, relays):
    peer.require()
    ended = proxywarden(relays.place, "check", "--json", "--thorough", relays.sites[peer.id].address)
    assert ended.returncode == 1, ended.stderr
    report = json.loads(ended.stdout)
    got = next(item for item in report["endpoints"] if item["port"] == peer.port)
    assert (report["verdict"], got["evidence"]) == ("open", "relayed")
    assert f"; {peer.hidden}: " in got["detail"]
