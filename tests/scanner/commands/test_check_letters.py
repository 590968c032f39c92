"""`check --thorough` sends a letter through a proxy that reaches the mail port: delivered is more than reached."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address

import pytest
import trio

from scanner.lab.http import CONNECT, http
from scanner.lab.internet import Internet
from scanner.lab.kinds import KINDS
from scanner.lab.machine import Host
from scanner.lab.network import serve
from scanner.lab.rules import lowest_port
from scanner.model import CanaryTarget
from tests.scanner.live import command, free_port

pytestmark = pytest.mark.skipif(
    lowest_port() > 25, reason="the canary's mail port is 25, and nobody but root may listen there"
)
CANARY = IPv4Address("127.82.12.25")
PORT = free_port("0.0.0.0")


def cut(data: bytes) -> bytes:
    """Of a proxy that reads along: it lets the canary greet, and ends where a sender was taken."""
    if b"250 2.0.0 OK" in data:
        raise trio.BrokenResourceError
    return data


CUTS = replace(KINDS["connect"], name="connect-cuts-mail", behaviour=partial(http, methods=CONNECT, rewrite=cut))


def host(last: int, kind) -> Host:
    address = IPv4Address(f"127.82.12.{last}")
    return Host(address, kind, (PORT,), address)


HOSTS = {
    "http-connect": host(1, KINDS["connect"]),
    "socks5": host(2, KINDS["socks5"]),
    "cuts": host(3, CUTS),
    "tcp only": host(4, KINDS["connect-tcp-port-only"]),
    "mail only": host(5, KINDS["connect-mail-port-only"]),
}


async def check(folder, *arguments):
    target = CanaryTarget("main", CANARY, tcp=free_port(CANARY), mail=25)
    file = folder / "proxywarden.toml"
    file.write_text(
        f"""
data_dir = "{folder / "data"}"
[canary]
listen = ["{CANARY}:{target.tcp}"]
mail_listen = ["{CANARY}:25"]
http_listen = []
[scope]
allow = ["127.0.0.0/8"]
never_scan = []
[scan]
endpoints = ["http-connect:{PORT}", "socks5:{PORT}"]
conversation_timeout = 20.0
"""
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, HOSTS.values(), Internet(canaries=(target,), pace=0.05))
        addresses = [str(item.address) for item in HOSTS.values()]
        code, out, err = await command("check", *addresses, *arguments, "--json", env={"PROXYWARDEN_CONFIG": str(file)})
        nursery.cancel_scope.cancel()
    assert code == 1, err
    rows = {row["address"]: row for row in map(json.loads, out.splitlines())}
    found = {}
    for name, item in HOSTS.items():
        row = rows[str(item.address)]
        assert row["verdict"] == "open", row
        (reached,) = [at["capabilities"] for at in row["endpoints"] if at["evidence"] == "relayed"]
        found[name] = (row["mail"], reached)
    return found


async def test_delivered_is_more_than_reached(tmp_path):
    assert await check(tmp_path, "--thorough") == {
        "http-connect": (True, ["tcp", "mail", "mail-delivered"]),
        "socks5": (True, ["tcp", "mail", "mail-delivered"]),
        "cuts": (True, ["tcp", "mail"]),
        "tcp only": (False, ["tcp"]),
        "mail only": (True, ["mail", "mail-delivered"]),
    }


async def test_an_ordinary_check_sends_none(tmp_path):
    assert {reached[-1] for _, reached in (await check(tmp_path)).values()} == {"tcp", "mail"}
