"""What a visit, an expiry or an operator's word changes: read, decide, write, in one transaction.

A listing changes only here, and only with its event.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from secrets import token_hex
from typing import Protocol

from core.cidr import CidrSet
from scanner.exits import exit_name
from scanner.model import (
    Decision,
    Event,
    EventKind,
    Listing,
    RemovalState,
    RemovalStep,
    Standing,
    VisitRecord,
    Watch,
)
from scanner.store.appeals import note_end
from scanner.store.intake import NotBefore, add_step, at_once, go_on, hold, nominated_since, retested
from scanner.store.letters import post, refused_since, settle_delivery
from scanner.store.reading import excluded, excluded_since, standing
from scanner.store.rows import (
    LISTING,
    canonical,
    cursor_of,
    dumps,
    evidence_rows,
    listing_of,
    listing_row,
    watch_body,
)
from scanner.store.schedule import holds, settle
from scanner.store.types import NEXT, Leased
from scanner.verdict import void

Decide = Callable[[Standing], Decision]

# Why a request for an exit ends with an entry that is left: by the reason of a refusal.
_NOT_NOW = {
    "running": "another request retests that one just now",
    "too_soon": "that one was asked for just now, and the next request retests it",
    "turned": "this request retested that one before, and the next request does",
    "excluded": "its holder opted out of being probed, so that one can't be retested",
    "relisted": "that one was listed again and again within a year, and can't be retested yet",
}


class Resume(Protocol):
    """What ends the standstill of a listing's expiry."""

    def __call__(self, listing: Listing, *, since: float, at: float) -> Event: ...


def conclude(
    connection: sqlite3.Connection,
    record: VisitRecord,
    decide: Decide,
    lease: Leased | None,
    not_before: NotBefore = at_once,
) -> tuple[Event, ...]:
    """() where the visit is there already, or its lease counts no more: then it is kept, and changes nothing."""
    visit = record.visit
    if connection.execute("SELECT 1 FROM visits WHERE id = ?", (visit.id,)).fetchone() is not None:
        return ()
    if lease is not None and not holds(connection, lease):
        _insert_visit(connection, void(record, "its turn had been given to another"))
        return ()
    address = str(visit.address)
    decision = decide(standing(connection, address, record.ended, map(exit_name, record.verdict.exits)))
    _insert_visit(connection, record)
    _count_endpoints(connection, record)
    post(connection, record)
    events = _apply(connection, address, decision, not_before)
    if decision.held:
        hold(connection, address, decision.held, record.ended)
    after = decision.next_target
    answers = after is not None and visit.target.removal is None  # or is asked once more; else what was kept tells
    asked = nominated_since(connection, visit.address, record.ended, record.ended if answers else None)
    if asked is not None and (after is None or (not after.reason.on_demand and asked.due < after.due)):
        after = asked
    settle(connection, address, visit.target, after, watched=_watched(decision))
    return events


def receive(connection: sqlite3.Connection, letter: str, late: VisitRecord, decide: Decide) -> tuple[Event, ...]:
    """What a letter changes that arrived after its visit. () where it was settled before or is void."""
    address = str(late.visit.address)
    void = refused_since(connection, letter)
    if not settle_delivery(connection, letter) or void:
        return ()
    decision = decide(standing(connection, address, late.ended, map(exit_name, late.verdict.exits)))
    events = _apply(connection, address, decision)
    if decision.held:
        hold(connection, address, decision.held, late.ended)
    settle(connection, address, None, decision.next_target, watched=_watched(decision))
    return events


def _watched(decision: Decision) -> bool:
    return decision.watch is not None or decision.relay is not None


def change(connection: sqlite3.Connection, address: str, decide: Decide, at: float) -> tuple[Event, ...]:
    """The same without a visit."""
    key = canonical(address)
    decision = decide(standing(connection, key, at))
    events = _apply(connection, key, decision)
    if "/" not in key:
        after, watched = decision.next_target, _watched(decision)
        if after is None and not watched:  # the rescan goes that was to answer a nomination too
            after = nominated_since(connection, ip_address(key), at)
        settle(connection, key, None, after, watched=watched)
    return events


def expire(connection: sqlite3.Connection, at: float, limit: int, decide: Decide) -> tuple[Event, ...]:
    """change() for each address with a listing whose expiry has come, at most `limit` of them.

    Under an opt-out the expiry stands still: nobody may look whether the listing is still right.
    """
    due = connection.execute(
        "SELECT address, min(expires) AS earliest FROM listings WHERE expires <= ?"
        " GROUP BY address ORDER BY earliest, address",
        (at,),
    ).fetchall()
    events: list[Event] = []
    for address, _ in due:
        if limit <= 0:
            break
        if excluded(connection, address) is None:
            events += change(connection, address, decide, at)
            limit -= 1
    return tuple(events)


def end_exclusion(connection: sqlite3.Connection, network: str, resume: Resume, at: float) -> bool:
    """An opt-out ends, and with it the standstill of what is listed inside it. False where there was none."""
    key = canonical(network)
    found = connection.execute("DELETE FROM exclusions WHERE network = ? RETURNING at", (key,)).fetchone()
    if found is None:
        return False
    inside = CidrSet([key])
    one = "" if "/" in key else " WHERE address = ?"
    for row in connection.execute(f"SELECT {LISTING} FROM listings{one}", (key,) * bool(one)).fetchall():
        listing = listing_of(row)
        within = CidrSet([listing.address]) <= inside if "/" in listing.address else listing.address in inside
        if not within:
            continue
        other = excluded_since(connection, listing.address)
        if other is None:
            _append(connection, resume(listing, since=found[0], at=at))
        elif other > max(found[0], listing.last_confirmed):  # it stands still on, and has done so since before
            _append(connection, replace(resume(listing, since=found[0], at=other), at=at))
    return True


