"""Who may sign in, whose nominations are trusted, and what operators did. Secrets are kept as hashes only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Account:
    """password: an argon2 hash, None before the first sign-in. Sessions begun before `since` do not count."""

    name: str
    password: str | None
    since: float
    submitter: bool  # may not sign in: has a token for nominations


@dataclass(frozen=True, slots=True)
class Deed:
    """What an operator did, for the journal."""

    operator: str
    action: str
    subject: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    at: float
    deed: Deed


def signed(connection: sqlite3.Connection, deed: Deed, at: float, work: Callable[..., T], *args: Any) -> T:
    """Do it and write down who did, both or neither."""
    result = work(connection, *args)
    write_down(connection, deed, at)
    return result


def write_down(connection: sqlite3.Connection, deed: Deed, at: float) -> None:
    """In the journal, within whatever it does."""
    connection.execute(
        "INSERT INTO journal (at, operator, action, subject, detail) VALUES (?, ?, ?, ?, ?)",
        (at, deed.operator, deed.action, deed.subject, deed.detail),
    )


def journal(connection: sqlite3.Connection, limit: int) -> list[JournalEntry]:
    """The latest first."""
    rows = connection.execute(
        "SELECT at, operator, action, subject, detail FROM journal ORDER BY seq DESC LIMIT ?", (limit,)
    )
    return [JournalEntry(at, Deed(*deed)) for at, *deed in rows]


def invite(connection: sqlite3.Connection, name: str, link: str, until: float | None, at: float) -> None:
    """Give a name a one-time link to set a password by, or, until None, a token for nominations. Older ones end."""
    connection.execute(
        "INSERT INTO operators (name, password, link, link_until, since) VALUES (?1, NULL, ?2, ?3, ?4)"
        " ON CONFLICT (name) DO UPDATE SET password = NULL, link = ?2, link_until = ?3, since = ?4",
        (name, link, until, at),
    )


def invited(connection: sqlite3.Connection, link: str, at: float) -> str | None:
    """Whose link this is, while it is good."""
    row = connection.execute("SELECT name FROM operators WHERE link = ? AND link_until > ?", (link, at)).fetchone()
    return None if row is None else str(row[0])


def set_password(connection: sqlite3.Connection, link: str, password: str, at: float) -> str | None:
    """The link is used up. None where it is none, or no more."""
    name = invited(connection, link, at)
    if name is not None:
        connection.execute(
            "UPDATE operators SET password = ?, link = NULL, link_until = NULL, since = ? WHERE name = ?",
            (password, at, name),
        )
    return name


def end_sessions(connection: sqlite3.Connection, name: str, at: float) -> None:
    connection.execute("UPDATE operators SET since = ? WHERE name = ?", (at, name))


def remove(connection: sqlite3.Connection, name: str) -> bool:
    return connection.execute("DELETE FROM operators WHERE name = ?", (name,)).rowcount > 0


def accounts(connection: sqlite3.Connection) -> list[Account]:
    rows = connection.execute(
        "SELECT name, password, since, link IS NOT NULL AND link_until IS NULL FROM operators ORDER BY name"
    )
    return [Account(name, password, since, bool(submitter)) for name, password, since, submitter in rows]


def submitter(connection: sqlite3.Connection, token: str) -> str | None:
    """Whose token for nominations this is."""
    row = connection.execute("SELECT name FROM operators WHERE link = ? AND link_until IS NULL", (token,)).fetchone()
    return None if row is None else str(row[0])
