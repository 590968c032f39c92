from __future__ import annotations

from functools import partial
from ipaddress import ip_address

import pytest

from scanner.listing import resume, withdraw
from scanner.model import EventKind, Reason, RemovalState, RemovalStep, Target
from scanner.store import REMOVAL_PAUSE, NominationIn, RemovalRefused, Store
from tests.scanner.store.make import (
    AT,
    DAY,
    ENTRY,
    EXIT,
    Decide,
    event,
    exit_listing,
    listing,
    lists,
    record,
    target,
    watch,
)


async def test_a_nomination_with_a_sample_is_scheduled_and_kept(store: Store) -> None:
    sample = b"From: spammer\xff\x00" * 100
    (made,) = await store.nominate([NominationIn(ENTRY, sample, "it spams", "mx1")], AT)
    assert (made.state, made.due, made.address) == ("scheduled", AT, ENTRY)
    assert await store.nominations() == [made]
    assert made.sample == sample
    (leased,) = await store.lease("me", AT, 60, 10)
    assert leased.target == target()


async def test_without_sample_or_trust_it_waits_for_review(store: Store) -> None:
    (made,) = await store.nominate([NominationIn(ENTRY, b"")], AT)
    assert (made.state, made.due) == ("review", None)
    assert await store.lease("me", AT, 60, 10) == []
    assert await store.nominations("scheduled") == []
    (trusted,) = await store.nominate([NominationIn(ip_address("2001:db8::1"), trusted=True)], AT)
    assert trusted.state == "scheduled"

    reviewed = await store.review(made.id, True, AT + 5)
    assert reviewed is not None
    assert (reviewed.state, reviewed.due) == ("scheduled", AT + 5)
    assert await store.review(made.id, True, AT + 6) is None
    assert [item.target.address for item in await store.lease("me", AT + 5, 60, 10)] == [trusted.address, ENTRY]


async def test_a_dismissed_nomination_is_never_visited(store: Store) -> None:
    (made,) = await store.nominate([NominationIn(ENTRY)], AT)
    reviewed = await store.review(made.id, False, AT)
    assert reviewed is not None
    assert reviewed.state == "dismissed"
    assert await store.next_due() is None


async def test_strangers_do_not_cause_two_visits_within_a_day(store: Store) -> None:
    await store.conclude(record(ended=AT), Decide(), lease=None)
    (stranger,) = await store.nominate([NominationIn(ENTRY, b"spam")], AT + 100)
    assert stranger.due == AT + DAY
    (friend,) = await store.nominate([NominationIn(ENTRY, trusted=True)], AT + 200)
    assert friend.due == AT + 200
    (known,) = await store.nominate([NominationIn(ip_address("192.0.2.2"), known=True)], AT)
    assert (known.state, known.due) == ("scheduled", AT)
    await store.conclude(record(target(ip_address("192.0.2.2")), ended=AT + 10), Decide(), lease=None)
    (known,) = await store.nominate([NominationIn(ip_address("192.0.2.2"), known=True)], AT + 100)
    assert (known.state, known.due) == ("scheduled", AT + 10 + DAY), "a token may be that of a feed"
    (late,) = await store.nominate([NominationIn(ip_address("192.0.2.3"), b"spam")], AT + 300)
    assert late.due == AT + 300


async def test_an_earlier_due_wins_and_on_demand_is_never_displaced(store: Store) -> None:
    await store.schedule(Target(ENTRY, Reason.RESCAN, AT + 1000))
    (made,) = await store.nominate([NominationIn(ENTRY, b"x")], AT)
    assert made.due == AT
    await store.schedule(Target(ENTRY, Reason.OPERATOR, AT + 50))
    (made,) = await store.nominate([NominationIn(ENTRY, b"x")], AT + 1)
    assert made.due == AT + 50
    (leased,) = await store.lease("me", AT + 60, 60, 10)
    assert leased.target.reason is Reason.OPERATOR


async def test_all_nominations_of_a_call_or_none(store: Store) -> None:
    with pytest.raises(AttributeError):
        await store.nominate([NominationIn(ENTRY, b"x"), object()], AT)  # type: ignore[list-item]
    assert await store.nominations() == []
    assert await store.next_due() is None


async def test_a_removal_request_retests_the_listed_address_at_once(store: Store) -> None:
    await store.conclude(record(), lists(), lease=None)
    removal = await store.request_removal(ENTRY, "owner", AT + 20)
    assert len(removal.id) == 32
    assert (removal.address, removal.target, removal.state) == (ENTRY, ENTRY, RemovalState.REQUESTED)
    assert await store.removal(removal.id) == removal
    (leased,) = await store.lease("me", AT + 20, 60, 10)
    assert leased.target == Target(ENTRY, Reason.REMOVAL, AT + 20, removal.id, 1)


