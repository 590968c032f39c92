"""What a visit asks, in which order, and when it has seen enough. Pure: a generator of questions, fed with evidence."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from scanner.model import THROUGH, Address, Aim, CanaryTarget, Endpoint, Evidence, Face, Kind, Proven, Visit
from scanner.protocols import PROTOCOLS, Protocol
from scanner.ranking import grouped


@dataclass(frozen=True, slots=True)
class Question:
    """One conversation to hold, on a connection of its own. clear: without STARTTLS."""

    endpoint: Endpoint
    aim: Aim
    clear: bool = False


Interview = Generator[Question, Evidence, bool]

# The target speaks the protocol and did not take us there: another port, name or canary may fare better.
_TRY_ANOTHER_WAY = frozenset({Kind.DENIED, Kind.PRETENDS, Kind.TURNED_AWAY, Kind.UNREACHABLE, Kind.ACCEPTED})
# Nothing listens any more: there is no point in asking on.
_NO_CONNECTION = frozenset({Kind.REFUSED, Kind.FILTERED, Kind.NEVER_SCAN})
# What the list may ask for, by the name that the aim gives it.
_MAIL = "mail"


class Agenda:
    """A visit's endpoints by port, and the interview on each port that opens."""

    def __init__(self, visit: Visit, targets: Sequence[CanaryTarget], patience: float = inf) -> None:
        """patience: seconds that an endpoint may take from us before other ways are left untried."""
        self._visit = visit
        self._targets = targets
        self._patience = patience
        self._proven = {known.endpoint: known.aims for known in visit.proven}
        self._by_port = grouped([*self._proven, *visit.endpoints])
        self._found: set[str] = set()  # lists that have what they ask for

    @property
    def ports(self) -> Sequence[int]:
        """In the order to try them: the proven ones first."""
        return tuple(self._by_port)

    def missed(self, missed: Mapping[int, Kind]) -> Iterator[tuple[Endpoint, Kind, str]]:
        """What ports that took no connection show of each endpoint, and a detail."""
        for port, kind in missed.items():
            for endpoint in self._by_port[port]:
                yield endpoint, kind, ""

    def interview(self, port: int) -> Interview:
        """The questions for a port that opened. Returns whether the visit has seen enough."""
        for endpoint in self._by_port[port]:
            protocol = PROTOCOLS[endpoint.protocol]
            if protocol.list in self._found:
                continue
            if endpoint in self._proven:
                relayed = yield from _retest(endpoint, self._proven[endpoint])
            else:
                relayed = yield from _prove(endpoint, protocol, self._targets, self._patience, self._visit.forms)
            if relayed is not None:
                found = {relayed.capability}
                if self._visit.capabilities or self._visit.thorough or self._visit.mail:
                    found |= yield from _measure(endpoint, relayed, protocol, self._targets, self._visit.thorough)
                if not self._visit.thorough and (_MAIL in found or not self._visit.mail):
                    self._found.add(protocol.list)
        return bool(self._found) and self._found == self._lists()

    def _lists(self) -> set[str]:
        """The lists that the visit's endpoints can prove anything for."""
        names = {endpoint.protocol for group in self._by_port.values() for endpoint in group}
        letters = any(target.mail_domain for target in self._targets)
        return {PROTOCOLS[name].list for name in names if letters or not PROTOCOLS[name].forms}


class EveryPort(Agenda):
    """Every port by the same protocols; those that take no connection are told of together, by kind."""

    def __init__(
        self, visit: Visit, targets: Sequence[CanaryTarget], protocols: Sequence[str], patience: float = inf
    ) -> None:
        super().__init__(visit, targets, patience)
        self._protocols = protocols

    @property
    def ports(self) -> Sequence[int]:
        return range(1, 65536)

    def interview(self, port: int) -> Interview:
        endpoints = tuple(Endpoint(name, port) for name in self._protocols)
        return Agenda(replace(self._visit, endpoints=endpoints), self._targets, self._patience).interview(port)

    def missed(self, missed: Mapping[int, Kind]) -> Iterator[tuple[Endpoint, Kind, str]]:
        for kind in dict.fromkeys(missed.values()):
            ports = [port for port, its in missed.items() if its is kind]
            yield Endpoint(self._protocols[0], ports[0]), kind, f"as {len(ports):,} ports in all"


