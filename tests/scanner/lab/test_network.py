from __future__ import annotations

import random
import resource
import socket
import time
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import trio

from scanner.lab import network
from scanner.lab.internet import Internet, LabError
from scanner.lab.kinds import KINDS
from scanner.lab.machine import Repair
from scanner.lab.network import serve
from scanner.lab.plan import plan
from tests.scanner.lab.clients import CLIENTS, connect, exactly
from tests.scanner.lab.conftest import World, in_thread

ELSEWHERE = IPv4Network("127.78.0.0/16")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_two_thousand_hosts_come_up_at_once_and_leave_nothing_open() -> None:
    before = descriptors()
    spent = time.process_time()
    async with trio.open_nursery() as nursery:
        lab = await nursery.start(serve, plan(2000, 1, ELSEWHERE), Internet())
        assert time.process_time() - spent < 3
        assert lab.listeners > 1000
        assert descriptors() > before + 1000
        nursery.cancel_scope.cancel()
    assert descriptors() <= before + 2  # Trio's own


async def test_cancelled_in_the_middle_of_talks_leaves_nothing_open(world: World) -> None:
    before = descriptors()
    planned = plan(len(KINDS), 8, ELSEWHERE)
    clients = []
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, planned, world.internet)
        for host in planned:
            if host.ports and not host.kind.filtered:
                sock = connect(host.address, host.ports[0])
                sock.sendall(b"\5\1\0")
                clients.append(sock)
        relaying = next(host for host in planned if host.kind.name == "socks5")
        with connect(relaying.address, relaying.ports[0]) as tunnel:
            assert world.canary.mail is not None
            tunnel.sendall(b"\5\1\0\5\1\0\1\x7f\0\0\1" + world.canary.mail.to_bytes(2))
            with trio.fail_after(10):
                while not world.peers:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    for sock in clients:
        sock.close()
    with trio.move_on_after(20):
        while descriptors() > before:  # the origin has to see it, too
            await trio.sleep(0.01)
    assert descriptors() <= before


@pytest.mark.parametrize("how", list(Repair))
async def test_a_repair_closes_and_reopen_opens_again(world: World, how: Repair) -> None:
    planned = [host for host in plan(900, 2, ELSEWHERE) if host.repair is how and host.kind.name == "mixed"]
    host = planned[0]
    to = (str(world.canary.address), world.canary.tcp)
    async with trio.open_nursery() as nursery:
        lab = await nursery.start(serve, [host], world.internet)

        async def ask(protocol: str) -> bytes:
            return await in_thread(CLIENTS[protocol], host.address, host.ports[0], *to)

        assert b"peer=" in await ask("socks5")
        lab.repair(host.address)
        if how is Repair.GONE:
            with pytest.raises(ConnectionRefusedError):
                await ask("socks5")
        elif how is Repair.DENIES:
            assert [await ask("socks5"), await ask("socks4")] == [b"\5\2\0\1", b"\0\x5b" + bytes(6)]
            assert b" 403 " in await ask("http-connect")
        else:
            assert [await ask("socks5"), await ask("socks4")] == [b"\5\2", b"\0\x5c" + bytes(6)]
            assert b" 407 " in await ask("http-connect")
        assert len(world.peers) == 1
        lab.reopen(host.address)
        assert b"peer=" in await ask("http-connect")
        nursery.cancel_scope.cancel()


async def test_a_repair_ends_what_runs_through_it(world: World) -> None:
    host = world.host("socks5")
    assert world.canary.mail is not None
    with connect(host.address, host.ports[0]) as tunnel:
        tunnel.sendall(b"\5\1\0\5\1\0\1\x7f\0\0\1" + world.canary.mail.to_bytes(2))
        assert (await in_thread(exactly, tunnel, 24)).endswith(b"220 origin\r\n")
        world.network.repair(host.address)
        with trio.fail_after(20):
            assert await in_thread(tunnel.recv, 100) == b""


async def test_reopening_makes_a_replayer_forget(world: World) -> None:
    to = (str(world.canary.address), world.canary.tcp)
    for visits in (1, 2):
        assert b"peer=" in await world.ask(CLIENTS["http-connect"], "replay", *to)
        world.network.reopen(world.host("replay").address)
        assert len(world.peers) == visits


