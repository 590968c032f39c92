"""What happened in the last days, for the public figures. Looks at many rows: cache it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass

from scanner.model import RemovalState

DAY = 86400.0
_REMOVALS = 10_000  # of the latest


@dataclass(frozen=True, slots=True)
class Day:
    """start: midnight UTC."""

    start: float
    listed: int
    ended: int
    visits: int
    proofs: int


@dataclass(frozen=True, slots=True)
class History:
    """days: the oldest first, without a gap. removals: seconds from request to delisting, ascending."""

    days: tuple[Day, ...]
    removals: tuple[float, ...]
    outcomes: dict[str, int]  # of removal requests, by state


def history(connection: sqlite3.Connection, at: float, days: int) -> History:
    today = int(at // DAY)
    first = (today - days + 1) * DAY
    listed: Counter[int] = Counter()
    ended: Counter[int] = Counter()
    for day, kind, number in connection.execute(
        "SELECT CAST(at / 86400 AS INTEGER), kind, count(*) FROM events WHERE at >= ? AND kind <> 'confirmed'"
        " GROUP BY 1, 2",
        (first,),
    ):
        (listed if kind == "listed" else ended)[day] += number
    visits = {
        day: (number, proofs)
        for day, number, proofs in connection.execute(
            "SELECT CAST(ended / 86400 AS INTEGER), count(*), sum(proofs > 0) FROM visits WHERE ended >= ? GROUP BY 1",
            (first,),
        )
    }
    took = [
        seconds
        for (seconds,) in connection.execute(
            "SELECT max(s.at) - r.at FROM removals AS r JOIN removal_steps AS s ON s.removal = r.id"
            " WHERE r.state = ? AND r.at >= ? GROUP BY r.id ORDER BY r.at DESC LIMIT ?",
            (RemovalState.DELISTED, first, _REMOVALS),
        )
    ]
    outcomes = connection.execute(
        "SELECT state, count(*) FROM removals WHERE at >= ? AND NOT running GROUP BY state ORDER BY state", (first,)
    )
    return History(
        tuple(
            Day(day * DAY, listed[day], ended[day], *visits.get(day, (0, 0)))
            for day in range(today - days + 1, today + 1)
        ),
        tuple(sorted(took)),
        dict(outcomes),
    )
