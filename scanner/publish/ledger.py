"""What is published and what is held: the store's events, through the gate. The store alone says what is listed; the
ledger remembers how far each list's additions were let through, so that it can be made again from the store.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from core.cidr import CidrMap, CidrSet
from scanner.model import Event, EventKind
from scanner.publish.gate import ABSENT, Cycle, Tally, Trip, judge, offence, soft_trip, stale_trip, touches
from scanner.publish.image import Image, item_of, text_of
from scanner.publish.settings import GateSection
from scanner.publish.views import LISTS, heading, heading_of

_BATCH = 500
_MANY = 10_000  # additions at once, from which on outputs rather look at everything
PROBED: Final = ("ops", "rss")  # the lists that stand on proofs, which grow old; the others on somebody's word
Key = tuple[str, str, bytes]  # list, type, item


class Source(Protocol):
    """What is needed of the store."""

    async def events(self, after: str | None, limit: int) -> Sequence[Event]: ...
    async def last_cursor(self) -> str | None: ...
    async def entries(
        self, after: tuple[str, str, str] | None = None, limit: int = 50_000
    ) -> Sequence[tuple[str, str, str, str, str, str]]: ...


@dataclass(slots=True)
class Aside:
    """An addition whose proof had grown old before anybody let it through. since: the cursor before its events."""

    since: str | None
    events: list[Event]


@dataclass(slots=True)
class Account:
    """Of one list. since: the cursor up to which its additions were let through; None: none was yet."""

    cycle: Cycle
    since: str | None = None
    trips: tuple[Trip, ...] = ()
    waiting: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class Changes:
    """What a release changes: entries whose records may differ, by list, and the events to make public.

    whole: more than items say.
    """

    whole: bool = False
    items: set[tuple[str, bytes]] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)


class Ledger:
    """Made by load(); then advance() takes what is new, and settle() lets additions through or holds them."""

    def __init__(
        self,
        gate: GateSection,
        never_list: CidrSet,
        never_list_soft: CidrSet,
        *,
        vantages: int = 1,
        systems: CidrMap[str] | None = None,
    ) -> None:
        self.gate = gate
        self.published = Image()
        self.held = Image()
        self.barred: dict[Key, tuple[Trip, bool]] = {}  # never published; whether a person still has to look
        self.stale: dict[Key, Aside] = {}  # neither published nor held, unless proven anew since
        self.accounts: dict[str, Account] = {}
        self.cursor: str | None = None
        self._never = never_list | ABSENT
        self._soft = never_list_soft
        self._vantages = vantages
        self._systems = systems

    async def load(self, source: Source, state: Mapping[str, Any], now: float) -> None:
        """Take the store's listings: what came after a list was last let through waits. state: of state()."""
        self.accounts = {list_: _account(state.get(list_), now) for list_ in LISTS}
        self.cursor = await source.last_cursor()
        await self._set_aside(source, state)
        recent = await self._recent(source)
        singles: dict[tuple[bool, Any], array[int]] = {}
        after = None
        while rows := await source.entries(after):
            after = rows[-1][:3]
            for list_, address, type_, detector, reason, vantage in rows:
                item, account = item_of(address), self.accounts[list_]
                waits = account.since is None or (list_, type_, item) in recent
                if not waits and (list_, type_, item) in self.stale:
                    continue
                place = heading(list_, type_, detector, reason)
                if waits:
                    account.waiting.add(item, detector, vantage, self._system(item))
                if len(item) == 4:
                    key = (waits, place)
                    if key not in singles:
                        singles[key] = array("I")
                    singles[key].append(int.from_bytes(item, "big"))
                else:
                    (self.held if waits else self.published).put(place, item)
        for (waits, place), addresses in singles.items():
            (self.held if waits else self.published).fill(place, addresses)
        for list_, account in self.accounts.items():
            self._bar(list_, self.published, asks=False)
            self._bar(list_, self.held, asks=True)
            if "cycle" not in (state.get(list_) or {}):
                account.cycle.base = self.published.count(list_)

    async def advance(self, source: Source) -> Changes:
        """Take the events since the last time. Ends take effect at once, additions wait for settle()."""
        changes = Changes()
        while events := await source.events(self.cursor, _BATCH):
            for event in events:
                self._take(event, changes)
            self.cursor = events[-1].cursor
        return changes

    async def settle(self, source: Source, now: float, changes: Changes, *, accept: bool = False) -> None:
        """Judge each list; let its additions through, or hold them and say why."""
        for list_, account in self.accounts.items():
            self._turn(list_, account, now)
            account.trips = self._judged(list_, account)
            passes = not account.trips or (accept and not any(self._stops(trip) for trip in account.trips))
            if not passes:
                continue
            if accept:
                self._renew(list_, account)
            if self.held.count(list_):
                found, since = await self._let_through(source, list_, account)
                if account.since is not None and list_ in PROBED and not accept:
                    found = self._put_aside(found, since, account, now)
                changes.events += found
                if self.held.count(list_) > _MANY:
                    changes.whole = True
                else:
                    changes.items.update((list_, i) for _, shelf in self.held.of_list(list_) for i in shelf.items())
                self.held.move(list_, self.published)
            account.since = self.cursor or ""
            account.cycle.released += account.waiting
            account.waiting = Tally()
            if accept:
                account.cycle, account.trips = Cycle(now, self.published.count(list_)), ()
                self.barred |= {key: (trip, False) for key, (trip, _) in self.barred.items() if key[0] == list_}

    def state(self) -> dict[str, Any]:
        """What load() needs, as plain values."""
        return {
            list_: {
                "since": account.since,
                "cycle": [account.cycle.began, account.cycle.base, account.cycle.removed],
                "released": account.cycle.released.state(),
                "stale": [
                    [aside.since, type_, text_of(item)]
                    for (of_list, type_, item), aside in self.stale.items()
                    if of_list == list_
                ],
            }
            for list_, account in self.accounts.items()
        }

    @property
    def trips(self) -> dict[str, list[str]]:
        """Why additions are held, by list."""
        found = {list_: [str(trip) for trip in account.trips] for list_, account in self.accounts.items()}
        for list_, lines in found.items():
            waiting = [key for key in self.stale if key[0] == list_ and self.held.find(*key) is None]
            if waiting:
                lines.append(str(stale_trip([item for _, _, item in waiting], self.gate.fresh_hours)))
        return {list_: lines for list_, lines in found.items() if lines}

    def waiting(self, list_: str) -> Iterator[str]:
        """The addresses and networks whose addition waits for a person, or for a new proof."""
        for _, shelf in self.held.of_list(list_):
            yield from map(text_of, shelf.items())
        yield from (text_of(key[2]) for key, (_, asks) in self.barred.items() if asks and key[0] == list_)
        yield from (text_of(key[2]) for key in self.stale if key[0] == list_ and self.held.find(*key) is None)

    def publishes(self, list_: str, type_: str, address: str) -> bool:
        """Whether a listing of the store is published."""
        return self.published.find(list_, type_, item_of(address)) is not None

    def waits(self, list_: str, type_: str, address: str) -> bool:
        """Whether a listing of the store is held or barred."""
        key = (list_, type_, item_of(address))
        return key in self.barred or key in self.stale or self.held.find(*key) is not None

    def _take(self, event: Event, changes: Changes) -> None:
        listing = event.listing
        key = _key(event)
        item = key[2]
        account = self.accounts[listing.list]
        if event.kind.ends:
            if self.published.take(*key) is not None:
                account.cycle.removed += event.kind is not EventKind.WITHDRAWN
                changes.items.add((listing.list, item))
                changes.events.append(event)
            elif self.held.take(*key) is not None:
                account.waiting.add(item, listing.detector, listing.vantage, self._system(item), -1)
            self.barred.pop(key, None)
            self.stale.pop(key, None)
        elif self.published.find(*key) is not None:
            if self.published.put(heading_of(listing), item):
                changes.items.add((listing.list, item))
            changes.events.append(event)
        elif (trip := offence(listing.list, item, self.gate, self._never)) is not None:
            self.barred.setdefault(key, (trip, True))
            self.stale.pop(key, None)
        else:
            if self.held.find(*key) is None:
                account.waiting.add(item, listing.detector, listing.vantage, self._system(item))
            self.held.put(heading_of(listing), item)

    def _judged(self, list_: str, account: Account) -> tuple[Trip, ...]:
        barred = [trip for key, (trip, asks) in self.barred.items() if asks and key[0] == list_][:3]
        if not account.waiting.added and not barred and not account.cycle.removed:
            return ()
        entries = self.published.count(list_) + self.held.count(list_)
        addresses = self.published.addresses(list_)[0] + self.held.addresses(list_)[0]
        trips = judge(
            list_,
            account.cycle,
            account.waiting,
            entries=entries,
            addresses=addresses,
            vantages=self._vantages,
            limits=self.gate,
        )
        return (*barred, *soft_trip(self._soft_items(list_)), *trips)

    def _stops(self, trip: Trip) -> bool:
        """Whether a person's word is not enough. What is barred itself stays out, and stops nobody else."""
        return trip.hard and trip.rule in ("entries", "coverage")

    def _soft_items(self, list_: str) -> list[bytes]:
        if not self._soft or not self.held.count(list_) or self.held.covered(list_).isdisjoint(self._soft):
            return []
        return [
            item
            for place, shelf in self.held.of_list(list_)
            if place.type != "manual"  # a person's word
            for item in shelf.items()
            if touches(item, self._soft)
        ]

    def _bar(self, list_: str, image: Image, *, asks: bool) -> None:
        """Take out what must never be published."""
        limits = self.gate
        wide = any(
            item[-1] < (limits.prefix4 if len(item) == 5 else limits.prefix6)[list_]
            for _, shelf in image.of_list(list_)
            for item in (*shelf.networks4.items, *shelf.networks6.items)
        )
        if not wide and image.covered(list_).isdisjoint(self._never):
            return
        for place, shelf in list(image.of_list(list_)):
            for item in list(shelf.items()):
                trip = offence(list_, item, limits, self._never)
                if trip is not None:
                    image.take(list_, place.type, item)
                    self.barred[list_, place.type, item] = (trip, asks)

    def _turn(self, list_: str, account: Account, now: float) -> None:
        """A new cycle, where the last one is over or nothing has happened in it."""
        cycle = account.cycle
        idle = not cycle.released.added and not cycle.removed
        if idle or now - cycle.began >= self.gate.cycle_hours * 3600:
            account.cycle = Cycle(now, self.published.count(list_))

    async def _let_through(
        self, source: Source, list_: str, account: Account
    ) -> tuple[list[Event], dict[Key, str | None]]:
        """The events of what is held, in their order; first those that were put aside, and the cursors before them."""
        found: list[Event] = []
        since: dict[Key, str | None] = {}
        for key in [key for key in self.stale if key[0] == list_ and self.held.find(*key) is not None]:
            aside = self.stale.pop(key)
            since[key] = aside.since
            found += aside.events
        after = account.since or None
        while events := await source.events(after, _BATCH):
            after = events[-1].cursor
            for event in events:
                key = _key(event)
                if key[0] == list_ and not event.kind.ends and self.held.find(*key) is not None:
                    found.append(event)
            if after == self.cursor:
                break
        return found, since

    def _put_aside(self, found: list[Event], since: dict[Key, str | None], account: Account, now: float) -> list[Event]:
        """The events without those of additions whose latest proof is too old.

        The store's next visit renews that proof, or ends the listing.
        """
        oldest = now - self.gate.fresh_hours * 3600
        latest = {_key(event): event for event in found}
        old = {key: last for key, last in latest.items() if last.at < oldest and last.listing.type != "manual"}
        for event in found if old else ():
            if (key := _key(event)) in old:
                self.stale.setdefault(key, Aside(since.get(key, account.since), [])).events.append(event)
        for key, last in old.items():
            self.held.take(*key)
            listing = last.listing
            account.waiting.add(key[2], listing.detector, listing.vantage, self._system(key[2]), -1)
        return [event for event in found if _key(event) not in old] if old else found

    def _renew(self, list_: str, account: Account) -> None:
        """A person's word counts for a proof."""
        for key, aside in self.stale.items():
            if key[0] == list_ and self.held.find(*key) is None:
                listing = aside.events[-1].listing
                self.held.put(heading_of(listing), key[2])
                account.waiting.add(key[2], listing.detector, listing.vantage, self._system(key[2]))

    async def _set_aside(self, source: Source, state: Mapping[str, Any]) -> None:
        """Find the events again of what an earlier process put aside, up to what was let through last."""
        wanted: dict[tuple[str, str | None], set[Key]] = {}
        for list_, kept in state.items():
            for since, type_, address in kept.get("stale", ()):
                wanted.setdefault((list_, since), set()).add((list_, type_, item_of(address)))
        for (list_, since), keys in wanted.items():
            after, later = since or None, False
            while events := await source.events(after, _BATCH):
                after = events[-1].cursor
                for event in events:
                    if (key := _key(event)) in keys:
                        if event.kind.ends:
                            self.stale.pop(key, None)
                        elif not later and (event.kind is EventKind.LISTED or key in self.stale):
                            self.stale.setdefault(key, Aside(since, [])).events.append(event)
                    later = later or event.cursor == self.accounts[list_].since

    async def _recent(self, source: Source) -> set[Key]:
        """What was listed since its list's additions were last let through."""
        found: set[Key] = set()
        for since in {account.since for account in self.accounts.values()} - {None}:
            lists = [list_ for list_, account in self.accounts.items() if account.since == since]
            after = since or None
            while events := await source.events(after, _BATCH):
                after = events[-1].cursor
                for event in events:
                    key = _key(event)
                    if key[0] in lists and (
                        event.kind is EventKind.LISTED or (key in self.stale and not event.kind.ends)
                    ):
                        found.add(key)
        return found

    def _system(self, item: bytes) -> str | None:
        return None if self._systems is None else self._systems.get(text_of(item).partition("/")[0])


def _key(event: Event) -> Key:
    return event.listing.list, event.listing.type, item_of(event.listing.address)


def _account(state: Mapping[str, Any] | None, now: float) -> Account:
    if not state:
        return Account(Cycle(now, 0))
    began, base, removed = state["cycle"]
    return Account(Cycle(began, base, Tally.of(state["released"]), removed), state["since"])
