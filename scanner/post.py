"""The daemon's post office: keeps what the canary signed of letters, and settles those that came after their visit."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

import structlog
import trio

from scanner.insist import Insist
from scanner.mailroom import Mailroom
from scanner.proof import CanaryKey, Forged
from scanner.receipt import Delivery, Letter, Receipt, read_delivery
from scanner.store import Posted, Store, StoreError

Settle = Callable[[Posted, Receipt], Awaitable[bool]]

_AT_ONCE = 500  # letters that are settled together
_LOOK_EVERY = 5.0  # seconds; a delivery can come between the end of the wait for it and the end of its visit
_log = structlog.get_logger()


class Post:
    """One for each daemon. keys: of each canary, all that are good."""

    def __init__(
        self, store: Store, insist: Insist, mailroom: Mailroom, keys: Mapping[str, Mapping[int, CanaryKey]]
    ) -> None:
        self.kept = self.late = self.void = 0
        self._store = store
        self._insist = insist
        self._mailroom = mailroom
        self._keys = keys
        self._came = trio.Event()

    async def keep(self, letter: str, signed: bytes) -> bool:
        """The canary says 250 to what is kept, and lets the relay come again with all else."""
        try:
            await self._deliver(letter, signed, time.time())
        except StoreError as error:
            _log.error("letter not kept", error=str(error))
            return False
        return True

    async def take(self, canary: str, signed: bytes) -> None:
        """The same of a letter that came to a canary elsewhere, which has kept it so far.

        Raises Forged for what that one did not sign, StoreError where it is not kept here.
        """
        delivery = self._read(canary, signed)
        await self._deliver(delivery.letter, signed, min(delivery.at, time.time()))

    async def _deliver(self, letter: str, signed: bytes, at: float) -> None:
        await self._store.deliver(letter, signed, at)
        self.kept += 1
        self._mailroom.hand_over(letter, signed)
        self._came.set()

    async def run(self, settle: Settle) -> None:
        """Settle what comes late, for ever. settle: False where our controls fail just now."""
        left = 0  # of those looked at in this turn: a canary that is gone must not hold up what others got
        while True:
            found = await self._insist(partial(self._store.pending_letters, time.time(), _AT_ONCE, left))
            settled = self.late + self.void
            async with trio.open_nursery() as nursery:
                for posted in found:  # together: all of them wait for the same round of controls
                    nursery.start_soon(self._settle, posted, settle)
            left += len(found) - (self.late + self.void - settled)
            if len(found) == _AT_ONCE:
                continue  # more of them wait
            left = 0
            with trio.move_on_after(_LOOK_EVERY):
                await self._came.wait()
            self._came = trio.Event()

    async def _settle(self, posted: Posted, settle: Settle) -> None:
        receipt = self._verified(posted)
        if receipt is None:
            self.void += 1
            await self._insist(partial(self._store.discard_letter, posted.letter))
        elif await settle(posted, receipt):
            self.late += 1

    def _read(self, canary: str, signed: bytes) -> Delivery:
        """What this canary signed, with any of its keys: of the one before the last rotation, perhaps."""
        for key in self._keys.get(canary, {}).values():
            with suppress(Forged):
                return read_delivery(key, signed)
        raise Forged("delivery")

    def _verified(self, posted: Posted) -> Receipt | None:
        letter = Letter(bytes.fromhex(posted.letter), posted.address, posted.endpoint)
        for key in self._keys.get(posted.aim.canary, {}).values():
            try:
                return Receipt(key, letter, posted.signed)
            except Forged:
                continue  # of the key before the last rotation, perhaps
        return None

    def statistics(self) -> dict[str, int]:
        return {"kept": self.kept, "late": self.late, "void": self.void}
