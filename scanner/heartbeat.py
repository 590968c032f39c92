"""What the daemon tells the store of itself every other second: that it runs, and how; that its controls are good."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import inf

import trio

from scanner.controls import Controls
from scanner.insist import Insist
from scanner.publish.publisher import GOOD_CONTROLS
from scanner.store import Store, StoreError

_PAUSE = 2.0  # seconds
_TELL_GOOD = 60.0  # seconds between two notes of good controls, which the service of zone files hangs on for days


class Heartbeat:
    """Of one daemon. statistics: what status shows, plain values only."""

    def __init__(
        self, store: Store, controls: Controls, insist: Insist, statistics: Callable[[], Mapping[str, object]]
    ) -> None:
        self._store = store
        self._controls = controls
        self._insist = insist
        self._statistics = statistics
        self._told_good = -inf  # of a clock that nobody sets
        self._running = True
        self._turn = trio.Lock()  # or a beat that began before the last one could be written after it

    async def run(self) -> None:
        """Until the last beat."""
        while self._running:
            await self.beat(running=True)
            await trio.sleep(_PAUSE)

    async def beat(self, *, running: bool) -> None:
        """Once; a store that fails hears of the next one. After one with running=False no other counts."""
        self._running &= running
        async with self._turn:
            if self._running or not running:
                await self._beat(running)

    async def _beat(self, running: bool) -> None:
        now, passed = time.time(), time.monotonic()
        try:
            await self._store.set_status("daemon", {"running": running, **self._statistics()}, now)
            if passed >= self._told_good + _TELL_GOOD and not self._controls.trouble():
                await self._store.set_status(GOOD_CONTROLS, {}, now)
                self._told_good = passed
        except StoreError as error:
            self._insist.last_error = str(error)
