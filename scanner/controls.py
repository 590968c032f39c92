"""Known-open and known-closed endpoints of our own, probed through the same path as everybody else.

A change that a probe caused commits only after a round that began after its visit ended was good, for the same
vantage and canary: a dead canary makes nobody look closed, and a liar on our own path makes nobody look open.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address

import structlog
import trio

from core.cidr import CidrSet
from scanner.agenda import Question, ways
from scanner.known import serve_known
from scanner.model import (
    Address,
    CanaryTarget,
    Endpoint,
    Evidence,
    Face,
    Kind,
    Reason,
    Target,
    Vantage,
    Visit,
)
from scanner.probe import DIRECT, Prober, no_conversation
from scanner.protocols import PROTOCOLS, Protocol
from scanner.protocols.conversation import hear
from scanner.remote import RemoteControl, wrong_with
from scanner.sweep import Connector

Way = tuple[str, str]  # vantage, canary

_EVERYTHING = CidrSet(["0.0.0.0/0", "::/0"])
_CONNECT = PROTOCOLS["http-connect"]  # what the controls of this process speak
_DIRECT = Protocol(DIRECT, hear, "no relay at all", ("ipv4", "ipv6", "name"), (Face.TCP, Face.HTTP, Face.MAIL))
_TROUBLED = 2.0  # seconds between rounds while a way is bad: whoever needs it waits for a good one
_PAUSE = 0.2  # seconds between rounds that are waited for: at most five a second
_REMOTE_PAUSE = 1.0  # seconds, where endpoints of other networks are asked too
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Round:
    """One look at every control. number: counted from 1. problems: empty for a good way."""

    number: int
    began: float
    problems: dict[Way, str]

    def good(self, used: Iterable[Way]) -> bool:
        return not any(self.problems.get(way, "is no control any more") for way in used)


class Controls:
    """Runs the rounds, and makes those wait who depend on them."""

    def __init__(
        self,
        prober: Prober,
        vantages: Sequence[Vantage],
        targets: Sequence[CanaryTarget],
        *,
        listen: tuple[str, int],
        interval: float,
        timeout: float,
        names: bool = True,
        remotes: Sequence[RemoteControl] = (),
    ) -> None:
        """listen: of the known-open control. names: whether the canaries' names are looked up and reached too."""
        self.latest: Round | None = None
        self.rounds = self.bad_rounds = 0  # that have ended
        self.ports: list[int] = []  # of the known-open and the known-closed control
        self._begun = 0
        self._bad: dict[Way, int] = {}  # the latest round that was bad for a way
        # The controls' exit is our own address: for them that is no sign of interception.
        self._prober = replace(prober, egress=set())
        self._outward = prober  # for remote controls it is, as for everybody else
        self._vantages = vantages
        self._targets = targets
        self._listen = listen
        self._interval = interval
        self._timeout = timeout
        self._names = names
        self._remotes = remotes
        self._wanted = trio.Event()
        self._done = trio.Event()

    def ways_of(self, visit: Visit, evidence: Sequence[Evidence]) -> set[Way]:
        """The ways that a visit's evidence depends on. A vantage that aimed at no canary counts with the first.

        What it saw of ports alone is evidence too: a path that refuses for everybody makes the whole world look closed.
        """
        used = {(item.vantage, item.aim.canary) for item in evidence if item.aim}
        unaimed = {item.vantage for item in evidence} - {vantage for vantage, _ in used}
        return used | {(vantage, target.id) for vantage in unaimed for target in self._targets[:1]}

    def trouble(self) -> str:
        """Why nothing can be shown just now, or empty: some vantage reaches no canary at all."""
        if self.latest is None:
            return "no control round has ended yet"
        for vantage in self._vantages:
            problems = [text for (name, _), text in self.latest.problems.items() if name == vantage.name]
            if all(problems):
                return problems[0]
        return ""

    def _any_bad(self) -> bool:
        return self.latest is None or any(self.latest.problems.values())

    def good_now(self, used: Iterable[Way]) -> bool:
        """Whether the latest round was good for these ways."""
        return self.latest is not None and self.latest.good(used)

    def mark(self) -> int:
        """The latest round that has ended: a visit that begins now depends on it and on all that follow."""
        return self.latest.number if self.latest else 0

    async def good_since(self, mark: int, used: Iterable[Way]) -> bool:
        """Whether these ways were good in every round since the mark, and in one that begins after this call.

        Waits for the end of that one.
        """
        used, number = tuple(used), self._begun + 1
        while self.latest is None or self.latest.number < number:
            self._wanted.set()
            await self._done.wait()
        return self.latest.good(used) and all(self._bad.get(way, -1) < mark for way in used)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Rounds for ever: whenever somebody waits for one, and at least one each interval."""
        async with trio.open_nursery() as nursery:
            self.ports = await serve_known(nursery, self._listen, self._allowed())
            host = ip_address(self._listen[0])
            connector = own_connector(self._targets, self._timeout, host, *(each.address for each in self._remotes))
            await nursery.start(connector.run)
            look = partial(self._look, connector, host)
            await self._round(look)
            task_status.started()
            while True:
                with trio.move_on_after(min(self._interval, _TROUBLED) if self._any_bad() else self._interval):
                    await self._wanted.wait()
                self._wanted = trio.Event()
                await self._round(look)
                await trio.sleep(_REMOTE_PAUSE if self._remotes else _PAUSE)

    async def _round(self, look: Callable[[Vantage, CanaryTarget], Awaitable[str]]) -> None:
        self._begun += 1
        began = time.time()
        problems: dict[Way, str] = {}

        async def one(vantage: Vantage, target: CanaryTarget) -> None:
            problems[vantage.name, target.id] = await look(vantage, target)

        async with trio.open_nursery() as nursery:
            for vantage in self._vantages:
                for target in self._targets:
                    nursery.start_soon(one, vantage, target)
        before, self.latest = self.latest, Round(self._begun, began, problems)
        self._bad |= dict.fromkeys((way for way, problem in problems.items() if problem), self._begun)
        self.rounds += 1
        self.bad_rounds += any(problems.values())
        for way, problem in problems.items():
            if problem != (before.problems[way] if before else ""):
                _log.warning("control", vantage=way[0], canary=way[1], problem=problem or "none: works again")
        done, self._done = self._done, trio.Event()
        done.set()

    async def _look(
        self,
        connector: Connector,
        host: Address,
        vantage: Vantage,
        target: CanaryTarget,
    ) -> str:
        """What is wrong with this way; empty where nothing is."""
        direct = await reach(self._prober, connector, vantage, target, self._timeout)
        if isinstance(direct, str):
            return direct
        self._outward.egress.update(direct)
        aims = ways(target, _CONNECT)
        first = next(aim for aim in aims if not isinstance(aim.host, str))
        by_name = [aim for aim in aims if isinstance(aim.host, str) and self._names]
        open_, closed = self.ports
        wanted = [(open_, aim, Kind.RELAYED) for aim in (first, *by_name)] + [(closed, first, Kind.DENIED)]
        for port, aim, expected in wanted:
            question = Question(Endpoint(_CONNECT.name, port), aim)
            evidence = await _ask(self._prober, connector, vantage, question, host, self._timeout)
            if evidence.kind is not expected:
                if aim in by_name:
                    return f"canary {target.id}: its name {aim.host} does not lead to it from here ({evidence.kind})"
                return f"known-{'open' if port == open_ else 'closed'} control gives {evidence.kind}"
        return await wrong_with(self._remotes, self._outward, connector, vantage, target, self._timeout)

    def _allowed(self) -> frozenset[tuple[str, int]]:
        """Where the known-open control dials: our canaries, so that it is an open proxy to nobody else."""
        aims = [aim for target in self._targets for aim in ways(target, _CONNECT)]
        return frozenset((str(aim.host), aim.port) for aim in aims)


def own_connector(targets: Iterable[CanaryTarget], timeout: float, *others: Address) -> Connector:
    """A sweep that can reach our canaries and these other addresses of ours, and nothing else."""
    addresses = [address for target in targets for address in (target.address, target.address6) if address]
    return Connector(never=_EVERYTHING - CidrSet([*addresses, *others]), rate=1000, hosts=64, timeout=timeout)


async def reach(
    prober: Prober, connector: Connector, vantage: Vantage, target: CanaryTarget, timeout: float
) -> set[Address] | str:
    """Reach each face of a canary directly: our own addresses as it sees us, or what is wrong.

    Each face, because where one is dead every proxy that can reach only that one would look closed.
    """
    seen: set[Address] = set()
    for aim in ways(target, _DIRECT):
        if isinstance(aim.host, str):
            continue  # we resolve no names: the relays do
        question = Question(Endpoint(DIRECT, aim.port), aim)
        evidence = await _ask(prober, connector, vantage, question, aim.host, timeout)
        if evidence.proof is None:
            return f"canary {target.id} does not answer at {aim.host} port {aim.port} as {aim.face} ({evidence.kind})"
        seen.add(evidence.proof.exit)
    return seen or f"canary {target.id} has no address to reach it at"


async def _ask(
    prober: Prober, connector: Connector, vantage: Vantage, question: Question, host: Address, timeout: float
) -> Evidence:
    visit = Visit(
        id=f"{0:032x}",
        target=Target(host, Reason.OWN_NETWORK, 0.0),
        endpoints=(question.endpoint,),
        vantages=(vantage,),
    )
    async with connector.host(
        host, (question.endpoint.port,), source=vantage.source_for(host), urgent=True, timeout=timeout
    ) as under_way:
        async for opening in under_way:
            return await prober.converse(visit, vantage.name, question, opening, timeout)
    kind = under_way.missed.get(question.endpoint.port, Kind.SILENT)
    return no_conversation(question.endpoint, kind, vantage.name, question)
