"""How often strangers may ask, kept in the store so that neither a restart nor a second web process resets it.

An allowance is one number: when the bucket would be full again, were nothing more taken from it (the generic cell
rate algorithm, ITU-T I.371). It gives the moment to come back exactly, and costs one row for each key in use.
"""

from __future__ import annotations

import sqlite3
from ipaddress import ip_address

from scanner.model import Address, RemovalState
from scanner.store.rows import network_of
from scanner.store.types import RemovalRefused, Terms

HOUR = 3600.0
DAY = 24 * HOUR
FAILURES = 3  # requests of one requester that ended still open, within a day: the policy page promises it
_PRUNED = 20  # rows of the past deleted with each one written: the table stays as small as what is in use


def not_before(connection: sqlite3.Connection, key: str, at: float, limit: int, window: float = HOUR) -> float:
    """From when on one more is allowed, of `limit` in each `window` seconds; at most `at` where it is now."""
    row = connection.execute("SELECT full_at FROM allowances WHERE key = ?", (key,)).fetchone()
    return 0.0 if row is None else max(0.0, row[0] + window / limit - window)


def take(connection: sqlite3.Connection, key: str, at: float, limit: int, window: float = HOUR) -> float | None:
    """Take one: None where it is allowed, else from when on it is."""
    moment = not_before(connection, key, at, limit, window)
    if moment > at:
        return moment
    connection.execute(
        "INSERT INTO allowances (key, full_at) VALUES (?1, ?2 + ?3) ON CONFLICT (key)"
        " DO UPDATE SET full_at = max(full_at, ?2) + ?3",
        (key, at, window / limit),
    )
    connection.execute(
        "DELETE FROM allowances WHERE key IN (SELECT key FROM allowances WHERE full_at < ? LIMIT ?)", (at, _PRUNED)
    )
    return None


def removal_limits(
    connection: sqlite3.Connection, target: Address, requester: str, at: float, terms: Terms
) -> RemovalRefused | None:
    """What the requester and the network have left. Who showed control, or asks from the address, is not locked out.

    From an address that passes strangers on it is still their requests that would pause its holder's.
    """
    if terms.control or terms.from_it or not terms.per_requester:
        return None
    paused = _paused_until(connection, requester, at)
    if paused > at:
        return RemovalRefused("paused", not_before=paused)
    moment = max(not_before(connection, key, at, limit) for key, limit in _buckets(target, requester, terms))
    return RemovalRefused("busy", not_before=moment) if moment > at else None


def spend_removal(connection: sqlite3.Connection, target: Address, requester: str, at: float, terms: Terms) -> None:
    """A request was taken."""
    if not terms.control and not terms.from_it and terms.per_requester:
        for key, limit in _buckets(target, requester, terms):
            take(connection, key, at, limit)


def _buckets(target: Address, requester: str, terms: Terms) -> list[tuple[str, int]]:
    found = [(f"removal:{requester}", terms.per_requester)]
    if terms.per_network:
        found.append((f"removal:{network_of(ip_address(str(target)))}", terms.per_network))
    return found


def _paused_until(connection: sqlite3.Connection, requester: str, at: float) -> float:
    """A day after the last of three failures within a day. Requests with shown control are not counted.

    Nor is one for an exit that repaired the entry that was retested, where the next one could not be retested yet.
    """
    failures = [
        moment
        for (moment,) in connection.execute(
            "SELECT at FROM removals WHERE requester = ? AND at > ? AND state = ? AND NOT control AND NOT partly"
            " ORDER BY at DESC LIMIT ?",
            (requester, at - 2 * DAY, RemovalState.STILL_OPEN, FAILURES),
        )
    ]
    if len(failures) < FAILURES or failures[0] - failures[-1] > DAY:
        return 0.0
    return float(failures[0]) + DAY
