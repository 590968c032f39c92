"""Plays a script against a conversation through Exchange, as probe.py does over a socket."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address

from scanner.model import Aim, Endpoint, Face, Identity, Kind
from scanner.proof import CanaryKey, Challenge, Forged, Proof, Sighting
from scanner.protocols import PROTOCOLS
from scanner.protocols.conversation import Ask, Outcome
from scanner.protocols.exchange import Cause, Exchange
from scanner.receipt import Letter

MAX_READ = 16384
KEY = CanaryKey.from_master(bytes(32), "c1")
OTHER_KEY = CanaryKey.from_master(bytes(32), "c2")
TARGET = ip_address("198.51.100.7")
LETTER = Letter(b"i" * 9, TARGET, Endpoint("smtp-relay", 25)).short(KEY)
IDENTITY = Identity("proxywarden", "http://scan.example/")

# The canary as targets are told to reach it: a face, at an address or a name, and a port.
HOSTS = {"ipv4": ip_address("192.0.2.1"), "ipv6": ip_address("2001:db8::1"), "name": "canary.example"}
DOMAIN = "mail.canary.example"
PORTS = {Face.TCP: 8023, Face.MAIL: 25, Face.HTTP: 80}


def aim(host: str, face: Face, form: str = "plain") -> Aim:
    if host == "domain":
        return Aim("c1", DOMAIN, PORTS[face], face, form)
    return Aim("c1", HOSTS[host], PORTS[face], face)


def challenge(protocol: str, nonce: bytes = b"n" * 16) -> Challenge:
    return Challenge(b"v" * 16, TARGET, Endpoint(protocol, 1080), nonce)


@cache
def token(protocol: str) -> bytes:
    return challenge(protocol).token(KEY)


@cache
def signed(protocol: str, face: Face, *, key: CanaryKey = KEY, nonce: bytes = b"n" * 16) -> bytes:
    """What the canary answers, having seen the target at its door."""
    sighting = Sighting("c1", face, TARGET, 40000, PORTS[face])
    return sighting.answer(key, challenge(protocol, nonce).token(KEY))


def exchange(protocol: str, to: Aim, max_read: int = MAX_READ, *, clear: bool = False) -> Exchange:
    ask = Ask(to, token(protocol), IDENTITY, TARGET, 25, LETTER, 1.8e9, clear)
    return Exchange(PROTOCOLS[protocol].converse(ask), max_read)


def proof(protocol: str, outcome: Outcome) -> Proof | None:
    """The verified proof in an outcome, if there is one."""
    return _verified(protocol, outcome.answer) if outcome.kind is Kind.RELAYED else None


@cache
def _verified(protocol: str, answer: bytes) -> Proof | None:
    try:
        return Proof(KEY, challenge(protocol), token(protocol), answer)
    except Forged:
        return None


@dataclass(frozen=True)
class We:
    """One write of ours."""

    say: bytes


@dataclass(frozen=True)
class They:
    """What the target says, once we have said all that stands before it."""

    say: bytes


Script = tuple[We | They, ...]


def play(talk: Exchange, script: Script, ends: Cause) -> Outcome:
    """Step by step and strictly: we write exactly this, exactly then."""
    for line in script:
        step = talk.next()
        if isinstance(line, We):
            assert step == line.say
        else:
            assert step is None, f"did not wait for {line.say!r}"
            talk.feed(line.say)
    step = talk.next()
    assert step is None or isinstance(step, Outcome), f"said {step!r} at the end"
    return talk.ended(ends)


def pour(talk: Exchange, pieces: Iterable[bytes], ends: Cause) -> tuple[Outcome, list[bytes]]:
    """Hand over one piece whenever the conversation waits; the outcome and all that we wrote."""
    written: list[bytes] = []
    rest = iter(pieces)
    while not isinstance(step := talk.next(), Outcome):
        if step is not None:
            written.append(step)
            continue
        piece = next(rest, None)
        if piece is None:
            return talk.ended(ends), written
        if piece:
            talk.feed(piece)
    return step, written
