"""Which ports answer: drives core.sweep and gives each visit its openings.

One task for each lane hands out what its sweep reports. A host is held while its conversation lasts: the sweep goes
on to the host's next port only when the visit asks for it, so that no host has more connections of ours than lanes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from itertools import count

import trio

from core import sweep as core
from core.cidr import CidrSet
from scanner.model import Address, Kind, Opening

_KINDS = {
    core.REFUSED: Kind.REFUSED,
    core.FILTERED: Kind.FILTERED,
    core.UNREACHABLE: Kind.UNREACHABLE,
    core.NEVER: Kind.NEVER_SCAN,
}
_Report = core.Opened | core.Missed | core.Finished


class Host:
    """One address under way, within `async with`; leaving early leaves out the ports that remain.

    Iterate over it: each opening is yours to use and to close before the next step.
    """

    def __init__(
        self, lane: _Lane, address: Address, ports: Sequence[int], source: Address | None, urgent: bool, timeout: float
    ) -> None:
        self.address = address
        self.ports = ports
        self.source = source
        self.urgent = urgent
        self.timeout = timeout
        self.number = -1  # the sweep's name for it
        self.missed: dict[int, Kind] = {}  # ports that took no connection; complete once iteration has ended
        self.finished = False
        self.abandoned = False
        self.waiting = trio.lowlevel.ParkingLot()  # for the next report, or for the address
        self._lane = lane
        self._inbox: list[_Report] = []
        self._held = False

    async def __aenter__(self) -> Host:
        try:
            await self._lane.add(self)
        except ValueError:
            if self.source is None or usable(self.source):
                raise
            # Our own address has gone: no port can be tried from here, and the controls say so too.
            self.missed = dict.fromkeys(self.ports, Kind.UNREACHABLE)
            self.finished = True
            await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is None:
                await self.stop()
        finally:
            if not self.finished:
                self._lane.abandon(self)

    def __aiter__(self) -> Host:
        return self

    async def __anext__(self) -> Opening:
        """The next port that opens; StopAsyncIteration when all have been tried."""
        if self._held:
            self._held = False
            self._lane.sweep.next(self.number)
        if self.finished or isinstance(item := await self._receive(), core.Finished):
            raise StopAsyncIteration
        assert isinstance(item, core.Opened)
        self._held = True
        return Opening(item.port, item.fd, item.micros)

    async def again(self) -> Opening | Kind:
        """Another connection to the port that opened last, or what came instead of one."""
        assert self._held, "again() belongs to an open port"
        self._lane.sweep.again(self.number)
        item = await self._receive()
        if isinstance(item, core.Opened):
            return Opening(item.port, item.fd, item.micros)
        assert isinstance(item, core.Missed)
        return _KINDS[item.outcome]

    async def stop(self) -> None:
        """Leave out the remaining ports."""
        if not self.finished:
            self._lane.sweep.stop(self.number)
            while not isinstance(item := await self._receive(), core.Finished):
                if isinstance(item, core.Opened):
                    os.close(item.fd)

    def deliver(self, item: _Report) -> None:
        if not self.abandoned:
            self._inbox.append(item)
        elif isinstance(item, core.Opened):
            os.close(item.fd)
        self.waiting.unpark_all()

    def abandon(self) -> None:
        """Nobody receives any more: close what has come, and what still comes."""
        self.abandoned = True
        for item in self._inbox:
            if isinstance(item, core.Opened):
                os.close(item.fd)
        self._inbox.clear()

    async def _receive(self) -> _Report:
        while not self._inbox:
            await self.waiting.park()
        item = self._inbox.pop(0)
        if isinstance(item, core.Finished):
            self.finished = True
            self.missed = {
                port: _KINDS[outcome]
                for port, outcome in zip(self.ports, item.outcomes, strict=True)
                if outcome in _KINDS
            }
        return item


class _Lane:
    """One sweep, which connects to each address once at a time."""

    def __init__(self, sweep: core.Sweep, hosts: int) -> None:
        self.sweep = sweep
        self.room = trio.Semaphore(hosts)  # a place is free when the summary has come, not before
        self._busy: dict[Address, Host] = {}  # under way, the abandoned too
        self._numbered: dict[int, Host] = {}  # the same
        self._numbers = count()

    async def run(self) -> None:
        try:
            while True:
                await trio.lowlevel.wait_readable(self.sweep.fileno())
                for item in self.sweep.take():
                    self._hand_out(item)
        finally:
            self.sweep.close()

    async def add(self, host: Host) -> None:
        """Wait for a place and for the address, and take it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self.room.acquire_nowait()  # acquire() lets others run even where there is room: 4 of a visit's 59 us
        except trio.WouldBlock:
            await self.room.acquire()
        try:
            while other := self._busy.get(host.address):
                await other.waiting.park()
            number = next(self._numbers)
            taken = self.sweep.add(
                number,
                host.address.packed,
                host.ports,
                source=host.source.packed if host.source else None,
                urgent=host.urgent,
                timeout=host.timeout,
            )
            assert taken, "there are as many places as the sweep has"
        except BaseException:
            self.room.release()
            raise
        host.number = number
        self._numbered[number] = self._busy[host.address] = host

    def abandon(self, host: Host) -> None:
        """A visit ends before its host: what still comes is nobody's, unless the summary has come already."""
        host.abandon()
        if host.number in self._numbered:
            self.sweep.stop(host.number)

    def _hand_out(self, item: _Report) -> None:
        host = self._numbered[item.host]
        if isinstance(item, core.Finished):
            del self._numbered[item.host], self._busy[host.address]
            self.room.release()
        host.deliver(item)


