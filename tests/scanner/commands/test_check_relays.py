"""`check` of mail relays: the exact evidence, and what it says where it can prove nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address

import trio

from scanner.lab.internet import Internet
from scanner.lab.machine import Host, Repair
from scanner.lab.mail import RELAYS
from scanner.lab.network import serve
from scanner.model import CanaryTarget
from tests.scanner.live import command, free_port

CANARY = IPv4Address("127.82.10.25")
SMTP = free_port("0.0.0.0")
DOMAIN = "mail.canary.test"


def host(last: int, kind: str, out: int | None = None) -> Host:
    address = IPv4Address(f"127.82.10.{last}")
    return Host(address, RELAYS[kind], (SMTP,), IPv4Address(f"127.82.10.{out or last}"))


_BROKEN = RELAYS["relay-broken-tls"]
BROKEN = host(6, "relay-broken-tls")
TWIN = replace(host(7, "relay-broken-tls"), kind=replace(_BROKEN, behaviour=_BROKEN.repairs[Repair.DENIES][0]))
OPEN, OTHER, DISCARDS, BANG = (
    host(1, "relay"),
    host(2, "relay-other-exit", 3),
    host(4, "mail-discards"),
    host(5, "relay-bang"),
)


async def check(folder, *arguments, domain=True):
    """The command's exit code, its JSON lines by address, and stderr; with a network around it."""
    ports = {face: free_port(CANARY) for face in ("tcp", "mail", "http")}
    target = CanaryTarget("main", CANARY, mail_domain=DOMAIN, **ports)
    written = "".join(f", {face} = {port}" for face, port in ports.items())
    written += f', mail_domain = "{DOMAIN}"' if domain else ""
    file = folder / "proxywarden.toml"
    file.write_text(
        f"""
data_dir = "{folder / "data"}"
[canary]
listen = ["{CANARY}:{ports["tcp"]}"]
mail_listen = ["{CANARY}:{ports["mail"]}"]
http_listen = ["{CANARY}:{ports["http"]}"]
targets = [{{id = "main", address = "{CANARY}"{written}}}]
[scope]
allow = ["127.0.0.0/8"]
never_scan = []
[lists.rss]
receipt_wait = 0.5
""",
        "utf-8",
    )
    async with trio.open_nursery() as nursery:
        internet = Internet(canaries=(target,), pace=0.05)
        await nursery.start(serve, [OPEN, OTHER, DISCARDS, BANG, BROKEN, TWIN], internet)
        code, out, err = await command("check", *arguments, "--json", env={"PROXYWARDEN_CONFIG": str(file)})
        nursery.cancel_scope.cancel()
    return code, {row["address"]: row for row in map(json.loads, out.splitlines())}, err


async def test_relays_with_exact_evidence(tmp_path):
    hosts = [str(item.address) for item in (OPEN, OTHER, DISCARDS, BANG)]
    code, rows, _ = await check(tmp_path, *hosts, "--endpoint", f"smtp-relay:{SMTP}")
    assert code == 1
    assert {address: row["verdict"] for address, row in rows.items()} == dict(
        zip(hosts, ("open", "open", "closed", "closed"), strict=True)
    )
    (found,) = rows[hosts[0]]["endpoints"]
    assert (found["protocol"], found["port"], found["evidence"]) == ("smtp-relay", SMTP, "relayed")
    assert found["detail"].startswith(f"letter arrived at canary main from {hosts[0]}; plain: '250 2.0.0 Ok: queued'")
    assert (found["exit"], found["capabilities"], rows[hosts[0]]["mail"]) == (hosts[0], ["mail"], True)
    assert rows[hosts[1]]["exits"] == ["127.82.10.3"]
    assert rows[hosts[2]]["endpoints"][0]["evidence"] == "accepted"
    assert rows[hosts[3]]["endpoints"][0]["evidence"] == "denied"


async def test_a_relay_whose_tls_is_broken_is_found_in_the_clear_and_its_closed_twin_denies(tmp_path):
    open_, closed = str(BROKEN.address), str(TWIN.address)
    code, rows, _ = await check(tmp_path, open_, closed, "--endpoint", f"smtp-relay:{SMTP}")
    assert (code, rows[open_]["verdict"], rows[closed]["verdict"]) == (1, "open", "closed")
    (found,), (denied,) = rows[open_]["endpoints"], rows[closed]["endpoints"]
    why = f"letter arrived at canary main from {open_}; STARTTLS failed, in the clear: plain: '250 2.0.0 Ok: queued'"
    assert (found["evidence"], found["detail"]) == ("relayed", why)
    why = "STARTTLS failed, in the clear: RCPT: '554 5.7.1 Relay access denied'"
    assert (denied["evidence"], denied["detail"]) == ("denied", why)


async def test_a_thorough_check_tries_every_form(tmp_path):
    code, rows, _ = await check(tmp_path, str(BANG.address), "--endpoint", f"smtp-relay:{SMTP}", "--thorough")
    assert (code, rows[str(BANG.address)]["verdict"]) == (1, "open")
    assert "bang: '250" in rows[str(BANG.address)]["endpoints"][0]["detail"]


async def test_without_a_mail_domain_it_says_what_is_missing(tmp_path):
    for asked in (("--protocol", "smtp-relay"), ("--endpoint", f"smtp-relay:{SMTP}")):
        code, rows, err = await check(tmp_path, str(OPEN.address), *asked, domain=False)
        assert (code, rows) == (2, {})
        assert "mail_domain" in err
