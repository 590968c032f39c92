"""The public figures: gathered at most once a minute, whoever asks how often."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import trio
from markupsafe import Markup

from scanner.store import Store
from scanner.store.history import History
from scanner.web import charts
from scanner.web.words import LISTS

_FRESH = 60.0  # seconds
_DAYS = 21
_PORTS = 12


@dataclass(frozen=True, slots=True)
class Figures:
    """What /status shows. listed: name of the list, type, number."""

    at: float
    counts: dict[str, int]
    listed: list[tuple[str, str, int]]
    history: History
    changes: Markup
    visits: Markup
    ports: Markup
    ranking: list[tuple[str, int, int]]  # endpoint, relayed, tried

    @property
    def median(self) -> float | None:
        """Seconds from a removal request to delisting, of half of them at most."""
        return self._at_share(0.5)

    @property
    def slowest(self) -> float | None:
        """The same of 99 in 100."""
        return self._at_share(0.99)

    def _at_share(self, share: float) -> float | None:
        took = self.history.removals
        return took[min(len(took) - 1, int(len(took) * share))] if took else None


class FigureKeeper:
    """Gathers them when they are asked for and old; one at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = trio.Lock()
        self._latest: Figures | None = None

    async def get(self) -> Figures:
        """Not older than a minute."""
        async with self._lock:
            if self._latest is None or time.time() - self._latest.at > _FRESH:
                self._latest = await self._gather()
            return self._latest

    async def _gather(self) -> Figures:
        now = time.time()
        counts = await self._store.figures(now)
        history = await self._store.history(now, _DAYS)
        statistics = [item for item in await self._store.port_statistics() if item.relayed][:_PORTS]
        days = [day.start for day in history.days]
        return Figures(
            at=now,
            counts=counts,
            listed=_listed(counts),
            history=history,
            changes=charts.columns(
                f"Listed and ended on each of {_DAYS} days",
                days,
                [("listed", [day.listed for day in history.days]), ("ended", [day.ended for day in history.days])],
            ),
            visits=charts.columns(
                f"Visits, and visits with proof, on each of {_DAYS} days",
                days,
                [("visits", [day.visits for day in history.days]), ("proofs", [day.proofs for day in history.days])],
            ),
            ports=charts.rows("Endpoints that relayed most often", [(str(i.endpoint), i.relayed) for i in statistics]),
            ranking=[(str(item.endpoint), item.relayed, item.tried) for item in statistics],
        )


def _listed(counts: dict[str, Any]) -> list[tuple[str, str, int]]:
    found = []
    for name, number in counts.items():
        kind, _, rest = name.partition(".")
        if kind == "listings" and "." in rest:
            list_, type_ = rest.split(".", 1)
            found.append((LISTS.get(list_, list_), type_, number))
    return found
