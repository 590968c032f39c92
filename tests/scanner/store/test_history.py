from __future__ import annotations

from scanner.model import Decision, Event, EventKind, Listing, RemovalState, RemovalStep
from scanner.store import Store
from tests.scanner.store.make import AT, DAY, ENTRY


def listing(at: float) -> Listing:
    return Listing("ops", str(ENTRY), "entry", "open-proxy", "test", "t/1", "here", at, at, at + DAY)


async def change(store: Store, kind: EventKind, at: float) -> None:
    await store.change(str(ENTRY), lambda _: Decision((Event(kind, at, listing(at)),)), at)


async def test_days_without_a_gap(store: Store) -> None:
    for back in (3, 1):
        await change(store, EventKind.LISTED, AT - back * DAY)
        await change(store, EventKind.CONFIRMED, AT - back * DAY)
        await change(store, EventKind.WITHDRAWN, AT - back * DAY)
    await change(store, EventKind.LISTED, AT)
    found = await store.history(AT, 4)
    assert [(day.listed, day.ended) for day in found.days] == [(1, 1), (0, 0), (1, 1), (1, 0)]
    assert [day.start % DAY for day in found.days] == [0] * 4
    assert len((await store.history(AT, 2)).days) == 2


async def test_how_long_removals_took(store: Store) -> None:
    await change(store, EventKind.LISTED, AT)
    removal = await store.request_removal(ENTRY, "me", AT)
    assert (await store.history(AT, 2)).removals == ()
    await store.removal_step(RemovalStep(removal.id, AT + 3, RemovalState.RETESTING))
    await store.removal_step(RemovalStep(removal.id, AT + 14, RemovalState.DELISTED))
    found = await store.history(AT + 20, 2)
    assert (found.removals, found.outcomes) == ((14.0,), {"delisted": 1})
