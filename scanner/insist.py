"""A store that fails is asked again, with growing pauses: nothing that was found or accepted is dropped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import trio

from scanner.store import StoreError

T = TypeVar("T")
_FIRST, _LONGEST = 0.5, 30.0  # seconds between two attempts
_log = structlog.get_logger()


class Insist:
    """Call it with work on the store. last_error: what the store said when it last failed."""

    def __init__(self) -> None:
        self.last_error = ""

    async def __call__(self, work: Callable[[], Awaitable[T]]) -> T:
        pause = _FIRST
        while True:
            try:
                return await work()
            except StoreError as error:
                self.last_error = str(error)
                _log.error("store", error=self.last_error, retry_in=pause)
                await trio.sleep(pause)
                pause = min(_LONGEST, pause * 2)
