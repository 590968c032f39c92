"""Where a conversation waits for its letter to arrive at the canary."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

Look = Callable[[str], Awaitable[bytes | None]]

_LOOK_EVERY = 0.3  # seconds


@dataclass(slots=True)
class Expected:
    """A letter that was sent, or is about to be. signed: its delivery, once it arrived."""

    letter: str
    look: Look | None
    signed: bytes | None = None
    _arrived: trio.Event = field(default_factory=trio.Event)

    def arrive(self, signed: bytes) -> None:
        self.signed = signed
        self._arrived.set()

    async def within(self, seconds: float) -> bytes | None:
        """The signed delivery; None where it did not come in time."""
        with trio.move_on_after(seconds):
            while self.signed is None:
                with trio.move_on_after(_LOOK_EVERY if self.look else seconds):
                    await self._arrived.wait()
                if self.signed is None and self.look:
                    self.signed = await self.look(self.letter)
        return self.signed


class Mailroom:
    """Holds only what is expected. look: asks elsewhere, where another process has the canary."""

    def __init__(self, look: Look | None = None) -> None:
        self._look = look
        self._expected: dict[str, Expected] = {}

    @contextmanager
    def expecting(self, letter: str) -> Iterator[Expected]:
        """While the conversation lasts; entered before it, as a letter can be faster than its 250."""
        slot = self._expected[letter] = Expected(letter, self._look)
        try:
            yield slot
        finally:
            del self._expected[letter]

    def hand_over(self, letter: str, signed: bytes) -> None:
        """A letter arrived; one that nobody waits for is left to the store."""
        if letter in self._expected:
            self._expected[letter].arrive(signed)
