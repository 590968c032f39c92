"""The canary on real sockets: IPv4 and IPv6, clients that we did not write, floods, and no descriptor left."""

from __future__ import annotations

import gc
import http.client
import os
import resource
import smtplib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
import trio

from scanner.canary import Bound, Limits, Tally, run_canary
from scanner.canary.caller import Dialogue
from scanner.canary.converse import converse
from scanner.model import Aim, Face, Identity, Kind
from scanner.proof import ANSWER_MARK, Proof, find_token
from scanner.protocols.conversation import Ask, hear
from tests.scanner.canary.calls import CHALLENGE, FORGED, GREETING, KEY, TOKEN, throw

HOSTS = ["127.0.0.1", "::1"]


@asynccontextmanager
async def running(limits: Limits | None = None) -> AsyncIterator[tuple[Bound, Tally]]:
    """A canary with each face on IPv4 and on IPv6, in real time; no descriptor of it is left."""
    before = descriptors()
    tally = Tally()
    places = [(host, 0) for host in HOSTS]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            start = partial(
                run_canary, "c1", {1: KEY}, tcp=places, mail=places, http=places, limits=limits or Limits(),
                tally=tally, name="canary.example", on_bug=throw,
            )  # fmt: skip
            yield await nursery.start(start), tally
            nursery.cancel_scope.cancel()
    assert tally.open == 0
    assert descriptors() <= before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def proof(said: bytes) -> Proof:
    answer = find_token(said, ANSWER_MARK)
    assert answer is not None, said
    return Proof(KEY, CHALLENGE, TOKEN, answer)


async def everything(stream: trio.abc.ReceiveStream) -> bytes:
    said = b""
    try:
        while data := await stream.receive_some(4096):
            said += data
    except trio.BrokenResourceError:  # a close over what we sent and it did not read
        return said
    return said


async def until(condition: object, tally: Tally) -> None:
    """Until the tally shows it; running() has the deadline."""
    while not condition(tally):  # type: ignore[operator]
        await trio.sleep(0.01)


@pytest.mark.parametrize("family", [0, 1], ids=HOSTS)
async def test_a_line(family: int) -> None:
    async with running() as (bound, tally):
        host, port = bound.tcp[family]
        assert host == HOSTS[family]
        async with await trio.open_tcp_stream(host, port) as stream:
            _, our_port = stream.socket.getsockname()[:2]
            await stream.send_all(TOKEN + b"\r\n")
            sighting = proof(await everything(stream)).sighting
        assert (sighting.face, sighting.canary, sighting.port) == (Face.TCP, "c1", port)
        assert (sighting.peer, sighting.peer_port) == (ip_address(host), our_port)
        await until(lambda tally: tally.counts().get("tcp.answered") == 1, tally)


@pytest.mark.parametrize("family", [0, 1], ids=HOSTS)
@pytest.mark.parametrize("face", Face)
async def test_the_scanner_hears_it(face: Face, family: int) -> None:
    """What ends every conversation, straight to each face."""
    heard = []

    async with running() as (bound, _):
        host, port = getattr(bound, face)[family]
        ask = Ask(
            Aim("c1", ip_address(host), port, face), TOKEN, Identity("scanner.example", "https://scanner.example/")
        )

        def listen() -> Dialogue:
            heard.append((yield from hear(ask)))  # type: ignore[misc]

        async with await trio.open_tcp_stream(host, port) as stream:
            await converse(stream, listen(), limit=10_000)
    (outcome,) = heard
    assert outcome.kind is Kind.RELAYED
    sighting = Proof(KEY, CHALLENGE, TOKEN, outcome.answer).sighting
    assert (sighting.face, sighting.peer, sighting.port) == (face, ip_address(host), port)
    assert sighting.name == (host if face is Face.HTTP else "")


@pytest.mark.parametrize("family", [0, 1], ids=HOSTS)
async def test_httpx(family: int) -> None:
    async with running() as (bound, _), httpx.AsyncClient(trust_env=False, timeout=20) as client:
        host, port = bound.http[family]
        url = f"http://[{host}]:{port}/" if family else f"http://{host}:{port}/"
        got = await client.get(url + TOKEN.decode())
        assert (got.status_code, got.reason_phrase) == (200, "OK")
        assert got.headers["content-type"] == "text/plain"
        assert got.headers["cache-control"] == "no-store"
        assert proof(got.content).sighting.name == host
        assert got.headers["x-proxywarden"] == got.text.strip()
        posted = await client.post(url, content=TOKEN, headers={"Host": "named.example"})
        assert proof(posted.content).sighting.name == "named.example"

        async def pieces() -> AsyncIterator[bytes]:
            yield TOKEN + b"\n"

        chunked = await client.post(url, content=pieces())
        assert proof(chunked.content).exit == ip_address(host)
        assert (await client.head(url + TOKEN.decode())).headers["content-length"] == str(len(got.content))
        for strange in (url, url + FORGED.decode()):
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(strange)


