"""Squid behind a rule that takes what is meant for port 80: it asks the address that was dialled, and is no proof."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.network.internet import CANARY, target
from tests.network.product import Product
from tests.peers.programs import environment, needed
from tests.peers.servers.http import squid
from tests.peers.site import Site

pytestmark = pytest.mark.timeout(300)
HERE = target(1)
HTTP = ("http-connect", "http-get", "http-post")
_RULES = """
table ip intercept {
  chain before {
    type nat hook prerouting priority dstnat
    ip daddr HERE tcp dport 80 dnat to HERE:1080
  }
}
"""


def test_squid_that_intercepts_for_others_relays_to_nobody_else(net, folder, tmp_path):
    needed("squid")
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{CANARY} canary.test\n", "utf-8")
    place = SimpleNamespace(folder=folder, canary=CANARY, hosts=hosts, surroundings=environment)
    site = Site(place, HERE, "squid", inside=net.targets.do)  # type: ignore[arg-type]
    net.targets.nft(_RULES.replace("HERE", str(HERE)))
    product = Product(net, tmp_path, tmp_path / "secret")
    product.configure(endpoints=[f"{protocol}:80" for protocol in HTTP])
    product.second_canary()
    try:
        squid("http_access allow all", "intercept")(site)
        report = product.check([HERE])[str(HERE)]
        said = site.said()
    finally:
        site.stop()
    evidence = {item["protocol"]: item["evidence"] for item in report["endpoints"]}
    assert (report["verdict"], report["exits"]) == ("closed", []), (report, said)
    # It took the requests, and asked itself for them: the host that they name is not the one that was dialled.
    assert evidence == {"http-connect": "denied", "http-get": "unreachable", "http-post": "unreachable"}, (report, said)
