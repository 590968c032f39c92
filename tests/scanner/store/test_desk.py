"""What an operator answers: the step, the deed and what it does, together."""

from __future__ import annotations

import pytest

from scanner.appeal import Answer, AppealState
from scanner.model import EventKind, Reason, RemovalState, RemovalStep
from scanner.store import Store
from tests.scanner.store import make
from tests.scanner.store.test_appeals import NOW, appeal, end, listed, request


async def test_a_retest_goes_past_the_limits_and_comes_back(store: Store) -> None:
    await listed(store)
    made = await appeal(store, await request(store))
    after = await store.appeals.answer(made.id, Answer.RETEST, "", "alice", NOW + 1)
    assert (after.state, after.steps[-1].by) == (AppealState.RETESTING, "alice")
    removal = await store.removal(after.retest)
    assert (removal.requester, removal.state) == ("operator:alice", RemovalState.REQUESTED)
    (leased,) = await store.lease("test", NOW + 2, 60, 10)
    assert (leased.target.address, leased.target.reason, leased.target.removal) == (
        make.ENTRY,
        Reason.REMOVAL,
        after.retest,
    )
    with pytest.raises(ValueError, match="retested already"):
        await store.appeals.answer(made.id, Answer.RETEST, "", "alice", NOW + 1)
    await store.unschedule(make.ENTRY)
    await store.removal_step(RemovalStep(after.retest, NOW + 9, RemovalState.STILL_OPEN))
    back = await store.appeals.find(made.id)
    assert (back.state, back.steps[-1].detail) == (AppealState.OPEN, "the retest says: still open")
    assert [entry.deed.action for entry in await store.journal()] == ["appeal: retest"]


async def test_a_retest_that_delists_settles_it(store: Store) -> None:
    await listed(store)
    made = await appeal(store, await request(store))
    after = await store.appeals.answer(made.id, Answer.RETEST, "", "alice", NOW + 1)
    delists = make.Decide(
        make.event(EventKind.DELISTED, make.listing(), NOW + 5),
        removal=RemovalStep(after.retest, NOW + 5, RemovalState.DELISTED),
    )
    await store.change(str(make.ENTRY), delists, NOW + 5)
    assert (await store.appeals.find(made.id)).state is AppealState.REMOVED


async def test_one_that_runs_is_joined(store: Store) -> None:
    await listed(store)
    made = await appeal(store, await request(store))
    running = await store.request_removal(make.ENTRY, "web:y", NOW + 1000)
    after = await store.appeals.answer(made.id, Answer.RETEST, "", "alice", NOW + 1001)
    assert after.retest == running.id


async def test_withdrawing_ends_the_listings_with_the_reason(store: Store) -> None:
    await listed(store, exits=("203.0.113.9",))
    exit_ = make.exit_listing()
    await store.change(exit_.address, make.Decide(make.event(EventKind.LISTED, exit_)), make.AT)
    made = await appeal(store, await request(store))
    after = await store.appeals.answer(made.id, Answer.WITHDRAW, "our mistake", "alice", NOW)
    assert [step.state for step in after.steps] == [AppealState.OPEN, AppealState.WITHDRAWN]
    ended = [event for event in await store.events() if event.kind is EventKind.WITHDRAWN]
    assert {(event.listing.address, event.reason) for event in ended} == {
        (str(make.ENTRY), "our mistake"),
        (exit_.address, "its entry: our mistake"),
    }
    (entry,) = await store.journal()
    assert (entry.deed.operator, entry.deed.subject, entry.deed.detail) == ("alice", str(make.ENTRY), "our mistake")
    with pytest.raises(ValueError, match="answered already"):
        await store.appeals.answer(made.id, Answer.DECLINE, "no", "bob", NOW)


async def test_declining_needs_words(store: Store) -> None:
    await listed(store)
    made = await appeal(store, await request(store))
    with pytest.raises(ValueError, match="reason"):
        await store.appeals.answer(made.id, Answer.DECLINE, " ", "alice", NOW)
    assert await store.journal() == []
    after = await store.appeals.answer(made.id, Answer.DECLINE, "port 1080 still relays", "alice", NOW)
    assert (after.state, after.steps[-1].detail) == (AppealState.DECLINED, "port 1080 still relays")
    assert [event.kind for event in await store.events()] == [EventKind.LISTED]


async def test_there_is_none(store: Store) -> None:
    assert await store.appeals.answer("0" * 32, Answer.RETEST, "", "alice", NOW) is None


async def test_what_is_opted_out_is_not_retested(store: Store) -> None:
    await listed(store)
    made = await appeal(store, await request(store))
    await store.exclude(str(make.ENTRY), "letter", "operator:x", NOW)
    with pytest.raises(ValueError, match="opted out"):
        await store.appeals.answer(made.id, Answer.RETEST, "", "alice", NOW)
    assert (await store.appeals.find(made.id)).state is AppealState.OPEN
    await end(store, str(make.ENTRY))
