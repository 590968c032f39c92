"""Does the store hold together? And how it is kept small, and copied."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from scanner.model import Listing
from scanner.store.intake import DAY
from scanner.store.letters import AWAITED
from scanner.store.reading import YEAR
from scanner.store.rows import EVENT, LISTING, event_of, listing_of

SLICE = 1000  # rows purged in one transaction, so that nobody waits long for a large purge


def verify(connection: sqlite3.Connection) -> list[str]:
    """One line for each thing that is wrong; nothing where all is well."""
    damage = [text for (text,) in connection.execute("PRAGMA integrity_check(20)") if text != "ok"]
    if damage:
        return [f"damaged: {text}" for text in damage]
    return [*_replay(connection), *_consistency(connection)]


def _replay(connection: sqlite3.Connection) -> list[str]:
    """The events, in order, must give exactly the listings."""
    wrong: list[str] = []
    expected: dict[tuple[str, str, str], Listing] = {}
    for row in connection.execute(f"SELECT {EVENT} FROM events ORDER BY seq"):
        event = event_of(row)
        key = event.listing.key
        if event.kind.ends:
            if expected.pop(key, None) is None:
                wrong.append(f"event {event.id} ends {'/'.join(key)}, which was not listed")
        else:
            expected[key] = event.listing
    for row in connection.execute(f"SELECT {LISTING} FROM listings"):
        listing = listing_of(row)
        by_events = expected.pop(listing.key, None)
        if by_events is None:
            wrong.append(f"listing {'/'.join(listing.key)} stands without an event")
        elif by_events != listing:
            wrong.append(f"listing {'/'.join(listing.key)} differs from its last event")
    wrong += [f"listing {'/'.join(key)} is missing: its last event says that it stands" for key in expected]
    return wrong


_RULES = {
    "a foreign key of table {0} leads nowhere": "PRAGMA foreign_key_check",
    "removal {0} is running, but nobody is going to visit its target": (
        "SELECT id FROM removals WHERE running"
        " AND NOT EXISTS (SELECT 1 FROM targets WHERE address = target AND removal = removals.id)"
    ),
    "appeal {0} waits for a retest that is over": (
        "SELECT id FROM appeals WHERE state = 'retesting'"
        " AND NOT EXISTS (SELECT 1 FROM removals WHERE id = retest AND running)"
    ),
    "target {0} waits in a network that is due later or never": (
        "SELECT address FROM targets JOIN networks ON networks.id = network"
        " WHERE networks.ready_at IS NULL OR networks.ready_at > targets.ready_at + 0.000001"
        " AND networks.ready_at > coalesce(lease_until, 0)"
    ),
    "nomination of {0} is accepted, but it was not visited since and nobody is going to": (
        "SELECT address FROM nominations AS n WHERE state = 'scheduled'"
        " AND NOT EXISTS (SELECT 1 FROM targets WHERE address = n.address)"
        " AND NOT EXISTS (SELECT 1 FROM visits WHERE address = n.address AND removal IS NULL AND ended >= n.at)"
    ),
    "exit {0} of {1} is not among the exits of a listing": (
        "SELECT exit, entry FROM exits AS x WHERE NOT EXISTS (SELECT 1 FROM listings AS l, json_each(l.exits)"
        " WHERE l.list = x.list AND l.address = x.entry AND json_each.value = x.exit)"
    ),
    "exit {0} of {1} is not kept as one": (
        "SELECT value, address FROM listings AS l, json_each(l.exits) WHERE NOT EXISTS"
        " (SELECT 1 FROM exits WHERE list = l.list AND entry = l.address AND exit = value)"
    ),
}


def _consistency(connection: sqlite3.Connection) -> list[str]:
    return [text.format(*row) for text, query in _RULES.items() for row in connection.execute(query)]


# Slices of what is older than :before. What holds up a listing stays: its last visit, and its events since it
# was listed. Ended listings count against a relisting for a year, so their events stay at least as long. A letter that
# may still arrive stays, with the visits that would make it void.
_PURGES = {
    "visits": (
        "SELECT id FROM visits WHERE ended < :before"
        " AND NOT EXISTS (SELECT 1 FROM listings WHERE visit = visits.id)"
        " AND NOT EXISTS (SELECT 1 FROM letters WHERE address = visits.address AND at >= :awaited) LIMIT :slice"
    ),
    "nominations": (
        "SELECT id FROM nominations WHERE at < :before AND state <> 'review' AND NOT EXISTS"
        " (SELECT 1 FROM targets WHERE address = nominations.address AND reason = 'nomination') LIMIT :slice"
    ),
    "letters": "SELECT id FROM letters WHERE at < :awaited LIMIT :slice",
    "deliveries": "SELECT id FROM deliveries WHERE at < :awaited LIMIT :slice",
    "removals": (
        "SELECT id FROM removals WHERE at < :before AND NOT running AND NOT EXISTS"
        " (SELECT 1 FROM appeals WHERE open AND (removal = removals.id OR retest = removals.id)) LIMIT :slice"
    ),
    "events": (
        "SELECT id FROM events WHERE at < :year_before AND EXISTS (SELECT 1 FROM events AS later"
        " WHERE later.address = events.address AND later.list = events.list AND later.type = events.type"
        " AND later.seq >= events.seq AND later.at < :year_before"
        " AND later.kind IN ('delisted', 'expired', 'withdrawn')) ORDER BY seq LIMIT :slice"
    ),
}
PURGED = tuple(_PURGES)


def purge(connection: sqlite3.Connection, table: str, before: float, at: float) -> int:
    """Delete one slice; how many rows it was."""
    moments = {"before": before, "year_before": min(before, at - YEAR), "awaited": min(before, at - AWAITED)}
    found = connection.execute(_PURGES[table], {**moments, "slice": SLICE}).fetchall()
    connection.executemany(f"DELETE FROM {table} WHERE id = ?", found)
    return len(found)


def purge_networks(connection: sqlite3.Connection, at: float) -> int:
    """Delete a slice of the networks in which nothing waits.

    Not before the last lease is over for a day: the number of the next begins anew.
    """
    found = connection.execute(
        "SELECT id FROM networks WHERE coalesce(lease_until, 0) <= ? AND NOT EXISTS"
        " (SELECT 1 FROM targets WHERE network = networks.id) LIMIT ?",
        (at - DAY, SLICE),
    ).fetchall()
    connection.executemany("DELETE FROM networks WHERE id = ?", found)
    return len(found)


def backup(connection: sqlite3.Connection, path: Path) -> None:
    """A whole copy as of this moment, while others go on writing."""
    with closing(sqlite3.connect(path)) as copy:
        connection.backup(copy)
