"""A small world for the tests of the policy: hosts that change, visits that see them, and a plain store.

Evidence is made by the real agenda and carries real proofs, signed with the canary's key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from itertools import count

from scanner.agenda import Agenda
from scanner.exits import exit_name
from scanner.listing import Rules, decide, expire
from scanner.model import (
    Address,
    Aim,
    CanaryTarget,
    Decision,
    Endpoint,
    Event,
    EventKind,
    Evidence,
    Face,
    Kind,
    Listing,
    Reason,
    RemovalStep,
    Standing,
    Target,
    Vantage,
    Visit,
    VisitRecord,
    Watch,
    parse_address,
)
from scanner.pipeline import plan
from scanner.proof import CanaryKey, Challenge, Proof, Sighting
from scanner.verdict import judge

HOUR, DAY = 3600.0, 86400.0
START = 1_800_000_000.0
SOCKS5, CONNECT = Endpoint("socks5", 1080), Endpoint("http-connect", 8080)
ENDPOINTS = (SOCKS5, CONNECT)
CANARIES = tuple(
    CanaryTarget(name, address=ip_address(address), tcp=4000, mail=25)
    for name, address in (("c1", "198.51.100.1"), ("c2", "198.51.100.2"))
)
VANTAGES = (Vantage("v1"), Vantage("v2"))
KEYS = {target.id: CanaryKey.from_master(b"m" * 32, target.id) for target in CANARIES}
_nonces = count(1)


def address(text: str) -> Address:
    return parse_address(text)


def aim(canary: str = "c1", face: Face = Face.TCP) -> Aim:
    target = next(target for target in CANARIES if target.id == canary)
    port = {Face.TCP: target.tcp, Face.MAIL: target.mail}[face]
    assert target.address is not None
    assert port is not None
    return Aim(canary, target.address, port, face)


def relayed(
    visit: Visit,
    endpoint: Endpoint = SOCKS5,
    towards: Aim | None = None,
    *,
    exit_: Address | str | None = None,
    vantage: str = "v1",
    at: float = START,
) -> Evidence:
    """Evidence with a proof that the canary's key signed."""
    towards = towards or aim()
    key = KEYS[towards.canary]
    challenge = Challenge(bytes.fromhex(visit.id), visit.address, endpoint, next(_nonces).to_bytes(16, "big"))
    token = challenge.token(key)
    peer = visit.address if exit_ is None else address(str(exit_))
    sighting = Sighting(towards.canary, towards.face, peer, 40000, towards.port)
    proof = Proof(key, challenge, token, sighting.answer(key, token))
    return Evidence(endpoint, Kind.RELAYED, "answer", vantage, towards, proof, at=at)


def shown(
    kind: Kind, endpoint: Endpoint = SOCKS5, towards: Aim | None = None, *, vantage: str = "v1", at: float = START
) -> Evidence:
    """Evidence of any other kind."""
    return Evidence(endpoint, kind, str(kind), vantage, towards, at=at)


@dataclass
class Host:
    """A machine that may be an open proxy. mode: what it does; hides_from: vantages and canaries that it refuses."""

    address: Address
    mode: Kind = Kind.RELAYED
    hides_from: frozenset[str] = frozenset()
    exits: tuple[Address, ...] = ()
    endpoint: Endpoint = SOCKS5
    optout: bool = False

    def knock(self, visit: Visit, port: int) -> Kind | None:
        """What a connection meets; None where it is taken."""
        if self.optout and not visit.despite_optout:
            return Kind.NEVER_SCAN
        if self.mode is Kind.FILTERED:
            return Kind.FILTERED
        return Kind.REFUSED if self.mode is Kind.REFUSED or port != self.endpoint.port else None

    def converse(self, visit: Visit, endpoint: Endpoint, towards: Aim, vantage: str, at: float) -> Evidence:
        if self.mode is not Kind.RELAYED:
            return shown(self.mode, endpoint, towards, vantage=vantage, at=at)
        if self.hides_from & {vantage, towards.canary}:
            return shown(Kind.DENIED, endpoint, towards, vantage=vantage, at=at)
        exit_ = self.exits[next(_nonces) % len(self.exits)] if self.exits else None
        return relayed(visit, endpoint, towards, exit_=exit_, vantage=vantage, at=at)


