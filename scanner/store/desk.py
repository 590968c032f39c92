"""The operator's desk: appeals as they come in, and what an operator's answer does, all of it or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from scanner.appeal import Answer, Appeal, AppealState, AppealStep, answered
from scanner.listing import withdraw
from scanner.store import appeals
from scanner.store.accounts import Deed, write_down
from scanner.store.conclude import change
from scanner.store.intake import retest_by_hand


class Desk:
    """Appeals, as the store's `read` and `write` run these functions. `at` is now, in seconds since the epoch."""

    def __init__(self, read: Callable[..., Awaitable[Any]], write: Callable[..., Awaitable[Any]]) -> None:
        self._read, self._write = read, write

    async def appeal(self, removal: str, text: str, requester: str, at: float, *, a_day: int) -> Appeal | None:
        """Take an appeal, which is on disk then; None where there is no such request. Raises AppealRefused."""
        made: Appeal | None = await self._write(appeals.make, removal, text, requester, at, a_day)
        return made

    async def against(self, removal: str) -> Appeal | None:
        """The appeal against a removal request's outcome, if there is one."""
        found: Appeal | None = await self._read(appeals.against, removal)
        return found

    async def find(self, id_: str) -> Appeal | None:
        found: Appeal | None = await self._read(appeals.find, id_)
        return found

    async def list(self, *, waiting: bool, limit: int = 100) -> list[Appeal]:
        """Those that wait, the oldest first; or those that are over, the latest first."""
        found: list[Appeal] = await self._read(appeals.appeals, waiting, limit)
        return found

    async def answer(self, id_: str, answer: Answer, text: str, by: str, at: float) -> Appeal | None:
        """An operator's word; None where there is no such appeal. ValueError says why it can't be given."""
        done: Appeal | None = await self._write(answer_appeal, id_, answer, text, by, at)
        return done


def answer_appeal(
    connection: sqlite3.Connection, id_: str, answer: Answer, text: str, by: str, at: float
) -> Appeal | None:
    """One transaction: the appeal's step, and the retest or the end of the listings that it is about."""
    found = appeals.find(connection, id_)
    if found is None:
        return None
    write_down(connection, Deed(by, f"appeal: {answer}", str(found.address), text), at)
    step = AppealStep(at, answered(found.state, answer, text), by, text)
    if answer is Answer.RETEST:
        appeals.move(connection, id_, step, retest_by_hand(connection, found.address, f"operator:{by}", at))
        return appeals.find(connection, id_)
    appeals.move(connection, id_, step)
    if step.state is AppealState.WITHDRAWN:
        while rest := appeals.listed_as(connection, str(found.address)):
            list_, where = rest[0]
            change(connection, where, partial(withdraw, list_=list_, address=where, at=at, reason=text), at)
    return appeals.find(connection, id_)