@pytest.mark.parametrize("kind", ["closed", "ssh", "hop"])
async def test_what_is_no_open_proxy_cannot_be_repaired(world: World, kind: str) -> None:
    address = world.host(kind).address
    with pytest.raises(LabError, match=f"{address} is no lab host that can be repaired"):
        world.network.repair(address)


async def test_the_second_host_of_a_chain_serves_the_first_alone(world: World) -> None:
    chained, hop = world.host("chained"), world.host("hop")
    to = (str(world.canary.address), world.canary.tcp)
    assert b"peer=%b" % str(hop.address).encode() in await world.ask(CLIENTS["socks5"], "chained", *to)
    assert await world.ask(CLIENTS["socks5"], "hop", *to) == b"\5\2\0\1"
    assert chained.exit == hop.address


async def test_a_client_that_says_nothing_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "TALK_TIMEOUT", 0.3)
    with trio.fail_after(20):
        for kind in ("mute", "connect", "socks5", "trickle"):
            host = world.host(kind)
            with connect(host.address, host.ports[0]) as sock:
                assert await in_thread(sock.recv, 10) == b""


async def test_a_client_that_resets_ends_nobody(world: World) -> None:
    for host in world.plan:
        if host.ports and not host.kind.filtered:
            for data in (b"", b"\5\1\0", b"\4\1\0\1", b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n"):
                sock = connect(host.address, host.ports[0])
                sock.sendall(data)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.close()
        await trio.sleep(0)
    to = (str(world.canary.address), world.canary.tcp)
    assert b"peer=" in await world.ask(CLIENTS["socks5"], "socks5", *to)


async def test_garbage_ends_nobody(world: World) -> None:
    rng = random.Random(1)
    openings = [b"", b"\4\1", b"\5\1\0\5\1\0", b"CONNECT ", b"GET http://", b"POST http://[", b"CONNECT 127.0.0.1:"]
    rest = [b"99999 HTTP/1.1\r\n\r\n", b"-1 HTTP/1.1\r\n\r\n", b"\3\xff" + b"\xe4" * 300, b"x" * 70_000, b"\n\n"]
    rest += [rng.randbytes(rng.randrange(1, 300)) for _ in range(10)]
    for host in world.plan:
        if host.ports and not host.kind.filtered:
            for opening in openings:
                for data in rest:
                    with connect(host.address, host.ports[0]) as sock, suppress(ConnectionError, TimeoutError):
                        sock.settimeout(0.1)
                        sock.sendall(opening + data)
            await trio.sleep(0.02)
    to = (str(world.canary.address), world.canary.tcp)
    assert b"peer=" in await world.ask(CLIENTS["socks5"], "chained", *to)


async def test_many_at_once(world: World) -> None:
    said = []

    async def one() -> None:
        said.append(await world.ask(CLIENTS["socks5"], "mixed", str(world.canary.address), world.canary.tcp))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(one)
    assert len(said) == 100
    assert all(b"peer=%b" % str(world.host("mixed").address).encode() in line for line in said)


async def test_out_of_descriptors_it_goes_on_later(world: World) -> None:
    host = world.host("http-403")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            client.connect((str(host.address), host.ports[0]))  # the kernel takes it for the host
            client.sendall(b"GET http://x/ HTTP/1.1\r\n\r\n")
            spent = time.process_time()
            await trio.sleep(0.5)
            assert time.process_time() - spent < 0.25  # it does not spin
            with pytest.raises(BlockingIOError):
                client.recv(100, socket.MSG_DONTWAIT)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert b"403" in await in_thread(client.recv, 100)


def test_the_limit_of_open_files_is_raised_or_complained_about(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 20000))
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: asked.append(limit))
    network.raise_limit(0)
    assert not asked
    network.raise_limit(5000)
    assert asked == [(resource.RLIMIT_NOFILE, (20000, 20000))]
    with pytest.raises(LabError, match=r"needs 31,024 descriptors and may have 20,000"):
        network.raise_limit(30000)


async def test_a_taken_port_is_said_in_one_line() -> None:
    host = next(host for host in plan(300, 2, ELSEWHERE) if host.kind.name == "connect")
    taken = socket.create_server((str(host.address), host.ports[0]))
    with taken, pytest.RaisesGroup(LabError) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, [host], Internet())
    assert str(caught.value.exceptions[0]).startswith(f"cannot listen on {host.address}:{host.ports[0]}: ")