def see(visit: Visit, host: Host, canaries: Sequence[CanaryTarget], at: float) -> tuple[Evidence, ...]:
    """All the evidence of a visit: what scanner.examine does, without sockets."""
    evidence: list[Evidence] = []
    agenda = Agenda(visit, canaries)
    for vantage in visit.vantages:
        enough = False
        for port in agenda.ports:
            missed = host.knock(visit, port)
            if missed is not None:
                gone = agenda.missed({port: missed})
                evidence += [shown(kind, end, vantage=vantage.name, at=at) for end, kind, _ in gone]
                continue
            interview = agenda.interview(port)
            try:
                question = next(interview)
                while True:
                    item = host.converse(visit, question.endpoint, question.aim, vantage.name, at)
                    evidence.append(item)
                    question = interview.send(item)
            except StopIteration as stop:
                enough = stop.value
            if enough:
                break
        if enough:
            break
    return tuple(evidence)


def replay(events: Iterable[Event]) -> dict[tuple[str, str, str], Listing]:
    """The listings that the events give."""
    standing: dict[tuple[str, str, str], Listing] = {}
    for event in events:
        key = event.listing.key
        assert (key in standing) is (event.kind is not EventKind.LISTED), event
        if event.kind.ends:
            del standing[key]
        else:
            standing[key] = event.listing
    return standing


@dataclass
class Book:
    """The store as plainly as it can be said."""

    listings: dict[tuple[str, str, str], Listing] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    watches: dict[str, Watch] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    records: list[VisitRecord] = field(default_factory=list)
    steps: list[RemovalStep] = field(default_factory=list)
    excluded: set[str] = field(default_factory=set)
    samples: dict[str, float] = field(default_factory=dict)  # address -> when a nomination last brought one
    held: list[str] = field(default_factory=list)

    def standing(self, of: str, at: float, exits: Iterable[Address] = ()) -> Standing:
        watch = self.watches.get(of)
        seen = {*map(exit_name, exits), *(name for name, _, _ in (watch.exits_seen if watch else ()))}
        own = [item for item in self.listings.values() if of in (item.address, item.entry)]
        own += [item for item in self.listings.values() if item.type == "exit" and item.address in seen]
        ends = [
            (event.listing.list, event.at)
            for event in self.events
            if event.listing.address == of and event.listing.type not in ("exit", "manual")
            if (event.kind.ends or event.reason == "reopened") and event.at >= at - 365 * DAY
        ]
        entries = [item for item in self.listings.values() if item.exits]
        mine = {exit_ for item in entries if item.address == of for exit_ in item.exits}
        mine |= {item.address for item in self.listings.values() if item.entry == of}
        others = {
            ("ops", exit_): tuple(
                sorted(item.address for item in entries if exit_ in item.exits and item.address != of)
            )
            for exit_ in mine
        }
        visits = [record.ended for record in self.records if str(record.visit.address) == of]
        last = max(visits, default=None)
        out = of in self.excluded
        sampled = out and self.samples.get(of, -2.0) >= (-1.0 if last is None else last)
        unique = sorted({item.key: item for item in own}.items())
        return Standing(
            tuple(item for _, item in unique),
            watch,
            tuple(ends),
            others,
            "asked" if out else None,
            last,
            sampled,
            withdrawn=self._withdrawn(of, at),
        )

    def _withdrawn(self, of: str, at: float) -> dict[str, float]:
        its = [event for event in self.events if event.listing.address == of and event.listing.type == "entry"]
        last = {event.listing.list: event for event in its if event.kind.ends and event.at >= at - 365 * DAY}
        return {name: event.at for name, event in last.items() if event.kind is EventKind.WITHDRAWN}

    def apply(self, of: str, decision: Decision) -> None:
        for event in decision.events:
            self.events.append(event)
            if event.kind.ends:
                del self.listings[event.listing.key]
            else:
                self.listings[event.listing.key] = event.listing
        if decision.watch is None:
            self.watches.pop(of, None)
        else:
            self.watches[of] = decision.watch
        if decision.removal is not None:
            self.steps.append(decision.removal)
        if decision.held:
            self.held.append(of)

    def entries(self) -> list[Listing]:
        return [item for item in self.listings.values() if item.type == "entry"]

    def exits(self) -> list[Listing]:
        return [item for item in self.listings.values() if item.type == "exit"]