def _apply(
    connection: sqlite3.Connection, address: str, decision: Decision, not_before: NotBefore = at_once
) -> tuple[Event, ...]:
    events = tuple(_append(connection, event) for event in decision.events)
    _set_watch(connection, address, "ops", decision.watch)
    _set_watch(connection, address, "rss", decision.relay)
    if decision.removal is not None:
        add_step(connection, _as_asked(connection, decision.removal, not_before))
    return events


def _as_asked(connection: sqlite3.Connection, step: RemovalStep, not_before: NotBefore) -> RemovalStep:
    """The outcome for the address that was asked about: an exit stays with another entry, which comes next."""
    if step.state is not RemovalState.DELISTED:
        return step
    row = connection.execute(
        "SELECT address, target FROM removals WHERE id = ? AND running", (step.removal,)
    ).fetchone()
    entry = None if row is None else retested(connection, ip_address(row[0]))
    if entry is None:
        return step
    asked, target = row
    if str(entry) == asked:
        detail = f"{target} is off the list, but {asked} is listed for itself by now"
    else:
        detail = f"{target} is off the list, but conversations through {entry} come out here too"
    refused = go_on(connection, step, entry, not_before)
    if refused is None:
        return replace(step, state=RemovalState.RETESTING, detail=f"{detail}: {NEXT}")
    connection.execute("UPDATE removals SET partly = ? WHERE id = ?", (True, step.removal))
    return replace(step, state=RemovalState.STILL_OPEN, detail=f"{detail}: {_NOT_NOW[refused.reason]}")


def _append(connection: sqlite3.Connection, event: Event) -> Event:
    """Store an event and do to the listing what it says; the event with its id and cursor."""
    listing = event.listing
    if canonical(listing.address) != listing.address:
        raise ValueError(f"listing of {listing.address}: expected {canonical(listing.address)}")
    stands = connection.execute(
        "SELECT 1 FROM listings WHERE list = ? AND address = ? AND type = ?", listing.key
    ).fetchone()
    if stands is None and event.kind is not EventKind.LISTED:
        raise ValueError(f"{event.kind} event for {'/'.join(listing.key)}, which is not listed")
    id_ = event.id or token_hex(16)
    seq = connection.execute(
        "INSERT INTO events (id, at, kind, list, address, type, reason, listing) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (id_, event.at, event.kind, *listing.key, event.reason, dumps(listing_row(listing))),
    ).lastrowid
    assert seq is not None
    _set_listing(connection, event.kind, listing)
    if event.kind.ends:
        note_end(connection, event)
    return replace(event, id=id_, cursor=cursor_of(seq))


def _set_listing(connection: sqlite3.Connection, kind: EventKind, listing: Listing) -> None:
    if kind.ends:
        connection.execute("DELETE FROM listings WHERE list = ? AND address = ? AND type = ?", listing.key)
    else:
        connection.execute(
            f"INSERT OR REPLACE INTO listings ({LISTING}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            listing_row(listing),
        )
    here = (listing.list, listing.address)
    connection.execute("DELETE FROM exits WHERE list = ? AND entry = ?", here)
    connection.execute(
        "INSERT INTO exits (list, entry, exit) SELECT DISTINCT list, address, value"
        " FROM listings, json_each(exits) WHERE list = ? AND address = ?",
        here,
    )


def _set_watch(connection: sqlite3.Connection, address: str, list_: str, watch: Watch | None) -> None:
    if watch is None:
        connection.execute("DELETE FROM watches WHERE address = ? AND list = ?", (address, list_))
        return
    if (str(watch.address), watch.list) != (address, list_):
        raise ValueError(f"decision about {address} on {list_} has the watch of {watch.address} on {watch.list}")
    connection.execute(
        "INSERT INTO watches (address, list, next_visit, body) VALUES (?, ?, ?, ?) ON CONFLICT (address, list)"
        " DO UPDATE SET next_visit = excluded.next_visit, body = excluded.body",
        (address, watch.list, watch.next_visit, watch_body(watch)),
    )


def _insert_visit(connection: sqlite3.Connection, record: VisitRecord) -> None:
    visit, verdict = record.visit, record.verdict
    rows, attempts = evidence_rows(visit.id, record.evidence)
    connection.execute(
        "INSERT INTO visits (id, address, reason, removal, started, ended, vantages, state, why, mail, exits,"
        " proofs, attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            visit.id,
            str(visit.address),
            visit.reason,
            visit.target.removal,
            record.started,
            record.ended,
            dumps([vantage.name for vantage in visit.vantages]),
            verdict.state,
            verdict.why,
            verdict.mail,
            dumps([str(exit_) for exit_ in verdict.exits]),
            len(verdict.proofs),
            attempts,
        ),
    )
    connection.executemany(
        "INSERT INTO evidence (visit, number, protocol, port, kind, detail, vantage, aim, proof, elapsed, at,"
        " transcript) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def _count_endpoints(connection: sqlite3.Connection, record: VisitRecord) -> None:
    tried = {piece.endpoint for piece in record.evidence if piece.aim is not None}
    relayed = {piece.endpoint for piece in record.verdict.proofs}  # of a void visit there are none
    connection.executemany(
        "INSERT INTO port_statistics (protocol, port, tried, relayed, last_relayed) VALUES (?, ?, 1, ?, ?)"
        " ON CONFLICT (protocol, port) DO UPDATE SET tried = tried + 1, relayed = relayed + excluded.relayed,"
        " last_relayed = coalesce(excluded.last_relayed, last_relayed)",
        [
            (e.protocol, e.port, int(e in relayed), record.ended if e in relayed else None)
            for e in sorted(tried | relayed)
        ],
    )
