"""What the store knows: functions of any connection, each run on one snapshot."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address

from scanner.model import (
    Address,
    Endpoint,
    Event,
    Listing,
    Reason,
    RemovalState,
    RemovalStep,
    Standing,
    State,
)
from scanner.store.letters import deferred
from scanner.store.outbox import counts
from scanner.store.rows import (
    EVENT,
    EVIDENCE,
    LISTING,
    NOMINATION,
    Row,
    covering,
    event_of,
    evidence_of,
    listing_of,
    nomination_of,
    not_a_cursor,
    seq_of,
    watch_of,
)
from scanner.store.types import Exclusion, Nomination, PortStatistic, Removal, StoredVisit

ANSWER_WITHIN = 2 * 86400.0  # seconds for an appeal; after seven days RFC 6471 2.2.3 is broken
YEAR = 365 * 86400.0  # seconds in which an earlier listing counts as a relisting


def standing(connection: sqlite3.Connection, address: str, at: float | None, exits: Iterable[str] = ()) -> Standing:
    """What policy decides on. at: ends of listings are those of the 365 days before; None gives all.

    exits: that were seen just now, by name: they may be listed already, as other entries' exits.
    """
    own = connection.execute(
        f"SELECT {LISTING} FROM listings WHERE address = ?"
        f" UNION SELECT {LISTING} FROM listings WHERE entry = ?"
        " ORDER BY list, address, type",
        (address, address),
    ).fetchall()
    watches = {
        watch.list: watch
        for watch in map(
            watch_of,
            connection.execute("SELECT address, list, next_visit, body FROM watches WHERE address = ?", (address,)),
        )
    }
    seen = sorted({*exits, *(exit_ for watch in watches.values() for exit_, _, _ in watch.exits_seen)})
    known_keys = {row[:3] for row in own}
    own += [
        row
        for row in connection.execute(
            f"SELECT {LISTING} FROM listings WHERE type IN ('exit', 'relay-output')"
            f" AND address IN ({', '.join('?' * len(seen))})",
            seen,
        )
        if row[:3] not in known_keys
    ]
    ends = connection.execute(
        "SELECT list, at, kind FROM events WHERE address = ? AND at >= ?"
        " AND type NOT IN ('exit', 'relay-output', 'manual') AND (kind IN ('delisted', 'expired', 'withdrawn') OR"
        " (kind = 'listed' AND reason = 'reopened')) ORDER BY at, seq",
        (address, -1.0 if at is None else at - YEAR),
    ).fetchall()
    last_ends = {list_: (at_, kind) for list_, at_, kind in ends if kind != "listed"}
    withdrawn = {list_: at_ for list_, (at_, kind) in last_ends.items() if kind == "withdrawn"}
    exit_entries: dict[tuple[str, str], tuple[str, ...]] = {}
    for list_, exit_, other in connection.execute(
        # Its listing names the exits of the last days; one that is listed as its own may be from before.
        "SELECT mine.list, mine.exit, others.entry FROM (SELECT list, exit FROM exits WHERE entry = ?1"
        " UNION SELECT list, address FROM listings WHERE entry = ?1) AS mine LEFT JOIN exits AS others"
        " ON others.exit = mine.exit AND others.list = mine.list AND others.entry <> ?1 ORDER BY 1, 2, 3",
        (address,),
    ):
        known = exit_entries.get((list_, exit_), ())
        exit_entries[list_, exit_] = known if other is None or other in known else (*known, other)
    (last_visit,) = connection.execute("SELECT max(ended) FROM visits WHERE address = ?", (address,)).fetchone()
    opted_out = excluded(connection, address)
    return Standing(
        tuple(map(listing_of, own)),
        watches.get("ops"),
        tuple((list_, at_) for list_, at_, _ in ends),
        exit_entries,
        opted_out,
        last_visit,
        opted_out is not None and _sampled(connection, address, last_visit),
        _dynamic(connection, address),
        watches.get("rss"),
        deferred(connection, address, at),
        withdrawn,
        _nominated(connection, address) if withdrawn else 0.0,
    )


def _nominated(connection: sqlite3.Connection, address: str) -> float:
    """When the latest nomination came that was accepted."""
    (latest,) = connection.execute(
        "SELECT max(at) FROM nominations WHERE address = ? AND state = 'scheduled'", (address,)
    ).fetchone()
    return 0.0 if latest is None else float(latest)


def _sampled(connection: sqlite3.Connection, address: str, last_visit: float | None) -> bool:
    """Whether a nomination with a sample came since the last visit: an opt-out yields to it once."""
    found = connection.execute(
        "SELECT 1 FROM nominations WHERE address = ? AND at >= ? AND state = 'scheduled' AND sample IS NOT NULL",
        (address, -1.0 if last_visit is None else last_visit),
    ).fetchone()
    return found is not None


def _dynamic(connection: sqlite3.Connection, address: str) -> bool:
    if connection.execute("SELECT 1 FROM listings WHERE list = 'dul'").fetchone() is None:
        return False  # the usual case, and the keys below cost up to 0.3 ms
    keys = covering(address)
    found = connection.execute(
        f"SELECT 1 FROM listings WHERE list = 'dul' AND address IN ({', '.join('?' * len(keys))})", keys
    ).fetchone()
    return found is not None


def excluded(connection: sqlite3.Connection, address: str) -> str | None:
    """The reason of the narrowest opt-out that covers the address."""
    if connection.execute("SELECT 1 FROM exclusions").fetchone() is None:
        return None  # the usual case, and the keys below cost up to 0.3 ms
    keys = covering(address)
    rows = connection.execute(
        f"SELECT network, reason FROM exclusions WHERE network IN ({', '.join('?' * len(keys))})", keys
    ).fetchall()
    reasons = dict(rows)
    return next((reasons[key] for key in keys if key in reasons), None)


def excluded_since(connection: sqlite3.Connection, address: str) -> float | None:
    """When the earliest of the opt-outs that cover the address began."""
    keys = covering(address)
    (since,) = connection.execute(
        f"SELECT min(at) FROM exclusions WHERE network IN ({', '.join('?' * len(keys))})", keys
    ).fetchone()
    return None if since is None else float(since)


def lookup(connection: sqlite3.Connection, address: Address | IPv4Network | IPv6Network) -> list[Listing]:
    keys = covering(str(address))
    rows = connection.execute(
        f"SELECT {LISTING} FROM listings WHERE address IN ({', '.join('?' * len(keys))}) ORDER BY list, address, type",
        keys,
    )
    return [listing_of(row) for row in rows]


def listings(
    connection: sqlite3.Connection, list_: str | None, after: tuple[str, str, str] | None, limit: int
) -> list[Listing]:
    """In the order of their keys; after: the key of the last one seen."""
    rows = connection.execute(
        f"SELECT {LISTING} FROM listings"
        " WHERE (list, address, type) > (?1, ?2, ?3) AND (?4 IS NULL OR list = ?4)"
        " ORDER BY list, address, type LIMIT ?5",
        (*(after or (list_ or "", "", "")), list_, limit),
    )
    return [listing_of(row) for row in rows]


def entries(connection: sqlite3.Connection, after: tuple[str, str, str] | None, limit: int) -> list[Row]:
    """What publishing needs of the listings, as bare rows: a third of the time that listings() takes."""
    return connection.execute(
        "SELECT list, address, type, detector, reason, vantage FROM listings"
        " WHERE (list, address, type) > (?, ?, ?) ORDER BY list, address, type LIMIT ?",
        (*(after or ("", "", "")), limit),
    ).fetchall()


def events(connection: sqlite3.Connection, after: str | None, limit: int) -> list[Event]:
    rows = connection.execute(
        f"SELECT {EVENT} FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
        (-1 if after is None else seq_of(after), limit),
    )
    return [event_of(row) for row in rows]


def last_cursor(connection: sqlite3.Connection) -> str | None:
    row = connection.execute(f"SELECT {EVENT} FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    return None if row is None else event_of(row).cursor


def check_cursor(connection: sqlite3.Connection, cursor: str) -> None:
    """ValueError for a cursor that no event has or, before it was purged, had."""
    newest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    if seq_of(cursor) > (newest[0] if newest else 0):
        raise ValueError(not_a_cursor(cursor))


def visits(connection: sqlite3.Connection, address: Address, limit: int) -> list[StoredVisit]:
    """The latest first."""
    return [
        _visit(connection, row)
        for row in connection.execute(
            "SELECT id, address, reason, removal, started, ended, vantages, state, why, mail, exits, attempts"
            " FROM visits WHERE address = ? ORDER BY ended DESC, id LIMIT ?",
            (str(address), limit),
        ).fetchall()
    ]


def _visit(connection: sqlite3.Connection, row: Row) -> StoredVisit:
    id_, address, reason, removal, started, ended, vantages, state, why, mail, exits, attempts = row
    return StoredVisit(
        id_,
        ip_address(address),
        Reason(reason),
        removal,
        started,
        ended,
        tuple(json.loads(vantages)),
        State(state),
        why,
        None if mail is None else bool(mail),
        tuple(map(ip_address, json.loads(exits))),
        evidence_of(connection.execute(f"SELECT {EVIDENCE} FROM evidence WHERE visit = ?", (id_,)), attempts),
    )


def removal(connection: sqlite3.Connection, id_: str) -> Removal | None:
    row = connection.execute(
        "SELECT address, target, requester, at, state, partly FROM removals WHERE id = ?", (id_,)
    ).fetchone()
    if row is None:
        return None
    address, target, requester, at, state, partly = row
    steps = connection.execute("SELECT at, state, detail FROM removal_steps WHERE removal = ? ORDER BY number", (id_,))
    return Removal(
        id_,
        ip_address(address),
        RemovalState(state),
        tuple(RemovalStep(id_, moment, RemovalState(name), detail) for moment, name, detail in steps),
        ip_address(target),
        requester,
        at,
        partly=bool(partly),
    )


def nominations(connection: sqlite3.Connection, state: str | None, limit: int) -> list[Nomination]:
    """The oldest first."""
    rows = connection.execute(
        f"SELECT {NOMINATION} FROM nominations WHERE ?1 IS NULL OR state = ?1 ORDER BY at, id LIMIT ?2",
        (state, limit),
    )
    return [nomination_of(row) for row in rows]


def port_statistics(connection: sqlite3.Connection) -> list[PortStatistic]:
    """What relays most first."""
    return [
        PortStatistic(Endpoint(protocol, port), tried, relayed, last_relayed)
        for protocol, port, tried, relayed, last_relayed in connection.execute(
            "SELECT protocol, port, tried, relayed, last_relayed FROM port_statistics"
            " ORDER BY relayed DESC, tried DESC, protocol, port"
        )
    ]


def exclusions(connection: sqlite3.Connection) -> list[Exclusion]:
    return [
        Exclusion(*row)
        for row in connection.execute("SELECT network, reason, declared_by, at FROM exclusions ORDER BY network")
    ]


def status(connection: sqlite3.Connection) -> dict[str, tuple[dict[str, object], float]]:
    return {
        name: (json.loads(value), at)
        for name, value, at in connection.execute("SELECT name, value, at FROM status ORDER BY name")
    }


def figures(connection: sqlite3.Connection, at: float) -> dict[str, int]:
    """Counts for the status page; `listings.LIST.TYPE` for each that there is."""

    def count(query: str, *values: object) -> int:
        return int(connection.execute(query, values).fetchone()[0] or 0)

    day_ago = at - 86400
    found = {
        "targets": count("SELECT count(*) FROM targets"),
        "targets.due": count("SELECT count(*) FROM targets WHERE ready_at <= ?", at),
        "targets.taken": count("SELECT count(*) FROM targets WHERE taken_until > ?", at),
        "visits.day": count("SELECT count(*) FROM visits WHERE ended > ?", day_ago),
        "proofs.day": count("SELECT sum(proofs) FROM visits WHERE ended > ?", day_ago),
        "events": count("SELECT count(*) FROM events"),
        "nominations": count("SELECT count(*) FROM nominations"),
        "nominations.review": count("SELECT count(*) FROM nominations WHERE state = 'review'"),
        "removals": count("SELECT count(*) FROM removals"),
        "removals.running": count("SELECT count(*) FROM removals WHERE running"),
        "appeals.open": count("SELECT count(*) FROM appeals WHERE open"),
        "appeals.late": count("SELECT count(*) FROM appeals WHERE open AND at < ?", at - ANSWER_WITHIN),
        "exclusions": count("SELECT count(*) FROM exclusions"),
        "listings": count("SELECT count(*) FROM listings"),
    }
    for state, number in counts(connection).items():
        found[f"mail.{state}"] = number
    for list_, type_, number in connection.execute(
        "SELECT list, type, count(*) FROM listings GROUP BY list, type ORDER BY list, type"
    ):
        found[f"listings.{list_}.{type_}"] = number
    return found
