"""STARTTLS at the mail face: letters come under it, what was said in the clear counts no more, all is bounded."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from scanner.canary import Bound, Limits, Tally, run_canary
from scanner.canary.converse import _Bounded
from scanner.proof import ANSWER_MARK, Proof, find_token
from scanner.receipt import read_delivery
from tests.scanner.canary.calls import CHALLENGE, KEY, TOKEN, throw
from tests.scanner.canary.test_smtp import MAIL, RCPT, SHORT, TEXT

CERTIFICATE = Path(__file__).parents[1] / "data" / "mail.test.pem"


class Kept(list[bytes]):
    async def __call__(self, letter: str, signed: bytes) -> bool:
        self.append(signed)
        return True


@asynccontextmanager
async def running(kept: Kept | None, limits: Limits | None = None) -> AsyncIterator[tuple[Bound, Tally]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    tally = Tally()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            start = partial(
                run_canary, "c1", {1: KEY}, mail=[("127.0.0.1", 0)], limits=limits or Limits(), tally=tally,
                name="canary.example", on_bug=throw, keep=kept, tls=context,
            )  # fmt: skip
            yield await nursery.start(start), tally
            nursery.cancel_scope.cancel()


def unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def test_a_mail_server_delivers_under_tls() -> None:
    def deliver(host: str, port: int) -> None:
        with smtplib.SMTP(host, port, local_hostname="out.example", timeout=20) as client:
            client.ehlo()
            assert client.has_extn("starttls")
            client.starttls(context=unchecked())
            client.ehlo()
            assert not client.has_extn("starttls")
            assert client.docmd("STARTTLS")[0] == 502, "there is one TLS"
            client.sendmail("relaytest@c.example", [SHORT.decode() + "@c.example"], TEXT[: -len(b".\r\n")])

    kept = Kept()
    async with running(kept) as (bound, tally):
        await trio.to_thread.run_sync(deliver, *bound.mail[0])
        while tally.open:
            await trio.sleep(0.01)
    (signed,) = kept
    seen = read_delivery(KEY, signed)
    assert seen.tls.startswith("TLSv1.3 TLS_")
    assert seen.helo == "out.example"
    assert tally.counts()["mail.answered"] == 1


async def test_the_proof_is_the_same_under_tls_and_before_it() -> None:
    def ask(host: str, port: int) -> list[bytes]:
        said = []
        with smtplib.SMTP(host, port, local_hostname=TOKEN.decode() + ".x", timeout=20) as client:
            said.append(client.ehlo()[1])
            client.starttls(context=unchecked())
            said.append(client.ehlo()[1])
        return said

    async with running(Kept()) as (bound, _):
        for words in await trio.to_thread.run_sync(ask, *bound.mail[0]):
            answer = find_token(words, ANSWER_MARK)
            assert answer is not None
            assert Proof(KEY, CHALLENGE, TOKEN, answer)


async def test_where_no_letters_are_kept_there_is_no_tls() -> None:
    async with running(None) as (bound, _), await trio.open_tcp_stream(*bound.mail[0]) as stream:
        await stream.send_all(b"EHLO " + TOKEN + b".x\r\nSTARTTLS\r\nQUIT\r\n")
        said = await everything(stream)
    assert b"STARTTLS" not in said
    assert b"502 " in said


async def everything(stream: trio.abc.ReceiveStream) -> bytes:
    said = b""
    while data := await stream.receive_some(4096):
        said += data
    return said


INJECTED = MAIL + RCPT + b"DATA\r\n" + TEXT


@pytest.mark.parametrize("before", [b"", MAIL + RCPT], ids=["idle", "in a transaction"])
async def test_what_was_said_in_the_clear_counts_no_more(before: bytes) -> None:
    """CVE-2011-0411: whoever sits in between puts commands behind STARTTLS, to be obeyed as if they were protected."""

    def talk(host: str, port: int) -> bytes:
        with socket.create_connection((host, port), timeout=20) as plain:
            plain.sendall(b"EHLO middle.example\r\n" + before + b"STARTTLS\r\n" + INJECTED + b"NOOP\r\n")
            said = b""
            while b"220 2.0.0 Ready for TLS\r\n" not in said:
                said += plain.recv(4096)
            with unchecked().wrap_socket(plain) as secured:
                secured.sendall(b"RCPT TO:<" + SHORT + b"@c>\r\nQUIT\r\n")
                said = b""
                while data := secured.recv(4096):
                    said += data
                return said

    kept = Kept()
    async with running(kept) as (bound, _):
        said = await trio.to_thread.run_sync(talk, *bound.mail[0])
    assert said.startswith(b"503 "), "neither the sender nor anything else outlived the handshake"
    assert said.count(b"\r\n") == 2
    assert kept == []


@pytest.mark.parametrize("sent", [b"", b"junk\r\n" * 100, b"\x16\x03\x01\xff\xff" + b"\0" * 70_000])
async def test_a_handshake_that_fails_ends_it(sent: bytes) -> None:
    async with running(Kept(), Limits(deadline=20.0)) as (bound, tally):
        async with await trio.open_tcp_stream(*bound.mail[0]) as stream:
            await stream.send_all(b"EHLO out.example\r\nSTARTTLS\r\n")
            said = b""
            while not said.endswith(b"Ready for TLS\r\n"):
                said += await stream.receive_some(4096)
            try:
                await stream.send_all(sent)
                await stream.send_eof()
                assert b"250" not in await everything(stream)
            except trio.BrokenResourceError:
                pass
        while tally.open:
            await trio.sleep(0.01)
    assert sum(tally.ended.values()) == 1
    assert not any("bug" in name or "answered" in name for name in tally.counts())


async def test_what_comes_on_the_wire_is_bounded_too(autojump_clock: object) -> None:
    """Records without content would be no bytes of a face, for ever."""
    ours, theirs = trio.testing.memory_stream_pair()
    bounded = _Bounded(theirs, 10)
    await ours.send_all(b"x" * 100)
    assert [await bounded.receive_some(6), await bounded.receive_some(), await bounded.receive_some()] == [
        b"x" * 6,
        b"x" * 4,
        b"",
    ]
