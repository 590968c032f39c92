"""Model values for the tests of the store."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import count

from scanner.model import (
    Address,
    Aim,
    Decision,
    Endpoint,
    Event,
    EventKind,
    Evidence,
    Face,
    Kind,
    Listing,
    Proven,
    Reason,
    RemovalStep,
    Standing,
    State,
    Target,
    Vantage,
    Verdict,
    Visit,
    VisitRecord,
    Watch,
)
from scanner.proof import CanaryKey, Challenge, Proof, Sighting

AT = 1_800_000_000.0
DAY = 86400.0
SOCKS5 = Endpoint("socks5", 1080)
CONNECT = Endpoint("http-connect", 8080)
AIM = Aim("main", ip_address("198.51.100.25"), 25, Face.MAIL)
ENTRY = ip_address("192.0.2.1")
EXIT = "203.0.113.9"

_numbers = count(1)


def address(number: int) -> Address:
    """Four addresses a network."""
    return ip_address(0xC0000200 + (number // 4 << 8) + number % 4)


def proof(at: Address = ENTRY, exit_: str = EXIT) -> Proof:
    key = CanaryKey.from_master(b"m" * 32, "main")
    challenge = Challenge(b"v" * 16, at, SOCKS5, next(_numbers).to_bytes(16, "big"))
    token = challenge.token(key)
    sighting = Sighting("main", Face.MAIL, ip_address(exit_), 40000, 25, "canary.example")
    return Proof(key, challenge, token, sighting.answer(key, token))


def evidence(at: Address = ENTRY) -> tuple[Evidence, ...]:
    return (
        Evidence(CONNECT, Kind.REFUSED, at=AT, elapsed=0.25, vantage="here"),
        Evidence(SOCKS5, Kind.RELAYED, "it did", "here", AIM, proof(at), 1.5, AT, b"> hello\n< \xff\x00"),
        Evidence(Endpoint("socks4", 1080), Kind.DENIED, "reply 91", "here", AIM, None, 0.5, AT, b"no"),
        Evidence(Endpoint("socks4", 9999), Kind.FILTERED, at=AT + 1, vantage="there"),
    )


def target(at: Address = ENTRY, reason: Reason = Reason.NOMINATION, due: float = AT) -> Target:
    return Target(at, reason, due)


def record(
    of: Target | None = None,
    *,
    id_: str | None = None,
    ended: float = AT + 10,
    pieces: tuple[Evidence, ...] = (),
    exits: tuple[str, ...] = (),
) -> VisitRecord:
    of = of or target()
    visit = Visit(id_ or f"{next(_numbers):032x}", of, (SOCKS5,), (Vantage("here"), Vantage("there")))
    proofs = tuple(piece for piece in pieces if piece.proof is not None)
    verdict = Verdict(of.address, State.OPEN, "it relayed", (), proofs, tuple(map(ip_address, exits)), mail=True)
    return VisitRecord(visit, ended - 5, ended, pieces, verdict)


def listing(at: str = str(ENTRY), **changes: object) -> Listing:
    made = Listing("ops", at, "entry", "open-proxy", "nomination", "socks5/1", "here", AT, AT, AT + 30 * DAY)
    return replace(made, **changes)  # type: ignore[arg-type]


def exit_listing(at: str = EXIT, entry: str = str(ENTRY), **changes: object) -> Listing:
    return replace(listing(at), **{"type": "exit", "entry": entry, **changes})  # type: ignore[arg-type]


def watch(at: Address = ENTRY, next_visit: float = AT + DAY) -> Watch:
    named = Aim("main", "canary.example", 80, Face.HTTP)
    proven = (Proven(SOCKS5, (AIM, named)), Proven(CONNECT, ()))
    return Watch("ops", at, proven, next_visit, (AT, AT + 1), (AT,), AT + 5, ((EXIT, AT, "tcp"),))


def event(kind: EventKind, of: Listing, at: float = AT) -> Event:
    return Event(kind, at, of)


class Decide:
    """A policy that says what it was made to say, and remembers what it was shown."""

    def __init__(
        self,
        *events: Event,
        watch: Watch | None = None,
        then: Target | None = None,
        removal: RemovalStep | None = None,
    ) -> None:
        self.decision = Decision(events, watch, then, removal)
        self.seen: list[Standing] = []

    def __call__(self, standing: Standing) -> Decision:
        self.seen.append(standing)
        return self.decision


def lists(of: Listing | None = None, *, at: Address = ENTRY) -> Decide:
    """Lists an entry, watches it, and comes again in a day."""
    of = of or listing(str(at))
    again = Target(at, Reason.RESCAN, AT + DAY)
    return Decide(event(EventKind.LISTED, of), watch=watch(at), then=again)
