"""Appeals as rows: made by requesters, moved on by what happens to the listing. What operators answer is in desk.py."""

from __future__ import annotations

import sqlite3
from ipaddress import ip_address, ip_network
from secrets import token_hex

from scanner.appeal import Appeal, AppealState, AppealStep, refused, retested, unlisted
from scanner.model import Event, RemovalState, RemovalStep
from scanner.store.limits import DAY, take
from scanner.store.rows import Row, covering

_APPEAL = "id, removal, address, requester, at, text, state, retest"


class AppealRefused(Exception):
    """An appeal that is not taken. reason: as of appeal.refused(), or busy, until the moment not_before."""

    def __init__(self, reason: str, not_before: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.not_before = reason, not_before


def make(
    connection: sqlite3.Connection, removal: str, text: str, requester: str, at: float, a_day: int
) -> Appeal | None:
    """Take an appeal against a removal request's outcome; None where there is no such request. Raises AppealRefused.

    a_day: how many a requester may make.
    """
    row = connection.execute("SELECT address, state FROM removals WHERE id = ?", (removal,)).fetchone()
    if row is None:
        return None
    address, outcome = row
    appealed = connection.execute("SELECT 1 FROM appeals WHERE removal = ?", (removal,)).fetchone() is not None
    another = connection.execute("SELECT 1 FROM appeals WHERE address = ? AND open", (address,)).fetchone() is not None
    why = refused(
        RemovalState(outcome), listed=bool(listed_as(connection, address)), appealed=appealed, another=another
    )
    if why is not None:
        raise AppealRefused(why)
    later = take(connection, f"appeal:{requester}", at, a_day, DAY)
    if later is not None:
        raise AppealRefused("busy", later)
    id_ = token_hex(16)
    connection.execute(
        f"INSERT INTO appeals ({_APPEAL}, open) VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?)",
        (id_, removal, address, requester, at, text, AppealState.OPEN, True),
    )
    move(connection, id_, AppealStep(at, AppealState.OPEN))
    return find(connection, id_)


def listed_as(connection: sqlite3.Connection, address: str) -> list[tuple[str, str]]:
    """List and address of each listing that a probe made and that covers the address."""
    keys = covering(address)
    return connection.execute(
        "SELECT list, address FROM listings WHERE list IN ('ops', 'rss') AND type <> 'manual'"
        f" AND address IN ({', '.join('?' * len(keys))}) ORDER BY list, address",
        keys,
    ).fetchall()


def move(connection: sqlite3.Connection, id_: str, step: AppealStep, retest: str | None = None) -> None:
    """Append a step. retest: the removal request that it began."""
    connection.execute(
        "UPDATE appeals SET state = ?, open = ?, retest = coalesce(?, retest) WHERE id = ?",
        (step.state, not step.state.final, retest, id_),
    )
    connection.execute(
        "INSERT INTO appeal_steps (appeal, number, at, state, operator, detail) VALUES (?,"
        " (SELECT count(*) FROM appeal_steps WHERE appeal = ?), ?, ?, ?, ?)",
        (id_, id_, step.at, step.state, step.by, step.detail),
    )


def follow(connection: sqlite3.Connection, step: RemovalStep) -> None:
    """A removal request came to its outcome: the appeal that it retested for goes on."""
    row = connection.execute(
        "SELECT id, state, address FROM appeals WHERE retest = ? AND open", (step.removal,)
    ).fetchone()
    if row is None:
        return
    id_, state, address = row
    now = retested(AppealState(state), step.state, listed=bool(listed_as(connection, address)))
    if now != state:
        move(connection, id_, AppealStep(step.at, now, detail=f"the retest says: {step.state.replace('_', ' ')}"))


def note_end(connection: sqlite3.Connection, event: Event) -> None:
    """A listing ended: what is open about an address that nothing lists any more is settled."""
    where = event.listing.address
    if "/" in where:
        network = ip_network(where)
        rows = connection.execute("SELECT id, state, address FROM appeals WHERE open").fetchall()
        rows = [row for row in rows if ip_address(row[2]) in network]
    else:
        rows = connection.execute(
            "SELECT id, state, address FROM appeals WHERE open AND address = ?", (where,)
        ).fetchall()
    for id_, state, address in rows:
        if not listed_as(connection, address):
            detail = f"nothing is listed any more: {event.kind}"
            move(connection, id_, AppealStep(event.at, unlisted(AppealState(state)), detail=detail))


def find(connection: sqlite3.Connection, id_: str) -> Appeal | None:
    row = connection.execute(f"SELECT {_APPEAL} FROM appeals WHERE id = ?", (id_,)).fetchone()
    return None if row is None else _appeal(connection, row)


def against(connection: sqlite3.Connection, removal: str) -> Appeal | None:
    """The appeal against a removal request's outcome."""
    row = connection.execute(f"SELECT {_APPEAL} FROM appeals WHERE removal = ?", (removal,)).fetchone()
    return None if row is None else _appeal(connection, row)


def appeals(connection: sqlite3.Connection, open_: bool, limit: int) -> list[Appeal]:
    """Those that are open, the oldest first; or those that are over, the latest first."""
    order = "at, id" if open_ else "at DESC, id"
    where = "open" if open_ else "NOT open"
    rows = connection.execute(f"SELECT {_APPEAL} FROM appeals WHERE {where} ORDER BY {order} LIMIT ?", (limit,))
    return [_appeal(connection, row) for row in rows.fetchall()]


def _appeal(connection: sqlite3.Connection, row: Row) -> Appeal:
    id_, removal, address, requester, at, text, state, retest = row
    steps = connection.execute(
        "SELECT at, state, operator, detail FROM appeal_steps WHERE appeal = ? ORDER BY number", (id_,)
    )
    return Appeal(
        id_,
        removal,
        ip_address(address),
        requester,
        at,
        text,
        AppealState(state),
        retest,
        tuple(AppealStep(moment, AppealState(name), by, detail) for moment, name, by, detail in steps),
    )
