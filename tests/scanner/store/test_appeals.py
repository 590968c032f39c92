"""Appeals as they are made, and as what happens to the listing moves them on."""

from __future__ import annotations

import pytest

from scanner.appeal import Answer, AppealState
from scanner.model import Decision, EventKind, RemovalState, RemovalStep
from scanner.store import AppealRefused, Store, open_store
from tests.scanner.store import make

NOW = make.AT + make.DAY
LIMIT = 10


async def request(store: Store, state: RemovalState = RemovalState.STILL_OPEN, at: float = NOW) -> str:
    """A removal request that came to this outcome."""
    removal = await store.request_removal(make.ENTRY, "web:198.51.100.7", at)
    await store.unschedule(make.ENTRY)  # the visit took it
    await store.removal_step(RemovalStep(removal.id, at, state))
    return removal.id


async def listed(store: Store, **changes: object) -> None:
    await store.change(str(make.ENTRY), make.lists(make.listing(**changes)), make.AT)


async def end(store: Store, address: str, kind: EventKind = EventKind.EXPIRED, at: float = NOW) -> None:
    await store.change(
        address, lambda s: Decision(tuple(make.event(kind, x, at) for x in s.listings if x.address == address)), at
    )


async def appeal(store: Store, removal: str, who: str = "web:198.51.100.7", at: float = NOW):
    return await store.appeals.appeal(removal, "we closed it", who, at, a_day=LIMIT)


async def test_it_is_kept_with_its_first_step(store: Store, url: str) -> None:
    await listed(store)
    made = await appeal(store, await request(store))
    assert (made.state, made.address, made.text) == (AppealState.OPEN, make.ENTRY, "we closed it")
    assert [(step.state, step.by) for step in made.steps] == [(AppealState.OPEN, "")]
    async with open_store(url) as again:
        assert await again.appeals.against(made.removal) == made
        assert await again.appeals.list(waiting=True) == [made]
    assert (await store.figures(NOW))["appeals.open"] == 1
    assert (await store.figures(NOW))["appeals.late"] == 0
    assert (await store.figures(NOW + 3 * make.DAY))["appeals.late"] == 1


async def test_one_for_a_request_and_one_at_a_time_for_an_address(store: Store) -> None:
    await listed(store)
    first, second = await request(store), await request(store, RemovalState.INCONCLUSIVE, NOW + 1000)
    made = await appeal(store, first)
    for removal, reason in ((first, "appealed"), (second, "open")):
        with pytest.raises(AppealRefused) as refused:
            await appeal(store, removal)
        assert refused.value.reason == reason
    await store.appeals.answer(made.id, Answer.DECLINE, "it is open", "alice", NOW)
    assert (await appeal(store, second)).state is AppealState.OPEN
    with pytest.raises(AppealRefused, match="appealed"):
        await appeal(store, first)


async def test_what_is_not_taken(store: Store) -> None:
    assert await appeal(store, "0" * 32) is None
    await listed(store)
    running = (await store.request_removal(make.ENTRY, "web:x", NOW)).id
    with pytest.raises(AppealRefused, match="running"):
        await appeal(store, running)
    await store.removal_step(RemovalStep(running, NOW, RemovalState.STILL_OPEN))
    await end(store, str(make.ENTRY))
    with pytest.raises(AppealRefused, match="not_listed"):
        await appeal(store, running)


async def test_a_requester_has_an_allowance_that_outlives_a_restart(store: Store, url: str) -> None:
    removals = []
    for number in range(LIMIT + 1):
        address = make.address(number)
        await store.change(str(address), make.lists(make.listing(str(address)), at=address), make.AT)
        removal = await store.request_removal(address, f"web:{number}", NOW)
        await store.removal_step(RemovalStep(removal.id, NOW, RemovalState.STILL_OPEN))
        removals.append(removal.id)
    for removal in removals[:-1]:
        await appeal(store, removal)
    async with open_store(url) as again:
        with pytest.raises(AppealRefused, match="busy") as refused:
            await appeal(again, removals[-1])
    assert refused.value.not_before == pytest.approx(NOW + make.DAY / LIMIT)
    assert await appeal(store, removals[-1], "web:somebody else") is not None


@pytest.mark.parametrize("kind", [EventKind.EXPIRED, EventKind.WITHDRAWN, EventKind.DELISTED])
async def test_it_is_settled_when_the_listing_ends(store: Store, kind: EventKind) -> None:
    await listed(store)
    made = await appeal(store, await request(store))
    await end(store, str(make.ENTRY), kind)
    after = await store.appeals.find(made.id)
    assert (after.state, after.steps[-1].detail) == (AppealState.REMOVED, f"nothing is listed any more: {kind}")
    assert await store.appeals.list(waiting=True) == []
    assert await store.appeals.list(waiting=False) == [after]


async def test_it_goes_on_while_another_list_has_the_address(store: Store) -> None:
    await listed(store)
    relay = make.event(EventKind.LISTED, make.listing(list="rss", criterion="open-relay"))
    await store.change(str(make.ENTRY), lambda s: Decision((relay,), s.watch), make.AT)
    made = await appeal(store, await request(store))
    await store.change(
        str(make.ENTRY),
        lambda s: Decision(tuple(make.event(EventKind.EXPIRED, x, NOW) for x in s.listings if x.list == "ops")),
        NOW,
    )
    assert (await store.appeals.find(made.id)).state is AppealState.OPEN


async def test_of_an_exit_by_its_64(store: Store) -> None:
    await listed(store, exits=("2001:db8:0:1::/64",))
    exit_ = make.exit_listing("2001:db8:0:1::/64")
    await store.change(exit_.address, lambda s: Decision((make.event(EventKind.LISTED, exit_),)), make.AT)
    removal = await store.request_removal(make.ip_address("2001:db8:0:1::5"), "web:x", NOW)
    await store.removal_step(RemovalStep(removal.id, NOW, RemovalState.STILL_OPEN))
    made = await appeal(store, removal.id)
    await end(store, exit_.address)
    assert (await store.appeals.find(made.id)).state is AppealState.REMOVED


async def test_purge_keeps_what_is_open(store: Store) -> None:
    await listed(store)
    made = await appeal(store, await request(store))
    await store.purge(NOW + make.DAY, NOW + 30 * make.DAY)
    assert await store.appeals.find(made.id) is not None
    await store.appeals.answer(made.id, Answer.DECLINE, "no", "alice", NOW)
    await store.purge(NOW + make.DAY, NOW + 30 * make.DAY)
    assert await store.appeals.find(made.id) is None
