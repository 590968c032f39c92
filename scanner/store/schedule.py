"""Who is visited next: one row for each address, leased network by network so that politeness has one owner.

Functions of the writer's connection; store.py hands them to its thread.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from ipaddress import ip_address

from scanner.model import Address, Reason, Target
from scanner.store.rows import TARGET, Row, network_of, target_of
from scanner.store.types import Leased

_FREE = "(owner IS NULL OR owner = :owner OR lease_until <= :at)"


def schedule(connection: sqlite3.Connection, target: Target) -> float:
    """Put a target in its address's row, unless what waits there goes ahead of it; the moment it is due.

    An on-demand target is displaced only by a removal's, which somebody follows step by step; among the
    others the earlier wins. A target that is being visited waits no more, yet its row counts: its visit
    answers whoever asks meanwhile, unless they ask on demand.
    """
    row = connection.execute(f"SELECT {TARGET} FROM targets WHERE address = ?", (str(target.address),)).fetchone()
    if row is not None:
        waiting = target_of(row)
        if _rank(waiting) < _rank(target) or (_rank(waiting) == _rank(target) and waiting.due <= target.due):
            return waiting.due
    place(connection, target)
    return target.due


def _rank(target: Target) -> int:
    if target.removal is not None:
        return 0
    return 1 if target.reason.on_demand else 2


def place(connection: sqlite3.Connection, target: Target, *, free: bool = False) -> None:
    """Make this the address's target, whatever was there. free: it is not being visited (any more)."""
    network = network_of(target.address)
    connection.execute(
        "INSERT INTO networks (id, ready_at) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET ready_at ="
        " CASE WHEN ready_at <= excluded.ready_at THEN ready_at ELSE excluded.ready_at END",
        (network, target.due),
    )
    connection.execute(
        "INSERT INTO targets (address, network, reason, on_demand, due, removal, pass_number)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (address) DO UPDATE SET reason = excluded.reason,"
        " on_demand = excluded.on_demand, due = excluded.due, removal = excluded.removal,"
        " pass_number = excluded.pass_number" + (", taken_until = NULL" if free else ""),
        (
            str(target.address),
            network,
            target.reason,
            target.reason.on_demand,
            target.due,
            target.removal,
            target.pass_number,
        ),
    )


def unschedule(connection: sqlite3.Connection, address: Address) -> None:
    connection.execute("DELETE FROM targets WHERE address = ?", (str(address),))