async def test_an_exit_is_retested_by_its_entry(store: Store) -> None:
    of = listing(exits=(EXIT,))
    decide = lists(of)
    decide.decision = Decide(*decide.decision.events, event(EventKind.LISTED, exit_listing())).decision
    await store.conclude(record(), decide, lease=None)
    removal = await store.request_removal(ip_address(EXIT), "owner", AT + 20)
    assert (str(removal.address), removal.target) == (EXIT, ENTRY)
    with pytest.raises(RemovalRefused) as refused:  # of the entry, since its retest is under way
        await store.request_removal(ENTRY, "owner", AT + 21)
    assert (refused.value.reason, refused.value.running) == ("running", removal.id)


async def test_an_exit_listed_by_its_64_is_found(store: Store) -> None:
    of = exit_listing("2001:db8:1:2::/64")
    await store.change(of.address, Decide(event(EventKind.LISTED, of)), AT)
    removal = await store.request_removal(ip_address("2001:db8:1:2::beef"), "owner", AT)
    assert removal.target == ENTRY


async def test_limits_of_removal_requests(store: Store) -> None:
    with pytest.raises(RemovalRefused) as refused:
        await store.request_removal(ENTRY, "owner", AT)
    assert refused.value.reason == "not_listed"
    await store.conclude(record(), lists(), lease=None)
    first = await store.request_removal(ENTRY, "owner", AT + 20)
    running = (await store.dossier(ENTRY, AT + 20)).refused
    assert running is not None
    assert running.running == first.id
    (leased,) = await store.lease("me", AT + 20, 600, 1)
    over = RemovalStep(first.id, AT + 30, RemovalState.STILL_OPEN, "it relays")
    again = Target(ENTRY, Reason.RESCAN, AT + DAY)
    decide = Decide(then=again, removal=over)
    await store.conclude(record(leased.target, ended=AT + 30), decide, lease=leased)
    with pytest.raises(RemovalRefused) as refused:
        await store.request_removal(ENTRY, "owner", AT + 20 + REMOVAL_PAUSE - 1)
    assert (refused.value.reason, refused.value.not_before) == ("too_soon", AT + 20 + REMOVAL_PAUSE)
    assert (await store.dossier(ENTRY, AT + 20 + REMOVAL_PAUSE)).refused is None
    second = await store.request_removal(ENTRY, "owner", AT + 20 + REMOVAL_PAUSE)
    assert second.id != first.id


async def test_what_a_person_listed_no_retest_refutes(store: Store) -> None:
    by_hand = listing(type="manual")
    await store.change(str(ENTRY), Decide(event(EventKind.LISTED, by_hand)), AT)
    dynamic = listing("192.0.2.0/24", list="dul", type="dynamic")
    await store.change(dynamic.address, Decide(event(EventKind.LISTED, dynamic)), AT)
    with pytest.raises(RemovalRefused, match="not_listed"):
        await store.request_removal(ENTRY, "owner", AT)


async def test_steps_follow_in_order_and_end_with_the_outcome(store: Store) -> None:
    await store.conclude(record(), lists(), lease=None)
    removal = await store.request_removal(ENTRY, "owner", AT + 20)
    states = [RemovalState.RETESTING, RemovalState.CONFIRMING, RemovalState.DELISTED, RemovalState.RETESTING]
    for number, state in enumerate(states):
        await store.removal_step(RemovalStep(removal.id, AT + 21 + number, state, f"step {number}"))
    found = await store.removal(removal.id)
    assert found is not None
    assert found.state is RemovalState.DELISTED
    assert [step.state for step in found.steps] == [RemovalState.REQUESTED, *states[:3]]
    assert found.steps[2].detail == "step 1"
    assert await store.removal("f" * 32) is None


async def test_opt_outs(store: Store) -> None:
    made = await store.exclude("192.0.2.0/24", "asked by mail", "operator", AT)
    await store.exclude("192.0.2.1/32", "this one especially", "operator", AT)
    assert [item.network for item in await store.exclusions()] == ["192.0.2.0/24", "192.0.2.1"]
    assert (await store.exclusions())[0] == made
    assert (await store.standing(ENTRY)).excluded == "this one especially"
    assert (await store.standing(ip_address("192.0.2.77"))).excluded == "asked by mail"
    assert (await store.standing(ip_address("192.0.3.1"))).excluded is None
    assert await store.unexclude("192.0.2.1", resume, AT + 9) is True
    assert await store.unexclude("192.0.2.1", resume, AT + 9) is False
    assert (await store.standing(ENTRY)).excluded == "asked by mail"
    for wrong in ("192.0.2.1/24", "example.net", "192.0.2.0/33"):
        with pytest.raises(ValueError, match=wrong.split("/")[0]):
            await store.exclude(wrong, "", "", AT)


