"""Carries the letters in a canary's spool to the daemon, until it has taken each: at least once, the oldest first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from http import HTTPStatus

import structlog
import trio

from scanner.canary.spool import Spool
from scanner.fetch import Answer, Caller, FetchError, calling
from scanner.handover import BATCH, HEADER, KEPT, PATH, seal, taken
from scanner.proof import CanaryKey

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts while the daemon does not take any
# What a daemon with a bug says, or a filter in front of it: for one letter perhaps, and not for those beside it.
_NOT_THESE = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.INTERNAL_SERVER_ERROR,
    }
)
_log = structlog.get_logger()

Letters = Sequence[tuple[str, bytes]]  # id and what the canary signed


class Carrier:
    """From one spool to one daemon. error: why it takes none just now; empty where it does."""

    def __init__(self, spool: Spool, key: CanaryKey, url: str) -> None:
        self.carried = 0
        self.error = ""
        self._spool = spool
        self._key = key
        self._url = url.rstrip("/") + PATH

    async def run(self) -> None:
        """For ever."""
        async with calling() as caller:
            await self._run(caller)

    async def _run(self, caller: Caller) -> None:
        pause = _FIRST_PAUSE
        while True:
            await self._spool.wait()
            try:
                await self.carry(caller, time.time())
            except (FetchError, OSError) as error:
                if str(error) != self.error:
                    _log.error("hand-over", error=str(error), waiting=len(self._spool))
                self.error = str(error)
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if self.error:
                    _log.info("hand-over works again", waiting=len(self._spool))
                pause, self.error = _FIRST_PAUSE, ""

    async def carry(self, caller: Caller, at: float) -> None:
        """Hand over what waited longest. Raises FetchError where the daemon did not take it."""
        found = await self._spool.oldest(BATCH)
        late = [letter for letter, kept, _ in found if kept < at - KEPT]
        if late:
            _log.error("letters given up: the daemon waits for none that long", letters=late)
            await self._spool.drop(late)
        # A letter is one line; what a disk made of it otherwise is none, and would shift the numbers of all behind it.
        damaged = [letter for letter, kept, signed in found if kept >= at - KEPT and len(signed.splitlines()) != 1]
        if damaged:
            _log.error("letters given up: damaged on disk", letters=damaged)
            await self._spool.drop(damaged)
        gone = {*late, *damaged}
        fresh = [(letter, signed) for letter, _, signed in found if letter not in gone]
        if not fresh:
            if not gone:
                raise OSError("no letter in the spool can be read")
            return
        while (answer := await self._post(caller, fresh, at)).status in _NOT_THESE and len(fresh) > 1:
            fresh = fresh[: len(fresh) // 2]
        if not answer.good:
            if answer.status in _NOT_THESE:
                self._spool.put_last(fresh[0][0])
            why = str((answer.value or {}).get("detail") or answer.phrase)[:200]
            raise FetchError(f"{self._url}: answered {answer.status}: {why}")
        await self._taken(fresh, answer)

    async def _post(self, caller: Caller, letters: Letters, at: float) -> Answer:
        body = _body(letters)
        return await caller.ask("POST", self._url, body, {HEADER: seal(self._key, body, at)})

    async def _taken(self, letters: Letters, answer: Answer) -> None:
        """What the daemon says it has need not be kept. Raises FetchError where it is not our daemon that says so."""
        said = answer.value or {}
        refused = said.get("refused")
        if not isinstance(refused, list) or said.get("taken") != taken(self._key, _body(letters), refused):
            raise FetchError(f"{self._url}: the answer is not our daemon's")
        for number in refused:
            _log.error("letter refused: signed with a key that the daemon has not", letter=letters[number][0])
        await self._spool.drop([letter for letter, _ in letters])
        self.carried += len(letters) - len(refused)


def _body(letters: Letters) -> bytes:
    return b"".join(signed + b"\n" for _, signed in letters)
