"""Callers of the canary: tokens that are ours, tokens that are not, and the ways to play a dialogue."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address

import trio
from trio.testing import memory_stream_pair

from scanner.canary import Canary, Ending, Limits, Tally
from scanner.canary.caller import Caller
from scanner.canary.http import http
from scanner.canary.server import Keep
from scanner.canary.smtp import smtp
from scanner.canary.tcp import tcp
from scanner.model import Endpoint, Face
from scanner.proof import ANSWER_MARK, CanaryKey, Challenge, Proof, Sighting, find_token

KEY = CanaryKey.from_master(b"m" * 32, "c1", 1)
OTHER = CanaryKey.from_master(b"m" * 32, "c2", 1)
CHALLENGE = Challenge(b"v" * 16, ip_address("192.0.2.1"), Endpoint("socks5", 1080), b"n" * 16)
TOKEN = CHALLENGE.token(KEY)
FORGED = CHALLENGE.token(OTHER)  # of another canary's key
PEER = ip_address("192.0.2.9")
FACES = {Face.TCP: tcp, Face.MAIL: smtp, Face.HTTP: http}
GREETING = b"220 canary.example ESMTP Proxywarden\r\n"
GOODBYE = b"221 2.0.0 canary.example closes the connection\r\n"


def caller(face: Face, keys: dict[int, CanaryKey] | None = None) -> Caller:
    return Caller("c1", keys or {1: KEY}, face, PEER, 40000, 80, "canary.example")


def sighting(face: Face, name: str = "") -> Sighting:
    return Sighting("c1", face, PEER, 40000, 80, name)


def verified(said: bytes, face: Face, name: str = "") -> bytes:
    """What was said, with each answer that verifies and shows the right sighting written ANSWER."""
    while (answer := find_token(said, ANSWER_MARK)) is not None:
        assert Proof(KEY, CHALLENGE, TOKEN, answer).sighting == sighting(face, name)
        said = said.replace(answer, b"ANSWER")
    return said


async def call(
    face: Face, *pieces: bytes, limits: Limits | None = None, keep: Keep | None = None
) -> tuple[bytes, Ending]:
    """Call a canary over a memory stream, in these pieces: all that it said, and how it counted us."""
    tally = Tally()
    canary = Canary("c1", {1: KEY}, limits or Limits(), tally, "canary.example", throw, keep)
    ours, theirs = memory_stream_pair()
    said = b""
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(canary.attend, face, theirs, PEER, 40000, 80)
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                for piece in pieces:
                    await ours.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked()
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await ours.send_eof()
            with contextlib.suppress(trio.BrokenResourceError):
                while data := await ours.receive_some(65536):
                    said += data
            await ours.aclose()
    ((_, ending),) = tally.ended
    assert tally.open == 0
    assert tally.ended[face, ending] == 1
    return said, ending


def throw(error: Exception, _: Caller) -> None:
    raise error
