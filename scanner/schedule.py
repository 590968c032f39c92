"""What to look at next, and not too fast: due targets from the store, at the pace of their networks.

Whom somebody waits for goes ahead of all others. The store's row per network is the lease; the pace is kept here.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio

from scanner.insist import Insist
from scanner.store import Leased, Store

LEASE = 1800.0  # seconds; a visit that takes longer is cancelled, and another scanner may take its network
_POLL = 0.2  # seconds between looks at the store when nothing rings
_AHEAD = 5.0  # seconds: a target whose network is busy for longer goes back into the store
_RESERVED = 64  # places for visits on demand, beyond scan.hosts
_SPARE = 60.0  # seconds of a lease that are left for giving back
_log = structlog.get_logger()


class Scheduler:
    """Keeps up to `hosts` visits under way."""

    def __init__(
        self,
        store: Store,
        owner: str,
        *,
        hosts: int,
        network_rate: float,
        connections: int,
        insist: Insist | None = None,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """ready: whether automatic visits make sense just now. insist: how a store that fails is asked again."""
        self.hosts = hosts
        self.network_rate = network_rate
        self.connections = connections  # of a visit, as a network's pace counts it
        self.under_way = 0
        self.on_demand = 0
        self._store = store
        self._owner = owner
        self._insist = insist or Insist()
        self._ready = ready
        self._free_at: dict[str, float] = {}
        self._bell = trio.Event()
        self._taking = True

    def ring(self) -> None:
        """Something may be due: look now."""
        self._bell.set()

    def stop(self) -> None:
        """Take nothing more, and begin nothing that was taken."""
        self._taking = False
        self.ring()

    async def run(self, carry_out: Callable[[Leased], Awaitable[None]]) -> None:
        """Start a visit for each target whose turn has come; returns after stop(), when all are over."""
        await self._insist(partial(self._store.release, self._owner))
        async with trio.open_nursery() as nursery:
            while self._taking:
                leased = await self._take()
                for item in leased:
                    self._start(nursery, item, carry_out)
                if not leased and self._taking:
                    with trio.move_on_after(_POLL):
                        await self._bell.wait()
                    self._bell = trio.Event()

    async def _take(self) -> list[Leased]:
        room = min(256, self.hosts - (self.under_way - self.on_demand)) if self._ready() else 0
        urgent = _RESERVED - self.on_demand
        due = await self._insist(self._store.next_due)  # a read: an idle daemon writes nothing
        now = time.time()
        taken: list[Leased] = []
        if due is None or due > now:
            return taken
        lease = partial(self._store.lease, self._owner, now, LEASE)
        if urgent > 0:
            taken = await self._insist(partial(lease, urgent, on_demand_only=True))
        if room > 0:
            taken += await self._insist(partial(lease, room))
        return taken

    def _start(self, nursery: trio.Nursery, leased: Leased, carry_out: Callable[[Leased], Awaitable[None]]) -> None:
        demanded = leased.target.reason.on_demand
        self.under_way += 1
        self.on_demand += demanded
        now = trio.current_time()
        start = now if demanded else max(now, self._free_at.get(leased.network, 0.0))
        if start - now <= _AHEAD:
            # A network may be used again when the connections of this visit are paid for.
            self._free_at[leased.network] = start + self.connections / self.network_rate
        if len(self._free_at) > 100_000:
            self._free_at = {network: at for network, at in self._free_at.items() if at > now}
        nursery.start_soon(self._paced, leased, start, carry_out)

    async def _paced(self, leased: Leased, start: float, carry_out: Callable[[Leased], Awaitable[None]]) -> None:
        try:
            wait = start - trio.current_time()
            if wait <= _AHEAD:
                await trio.sleep(max(0.0, wait))
                wait = 0.0
            if wait or not self._taking:
                later = partial(self._store.give_back, leased.target.address, time.time() + wait, lease=leased)
                await self._insist(later)
                return
            with trio.move_on_after(LEASE - _SPARE) as scope:
                await carry_out(leased)
            if scope.cancelled_caught:
                _log.error("visit took too long", address=str(leased.target.address), seconds=LEASE - _SPARE)
        finally:
            self.under_way -= 1
            self.on_demand -= leased.target.reason.on_demand
            self.ring()
