"""Letters that mail servers took, and their deliveries, which may come days later: how the two meet."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from ipaddress import ip_address

from scanner.model import Aim, Endpoint, Evidence, Kind, Reason, VisitRecord
from scanner.store.rows import aim_of, aim_out, dumps, evidence_of
from scanner.store.types import Posted
from scanner.verdict import VOID

DAYS = 5 * 86400.0  # seconds that mail servers try to deliver for (RFC 5321 4.5.4.1), and that we wait
SPOOLED = 5 * 86400.0  # seconds that a delivery may then be on its way to us, on the disk of a canary elsewhere
AWAITED = DAYS + SPOOLED  # seconds that a letter may still change a list
# What a letter may still arrive after: a server that broke off may have kept it.
_OUT = (Kind.ACCEPTED, Kind.PRETENDS, Kind.DEFERRED, Kind.RELAYED)
_LETTER = "l.id, l.address, l.visit, l.reason, l.vantage, l.protocol, l.port, l.aim, l.at"


def post(connection: sqlite3.Connection, record: VisitRecord) -> None:
    """Remember a visit's letters. What has arrived needs nobody to look for it any more."""
    for piece in record.evidence:
        if not piece.letter:
            continue
        if piece.kind in _OUT:
            _write(connection, record, piece)
        else:
            connection.execute("UPDATE letters SET kind = ? WHERE id = ?", (piece.kind, piece.letter))
        if piece.kind is Kind.RELAYED:
            settle_delivery(connection, piece.letter)


def _write(connection: sqlite3.Connection, record: VisitRecord, piece: Evidence) -> None:
    assert piece.aim is not None
    visit = record.visit
    connection.execute(
        "INSERT INTO letters (id, address, visit, reason, vantage, protocol, port, aim, kind, at, tries)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT (id) DO UPDATE SET visit = excluded.visit,"
        " vantage = excluded.vantage, kind = excluded.kind, at = excluded.at, tries = tries + 1",
        (
            piece.letter,
            str(visit.address),
            visit.id,
            visit.reason,
            piece.vantage,
            piece.endpoint.protocol,
            piece.endpoint.port,
            dumps(aim_out(piece.aim)),
            piece.kind,
            piece.at,
        ),
    )


def deliver(connection: sqlite3.Connection, letter: str, signed: bytes, at: float) -> None:
    """Keep what the canary signed; a letter that arrives twice is kept once. at: when it came to the canary."""
    connection.execute(
        "INSERT OR IGNORE INTO deliveries (id, at, signed, pending) VALUES (?, ?, ?, 1)", (letter, at, signed)
    )


def delivery(connection: sqlite3.Connection, letter: str) -> bytes | None:
    row = connection.execute("SELECT signed FROM deliveries WHERE id = ?", (letter,)).fetchone()
    return None if row is None else bytes(row[0])


def pending(connection: sqlite3.Connection, at: float, limit: int, skip: int) -> list[Posted]:
    """Deliveries of letters whose visit is over, and that nothing came of yet; the oldest first, but for so many."""
    rows = connection.execute(
        f"SELECT {_LETTER}, d.signed FROM deliveries AS d JOIN letters AS l ON l.id = d.id"
        " WHERE d.pending AND d.at > ? AND d.at <= l.at + ? ORDER BY d.at, d.id LIMIT ? OFFSET ?",
        (at - SPOOLED, DAYS, limit, skip),
    )
    return [
        Posted(
            id_, ip_address(address), visit, Reason(reason), vantage, Endpoint(name, port), _aim(aim), moment, signed
        )
        for id_, address, visit, reason, vantage, name, port, aim, moment, signed in rows
    ]


def settle_delivery(connection: sqlite3.Connection, letter: str) -> bool:
    """Nothing more comes of it; False where that was so already."""
    done = connection.execute("UPDATE deliveries SET pending = 0 WHERE id = ? AND pending", (letter,))
    return done.rowcount > 0


def refused_since(connection: sqlite3.Connection, letter: str) -> bool:
    """Whether a later visit saw the form refused, or nothing there to ask: it tells of a time before the repair.

    In its own visit another vantage may have been refused, and that is no repair; and a void visit showed nothing.
    """
    found = connection.execute(
        "SELECT 1 FROM letters AS l JOIN visits AS v ON v.address = l.address JOIN evidence AS e ON e.visit = v.id"
        " WHERE l.id = ? AND e.protocol = l.protocol AND e.port = l.port AND e.aim = l.aim AND e.at > l.at"
        " AND v.id <> l.visit AND v.why NOT LIKE ? AND e.kind IN ('denied', 'auth_required', 'wrong_protocol')",
        (letter, f"{VOID}%"),
    ).fetchone()
    if found is not None:
        return True
    attempts = connection.execute(
        "SELECT l.protocol, l.port, l.at, v.attempts FROM letters AS l JOIN visits AS v ON v.address = l.address"
        " WHERE l.id = ? AND v.ended > l.at AND v.id <> l.visit AND v.why NOT LIKE ? AND v.attempts IS NOT NULL",
        (letter, f"{VOID}%"),
    )
    return any(
        piece.kind is Kind.REFUSED and piece.endpoint == Endpoint(protocol, port) and piece.at > at
        for protocol, port, at, kept in attempts
        for piece in evidence_of((), kept)
    )


def deferred(
    connection: sqlite3.Connection, address: str, at: float | None
) -> tuple[tuple[Endpoint, Aim, bytes, int], ...]:
    """Letters that the address asked us to bring later, and how often they were brought."""
    rows: Iterable[tuple[str, int, str, str, int]] = connection.execute(
        "SELECT protocol, port, aim, id, tries FROM letters WHERE address = ? AND at > ? AND kind = 'deferred'"
        " ORDER BY at, id",
        (address, -1.0 if at is None else at - DAYS),
    )
    return tuple((Endpoint(name, port), _aim(aim), bytes.fromhex(id_), tries) for name, port, aim, id_, tries in rows)


def _aim(text: str) -> Aim:
    return aim_of(json.loads(text))
