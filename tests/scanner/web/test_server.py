"""The listener under what strangers do to it. Real connections on loopback; each of them may end, nothing else."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress

import httpx
import pytest
import structlog
import trio

from core.cidr import CidrSet
from scanner.web import server as server_module
from scanner.web.edge import BODY_LIMIT, Edge
from scanner.web.server import Connections, Server
from tests.scanner.live import free_port

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
KILLERS = {
    # Each of the first three ended a daemon that served by anycorn or Hypercorn without a guard.
    "h2c, settings that are no base64": GET
    + b"Upgrade: h2c\r\nHTTP2-Settings: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
    "h2c, settings that are no settings": GET
    + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
    "h2 preface and junk": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    "ws without a key": GET
    + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n\x81\xff junk",
    "ws and junk": GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n" + b"\xff\xff\xff\xff" * 50,
    "ws of another version": GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: x\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    "endless header": GET + b"X: " + b"a" * 100_000,
    "bad length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "bad chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
    "cut": b"GET / HT",
    "pipelined": (GET + b"\r\n") * 50,
    "path of junk": b"GET /%ff%00\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
    "expecting": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
}


async def hello(scope: dict, receive: object, send: object) -> None:
    """Reads all of the body, then answers its length."""
    if scope["path"] == "/bug":
        raise RuntimeError("secret")
    if scope["path"] == "/big":
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})  # type: ignore[operator]
        return
    size, more = 0, scope["path"] != "/deaf"
    while more:
        message = await receive()  # type: ignore[operator]
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"%d" % size})  # type: ignore[operator]


@pytest.fixture
async def listener() -> AsyncIterator[Server]:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(Server("web", Edge(hello), ["127.0.0.1:0"], most=40).run)
            yield server
            nursery.cancel_scope.cancel()


async def shoot(server: Server, data: bytes, *, seconds: float = 20.0, until: bytes | None = None) -> bytes:
    """Send it, and what comes back until the end, or for so long, or until this has come."""
    heard = b""
    with trio.move_on_after(seconds):
        try:
            async with await trio.open_tcp_stream(*server.binds[0]) as stream:
                await stream.send_all(data)
                while (until is None or until not in heard) and (chunk := await stream.receive_some(65536)):
                    heard += chunk
        except (trio.BrokenResourceError, OSError):
            pass
    return heard


async def alive(server: Server) -> None:
    host, port = server.binds[0]
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"http://{host}:{port}/", content=b"12345")
        assert (answer.status_code, answer.text) == (200, "5")


async def nobody(server: Server) -> None:
    """Wait until every connection has ended."""
    with trio.fail_after(8):
        while server.connections.now:
            await trio.sleep(0.02)


@pytest.mark.parametrize("name", KILLERS)
async def test_no_request_ends_the_server(listener: Server, name: str) -> None:
    await shoot(listener, KILLERS[name], seconds=0.15)
    await alive(listener)
    assert listener.error == ""


async def test_an_upgrade_is_answered_as_if_it_was_not_there(listener: Server) -> None:
    for name in ("h2c, settings that are no base64", "ws and junk"):
        assert (await shoot(listener, KILLERS[name], until=b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_mutated_requests(listener: Server) -> None:
    dice = random.Random(1)
    seeds = list(KILLERS.values())

    async def one(data: bytes) -> None:
        await shoot(listener, data, seconds=0.15)

    for _ in range(20):
        async with trio.open_nursery() as nursery:
            for _ in range(15):
                data = bytearray(dice.choice(seeds)[:2000])
                for _ in range(dice.randrange(1, 6)):
                    data[dice.randrange(len(data))] = dice.randrange(256)
                nursery.start_soon(one, bytes(data))
    await nobody(listener)
    await alive(listener)
    assert listener.error == ""


async def test_an_exception_that_leaves_a_connection_is_caught_and_counted(
    listener: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise KeyError("out of the protocol")

    with monkeypatch.context() as patch:
        patch.setattr(server_module._PlainHttp, "handle", fail)
        await shoot(listener, GET + b"\r\n")
    assert listener.troubles == 1
    await alive(listener)


async def test_a_server_that_fails_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    serve, failures, serving = server_module.anycorn.serve, 0, trio.Event()

    async def once(*arguments: object, **options: object) -> None:
        nonlocal failures
        if failures < 2:
            failures += 1
            raise ExceptionGroup("of a nursery", [ValueError("whatever")])
        serving.set()
        await serve(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(server_module.anycorn, "serve", once)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(Server("web", Edge(hello), ["127.0.0.1:0"], most=8).run)
            await serving.wait()
            assert (failures, server.error) == (2, "")
            await alive(server)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("before", [[], ["127.0.0.1:0"]], ids=["alone", "behind another"])
async def test_a_taken_port_is_said_and_tried_again(monkeypatch: pytest.MonkeyPatch, before: list[str]) -> None:
    monkeypatch.setattr(server_module, "_RETRY", (0.05, 0.05))
    port = free_port("127.0.0.1")
    with trio.fail_after(20), socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        async with trio.open_nursery() as nursery:
            with structlog.testing.capture_logs() as logs:
                server = await nursery.start(Server("web", Edge(hello), [*before, f"127.0.0.1:{port}"], most=8).run)
                while len(logs) < 3:
                    await trio.sleep(0.01)
            assert server.error == f"127.0.0.1:{port}: Address already in use"
            other.close()
            while server.error:
                await trio.sleep(0.05)
            await alive(server)
            nursery.cancel_scope.cancel()


async def test_cancelled_it_ends_soon_although_clients_hold_on(listener: Server) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(Server("web", Edge(hello), ["127.0.0.1:0"], most=8).run)
        idle = await trio.open_tcp_stream(*server.binds[0])
        began = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began < 8, "less than a client may be idle"
    await idle.aclose()


async def test_a_connection_too_many_is_closed_at_once(listener: Server) -> None:
    """Half of them from one address."""
    streams = [await trio.open_tcp_stream(*listener.binds[0]) for _ in range(20)]
    while listener.connections.now < 20:
        await trio.sleep(0.01)
    assert await shoot(listener, GET + b"\r\n") == b""
    assert listener.connections.refused == 1
    for stream in streams:
        await stream.aclose()
    await nobody(listener)
    await alive(listener)


def test_connections_of_a_trusted_proxy_count_only_in_all() -> None:
    connections = Connections(3, 1, CidrSet(["192.0.2.1"]))
    with ExitStack() as stack:
        peers = ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3")
        admitted = [stack.enter_context(connections.admitted(peer)) for peer in peers]
        assert admitted == [True, True, True, False]
    assert connections.now == 0


def test_an_ipv6_host_has_all_of_its_64() -> None:
    connections = Connections(9, 2, CidrSet([]))
    with ExitStack() as stack:
        peers = ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2")
        admitted = [stack.enter_context(connections.admitted(peer)) for peer in peers]
        assert admitted == [True, True, False, True, True, True]
    assert (connections.now, connections.refused) == (0, 1)


async def test_who_does_not_read_is_let_go(listener: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_SEND", 0.5)
    async with await trio.open_tcp_stream(*listener.binds[0]) as stream:
        while listener.connections.now != 1:
            await trio.sleep(0.01)
        asked = trio.current_time()
        await stream.send_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        await nobody(listener)
        assert trio.current_time() - asked >= 0.5


async def test_who_sends_no_request_is_let_go(listener: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_IDLE", 0.3)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(Server("web", Edge(hello), ["127.0.0.1:0"], most=8).run)
        assert await shoot(server, b"GET / HTTP/1.1\r\nX-") == b""
        await nobody(server)
        nursery.cancel_scope.cancel()


async def test_a_body_too_long_is_refused_before_and_while_it_comes(listener: Server) -> None:
    announced = await shoot(listener, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
    assert announced.startswith(b"HTTP/1.1 413")
    chunk = b"8000\r\n" + b"a" * 0x8000 + b"\r\n"
    sent = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * (BODY_LIMIT // 0x8000 + 1)
    assert (await shoot(listener, sent)).startswith(b"HTTP/1.1 413")
    await alive(listener)


@pytest.mark.parametrize("filler", [b"a", b" "])
@pytest.mark.parametrize("before", [b"", GET + b"\r\n"])
async def test_a_head_has_16_kib_however_it_comes(listener: Server, before: bytes, filler: bytes) -> None:
    start, end = GET + b"Connection: close\r\nX: ", b"b\r\n\r\n"
    fits = 16 * 1024 - len(start + end)
    for length, status in ((fits, 200), (fits + 1, 431), (4 * fits, 431)):
        answers = await shoot(listener, before + start + filler * length + end)
        expected = [b"200"] * bool(before) + [b"%d" % status]
        assert [line.split()[1] for line in answers.splitlines() if line.startswith(b"HTTP/1.1")] == expected
    await alive(listener)


async def test_head_on_the_wire_leaves_the_connection_in_order(listener: Server) -> None:
    head = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await shoot(listener, head + head + GET + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.endswith(b"1\r\n0\r\n0\r\n\r\n")  # the chunks of the last alone
    assert answer.count(b"0\r\n\r\n") == 1
    endless = await shoot(listener, b"HEAD /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert endless.endswith(b"\r\n\r\n")
    assert b"xxx" not in endless
    await nobody(listener)


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 200000"])
@pytest.mark.parametrize("stays", [True, False])
async def test_a_body_that_nobody_reads_holds_no_connection(listener: Server, framing: bytes, stays: bool) -> None:
    """It fills the queue, and the answer's end waited for a place in it."""
    head = b"POST /deaf HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n"
    async with await trio.open_tcp_stream(*listener.binds[0]) as stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(head)
            for _ in range(12):
                await stream.send_all(b"2710\r\n" + b"a" * 10_000 + b"\r\n" if b"chunked" in framing else b"a" * 10_000)
                await trio.sleep(0)
            if stays:
                assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 200")
                await nobody(listener)
    await nobody(listener)
    await alive(listener)


@pytest.mark.parametrize("target", [b"/%ff", b"/a/%C3%28?x=%ff", b"/%2f%80"])
async def test_a_path_that_is_no_utf_8_reaches_the_application(listener: Server, target: bytes) -> None:
    request = b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert (await shoot(listener, request)).startswith(b"HTTP/1.1 200")


async def test_a_bug_shows_no_traceback(listener: Server) -> None:
    answer = await shoot(listener, b"GET /bug HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"secret" not in answer
    assert b"problem+json" in answer
    await alive(listener)
