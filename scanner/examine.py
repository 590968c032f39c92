"""Carry out a visit: its ports, the conversations on those that open, and all the evidence."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import trio

from scanner.agenda import Agenda, Question
from scanner.model import CanaryTarget, Endpoint, Evidence, Kind, Opening, Vantage, Visit
from scanner.probe import Prober, no_conversation
from scanner.sweep import Connector, Host

# One conversation that is silent to the end leaves time for one other way, quick ones for all of them.
_PATIENCE = 1.5  # times the timeout of a conversation, for each endpoint
# A host that takes every connection and says nothing would hold its place for 40 minutes; the lease lasts 30.
_LONGEST = 900.0  # seconds of a visit after which no further question is asked


async def examine(
    visit: Visit,
    connector: Connector,
    prober: Prober,
    targets: Sequence[CanaryTarget],
    seen: list[Evidence] | None = None,
    agenda: Agenda | None = None,
    longest: float | None = None,
) -> tuple[Evidence, ...]:
    """All the evidence of a visit, from each vantage until one has seen enough.

    seen: takes each item as it comes, so that whoever cancels knows what was done until then.
    longest: seconds after which no further question is asked, if not what the lease of a visit allows.
    """
    plan = agenda or Agenda(visit, targets, _PATIENCE * prober.timeout)
    evidence = [] if seen is None else seen
    limit = _LONGEST if longest is None else longest
    for vantage in visit.vantages:
        if await _Look(visit, vantage, plan, connector, prober, evidence, limit).everywhere():
            break
    return tuple(evidence)


@dataclass(slots=True)
class _Look:
    """One vantage's part of a visit."""

    visit: Visit
    vantage: Vantage
    agenda: Agenda
    connector: Connector
    prober: Prober
    evidence: list[Evidence]
    longest: float
    enough: bool = False
    proven: set[Endpoint] = field(init=False)
    until: float = field(init=False)

    @property
    def late(self) -> bool:
        return trio.current_time() > self.until

    def __post_init__(self) -> None:
        self.until = trio.current_time() + self.longest
        self.proven = {known.endpoint for known in self.visit.proven}

    async def everywhere(self) -> bool:
        """All ports; whether the visit has seen enough."""
        for ports, timeout in self._batches():
            lanes = min(self.connector.lanes, len(ports))
            if lanes <= 1:
                await self._one_after_the_other(ports, timeout, 0)
            else:
                async with trio.open_nursery() as nursery:
                    for lane in range(lanes):
                        nursery.start_soon(self._lane, ports[lane::lanes], timeout, lane, nursery)
            if self.enough:
                return True
        return False

    def _batches(self) -> Iterator[tuple[Sequence[int], float | None]]:
        """Ports and their timeout: in a hurried visit only what was proven gets its full time."""
        ports, hurry = self.agenda.ports, self.visit.connect_timeout
        if hurry is None:
            yield ports, None
            return
        proven = {endpoint.port for endpoint in self.proven}
        yield [port for port in ports if port in proven], None
        yield [port for port in ports if port not in proven], hurry

    async def _lane(self, ports: Sequence[int], timeout: float | None, lane: int, all_: trio.Nursery) -> None:
        await self._one_after_the_other(ports, timeout, lane)
        if self.enough:
            all_.cancel_scope.cancel()

    async def _one_after_the_other(self, ports: Sequence[int], timeout: float | None, lane: int) -> None:
        if not ports:
            return
        async with self.connector.host(
            self.visit.address,
            ports,
            source=self.vantage.source_for(self.visit.address),
            urgent=self.visit.reason.on_demand,
            timeout=timeout,
            lane=lane,
        ) as host:
            async for opening in host:
                if await self._on_port(host, opening):
                    self.enough = True  # and no other lane takes that back
                if self.enough or self.late:
                    break
        for endpoint, kind, detail in self.agenda.missed(host.missed):
            self.evidence.append(no_conversation(endpoint, kind, self.vantage.name, detail=detail))

    async def _on_port(self, host: Host, opening: Opening) -> bool:
        """The interview on one open port: each question on a connection of its own."""
        connection: Opening | Kind | None = opening
        interview = self.agenda.interview(opening.port)
        try:
            question: Question = next(interview)
            while True:
                if connection is None:
                    connection = await host.again()
                if isinstance(connection, Opening):
                    # What was never proven gets no more time in a hurried visit than its connection did.
                    hurry = None if question.endpoint in self.proven else self.visit.connect_timeout
                    item = await self.prober.converse(self.visit, self.vantage.name, question, connection, hurry)
                else:
                    item = no_conversation(question.endpoint, connection, self.vantage.name, question)
                connection = None
                self.evidence.append(item)
                if self.late:
                    return False
                question = interview.send(item)
        except StopIteration as stop:
            if isinstance(connection, Opening):
                os.close(connection.fd)  # nothing was asked on it
            return bool(stop.value)
