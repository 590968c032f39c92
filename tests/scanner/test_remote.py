"""Remote controls: what of them is a good sign and what is none."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address

import pytest

from scanner import remote as module
from scanner.controls import own_connector
from scanner.model import Endpoint, Identity, Vantage
from scanner.probe import Prober
from scanner.remote import RemoteControl, remotes_of, wrong_with
from scanner.scope import load_scope
from scanner.secret import newest, open_secret
from scanner.settings import ControlsSection, RemoteControlSection
from tests.scanner.live import canary, forbid, free_port, hang_up, mute, peer, relay, settings

HERE = "127.82.3.1"


async def grant(stream):
    """Says yes, and then speaks for itself."""
    await stream.receive_some(4096)
    await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nwelcome\r\n")


async def look(tmp_path, nursery, talk, open_, egress=()):
    one = canary(tmp_path)
    await one.work(nursery)
    if talk is None:
        port = free_port(HERE)
    else:
        (port,) = (await peer(nursery, HERE, talk)).ports
    keys = {"main": newest(open_secret(one.secret).canary_keys("main"))}
    prober = Prober(Identity("test", "http://test/"), keys, egress=set(map(ip_address, egress)), reraise=True)
    patience = 0.5 if talk is mute else 10.0
    connector = own_connector([one.target], patience, ip_address(HERE))
    await nursery.start(connector.run)
    remote = RemoteControl(ip_address(HERE), Endpoint("http-connect", port), open_)
    said = await wrong_with([remote], prober, connector, Vantage("here"), one.target, patience)
    return said.replace(str(port), "PORT")


@pytest.mark.parametrize(
    ("talk", "as_open", "as_closed"),
    [
        (relay, "", "relayed"),
        (forbid, "denied", ""),
        (grant, "pretends", "pretends"),
        (mute, "silent", ""),
        (hang_up, "hung_up", ""),
        (None, "refused", ""),
    ],
)
@pytest.mark.parametrize("open_", [True, False], ids=["known-open", "known-closed"])
async def test_each_answer_and_what_it_means(talk, as_open, as_closed, open_, tmp_path, nursery):
    kind = as_open if open_ else as_closed
    name = "known-open" if open_ else "known-closed"
    expected = f"{name} remote control {HERE} http-connect:PORT gives {kind}" if kind else ""
    assert await look(tmp_path, nursery, talk, open_) == expected


@pytest.mark.parametrize("open_", [True, False], ids=["known-open", "known-closed"])
async def test_our_own_address_as_its_exit_is_interception_whatever_was_expected(open_, tmp_path, nursery):
    from_ours = partial(relay, source="127.0.0.1")
    assert (await look(tmp_path, nursery, from_ours, open_, ["127.0.0.1"])).endswith("gives intercepted")


async def test_an_open_one_that_cannot_be_asked_for_a_canary_is_a_bad_sign(tmp_path, nursery, monkeypatch):
    async def nothing(*_):
        return ()

    monkeypatch.setattr(module, "examine", nothing)
    assert (await look(tmp_path, nursery, relay, True)).endswith("gives no answer: it can't be asked for this canary")
    assert await look(tmp_path, nursery, relay, False) == ""


def test_as_configured_and_never_listed(tmp_path):
    made = settings(tmp_path)
    remote = RemoteControlSection(address="192.0.2.9", port=1080, protocol="socks5", expect="open")
    made = made.model_copy(update={"controls": ControlsSection(remote=(remote,))})
    assert remotes_of(made) == (RemoteControl(ip_address("192.0.2.9"), Endpoint("socks5", 1080), True),)
    assert ip_address("192.0.2.9") in load_scope(made).never_list