def lease(
    connection: sqlite3.Connection, owner: str, at: float, ttl: float, limit: int, on_demand_only: bool
) -> list[Leased]:
    """Take due targets: those on demand first, then in turn from the networks that are due longest.

    In turn, because a network is visited at a slow pace: a large one that is due all at once must not fill
    the window of a scanner while the others wait.
    """
    if ttl <= 0:
        raise ValueError(f"a lease of {ttl} seconds")
    taken: list[Leased] = []
    this = {"owner": owner, "at": at, "until": at + ttl}
    demanded = connection.execute(
        f"SELECT network, {TARGET} FROM targets JOIN networks ON networks.id = network"
        f" WHERE on_demand AND targets.ready_at <= :at AND {_FREE} ORDER BY targets.ready_at LIMIT :limit",
        {**this, "limit": limit},
    ).fetchall()
    for network, *row in demanded:
        taken += _take(connection, network, [row], this)
    while len(taken) < limit and not on_demand_only:
        rest = limit - len(taken)
        networks = connection.execute(
            f"SELECT id FROM networks WHERE ready_at <= :at AND {_FREE} ORDER BY ready_at LIMIT :rest",
            {**this, "rest": rest},
        ).fetchall()
        if not networks:
            break
        share = -(-rest // len(networks))
        for (network,) in networks:
            rows = connection.execute(
                f"SELECT {TARGET} FROM targets WHERE network = ? AND ready_at <= ? ORDER BY ready_at LIMIT ?",
                (network, at, min(share, limit - len(taken))),
            ).fetchall()
            taken += _take(connection, network, rows, this)
    taken.sort(key=lambda one: (not one.target.reason.on_demand, one.target.due))
    return taken


def _take(connection: sqlite3.Connection, network: str, rows: list[Row], this: dict[str, object]) -> list[Leased]:
    """Hold the network, mark these targets of it, and put it behind the others that are due."""
    if not rows:  # what was due earlier has gone or was put off: nothing is taken, so nothing is held
        connection.execute(
            "UPDATE networks SET ready_at = (SELECT min(ready_at) FROM targets WHERE network = networks.id)"
            " WHERE id = ?",
            (network,),
        )
        return []
    connection.executemany(
        "UPDATE targets SET taken_until = ? WHERE address = ?", [(this["until"], row[0]) for row in rows]
    )
    # max() over what remains: null where nothing does, and then the network is due no more.
    (number,) = connection.execute(
        "UPDATE networks SET lease = lease + (owner IS NOT :owner OR lease_until <= :at), owner = :owner,"
        " lease_until = CASE WHEN owner IS :owner AND lease_until > :until THEN lease_until ELSE :until END,"
        " ready_at = (SELECT max(min(ready_at), :at) FROM targets WHERE network = networks.id)"
        " WHERE id = :network RETURNING lease",
        {**this, "network": network},
    ).fetchone()
    until = this["until"]
    assert isinstance(until, float)
    return [Leased(target_of(row), network, number, until) for row in rows]


def holds(connection: sqlite3.Connection, lease: Leased) -> bool:
    """Is this lease still the one that counts? Not where the network, or this target, was given out since."""
    row = connection.execute(
        "SELECT lease, taken_until FROM networks LEFT JOIN targets ON address = ? WHERE id = ?",
        (str(lease.target.address), lease.network),
    ).fetchone()
    if row is None:
        return False
    number, taken_until = row
    return bool(number == lease.lease and (taken_until is None or taken_until <= lease.until))


def release(connection: sqlite3.Connection, owner: str) -> int:
    """Give back all that an owner holds; the number of targets. Its leases count no more."""
    freed = connection.execute(
        "UPDATE targets SET taken_until = NULL WHERE taken_until IS NOT NULL"
        " AND network IN (SELECT id FROM networks WHERE owner = ?)",
        (owner,),
    ).rowcount
    connection.execute(
        "UPDATE networks SET owner = NULL, lease_until = NULL, lease = lease + 1,"
        " ready_at = (SELECT min(ready_at) FROM targets WHERE network = networks.id) WHERE owner = ?",
        (owner,),
    )
    return freed


def give_back(connection: sqlite3.Connection, address: Address, due: float, lease: Leased | None) -> bool:
    """End a void visit: its target is due again at `due`; False where the lease counts no more.

    What came in its place during the visit keeps its own moment.
    """
    waiting = target_at(connection, str(address))
    if waiting is None or (lease is not None and not holds(connection, lease)):
        return False
    visited = lease is None or waiting == lease.target
    place(connection, replace(waiting, due=due) if visited else waiting, free=True)
    return True


def target_at(connection: sqlite3.Connection, address: str) -> Target | None:
    row = connection.execute(f"SELECT {TARGET} FROM targets WHERE address = ?", (address,)).fetchone()
    return None if row is None else target_of(row)


def next_due(connection: sqlite3.Connection) -> float | None:
    """No target is ready before this moment."""
    (moment,) = connection.execute("SELECT min(ready_at) FROM networks").fetchone()
    return None if moment is None else float(moment)


def settle(
    connection: sqlite3.Connection,
    address: str,
    visited: Target | None,
    after: Target | None,
    *,
    watched: bool,
) -> None:
    """What follows a decision: the address's next target in place of the one that was visited.

    visited: None where there was no visit. A target on demand that arrived during the visit stays (unless a
    removal goes on); without a visit all that waits stays, and a rescan goes with its watch.
    """
    waiting = target_at(connection, address)
    if waiting is None:
        if after is not None:
            place(connection, after, free=True)
        return
    if visited is None:
        if waiting.reason is Reason.RESCAN and after is not None:
            place(connection, after)
        elif after is not None:
            schedule(connection, after)
        elif waiting.reason is Reason.RESCAN and not watched:
            unschedule(connection, ip_address(address))
        return
    came_meanwhile = waiting.reason.on_demand and (
        (waiting.reason, waiting.removal) != (visited.reason, visited.removal)
    )
    if came_meanwhile and not (after is not None and _rank(after) < _rank(waiting)):
        place(connection, waiting, free=True)
    elif after is not None:
        place(connection, after, free=True)
    else:
        unschedule(connection, waiting.address)
