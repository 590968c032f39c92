"""check as people and programs run it, against peers and a lab on loopback."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import socket
import subprocess
import sys
import time
from functools import partial
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
import trio

from scanner import examine
from scanner.commands import check as module
from scanner.commands import config_file
from scanner.lab.machine import Repair
from scanner.model import CanaryTarget, Endpoint, Evidence, Kind, Reason, State, Target, Vantage, Visit
from scanner.store import open_store
from scanner.verdict import judge
from tests.scanner.live import (
    OTHER_PORT,
    PORT,
    canary,
    command,
    forbid,
    lab,
    lab_host,
    mute,
    nominate,
    peer,
    relay,
    until,
)
from tests.scanner.program import program, written
from tests.scanner.store.make import listing, lists, record, target

ROOT = Path(__file__).parents[3]
KEYS = ["address", "verdict", "why", "mail", "exits", "started", "elapsed_ms", "endpoints"]
ENDPOINT_KEYS = ["protocol", "port", "evidence", "detail", "exit", "capabilities", "elapsed_ms"]
CLOSED, OPEN, WEB, SILENT = (f"127.82.8.{n}" for n in (1, 2, 3, 4))


@pytest.fixture
def file(tmp_path):
    """A configuration without a data directory, and with time for a machine that has little."""
    return written(tmp_path, canary(tmp_path), connect_timeout=20.0, conversation_timeout=20.0)


async def check(file, *arguments):
    """Exit code, objects, and what was said."""
    code, out, err = await command("--config", file, "check", "--json", *arguments)
    return code, [json.loads(line) for line in out.splitlines()], err


async def test_closed_is_0_and_the_object_has_exactly_its_keys(file):
    began = trio.current_time()
    code, (found,), err = await check(file, CLOSED)
    took = trio.current_time() - began
    assert (code, err) == (0, "")
    assert list(found) == KEYS
    assert (found["address"], found["verdict"], found["why"]) == (CLOSED, "closed", "every port tried is closed")
    assert (found["mail"], found["exits"]) == (None, [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["started"])
    assert 0 <= found["elapsed_ms"] < 1000 * took
    (endpoint,) = found["endpoints"]
    assert list(endpoint) == ENDPOINT_KEYS
    assert (endpoint["protocol"], endpoint["port"], endpoint["evidence"]) == ("http-connect", PORT, "refused")
    assert (endpoint["exit"], endpoint["capabilities"]) == (None, None)
    assert not (file.parent / "data").exists()  # nothing was made


async def test_open_is_1_also_among_others_and_says_what_it_reaches(file, nursery):
    one = await peer(nursery, OPEN, relay, ports=[PORT])
    code, found, _ = await check(file, CLOSED, OPEN, CLOSED)
    assert code == 1
    by_address = {item["address"]: item for item in found}
    assert len(found) == 2  # each once
    it = by_address[OPEN]
    assert (it["verdict"], it["exits"]) == ("open", [OPEN])
    assert it["why"] == f"http-connect on port {PORT} carried our challenge to the canary"
    assert set(it["endpoints"][0]["capabilities"]) == {"tcp", "http"}
    assert it["endpoints"][0]["exit"] == OPEN
    assert one.most == 1
    code, out, _ = await command("--config", file, "check", OPEN)
    assert code == 1
    assert out.splitlines()[0].startswith(f"{OPEN}  open: ")
    assert out.splitlines()[1] == f"  http-connect:{PORT}  exit {OPEN}, reaches tcp, http"


async def test_the_endpoints_are_those_that_were_named(file, nursery):
    await peer(nursery, OPEN, relay, ports=[OTHER_PORT])
    code, (found,), _ = await check(
        file, OPEN, "--endpoint", f"socks5:{PORT}", "--endpoint", f"http-connect:{OTHER_PORT}", "--thorough"
    )
    assert code == 1
    assert {(item["protocol"], item["port"]): item["evidence"] for item in found["endpoints"]} == {
        ("socks5", PORT): "refused",
        ("http-connect", OTHER_PORT): "relayed",
    }
    code, (found,), _ = await check(file, OPEN, "--protocol", "socks4")
    assert [(item["protocol"], item["port"]) for item in found["endpoints"]] == [("socks4", PORT)]


async def test_a_timeout_is_for_connections_and_conversations(file, nursery):
    await peer(nursery, SILENT, mute, ports=[PORT])
    code, (found,), _ = await check(file, SILENT, "--timeout", "0.2")
    assert (code, found["verdict"], found["endpoints"][0]["evidence"]) == (0, "closed", "silent")
    assert 200 <= found["elapsed_ms"] < 20_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["300.1.1.1"], "'300.1.1.1' is not an IPv4 or IPv6 address"),
        ([CLOSED, "--endpoint", "gopher:70"], "unknown protocol 'gopher'"),
        ([CLOSED, "--endpoint", "socks5:0"], "a port from 1 to 65535"),
        ([CLOSED, "--endpoint", "socks5:" + "1" * 5000], "a port from 1 to 65535"),
        ([CLOSED, "--protocol", "gopher"], "known are http-connect"),
        ([CLOSED, "--endpoint", "socks5:1", "--all-ports"], "exclude each other"),
        ([CLOSED, "--protocol", "smtp-relay"], "needs canary.targets with a mail_domain"),
        ([CLOSED, "--protocol", "smtp-relay", "--all-ports"], "needs canary.targets with a mail_domain"),
        ([CLOSED, "--endpoint", "socks5:1", "--protocol", "socks4"], "contradicts --protocol socks4"),
        ([CLOSED, "--timeout", "0"], "above 0"),
        ([CLOSED, "--timeout", "nan"], "above 0"),
        ([CLOSED, "--timeout", "-1"], "above 0"),
        (["192.168.1.1"], "192.168.1.1 is special-use"),
        (["::ffff:10.0.0.1"], "10.0.0.1 is special-use"),
    ],
)
def test_a_mistake_is_one_line_and_2(arguments, said, proxywarden, home):
    file = written(home, canary(home))
    ended = proxywarden("--config", file, "check", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.said) == 1
    assert said in ended.err


async def test_invariant_5_what_may_not_be_touched_is_never_scan_among_others_and_is_not(file, nursery):
    one = await peer(nursery, WEB, ports=[PORT])
    (file.parent / "never.txt").write_text(f"{WEB}\n")
    file.write_text(file.read_text().replace("never_scan = []", 'never_scan = ["never.txt"]'))
    file.write_text(file.read_text().replace('allow = ["127.0.0.0/8"]', 'allow = ["127.82.0.0/21", "127.82.8.0/30"]'))
    file.write_text(file.read_text().replace('"127.82.8.0/30"', f'"{CLOSED}"'))
    code, found, _ = await check(file, WEB, CLOSED)
    assert code == 0
    states = {item["address"]: item["verdict"] for item in found}
    assert states == {WEB: "never_scan", CLOSED: "closed"}
    (shown,) = next(item["endpoints"] for item in found if item["address"] == WEB)
    assert shown["evidence"] == "never_scan"
    code, found, err = await check(file, WEB)
    assert (code, found) == (2, [])
    assert "it is not touched" in err
    assert one.total == 0


async def test_a_canary_that_cannot_be_reached_is_said_and_3(file, nursery):
    one = await peer(nursery, OPEN, relay, ports=[PORT])
    text = file.read_text()
    ports = re.findall(r'listen = \["127\.82\.0\.25:(\d+)"\]', text)
    file.write_text(re.sub(r'listen = \["127\.82\.0\.25:\d+"\]', "listen = []", text))
    elsewhere = f'[canary]\ntargets = [{{id = "main", address = "127.82.0.25", tcp = {ports[0]}}}]'
    file.write_text(file.read_text().replace("[canary]", elsewhere))
    code, (found,), err = await check(file, OPEN)
    assert (code, found["verdict"]) == (3, "inconclusive")
    assert "does not answer at 127.82.0.25" in found["why"]
    assert err.startswith("proxywarden: canary main does not answer")
    assert "nothing can be proven" in err
    assert one.total == 0


@pytest.mark.parametrize(
    ("address", "place", "kind", "state"),
    [
        ("203.0.113.9", "127.0.0.1", Kind.DENIED, State.INCONCLUSIVE),
        ("203.0.113.9", "127.0.0.1", Kind.REFUSED, State.CLOSED),  # needs no canary
        ("203.0.113.9", "203.0.113.25", Kind.DENIED, State.CLOSED),
        ("127.82.8.1", "127.0.0.1", Kind.DENIED, State.CLOSED),
    ],
)
def test_who_can_not_reach_a_canary_on_loopback_is_not_told_closed(address, place, kind, state):
    endpoint = Endpoint("http-connect", 8080)
    visit = Visit("0" * 32, Target(ip_address(address), Reason.OPERATOR, 0.0), (endpoint,), (Vantage("main"),))
    verdict = module._doubted(
        judge(visit, [Evidence(endpoint, kind)]), [CanaryTarget("main", ip_address(place), tcp=8021)]
    )
    assert verdict.state is state
    assert ("canary.targets says where" in verdict.why) == (state is State.INCONCLUSIVE)


async def test_beside_a_daemon_it_uses_its_canary_its_opt_outs_and_its_listings(file):
    host = lab_host("8.20", "connect", repair=Repair.GONE)
    one = canary(file.parent)
    file = written(file.parent, one, connect_timeout=20.0, conversation_timeout=20.0)
    async with lab([host], one) as network, program(file) as (_, store):
        await nominate(store, [host.address], time.time())

        async def listed():
            return await store.lookup(host.address)

        await until(listed)
        code, (found,), _ = await check(file, host.address)
        assert (code, found["verdict"]) == (1, "open")
        network.repair(host.address)
        async with trio.open_nursery() as nursery:
            await peer(nursery, str(host.address), mute, ports=[PORT])
            code, (found,), _ = await check(file, host.address, "--timeout", "0.3")
            assert (code, found["verdict"]) == (3, "inconclusive")  # silence leaves doubt where it is listed
            nursery.cancel_scope.cancel()
        await store.exclude(f"{host.address}/32", "asked", "test", time.time())
        code, found, err = await check(file, host.address)
        assert (code, found) == (2, [])
        assert "it is not touched (`proxywarden optout remove` ends that)" in err


async def test_doubt_about_an_unlisted_address_is_closed_and_about_a_listed_one_is_not(file, nursery):
    await peer(nursery, SILENT, mute, ports=[PORT])
    here = IPv4Address(SILENT)
    (file.parent / "data").mkdir(mode=0o700)
    async with open_store(f"sqlite:///{file.parent}/data/proxywarden.sqlite") as store:
        assert (await check(file, SILENT, "--timeout", "0.2"))[0] == 0
        of = record(target(here))
        await store.conclude(of, lists(listing(SILENT), at=here), lease=None)
        assert (await check(file, SILENT, "--timeout", "0.2"))[0] == 3
        assert await store.visits(here)  # a check is no visit of the daemon's, and writes nothing
        assert len(await store.visits(here)) == 1


async def test_two_at_once_have_the_canary_one_after_the_other(file, nursery):
    """Or the second would lose it with the end of the first, and an open proxy would look closed."""
    go, done = trio.Event(), []

    async def hang_up_when_told(stream):
        await go.wait()

    await peer(nursery, SILENT, hang_up_when_told, ports=[PORT])
    one = await peer(nursery, OPEN, relay, ports=[PORT])
    (file.parent / "data").mkdir(mode=0o700)

    async def first():
        done.append(await check(file, SILENT, "--timeout", "60", "--protocol", "http-connect"))

    async with trio.open_nursery() as both:
        both.start_soon(first)
        await until(lambda: held(file.parent / "data" / "check.lock"))
        arguments = [sys.executable, "-m", "scanner", "--config", str(file), "check", "--json", OPEN]
        start = partial(trio.run_process, arguments, stdout=-1, stderr=-1, check=False, cwd=ROOT)
        second = await both.start(start)
        assert (await second.stderr.receive_some()).startswith(b"proxywarden: another `check` has the canary")
        await trio.sleep(1)
        assert (one.total, done) == (0, []), "it waits for the end of the first"
        go.set()
        (found,) = map(json.loads, b"".join([piece async for piece in second.stdout]).splitlines())
        assert (await second.wait(), found["verdict"]) == (1, "open")
    ((code, (looked,), _),) = done
    assert (code, looked["verdict"]) == (0, "closed")


async def held(path):
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def test_ports_taken_by_somebody_whose_secret_is_not_ours(file):
    port = int(re.search(r'\nlisten = \["127\.82\.0\.25:(\d+)"', file.read_text())[1])
    async with trio.open_nursery() as nursery:
        await peer(nursery, "127.82.0.25", forbid, ports=[port])
        code, found, err = await check(file, CLOSED)
        assert (code, found) == (2, [])
        assert "there is no secret to share" in err
        (file.parent / "data").mkdir(mode=0o700)
        code, (found,), err = await check(file, CLOSED)
        assert (code, found["verdict"]) == (3, "inconclusive")
        nursery.cancel_scope.cancel()


def test_a_store_that_may_not_be_read_is_one_line(home, proxywarden):
    file = written(home, canary(home))
    (home / "data").mkdir()
    (home / "data" / "proxywarden.sqlite").write_text("this is no database, is it? " * 100)
    ended = proxywarden("--config", file, "check", CLOSED)
    assert ended.code == 74
    assert len(ended.said) == 1


def test_progress_is_for_a_terminal_alone(file):
    master, slave = pty.openpty()
    arguments = [sys.executable, "-m", "scanner", "--config", str(file), "check", CLOSED]
    with os.fdopen(master, "rb", buffering=0) as screen:
        done = subprocess.run(
            arguments, stdout=subprocess.PIPE, stderr=slave, check=False, cwd=ROOT, env={**os.environ, "TERM": "xterm"}
        )
        os.close(slave)
        shown = b""
        try:
            while piece := screen.read(4096):
                shown += piece
        except OSError:  # Linux's way to say that the other side has closed
            pass
    assert done.returncode == 0
    assert b"ports" in shown
    assert done.stdout.decode().startswith(f"{CLOSED}  closed")


async def test_of_all_ports_only_those_that_we_talked_to_are_shown(file, nursery, monkeypatch, capsys):
    async def relay_or_hang_up(stream):  # nobody is left to wait for the timeout
        if await stream.socket.recv(1, socket.MSG_PEEK) == b"C":
            await relay(stream)

    ports = [PORT, OTHER_PORT, *range(40001, 40040)]
    monkeypatch.setattr(module.EveryPort, "ports", property(lambda self: ports))
    await peer(nursery, WEB, forbid, ports=[PORT])
    await peer(nursery, OPEN, relay_or_hang_up, ports=[OTHER_PORT])
    config_file.set(file)
    assert await module.check([WEB, OPEN], all_ports=True, json=True, thorough=True) == 1
    found = {item["address"]: item for item in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found[WEB]["verdict"] == "closed"
    assert {item["port"] for item in found[WEB]["endpoints"]} == {PORT}
    assert {item["port"] for item in found[OPEN]["endpoints"]} == {OTHER_PORT}
    assert found[OPEN]["verdict"] == "open"


async def test_all_ports_are_all_of_them_however_long_that_takes(file, nursery, monkeypatch, capsys):
    monkeypatch.setattr(examine, "_LONGEST", 0.0)
    monkeypatch.setattr(module.EveryPort, "ports", property(lambda self: [PORT, OTHER_PORT]))
    await peer(nursery, WEB, forbid, ports=[PORT])
    await peer(nursery, WEB, relay, ports=[OTHER_PORT])
    config_file.set(file)
    assert await module.check([WEB], all_ports=True, protocol="http-connect", json=True) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "open"