async def test_status_is_replaced_by_name(store: Store) -> None:
    await store.set_status("daemon", {"running": True}, AT)
    await store.set_status("daemon", {"running": False, "why": "é"}, AT + 1)
    assert await store.status() == {"daemon": ({"running": False, "why": "é"}, AT + 1)}


async def test_a_nomination_between_a_visit_and_its_conclusion_is_not_lost(store: Store) -> None:
    """A conclusion waits for its control round, which may take a minute."""
    for number, (trusted, due) in enumerate([(True, AT + 30), (False, AT + 10 + DAY)]):
        at = ip_address("192.0.2.1") + 256 * number
        await store.schedule(target(at))
        (leased,) = await store.lease("me", AT, 600, 1)
        await store.nominate([NominationIn(at, b"x", trusted=trusted)], AT + 30)
        await store.conclude(record(leased.target, ended=AT + 10), Decide(), lease=leased)
        assert await store.lease("me", due - 1, 600, 1) == []
        (again,) = await store.lease("me", due, 600, 1)
        assert again.target == target(at, due=due)
        await store.unschedule(at)
        await store.conclude(record(again.target, ended=due), Decide(), lease=again)


async def test_a_nomination_during_a_visit_is_answered_by_it(store: Store) -> None:
    await store.schedule(target())
    (leased,) = await store.lease("me", AT, 600, 1)
    await store.nominate([NominationIn(ENTRY, b"x", trusted=True)], AT + 9)
    await store.conclude(record(leased.target, ended=AT + 10), Decide(), lease=leased)
    assert await store.lease("me", AT + DAY, 600, 1) == []


async def test_the_retest_of_a_removal_does_not_answer_a_nomination(store: Store) -> None:
    """It tries eight endpoints, and the nomination's visit all of them."""
    await store.conclude(record(ended=AT), Decide(event(EventKind.LISTED, listing())), lease=None)
    await store.nominate([NominationIn(ENTRY, b"x")], AT + 20)
    removal = await store.request_removal(ENTRY, "owner", AT + 30)
    (leased,) = await store.lease("me", AT + 30, 600, 1)
    assert leased.target.removal == removal.id
    step = RemovalStep(removal.id, AT + 40, RemovalState.DELISTED)
    ended = Decide(event(EventKind.DELISTED, listing(), AT + 40), removal=step)
    await store.conclude(record(leased.target, ended=AT + 40), ended, lease=leased)
    (again,) = await store.lease("me", AT + 40 + DAY, 600, 1)
    assert again.target == target(due=AT + 40 + DAY)
    await store.conclude(record(again.target, ended=AT + 50 + DAY), Decide(), lease=again)
    assert await store.lease("me", AT + 9 * DAY, 600, 1) == [], "it is answered once"


async def test_a_nomination_that_a_rescan_was_to_answer_outlives_it(store: Store) -> None:
    rescan = Target(ENTRY, Reason.RESCAN, AT + 10 + DAY)
    first = Decide(event(EventKind.LISTED, listing()), watch=watch(), then=rescan)
    await store.conclude(record(ended=AT + 10), first, lease=None)
    (made,) = await store.nominate([NominationIn(ENTRY, b"spam")], AT + 100)
    assert made.due == rescan.due
    ended = partial(withdraw, list_=None, address=str(ENTRY), at=AT + 200, reason="operator")
    await store.change(str(ENTRY), ended, AT + 200)
    (leased,) = await store.lease("me", AT + 9 * DAY, 600, 1)
    assert leased.target == target(due=AT + 200 + DAY)
    assert await store.verify() == []


async def test_an_earlier_rescan_answers_it_too(store: Store) -> None:
    await store.schedule(target())
    (leased,) = await store.lease("me", AT, 600, 1)
    await store.nominate([NominationIn(ENTRY, b"x")], AT + 30)
    soon = Target(ENTRY, Reason.RESCAN, AT + 100)
    await store.conclude(record(leased.target, ended=AT + 10), Decide(then=soon), lease=leased)
    (again,) = await store.lease("me", AT + 100, 600, 1)
    assert again.target == soon
