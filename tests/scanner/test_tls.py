"""TLS in the middle of a conversation, and what a target can do to it."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from scanner.model import Aim, Endpoint, Face, Identity, Kind
from scanner.probe import carry
from scanner.protocols import PROTOCOLS
from scanner.protocols.conversation import Ask, Outcome
from scanner.protocols.exchange import Exchange
from tests.protocols.player import LETTER, TARGET, token

CERTIFICATE = Path(__file__).with_name("data") / "mail.test.pem"  # self-signed, of 2026 for a hundred years
OFFERS = b"250-mail.test\r\n250-STARTTLS\r\n250 8BITMIME\r\n"
REST = (b"250 c\r\n", b"250 d\r\n", b"354 e\r\n", b"250 f\r\n")


def a_conversation(port: int = 25) -> Exchange:
    ask = Ask(
        Aim("c1", "mail.example", 25, Face.MAIL, "plain"),
        token("smtp-relay"),
        Identity("proxywarden", "http://scan.example/"),
        TARGET,
        port,
        LETTER,
        1.8e9,
    )
    return Exchange(PROTOCOLS[Endpoint("smtp-relay", port).protocol].converse(ask), 16384)


async def hold(serve, port: int = 25, timeout: float = 10.0):
    """Hold a conversation with a server of ours on loopback."""
    exchange = a_conversation(port)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.82.4.3")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        with trio.socket.socket() as wire:
            await wire.connect(listener.socket.getsockname())
            with trio.fail_after(20):
                outcome = await carry(wire, exchange, timeout)
        nursery.cancel_scope.cancel()
    return outcome, exchange.transcript.decode()


async def under_tls(stream) -> trio.SSLStream:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return trio.SSLStream(stream, context, server_side=True)


async def say(stream, *replies: bytes) -> bytes:
    heard = b""
    for reply in replies:
        await stream.send_all(reply)
        heard += await stream.receive_some(4096)
    return heard


async def starttls(stream) -> None:
    await say(stream, b"220 a\r\n", OFFERS)
    await stream.send_all(b"220 go\r\n")
    inner = await under_tls(stream)
    assert (await inner.receive_some(4096)) == b"EHLO proxywarden\r\n"
    await say(inner, OFFERS.replace(b"250-STARTTLS\r\n", b""), *REST)


async def implicit(stream) -> None:
    inner = await under_tls(stream)
    await say(inner, b"220 a\r\n", OFFERS, *REST)


@pytest.mark.parametrize(("serve", "port"), [(starttls, 25), (implicit, 465)], ids=["STARTTLS", "465"])
async def test_a_letter_under_tls(serve, port):
    outcome, transcript = await hold(serve, port)
    assert (outcome.kind, outcome.detail) == (Kind.ACCEPTED, "plain: '250 f'")
    assert "* TLSv1.3, certificate with SHA-256 " in transcript, "what was presented is noted, and not checked"
    assert ("> STARTTLS" in transcript) == (port == 25)


async def test_what_was_sent_before_the_handshake_is_dropped():
    """CVE-2011-0411: plain text behind the 220 would pass for what came under TLS."""

    async def injects(stream) -> None:
        await say(stream, b"220 a\r\n", OFFERS)
        await stream.send_all(b"220 go\r\n250 injected\r\n250 injected\r\n")
        inner = await under_tls(stream)
        assert await inner.receive_some(4096) == b"EHLO proxywarden\r\n"

    outcome, transcript = await hold(injects)
    assert outcome.kind is Kind.TLS_FAILED
    assert "certificate" in transcript
    assert "> MAIL" not in transcript


async def garbage(stream) -> None:
    await say(stream, b"220 a\r\n", OFFERS, b"220 go\r\n")
    await stream.send_all(b"no TLS here\r\n" * 10)


async def goes(stream) -> None:
    await say(stream, b"220 a\r\n", OFFERS, b"220 go\r\n")


async def goes_later(stream) -> None:
    await say(stream, b"220 a\r\n", OFFERS)
    await stream.send_all(b"220 go\r\n")
    inner = await under_tls(stream)
    await inner.do_handshake()


@pytest.mark.parametrize("serve", [garbage, goes, goes_later], ids=lambda serve: serve.__name__)
async def test_a_handshake_that_fails_is_told(serve):
    """With TLS 1.3 it can fail at the server when it is over for us."""
    outcome, transcript = await hold(serve)
    assert outcome == Outcome(Kind.TLS_FAILED, "the TLS handshake failed")
    assert "> MAIL" not in transcript


async def test_where_tls_is_all_there_is_none_goes_without():
    outcome, _ = await hold(garbage, 465)
    assert outcome == Outcome(Kind.HUNG_UP, "the TLS handshake failed")


async def test_records_that_say_nothing_end_the_conversation():
    """Session tickets, of which the conversation sees none: five megabytes, sent before anything else."""

    async def floods(stream) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        context.num_tickets = 20000
        inner = trio.SSLStream(stream, context, server_side=True)
        with suppress(trio.BrokenResourceError):
            await inner.send_all(b"220-a\r\n")
            await trio.sleep_forever()

    outcome, _ = await hold(floods, 465)
    assert outcome == Outcome(Kind.HUNG_UP, "hung up at greets")


async def test_silence_in_the_handshake_ends_at_the_deadline():
    async def mute(stream) -> None:
        await say(stream, b"220 a\r\n", OFFERS)
        await stream.send_all(b"220 go\r\n")
        await trio.sleep_forever()

    outcome, _ = await hold(mute, timeout=0.3)
    assert outcome.kind is Kind.TLS_FAILED


async def test_a_refused_starttls_goes_on_in_plain_text():
    async def refuses(stream) -> None:
        await say(stream, b"220 a\r\n", OFFERS, b"454 4.7.0 not now\r\n", *REST)

    outcome, transcript = await hold(refuses)
    assert outcome.kind is Kind.ACCEPTED
    assert "certificate" not in transcript
