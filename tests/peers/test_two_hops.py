"""Two real mail servers, each in a network of its own: one takes a stranger's mail, the other brings it to us."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.network.internet import CANARY, far, target
from tests.network.product import Product, until
from tests.peers.place import DOMAIN
from tests.peers.programs import needed
from tests.peers.servers.exim import exim
from tests.peers.servers.postfix import run
from tests.peers.site import Site

pytestmark = pytest.mark.timeout(300)
INPUT, OUTPUT = target(1), far(1)


class MailProduct(Product):
    """Its canary takes letters, and it asks mail servers alone."""

    def configure(self, *, list_outputs: bool) -> None:  # type: ignore[override]
        rss = '[lists.rss]\nendpoints = ["smtp-relay:25"]\nreceipt_wait = 30.0\n'
        rss += f"list_outputs = {json.dumps(list_outputs)}\n"
        super().configure(more=rss, endpoints=[])
        file = self.folder / "proxywarden.toml"
        text = file.read_text("utf-8")
        assert '{id = "main", ' in text
        file.write_text(text.replace('{id = "main", ', f'{{id = "main", mail_domain = "{DOMAIN}", '), "utf-8")


def site(folder: Path, host, address, to) -> Site:
    """A mail server in this network, which hands what it relays to `to`."""
    place = SimpleNamespace(folder=folder, canary=to, mail=25)
    return Site(place, address, f"at-{address}", 25, inside=host.do)  # type: ignore[arg-type]


@pytest.fixture
def servers(net, folder):
    """Exim is the input host, a relay for everybody; Postfix is the output host, and relays for that one alone."""
    needed("postfix", "postfix"), needed("exim4", "exim")
    output = site(folder, net.far, OUTPUT, CANARY)
    first = site(folder, net.targets, INPUT, OUTPUT)
    try:
        run(output, f"mynetworks = {INPUT}/32")
        exim("*")(first)
        output.settled()
        yield first
    finally:
        first.stop()
        output.stop()


@pytest.mark.parametrize("list_outputs", [False, True], ids=["outputs recorded", "outputs listed"])
def test_the_input_host_is_listed_and_its_output_host_on_request(net, servers, tmp_path, list_outputs):
    product = MailProduct(net, tmp_path / "product", tmp_path / "secret")
    product.folder.mkdir()
    product.configure(list_outputs=list_outputs)
    product.second_canary()
    report = product.check([INPUT, OUTPUT])
    assert (report[str(INPUT)]["verdict"], report[str(INPUT)]["exits"]) == ("open", [str(OUTPUT)]), (
        report,
        servers.said(),
    )
    (endpoint,) = report[str(INPUT)]["endpoints"]
    assert (endpoint["evidence"], endpoint["exit"]) == ("relayed", str(OUTPUT))
    assert endpoint["detail"].startswith(f"letter arrived at canary main from {OUTPUT}; plain: ")
    assert report[str(OUTPUT)]["verdict"] == "closed", "it relays for the input host alone"

    daemon = product.daemon()
    daemon.nominate(INPUT, OUTPUT)
    (listed,) = until(lambda: daemon.events(INPUT), "the input host is not listed")
    assert (listed["kind"], listed["list"], listed["type"]) == ("listed", "rss", "entry")
    assert listed["exits"] == [str(OUTPUT)]
    until(lambda: daemon.states(OUTPUT), "the output host is not visited")
    kinds = [(event["kind"], event["list"], event["type"], event["entry"]) for event in daemon.events(OUTPUT)]
    assert kinds == ([("listed", "rss", "relay-output", str(INPUT))] if list_outputs else [])

    servers.stop()
    exim()(servers)
    product.command("remove", INPUT, code=0)
    until(lambda: daemon.events(INPUT)[-1]["kind"] == "delisted", "the input host is not delisted")
    last = lambda: [event["kind"] for event in daemon.events(OUTPUT)]  # noqa: E731
    if list_outputs:
        until(lambda: last()[-1] == "delisted", "the output host is not delisted")
    assert last() == (["listed", "delisted"] if list_outputs else [])
    daemon.stop()