class Connector:
    """The sweep as Trio sees it: a core.Sweep for each lane, that is for each connection at once to one host.

    rate, sockets: of all lanes together, each lane has an even share. hosts: of each lane.
    """

    def __init__(
        self,
        *,
        never: CidrSet,
        rate: float,
        sockets: int = 4096,
        hosts: int = 8192,
        timeout: float = 4.0,
        lanes: int = 1,
    ) -> None:
        self.timeout = timeout  # seconds for a connection; holds for hosts that are begun from here on
        share = max(1, sockets // lanes)
        self._lanes = [
            _Lane(core.Sweep(never=never, rate=rate / lanes, sockets=share, hosts=hosts, timeout=timeout), hosts)
            for _ in range(lanes)
        ]

    @property
    def lanes(self) -> int:
        """Connections at once to one host."""
        return len(self._lanes)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hand out what the sweeps report, until cancelled; then close them."""
        async with trio.open_nursery() as nursery:
            for lane in self._lanes:
                nursery.start_soon(lane.run)
            task_status.started()

    def host(
        self,
        address: Address,
        ports: Sequence[int],
        *,
        source: Address | None = None,
        urgent: bool = False,
        timeout: float | None = None,
        lane: int = 0,
    ) -> Host:
        """Connect to an address's ports in order."""
        its = self._lanes[(int(address) + lane) % len(self._lanes)]  # spreads hosts that use a single lane
        return Host(its, address, ports, source, urgent, timeout or self.timeout)

    @property
    def never(self) -> CidrSet:
        """What no connect goes to."""
        return self._lanes[0].sweep.never

    def reconfigure(self, *, never: CidrSet, rate: float) -> None:
        """Holds for every connect from here on."""
        for lane in self._lanes:
            lane.sweep.never = never
            lane.sweep.rate = rate / len(self._lanes)

    def statistics(self) -> dict[str, int]:
        """The counters of core.Sweep.statistics(), all lanes together."""
        each = [lane.sweep.statistics() for lane in self._lanes]
        return {name: sum(counts[name] for counts in each) for name in each[0]}


def usable(source: Address) -> bool:
    """Whether it is an address of this machine that we can connect from."""
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((str(source), 0))
    except OSError:
        return False
    return True
