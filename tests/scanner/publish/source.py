"""A store in memory, as publishing sees it."""

from __future__ import annotations

from dataclasses import replace

from scanner.model import Event, EventKind, Listing

AT = 1_800_000_000.0


def listing(address, list_="ops", type_="entry", detector="socks5/1", vantage="here", **changes):
    made = Listing(list_, address, type_, "open-proxy", "nomination", detector, vantage, AT, AT, AT + 86400)
    return replace(made, **changes)


class Memory:
    def __init__(self) -> None:
        self.history: list[Event] = []
        self.standing: dict[tuple[str, str, str], Listing] = {}
        self.shown: dict[str, tuple[dict, float]] = {}
        self.broken: Exception | None = None

    def list(self, address, at=None, **more):
        return self._add(EventKind.CONFIRMED if self._stands(address, **more) else EventKind.LISTED, address, more, at)

    def end(self, address, kind=EventKind.DELISTED, at=None, **more):
        key = listing(address, **more).key
        return self._add(kind, address, more, at) if key in self.standing else None

    def _stands(self, address, **more):
        return listing(address, **more).key in self.standing

    def _add(self, kind, address, more, at):
        made = listing(address, **more)
        number = len(self.history) + 1
        event = Event(kind, AT + number if at is None else at, made, f"{number:032x}", str(number))
        self.history.append(event)
        if kind.ends:
            del self.standing[made.key]
        else:
            self.standing[made.key] = made
        return event

    async def events(self, after=None, limit=1000):
        if self.broken:
            raise self.broken
        start = int(after) if after else 0
        return self.history[start : start + limit]

    async def last_cursor(self):
        return self.history[-1].cursor if self.history else None

    async def entries(self, after=None, limit=50_000):
        keys = [key for key in sorted(self.standing) if after is None or key > after][:limit]
        found = [self.standing[key] for key in keys]
        return [(x.list, x.address, x.type, x.detector, x.reason, x.vantage) for x in found]

    async def listings(self, list_=None, after=None, limit=1000):
        keys = [key for key in sorted(self.standing) if after is None or key > after]
        return [self.standing[key] for key in keys if list_ in (None, key[0])][:limit]

    async def set_status(self, name, value, at):
        self.shown[name] = (value, at)

    async def status(self):
        return dict(self.shown)
