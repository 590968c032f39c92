from __future__ import annotations

from dataclasses import replace

from scanner.model import Decision, Event, EventKind, Watch, parse_address
from scanner.store import Store
from tests.scanner.store.make import AT, DAY, ENTRY
from tests.scanner.store.test_history import listing


async def test_a_listing_with_its_next_visit(store: Store) -> None:
    watch = Watch("ops", ENTRY, (), AT + DAY)
    event = Event(EventKind.LISTED, AT, listing(AT))
    await store.change(str(ENTRY), lambda _: Decision((event,), watch), AT)
    found = await store.dossier(ENTRY, AT + 1)
    assert (len(found.listings), found.next_visits, found.refused, found.ended) == (
        1,
        {str(ENTRY): AT + DAY},
        None,
        None,
    )


async def test_how_the_last_one_ended(store: Store) -> None:
    exit_ = replace(listing(AT), address="2001:db8::/64", type="exit", entry=str(ENTRY))
    for number, kind in enumerate((EventKind.LISTED, EventKind.DELISTED)):
        event = Event(kind, AT + number, exit_)
        await store.change(exit_.address, lambda _, event=event: Decision((event,)), AT + number)  # type: ignore[misc]
    found = await store.dossier(parse_address("2001:db8::77"), AT + 5)
    assert found.ended is not None
    assert (found.listings, found.ended.kind, found.ended.at) == ((), EventKind.DELISTED, AT + 1)
    assert found.refused is not None
    assert found.refused.reason == "not_listed"


async def test_an_opt_out_refuses_the_retest(store: Store) -> None:
    await store.change(str(ENTRY), lambda _: Decision((Event(EventKind.LISTED, AT, listing(AT)),)), AT)
    await store.exclude("192.0.2.0/24", "asked", "web:192.0.2.1", AT)
    found = await store.dossier(ENTRY, AT)
    assert (found.excluded, found.refused and found.refused.reason) == ("asked", "excluded")
