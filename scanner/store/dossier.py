"""All that the lookup page says of an address, read on one snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from scanner.model import Address, Event, Kind, Listing
from scanner.software import Software, software_of
from scanner.store.intake import NotBefore, refusal
from scanner.store.reading import excluded, lookup
from scanner.store.rows import EVENT, event_of, expand
from scanner.store.types import RemovalRefused, Terms


@dataclass(frozen=True, slots=True)
class Dossier:
    """listings: of the address and of networks that cover it. refused: why no removal would be taken just now."""

    address: Address
    at: float
    listings: tuple[Listing, ...]
    next_visits: dict[str, float]  # by the address of an entry
    excluded: str | None  # reason of an opt-out
    refused: RemovalRefused | None
    ended: Event | None  # how the latest listing of the address itself ended, where none stands
    # What answered where strangers were served, by the visit that holds a listing up.
    software: Mapping[str, Software] = field(default_factory=dict)


def dossier(
    connection: sqlite3.Connection, address: Address, at: float, not_before: NotBefore, requester: str, terms: Terms
) -> Dossier:
    listings = tuple(lookup(connection, address))
    entries = sorted({listing.entry or listing.address for listing in listings if listing.type != "manual"})
    found = refusal(connection, address, at, not_before, requester, terms)
    return Dossier(
        address,
        at,
        listings,
        dict(
            connection.execute(
                f"SELECT address, min(next_visit) FROM watches"
                f" WHERE address IN ({', '.join('?' * len(entries))}) GROUP BY address",
                entries,
            )
        ),
        excluded(connection, str(address)),
        found if isinstance(found, RemovalRefused) else None,
        None if listings else _ended(connection, address),
        _software(connection, listings),
    )


def _software(connection: sqlite3.Connection, listings: tuple[Listing, ...]) -> dict[str, Software]:
    found = {}
    for visit in {listing.visit for listing in listings if listing.visit and listing.entry is None}:
        transcripts = connection.execute(
            "SELECT transcript FROM evidence WHERE visit = ?1 AND port IN"
            " (SELECT port FROM evidence WHERE visit = ?1 AND kind = ?2) ORDER BY number",
            (visit, Kind.RELAYED),
        )
        software = software_of(expand(transcript) for (transcript,) in transcripts)
        if software is not None:
            found[visit] = software
    return found


def _ended(connection: sqlite3.Connection, address: Address) -> Event | None:
    """The latest end of a listing of the address itself, or of the /64 that an exit is listed by."""
    keys = [str(address)]
    if address.version == 6:
        keys.append(str(ip_network((int(address), 64), strict=False)))
    row = connection.execute(
        f"SELECT {EVENT} FROM events WHERE address IN ({', '.join('?' * len(keys))})"
        " AND kind IN ('delisted', 'expired', 'withdrawn') ORDER BY at DESC, seq DESC LIMIT 1",
        keys,
    ).fetchone()
    return None if row is None else event_of(row)