def _prove(
    endpoint: Endpoint,
    protocol: Protocol,
    targets: Iterable[CanaryTarget],
    patience: float,
    forms: Sequence[str] = (),
) -> Generator[Question, Evidence, Aim | None]:
    """Ask for one canary after the other until the answer comes, or the target is clearly nothing of the kind."""
    for number, target in enumerate(targets):
        # Of a mail relay every form is a letter to one canary; the others are for those who know that one.
        once = number > 0 and bool(protocol.forms)
        for aim in ways(target, protocol, forms)[: 1 if once else None]:
            evidence = yield from _ask(endpoint, aim)
            if evidence.kind is Kind.RELAYED:
                return aim
            patience -= evidence.elapsed
            if evidence.kind is Kind.HUNG_UP and patience > 0:
                break  # many a proxy refuses without a word: another canary may fare better
            if patience <= 0 or evidence.kind not in _TRY_ANOTHER_WAY:
                return None
    return None


def _retest(endpoint: Endpoint, aims: Sequence[Aim]) -> Generator[Question, Evidence, Aim | None]:
    """Ask for each aim until one is reached: only all of them together show a repair."""
    for aim in aims:
        evidence = yield from _ask(endpoint, aim)
        if evidence.kind is Kind.RELAYED:
            return aim
        if evidence.kind in _NO_CONNECTION:
            return None
    return None


def _ask(endpoint: Endpoint, aim: Aim) -> Generator[Question, Evidence, Evidence]:
    """Ask for one aim, and once more in the clear where STARTTLS came to nothing: so do those whose mail it relays."""
    evidence = yield Question(endpoint, aim)
    if evidence.kind is not Kind.TLS_FAILED:
        return evidence
    again = yield Question(endpoint, aim, clear=True)
    return replace(again, elapsed=evidence.elapsed + again.elapsed)


def _measure(
    endpoint: Endpoint, relayed: Aim, protocol: Protocol, targets: Iterable[CanaryTarget], thorough: bool
) -> Generator[Question, Evidence, set[str]]:
    """What else of the canary that answered can be reached: the mail port, by name, over IPv6.

    thorough: where the mail port is reached, a whole letter is sent there too; a proxy may cut it off in the middle.
    """
    reached = {relayed.capability: relayed}
    for target in targets:
        if target.id == relayed.canary:
            for aim in ways(target, protocol):
                if aim.capability != relayed.capability:
                    evidence = yield Question(endpoint, aim)
                    if evidence.kind is Kind.RELAYED:
                        reached.setdefault(aim.capability, aim)
    if thorough and _MAIL in reached and not protocol.forms:
        yield Question(endpoint, replace(reached[_MAIL], form=THROUGH))
    return set(reached)


def refutation(
    proven: Iterable[Proven], targets: Sequence[CanaryTarget], *, others_first: bool = False
) -> tuple[Proven, ...]:
    """What has to be refused before an endpoint counts as repaired: all that was proven, and every other canary.

    Of a canary that was moved or taken down since, what it offers today: where it was nobody answers for it.
    others_first: so that who blocks one canary alone is told so, at the price of depending on every canary.
    """
    asked: list[Proven] = []
    for known in proven:
        protocol = PROTOCOLS[known.endpoint.protocol]
        by_canary = [(ways(target, protocol), set(known.aims)) for target in targets]
        again = [aim for offered, reached in by_canary for aim in offered if aim in reached]
        most = 1 if protocol.forms else None  # the form that relayed, and for other canaries the likeliest
        others = [aim for offered, reached in by_canary if reached.isdisjoint(offered) for aim in offered[:most]]
        asked.append(Proven(known.endpoint, (*others, *again) if others_first else (*again, *others)))
    return tuple(asked)


def ways(target: CanaryTarget, protocol: Protocol, forms: Sequence[str] = ()) -> tuple[Aim, ...]:
    """The ways of a protocol to a canary: each face by the first kind of host, then the first face by the others.

    Of a mail relay: these forms, or all; the relay looks up the domain and goes to port 25.
    """
    if protocol.forms:
        domain = target.mail_domain
        return tuple(Aim(target.id, domain, 25, Face.MAIL, form) for form in forms or protocol.forms) if domain else ()
    hosts: dict[str, Address | str | None] = {
        "ipv4": target.address,
        "ipv6": target.address6,
        "name": target.name,
    }
    at = {Face.TCP: target.tcp, Face.MAIL: target.mail, Face.HTTP: target.http}
    reachable = [host for kind in protocol.hosts if (host := hosts[kind]) is not None]
    faces = [(face, port) for face in protocol.faces if (port := at[face]) is not None]
    if not reachable or not faces:
        return ()
    pairs = [(reachable[0], way) for way in faces] + [(host, faces[0]) for host in reachable[1:]]
    return tuple(Aim(target.id, host, port, face) for host, (face, port) in pairs)
