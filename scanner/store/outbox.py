"""Messages to people who asked for removal: kept from the request on, sent once there is an outcome, then forgotten.

A message is queued in the transaction of the outcome, and taken under a lease: it goes out at least once, and after a
crash in the middle perhaps twice, under the same Message-ID.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scanner.model import RemovalState
from scanner.store.limits import DAY, take

A_DAY = 10  # messages to one recipient: requests are many, and strangers can write anybody's address


class MailState(StrEnum):
    WAITING = "waiting"  # for the outcome
    QUEUED = "queued"
    SENT = "sent"
    DEAD = "dead"  # refused for good, or too old
    STOPPED = "stopped"  # the recipient wants none


@dataclass(frozen=True, slots=True)
class Recipient:
    """marks: of the address under each of our keys, the newest last; what is kept of it for longer than the address."""

    address: str
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that is due. at: since when. tries: this one included."""

    removal: str
    recipient: str
    mark: str
    at: float
    tries: int
    address: str  # that the removal is about
    requester: str
    outcome: RemovalState
    partly: bool = False  # as of a Removal


class Outbox:
    """As the store's `read` and `write` run these functions. `at` is now, in seconds since the epoch."""

    def __init__(self, read: Callable[..., Awaitable[Any]], write: Callable[..., Awaitable[Any]]) -> None:
        self._read, self._write = read, write

    async def take(self, at: float, lease: float) -> Outgoing | None:
        """The message that is due first; nobody else is given it within the lease."""
        if not await self._read(_any_due, at):
            return None
        found: Outgoing | None = await self._write(take_due, at, lease)
        return found

    async def sent(self, removal: str) -> None:
        """It was accepted: its recipient is forgotten."""
        await self._write(_end, removal, MailState.SENT, "")

    async def failed(self, removal: str, error: str, *, again: float | None) -> None:
        """again: when to try once more; None never."""
        await self._write(_failed, removal, error, again)

    async def stop(self, mark: str, at: float) -> None:
        """No more messages to whom the mark is of."""
        await self._write(_stop, mark, at)

    async def forget(self, before: float) -> int:
        """Recipients of messages that were given up before that moment; how many."""
        count: int = await self._write(_forget, before)
        return count

    async def count(self) -> dict[str, int]:
        """Messages by their state."""
        found: dict[str, int] = await self._read(counts)
        return found


def expect(connection: sqlite3.Connection, removal: str, to: Recipient, at: float) -> bool:
    """Keep a recipient until the outcome is there; False where they want no messages, or had many."""
    marks = ", ".join("?" * len(to.marks))
    if connection.execute(f"SELECT 1 FROM mail_stops WHERE mark IN ({marks})", to.marks).fetchone() is not None:
        return False
    if take(connection, f"mail:{to.marks[-1]}", at, A_DAY, DAY) is not None:
        return False
    connection.execute(
        "INSERT INTO outbox (removal, recipient, mark, state, at, due, tries, error)"
        " VALUES (?, ?, ?, ?, ?, NULL, 0, '')",
        (removal, to.address, to.marks[-1], MailState.WAITING, at),
    )
    return True


def release(connection: sqlite3.Connection, removal: str, at: float) -> None:
    """The outcome is there: what waited for it is due."""
    connection.execute(
        "UPDATE outbox SET state = ?, at = ?, due = ? WHERE removal = ? AND state = ?",
        (MailState.QUEUED, at, at, removal, MailState.WAITING),
    )


def _any_due(connection: sqlite3.Connection, at: float) -> bool:
    return connection.execute("SELECT 1 FROM outbox WHERE due <= ?", (at,)).fetchone() is not None


def take_due(connection: sqlite3.Connection, at: float, lease: float) -> Outgoing | None:
    row = connection.execute(
        "SELECT o.removal, o.recipient, o.mark, o.at, o.tries + 1, r.address, r.requester, r.state, r.partly"
        " FROM outbox AS o JOIN removals AS r ON r.id = o.removal WHERE o.due <= ? ORDER BY o.due LIMIT 1",
        (at,),
    ).fetchone()
    if row is None:
        return None
    removal, recipient, mark, since, tries, address, requester, outcome, partly = row
    connection.execute("UPDATE outbox SET due = ?, tries = tries + 1 WHERE removal = ?", (at + lease, removal))
    return Outgoing(removal, recipient, mark, since, tries, address, requester, RemovalState(outcome), bool(partly))


def _end(connection: sqlite3.Connection, removal: str, state: MailState, error: str) -> None:
    connection.execute(
        "UPDATE outbox SET state = ?, error = ?, due = NULL, recipient = NULL WHERE removal = ?",
        (state, error, removal),
    )


def _failed(connection: sqlite3.Connection, removal: str, error: str, again: float | None) -> None:
    connection.execute(
        "UPDATE outbox SET state = ?, error = ?, due = ? WHERE removal = ? AND state = ?",
        (MailState.DEAD if again is None else MailState.QUEUED, error, again, removal, MailState.QUEUED),
    )


def _stop(connection: sqlite3.Connection, mark: str, at: float) -> None:
    connection.execute("INSERT INTO mail_stops (mark, at) VALUES (?, ?) ON CONFLICT (mark) DO NOTHING", (mark, at))
    connection.execute(
        "UPDATE outbox SET state = ?, due = NULL, recipient = NULL WHERE mark = ? AND state IN (?, ?)",
        (MailState.STOPPED, mark, MailState.WAITING, MailState.QUEUED),
    )


def _forget(connection: sqlite3.Connection, before: float) -> int:
    return connection.execute(
        "UPDATE outbox SET recipient = NULL WHERE state = ? AND at < ? AND recipient IS NOT NULL",
        (MailState.DEAD, before),
    ).rowcount


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT state, count(*) FROM outbox GROUP BY state ORDER BY state"))