Told = Callable[[Standing, VisitRecord, Decision], None]


@dataclass
class World:
    """Hosts, a clock and the book; on_visit is told of every decision."""

    hosts: dict[str, Host]
    rules: Rules
    settings: object
    canaries: Sequence[CanaryTarget] = CANARIES
    now: float = START
    steps: int = 0  # how often the clock was set
    book: Book = field(default_factory=Book)
    on_visit: Told = lambda standing, record, decision: None
    on_change: Callable[[str, Decision], None] = lambda of, decision: None
    numbers: count[int] = field(default_factory=lambda: count(1))

    def visit(self, target: Target) -> VisitRecord:
        """One visit, at once."""
        of, book = str(target.address), self.book
        standing = book.standing(of, self.now)
        visit = plan(target, standing, self.settings, ENDPOINTS, self.canaries)  # type: ignore[arg-type]
        visit = replace(visit, id=f"{next(self.numbers):032x}")
        evidence = see(visit, self.hosts[of], self.canaries, self.now + 1)
        record = VisitRecord(visit, self.now, self.now + 2, evidence, judge(visit, evidence))
        self.now += 2
        standing = book.standing(of, record.ended, record.verdict.exits)
        decision = decide(standing, record, self.rules)
        assert decide(standing, record, self.rules) == decision, "the same again from the same"
        book.records.append(record)
        book.apply(of, decision)
        book.targets.pop(of, None)
        if decision.next_target is not None:
            book.targets[of] = decision.next_target
        self.on_visit(standing, record, decision)
        return record

    def nominate(self, of: str, *, sample: bool = True) -> None:
        """A stranger's word: at most one automatic visit in 24 hours."""
        last = self.book.standing(of, self.now).last_visit
        if sample:
            self.book.samples[of] = self.now
        due = self.now if last is None else max(self.now, last + DAY)
        waiting = self.book.targets.get(of)
        if waiting is None or (not waiting.reason.on_demand and due < waiting.due):
            self.book.targets[of] = Target(address(of), Reason.NOMINATION, due)

    def remove(self, of: str, id_: str = "r") -> None:
        """A removal request, with its two passes."""
        self.visit(Target(address(of), Reason.REMOVAL, self.now, id_, 1))
        again = self.book.targets.get(of)
        if again is not None and again.pass_number == 2:
            self.now = max(self.now, again.due)
            self.visit(again)

    def change(self, of: str, policy: Callable[[Standing], Decision]) -> None:
        """A decision without a visit."""
        decision = policy(self.book.standing(of, self.now))
        self.book.apply(of, decision)
        waiting = self.book.targets.get(of)
        if decision.next_target is not None and (waiting is None or waiting.reason is Reason.RESCAN):
            self.book.targets[of] = decision.next_target
        elif decision.watch is None and waiting is not None and waiting.reason is Reason.RESCAN:
            del self.book.targets[of]
        self.on_change(of, decision)

    def run_until(self, moment: float) -> None:
        """Let time pass, with the visits and expiries that come due."""
        while True:
            due = min(self.book.targets.values(), key=lambda item: (item.due, str(item.address)), default=None)
            ends = [
                (item.expires, item.address)
                for item in self.book.listings.values()
                if item.address not in self.book.excluded
            ]
            expiry, of = min(ends, default=(float("inf"), ""))
            if expiry <= max(self.now, min(moment, due.due if due else moment)):
                self.now = max(self.now, expiry)
                self.change(of, lambda standing: expire(standing, at=self.now, rules=self.rules))
            elif due is not None and due.due <= moment:
                self.now = max(self.now, due.due)
                self.visit(due)
            else:
                self.now = max(self.now, moment)
                return

    def wait(self, seconds: float) -> None:
        self.run_until(self.now + seconds)