@pytest.mark.parametrize("family", [0, 1], ids=HOSTS)
async def test_http_client(family: int) -> None:
    def ask(host: str, port: int) -> bytes:
        connection = http.client.HTTPConnection(host, port, timeout=20)
        try:
            connection.request("GET", f"/{TOKEN.decode()}", headers={"Connection": "keep-alive"})
            return connection.getresponse().read()
        finally:
            connection.close()

    async with running() as (bound, _):
        said = await trio.to_thread.run_sync(ask, *bound.http[family])
        assert proof(said).sighting.face is Face.HTTP


@pytest.mark.parametrize("family", [0, 1], ids=HOSTS)
async def test_smtplib(family: int) -> None:
    def ask(host: str, port: int) -> list[bytes]:
        said = []
        name = f"{TOKEN.decode()}.scanner.example"
        with smtplib.SMTP(host, port, local_hostname=name, timeout=20) as client:
            for greet in (client.ehlo, client.helo):
                code, words = greet()
                assert code == 250
                said.append(words)
            assert client.does_esmtp
            with pytest.raises(smtplib.SMTPSenderRefused):
                client.sendmail("a@scanner.example", ["b@canary.example"], "Subject: no\r\n\r\nno\r\n")
            with pytest.raises(smtplib.SMTPNotSupportedError):
                client.starttls()
        with smtplib.SMTP(host, port, local_hostname="stranger.example", timeout=20) as stranger:
            assert stranger.ehlo()[0] == 221
        return said

    async with running() as (bound, tally):
        for words in await trio.to_thread.run_sync(ask, *bound.mail[family]):
            assert proof(words).sighting.face is Face.MAIL
            assert proof(words).exit == ip_address(HOSTS[family])
        await until(lambda t: t.counts().get("mail.stranger") == 1, tally)


@pytest.mark.parametrize("sent", [b"", b"\n", b"GET / HTTP/1.1\r\n\r\n", FORGED + b"\r\n", b"\xff" * 600])
async def test_strangers_get_no_byte(sent: bytes) -> None:
    async with running() as (bound, _):
        for place in (*bound.tcp, *bound.http, *bound.mail):
            async with await trio.open_tcp_stream(*place) as stream:
                await stream.send_all(sent)
                await stream.send_eof()
                said = await everything(stream)
                assert ANSWER_MARK not in said
                assert said.startswith(GREETING) if place in bound.mail else said == b""


async def test_in_a_flood_that_waits_our_challenge_is_heard() -> None:
    """300 connections that say nothing, room for 50: the oldest go, and ours is answered at once."""
    async with running(Limits(connections=50, per_source=10**6, deadline=1000)) as (bound, tally):
        flood = [await trio.open_tcp_stream(*bound.tcp[n % 2]) for n in range(300)]
        await until(lambda t: t.ended.total() == 250, tally)
        assert tally.open == 50
        with trio.fail_after(10):
            async with await trio.open_tcp_stream(*bound.http[0]) as stream:
                await stream.send_all(b"GET /" + TOKEN + b" HTTP/1.1\r\n\r\n")
                assert proof(await everything(stream)).sighting.face is Face.HTTP
        for stream in flood:
            await stream.aclose()
        await until(lambda t: t.open == 0, tally)
        counts = tally.counts()
        assert (counts["tcp.evicted"], counts["tcp.stranger"], counts["http.answered"]) == (251, 49, 1)


async def test_one_source_in_a_flood_keeps_to_its_share() -> None:
    async with running(Limits(per_source=20, deadline=1000)) as (bound, tally):
        flood = [await trio.open_tcp_stream(*bound.tcp[0]) for _ in range(200)]
        await until(lambda t: t.counts().get("tcp.refused") == 180, tally)
        assert tally.open == 20
        async with await trio.open_tcp_stream(*bound.tcp[1]) as stream:  # another source is not hindered
            await stream.send_all(TOKEN + b"\n")
            assert proof(await everything(stream)).exit == ip_address("::1")
        for stream in flood:
            await stream.aclose()


async def test_300_at_once_are_all_answered() -> None:
    answered = []

    async def ask(place: tuple[str, int]) -> None:
        async with await trio.open_tcp_stream(*place) as stream:
            await stream.send_all(TOKEN + b"\n")
            answered.append(proof(await everything(stream)))

    async with running(Limits(per_source=1000)) as (bound, tally):
        async with trio.open_nursery() as nursery:
            for n in range(300):
                nursery.start_soon(ask, bound.tcp[n % 2])
        await until(lambda t: t.counts().get("tcp.answered") == 300, tally)
    assert len(answered) == 300
    assert len({(seen.exit, seen.sighting.peer_port) for seen in answered}) == 300


async def test_without_a_descriptor_left_it_waits_and_goes_on() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with running() as (bound, tally):
        gc.collect()  # or a descriptor below the limit might come free just then
        (host, port), sock = bound.tcp[0], socket.socket()
        lowest = os.dup(sock.fileno())
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            sock.connect((host, port))  # the kernel completes it before anybody accepts
            await until(lambda t: t.accept_errors > 0, tally)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        async with stream:
            await stream.send_all(TOKEN + b"\n")
            assert proof(await everything(stream)).exit == ip_address(host)
        assert tally.accept_errors < 20  # it paused between them
