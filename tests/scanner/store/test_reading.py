from __future__ import annotations

from ipaddress import ip_address

import pytest

from scanner.model import EventKind, Standing
from scanner.store import Store
from tests.scanner.store.make import AT, ENTRY, Decide, event, listing, record


async def put(store: Store, *addresses: str, list_: str = "ops", type_: str = "entry") -> None:
    for name in addresses:
        of = listing(name, list=list_, type=type_)
        await store.change(name, Decide(event(EventKind.LISTED, of)), AT)


async def test_lookup_finds_whatever_covers_the_address(store: Store) -> None:
    await put(store, "192.0.2.0/24", "192.0.0.0/16", "198.51.100.0/24", list_="dul", type_="dynamic")
    await put(store, "192.0.2.1", "192.0.2.2")
    await put(store, "2001:db8::/64", "2001:db8::1")
    found = await store.lookup(ENTRY)
    assert [(of.list, of.address) for of in found] == [
        ("dul", "192.0.0.0/16"),
        ("dul", "192.0.2.0/24"),
        ("ops", "192.0.2.1"),
    ]
    assert [of.address for of in await store.lookup(ip_address("2001:db8::1"))] == ["2001:db8::/64", "2001:db8::1"]
    assert await store.lookup(ip_address("203.0.113.1")) == []


async def test_events_are_resumable_by_cursor(store: Store) -> None:
    names = [f"192.0.2.{n}" for n in range(50)]
    await put(store, *names)
    seen, cursor = [], None
    while batch := await store.events(cursor, limit=7):
        seen += [item.listing.address for item in batch]
        cursor = batch[-1].cursor
    assert seen == names
    assert await store.events(cursor) == []
    assert await store.last_cursor() == cursor
    for wrong in ("", "-1", "0 1", "é", "A", "z" * 13, "1" * 14, "1; DROP TABLE events"):
        with pytest.raises(ValueError, match="is not a cursor"):
            await store.events(wrong)


async def test_listings_page_by_page(store: Store) -> None:
    await put(store, *(f"192.0.2.{n}" for n in range(9)))
    await put(store, "192.0.2.4", list_="rss", type_="input")
    every = await store.listings()
    assert len(every) == 10
    paged, after = [], None
    while page := await store.listings(after=after, limit=3):
        paged += page
        after = page[-1].key
    assert paged == every
    assert [of.list for of in await store.listings("rss")] == ["rss"]
    assert len(await store.listings("ops", limit=4)) == 4
    assert await store.listings("dul") == []


async def test_visits_latest_first(store: Store) -> None:
    for ended in (AT + 1, AT + 3, AT + 2):
        await store.conclude(record(ended=ended), Decide(), lease=None)
    assert [visit.ended for visit in await store.visits(ENTRY)] == [AT + 3, AT + 2, AT + 1]
    assert [visit.ended for visit in await store.visits(ENTRY, limit=1)] == [AT + 3]


async def test_nothing_is_known_of_a_stranger(store: Store) -> None:
    assert await store.standing(ENTRY) == Standing()
    assert await store.last_cursor() is None
    assert await store.next_due() is None


async def test_changed_after_every_commit(store: Store) -> None:
    before = await store.changed()
    assert await store.changed() == before
    await put(store, "192.0.2.1")
    assert await store.changed() != before
