from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
import trio

from scanner.listing import REOPENED, resume
from scanner.model import EventKind, Kind, Reason, RemovalState, RemovalStep, Standing, State, Target
from scanner.store import REMOVAL_PAUSE, NominationIn, RemovalRefused, Store, Terms
from scanner.store.outbox import Recipient
from tests.scanner.store.make import (
    AT,
    CONNECT,
    DAY,
    ENTRY,
    EXIT,
    SOCKS5,
    Decide,
    event,
    evidence,
    exit_listing,
    listing,
    lists,
    record,
    target,
    watch,
)


async def test_one_visit_writes_everything(store: Store) -> None:
    await store.nominate([], AT)
    await store.schedule(target())
    (leased,) = await store.lease("me", AT, 600, 1)
    visited = record(leased.target, pieces=evidence(), exits=(EXIT,))
    of = listing(exits=(EXIT,), visit=visited.visit.id)
    decide = lists(of)
    (made,) = await store.conclude(visited, decide, lease=leased)

    assert decide.seen == [Standing()]
    assert (made.kind, made.listing, made.at) == (EventKind.LISTED, of, AT)
    assert len(made.id) == 32
    assert await store.events() == [made]
    assert await store.last_cursor() == made.cursor
    assert await store.lookup(ENTRY) == [of]
    assert await store.listings() == [of]
    assert await store.next_due() == AT + 600  # a lower bound: when the lease ends
    standing = await store.standing(ENTRY, AT + 20)
    assert standing == Standing((of,), watch(), (), {("ops", EXIT): ()}, None, AT + 10)

    (kept,) = await store.visits(ENTRY)
    assert (kept.id, kept.address, kept.reason) == (visited.visit.id, ENTRY, Reason.NOMINATION)
    assert (kept.started, kept.ended, kept.vantages) == (AT + 5, AT + 10, ("here", "there"))
    assert (kept.state, kept.why, kept.mail) == (visited.verdict.state, "it relayed", True)
    assert kept.exits == (ip_address(EXIT),)
    assert len(kept.evidence) == len(visited.evidence)
    for piece, given in zip(kept.evidence, visited.evidence, strict=True):
        for name in ("endpoint", "kind", "detail", "vantage", "aim", "elapsed", "at", "transcript"):
            assert getattr(piece, name) == getattr(given, name), name
        assert piece.sighting == (given.proof.sighting if given.proof else None)
        assert piece.nonce == (given.proof.challenge.nonce.hex() if given.proof else "")

    counted = {(s.endpoint.protocol, s.endpoint.port): s for s in await store.port_statistics()}
    assert set(counted) == {("socks5", 1080), ("socks4", 1080)}  # where a conversation came about
    assert counted["socks5", 1080].last_relayed == AT + 10
    assert (counted["socks5", 1080].tried, counted["socks5", 1080].relayed) == (1, 1)
    assert (counted["socks4", 1080].tried, counted["socks4", 1080].relayed) == (1, 0)
    assert counted["socks4", 1080].last_relayed is None

    figures = await store.figures(AT + 11)
    assert figures["listings.ops.entry"] == figures["listings"] == figures["events"] == 1
    assert (figures["visits.day"], figures["proofs.day"], figures["targets"]) == (1, 1, 1)
    assert figures["targets.due"] == 0
    assert (await store.figures(AT + 2 * DAY))["visits.day"] == 0


async def test_the_same_visit_twice_is_written_once(store: Store) -> None:
    visited = record()
    first = await store.conclude(visited, lists(), lease=None)
    again = lists()
    assert await store.conclude(visited, again, lease=None) == ()
    assert again.seen == []
    assert await store.events() == list(first)


async def test_a_visit_whose_lease_counts_no_more_is_kept_and_changes_nothing(store: Store) -> None:
    await store.schedule(target())
    (lost,) = await store.lease("me", AT, 60, 1)
    (now,) = await store.lease("another", AT + 61, 60, 1)
    decide = lists()
    assert await store.conclude(record(lost.target, pieces=evidence(), exits=(EXIT,)), decide, lease=lost) == ()
    (kept,) = await store.visits(ENTRY)
    assert (kept.state, kept.why) == (State.INCONCLUSIVE, "void: its turn had been given to another")
    assert len(kept.evidence) == 4
    assert (decide.seen, await store.listings(), await store.port_statistics()) == ([], [], [])
    assert len(await store.conclude(record(now.target, ended=AT + 70), lists(), lease=now)) == 1


async def test_an_error_in_the_decision_writes_nothing(store: Store) -> None:
    def fail(_: Standing) -> None:
        raise ZeroDivisionError

    await store.schedule(target())
    (leased,) = await store.lease("me", AT, 600, 1)
    with pytest.raises(ZeroDivisionError):
        await store.conclude(record(leased.target), fail, lease=leased)  # type: ignore[arg-type]
    wrong = Decide(event(EventKind.LISTED, listing()), event(EventKind.CONFIRMED, exit_listing()))
    with pytest.raises(ValueError, match=r"confirmed event for ops/203\.0\.113\.9/exit, which is not listed"):
        await store.conclude(record(leased.target), wrong, lease=leased)
    with pytest.raises(ValueError, match="watch of 192"):
        await store.conclude(record(leased.target), Decide(watch=watch(ip_address("192.0.2.7"))), lease=leased)
    odd = listing("192.0.2.1/24")
    with pytest.raises(ValueError, match="host bits"):
        await store.conclude(record(leased.target), Decide(event(EventKind.LISTED, odd)), lease=leased)
    assert await store.visits(ENTRY) == []
    assert await store.events() == []
    assert await store.listings() == []
    assert len(await store.conclude(record(leased.target), lists(), lease=leased)) == 1


async def test_confirm_and_end(store: Store) -> None:
    await store.conclude(record(), lists(), lease=None)
    newer = listing(last_confirmed=AT + DAY, expires=AT + 40 * DAY)
    confirm = Decide(event(EventKind.CONFIRMED, newer, AT + DAY), watch=watch(next_visit=AT + 2 * DAY))
    await store.conclude(record(ended=AT + DAY), confirm, lease=None)
    assert await store.lookup(ENTRY) == [newer]
    standing = await store.standing(ENTRY)
    assert standing.watch is not None
    assert standing.watch.next_visit == AT + 2 * DAY

    ended = Decide(event(EventKind.DELISTED, newer, AT + 2 * DAY))
    await store.conclude(record(ended=AT + 2 * DAY), ended, lease=None)
    assert await store.lookup(ENTRY) == []
    assert [item.kind for item in await store.events()] == [
        EventKind.LISTED,
        EventKind.CONFIRMED,
        EventKind.DELISTED,
    ]
    after = await store.standing(ENTRY, AT + 3 * DAY)
    assert (after.listings, after.watch, after.ends) == ((), None, (("ops", AT + 2 * DAY),))
    assert after.last_visit == AT + 2 * DAY
    assert (await store.standing(ENTRY, AT + 367 * DAY)).ends == ((("ops", AT + 2 * DAY)),)
    assert (await store.standing(ENTRY, AT + 368 * DAY)).ends == ()


async def test_a_reopening_counts_as_one_more_end(store: Store) -> None:
    again = replace(event(EventKind.LISTED, listing(), AT + 2), reason=REOPENED)
    for number, made in enumerate(
        (event(EventKind.LISTED, listing()), event(EventKind.DELISTED, listing(), AT + 1), again)
    ):
        await store.conclude(record(ended=AT + number), Decide(made, watch=watch()), lease=None)
    standing = await store.standing(ENTRY, AT + 3)
    assert standing.ends == (("ops", AT + 1), ("ops", AT + 2))
    assert standing.withdrawn == {}
    await store.change(str(ENTRY), Decide(event(EventKind.WITHDRAWN, listing(), AT + 4)), AT + 4)
    await store.nominate([NominationIn(ENTRY, b"spam")], AT + 5)
    after = await store.standing(ENTRY, AT + 6)
    assert (after.withdrawn, after.nominated) == ({"ops": AT + 4}, AT + 5)


async def test_the_other_entries_of_an_exit(store: Store) -> None:
    other = ip_address("192.0.2.2")
    of = listing(exits=(EXIT, "203.0.113.10"))
    decide = Decide(
        event(EventKind.LISTED, of), event(EventKind.LISTED, exit_listing()), watch=watch(), then=target(due=AT + DAY)
    )
    await store.conclude(record(), decide, lease=None)
    assert (await store.standing(ENTRY)).exit_entries == {("ops", EXIT): (), ("ops", "203.0.113.10"): ()}
    theirs = listing(str(other), exits=(EXIT,))
    await store.conclude(record(target(other)), lists(theirs, at=other), lease=None)
    mine = await store.standing(ENTRY)
    assert mine.exit_entries == {("ops", EXIT): (str(other),), ("ops", "203.0.113.10"): ()}
    assert mine.listings == (of, exit_listing())
    await store.change(str(other), Decide(event(EventKind.WITHDRAWN, theirs)), AT + 1)
    assert (await store.standing(ENTRY)).exit_entries["ops", EXIT] == ()
    fewer = Decide(event(EventKind.CONFIRMED, listing(exits=(EXIT,))), watch=watch())
    await store.change(str(ENTRY), fewer, AT + 2)
    assert (await store.standing(ENTRY)).exit_entries == {("ops", EXIT): ()}
    await store.conclude(record(target(other)), lists(theirs, at=other), lease=None)
    none = Decide(event(EventKind.CONFIRMED, listing(exits=())), watch=watch())
    await store.change(str(ENTRY), none, AT + 3)
    left = (await store.standing(ENTRY)).exit_entries
    assert left == {("ops", EXIT): (str(other),)}, "it is listed as its exit, though not seen for long"


async def test_a_removal_in_two_passes(store: Store) -> None:
    await store.conclude(record(), lists(), lease=None)
    removal = await store.request_removal(ENTRY, "owner", AT + 20)
    (first,) = await store.lease("me", AT + 20, 600, 1)
    await store.removal_step(RemovalStep(removal.id, AT + 20, RemovalState.RETESTING))
    second = replace(first.target, due=AT + 40, pass_number=2)
    step = RemovalStep(removal.id, AT + 25, RemovalState.CONFIRMING)
    await store.conclude(
        record(first.target, ended=AT + 25), Decide(watch=watch(), then=second, removal=step), lease=first
    )
    assert await store.lease("me", AT + 39, 600, 1) == []
    (leased,) = await store.lease("me", AT + 40, 600, 1)
    assert leased.target == second
    done = RemovalStep(removal.id, AT + 45, RemovalState.DELISTED, "closed")
    decide = Decide(event(EventKind.DELISTED, listing(), AT + 45), removal=done)
    await store.conclude(record(leased.target, ended=AT + 45), decide, lease=leased)
    found = await store.removal(removal.id)
    assert found is not None
    assert [s.state.value for s in found.steps] == ["requested", "retesting", "confirming", "delisted"]
    assert await store.lookup(ENTRY) == []


async def test_a_removal_during_a_rescan_is_still_retested(store: Store) -> None:
    await store.conclude(record(), lists(), lease=None)
    (rescan,) = await store.lease("me", AT + DAY, 600, 1)
    removal = await store.request_removal(ENTRY, "owner", AT + DAY + 1)
    again = Target(ENTRY, Reason.RESCAN, AT + 2 * DAY)
    confirm = Decide(event(EventKind.CONFIRMED, listing()), watch=watch(), then=again)
    await store.conclude(record(rescan.target, ended=AT + DAY + 2), confirm, lease=rescan)
    (leased,) = await store.lease("me", AT + DAY + 2, 600, 1)
    assert leased.target.removal == removal.id


async def test_expiry_in_order_and_not_under_an_opt_out(store: Store) -> None:
    names = ["192.0.2.1", "192.0.2.2", "198.51.100.1"]
    for number, name in enumerate(names):
        of = listing(name, expires=AT + 100 - number)
        await store.change(name, Decide(event(EventKind.LISTED, of)), AT)
    await store.exclude("192.0.2.2", "asked", "operator", AT)

    def expire(standing: Standing) -> object:
        return Decide(*(event(EventKind.EXPIRED, of, AT + 200) for of in standing.listings)).decision

    assert await store.expire(AT + 97, 10, expire) == ()  # type: ignore[arg-type]
    (first,) = await store.expire(AT + 200, 1, expire)  # type: ignore[arg-type]
    assert first.listing.address == "198.51.100.1"
    (second,) = await store.expire(AT + 200, 10, expire)  # type: ignore[arg-type]
    assert second.listing.address == "192.0.2.1"
    assert [of.address for of in await store.listings()] == ["192.0.2.2"]


async def test_an_expiry_goes_on_where_it_stood_when_the_opt_out_began(store: Store) -> None:
    for address in ("192.0.2.1", "192.0.2.2", "198.51.100.1"):
        of = listing(address, expires=AT + 100)
        await store.change(address, Decide(event(EventKind.LISTED, of)), AT)
    await store.exclude("192.0.2.0/24", "asked", "operator", AT + 60)
    await store.exclude("192.0.2.2", "asked too", "operator", AT + 70)
    await store.exclude("192.0.2.0/24", "asked again", "operator", AT + 90)
    assert await store.unexclude("192.0.2.0/24", resume, AT + 1000)
    left = {of.address: of.expires for of in await store.listings()}
    assert left == {"192.0.2.1": AT + 1040, "192.0.2.2": AT + 110, "198.51.100.1": AT + 100}
    assert await store.unexclude("192.0.2.2", resume, AT + 2000)
    assert {of.expires for of in await store.lookup(ip_address("192.0.2.2"))} == {AT + 2040}, "what the first one left"
    assert not await store.unexclude("192.0.2.2", resume, AT + 2001)
    assert await store.verify() == []


async def test_statistics_add_up(store: Store) -> None:
    for _ in range(3):
        await store.conclude(record(pieces=evidence()), Decide(), lease=None)
    (best, *_) = await store.port_statistics()
    assert (best.endpoint, best.tried, best.relayed) == (SOCKS5, 3, 3)
    assert all(item.endpoint != CONNECT for item in await store.port_statistics())


async def test_what_a_void_visit_saw_is_no_hit(store: Store) -> None:
    seen = record(pieces=evidence())
    await store.conclude(replace(seen, verdict=replace(seen.verdict, proofs=())), Decide(), lease=None)
    assert not any(item.relayed for item in await store.port_statistics())
    assert (await store.figures(AT + 20))["proofs.day"] == 0


async def test_many_at_once_are_each_whole(store: Store) -> None:
    async def one(number: int) -> None:
        at = ip_address(0xC6336400 + number)
        await store.schedule(target(at))
        decide = lists(listing(str(at)), at=at)
        if number % 3 == 0:
            decide = Decide(event(EventKind.CONFIRMED, listing(str(at))))
            with pytest.raises(ValueError, match="not listed"):
                await store.conclude(record(target(at)), decide, lease=None)
        else:
            await store.conclude(record(target(at)), decide, lease=None)

    async with trio.open_nursery() as nursery:
        for number in range(120):
            nursery.start_soon(one, number)
    assert len(await store.listings()) == 80
    cursors = [item.cursor for item in await store.events()]
    assert len(set(cursors)) == 80
    assert (await store.figures(AT + 20))["visits.day"] == 80


def test_kinds_that_prove() -> None:
    assert [piece.kind for piece in evidence()].count(Kind.RELAYED) == 1


@pytest.mark.parametrize(
    ("name", "asked"), [(EXIT, EXIT), ("2001:db8:1:2::/64", "2001:db8:1:2::beef")], ids=["IPv4", "IPv6"]
)
async def test_a_removal_asked_for_an_exit_ends_with_the_exit(store: Store, name: str, asked: str) -> None:
    """Its entry is retested, then another entry that it has."""
    other, exit_ = ip_address("192.0.2.2"), exit_listing(name)
    of, of_other = listing(exits=(name,)), listing(str(other), exits=(name,))
    decide = Decide(
        event(EventKind.LISTED, of), event(EventKind.LISTED, exit_), watch=watch(), then=target(due=AT + DAY)
    )
    await store.conclude(record(), decide, lease=None)
    await store.conclude(record(target(other)), lists(of_other, at=other), lease=None)
    removal = await store.request_removal(ip_address(asked), "owner", AT + 20)
    assert removal.target == ENTRY
    moved = event(EventKind.CONFIRMED, replace(exit_, entry=str(other)), AT + 40)
    step = RemovalStep(removal.id, AT + 40, RemovalState.DELISTED, "closed twice: removed from the list")
    retested = record(Target(ENTRY, Reason.REMOVAL, AT + 30, removal.id, 2), ended=AT + 40)
    await store.conclude(retested, Decide(event(EventKind.DELISTED, of, AT + 40), moved, removal=step), lease=None)
    then = await store.removal(removal.id)
    assert then is not None
    assert (then.state, then.target, then.partly) == (RemovalState.RETESTING, other, False)
    assert f"{ENTRY} is off the list, but conversations through {other} come out here too" in then.steps[-1].detail
    assert await store.lookup(ip_address(asked)) == [moved.listing]
    assert await store.verify() == []
    (leased,) = await store.lease("me", AT + 41, 600, 1)
    assert leased.target == Target(other, Reason.REMOVAL, AT + 40, removal.id, 1)
    ends = event(EventKind.DELISTED, of_other, AT + 50), event(EventKind.DELISTED, moved.listing, AT + 50)
    last = Decide(*ends, removal=replace(step, at=AT + 50))
    await store.conclude(record(leased.target, ended=AT + 50), last, lease=leased)
    ended = await store.removal(removal.id)
    assert ended is not None
    assert (ended.state, ended.partly) == (RemovalState.DELISTED, False)
    assert await store.verify() == []


@pytest.mark.parametrize("why", ["running", "too_soon", "excluded", "relisted"])
async def test_an_entry_that_no_request_could_retest_now_ends_that_for_its_exit(store: Store, why: str) -> None:
    other, exit_ = ip_address("192.0.2.2"), exit_listing()
    of, of_other = listing(exits=(EXIT,)), listing(str(other), exits=(EXIT,))
    await store.conclude(record(), Decide(event(EventKind.LISTED, of), event(EventKind.LISTED, exit_)), lease=None)
    await store.conclude(record(target(other)), lists(of_other, at=other), lease=None)
    if why in ("running", "too_soon"):
        before = await store.request_removal(other, "another", AT + 15)
    if why == "too_soon":
        await store.removal_step(RemovalStep(before.id, AT + 16, RemovalState.INCONCLUSIVE))
    if why == "excluded":
        await store.exclude(f"{other}/32", "asked", "test", AT + 15)
    removal = await store.request_removal(ip_address(EXIT), "owner", AT + 20)
    moved = event(EventKind.CONFIRMED, replace(exit_, entry=str(other)), AT + 40)
    step = RemovalStep(removal.id, AT + 40, RemovalState.DELISTED)
    retested = record(Target(ENTRY, Reason.REMOVAL, AT + 30, removal.id, 2), ended=AT + 40)
    decide = Decide(event(EventKind.DELISTED, of, AT + 40), moved, removal=step)
    not_before = AT + DAY if why == "relisted" else 0.0
    await store.conclude(retested, decide, lease=None, not_before=lambda standing: not_before)
    kept = await store.removal(removal.id)
    assert kept is not None
    assert (kept.state, kept.partly) == (RemovalState.STILL_OPEN, True)
    said = {
        "running": "another request retests that one just now",
        "too_soon": "that one was asked for just now, and the next request retests it",
        "excluded": "its holder opted out of being probed, so that one can't be retested",
        "relisted": "that one was listed again and again within a year, and can't be retested yet",
    }
    assert f"through {other} come out here too: {said[why]}" in kept.steps[-1].detail


async def test_an_exit_that_is_listed_for_itself_meanwhile_is_retested_itself(store: Store) -> None:
    exit_, of = exit_listing(), listing(exits=(EXIT,))
    await store.conclude(record(), Decide(event(EventKind.LISTED, of), event(EventKind.LISTED, exit_)), lease=None)
    removal = await store.request_removal(ip_address(EXIT), "owner", AT + 20)
    await store.change(EXIT, Decide(event(EventKind.LISTED, listing(EXIT), AT + 30)), AT + 30)
    ends = event(EventKind.DELISTED, of, AT + 40), event(EventKind.DELISTED, exit_, AT + 40)
    step = RemovalStep(removal.id, AT + 40, RemovalState.DELISTED)
    retested = record(Target(ENTRY, Reason.REMOVAL, AT + 30, removal.id, 2), ended=AT + 40)
    await store.conclude(retested, Decide(*ends, removal=step), lease=None)
    then = await store.removal(removal.id)
    assert then is not None
    assert (then.state, then.target) == (RemovalState.RETESTING, ip_address(EXIT))
    assert f"but {EXIT} is listed for itself by now: now that one is retested" in then.steps[-1].detail
    itself = record(Target(ip_address(EXIT), Reason.REMOVAL, AT + 40, removal.id, 2), ended=AT + 50)
    closed = event(EventKind.DELISTED, listing(EXIT), AT + 50)
    await store.conclude(itself, Decide(closed, removal=replace(step, at=AT + 50)), lease=None)
    ended = await store.removal(removal.id)
    assert ended is not None
    assert ended.state is RemovalState.DELISTED


async def test_one_request_at_a_time_for_an_exit_whatever_it_retests(store: Store) -> None:
    """Its turns may take longer than 15 minutes, and its listing may have gone to an entry that waits for none."""
    other, exit_ = ip_address("192.0.2.2"), exit_listing()
    of, of_other = listing(exits=(EXIT,)), listing(str(other), exits=(EXIT,))
    await store.conclude(record(), Decide(event(EventKind.LISTED, of), event(EventKind.LISTED, exit_)), lease=None)
    await store.conclude(record(target(other)), lists(of_other, at=other), lease=None)
    removal = await store.request_removal(ip_address(EXIT), "owner", AT + 20)
    moved = event(EventKind.CONFIRMED, replace(exit_, entry=str(other)), AT + 30)
    await store.change(str(ENTRY), Decide(event(EventKind.WITHDRAWN, of, AT + 30), moved), AT + 30)
    late = AT + 20 + 2 * REMOVAL_PAUSE
    with pytest.raises(RemovalRefused, match="running") as refused:
        await store.request_removal(ip_address(EXIT), "another", late)
    assert refused.value.running == removal.id


async def test_each_entry_of_an_exit_has_one_turn_in_a_request(store: Store) -> None:
    """Two that are opened again in turn would keep it running for ever, where a turn takes 15 minutes."""
    other, exit_ = ip_address("192.0.2.2"), exit_listing()
    of, of_other = listing(exits=(EXIT,)), listing(str(other), exits=(EXIT,))
    await store.conclude(record(), Decide(event(EventKind.LISTED, of), event(EventKind.LISTED, exit_)), lease=None)
    await store.conclude(record(target(other)), lists(of_other, at=other), lease=None)
    removal = await store.request_removal(ip_address(EXIT), "owner", AT + 20)
    states = []
    for number, (gone, kept) in enumerate([(of, of_other), (of_other, of)], 1):
        at = AT + number * 2 * REMOVAL_PAUSE
        moved = event(EventKind.CONFIRMED, replace(exit_, entry=kept.address), at)
        step = RemovalStep(removal.id, at, RemovalState.DELISTED)
        retested = record(Target(ip_address(gone.address), Reason.REMOVAL, at, removal.id, 2), ended=at)
        await store.conclude(retested, Decide(event(EventKind.DELISTED, gone, at), moved, removal=step), lease=None)
        await store.change(gone.address, Decide(event(EventKind.LISTED, gone, at)), at)
        then = await store.removal(removal.id)
        assert then is not None
        states.append((then.state, then.partly))
    assert states == [(RemovalState.RETESTING, False), (RemovalState.STILL_OPEN, True)]
    assert "this request retested that one before" in then.steps[-1].detail


@pytest.mark.parametrize("control", [False, True])
async def test_an_entry_that_a_request_for_an_exit_came_to_is_not_asked_for_again_at_once(
    store: Store, control: bool
) -> None:
    """Its pause is from when its turn came; and no turn comes twice within it."""
    other, exit_ = ip_address("192.0.2.2"), exit_listing()
    of, of_other = listing(exits=(EXIT,)), listing(str(other), exits=(EXIT,))
    await store.conclude(record(), Decide(event(EventKind.LISTED, of), event(EventKind.LISTED, exit_)), lease=None)
    await store.conclude(record(target(other)), lists(of_other, at=other), lease=None)
    terms = Terms(control=control)
    removal = await store.request_removal(ip_address(EXIT), "owner", AT + 20, terms=terms)
    turn = AT + 400
    step = RemovalStep(removal.id, turn, RemovalState.DELISTED)
    moved = event(EventKind.CONFIRMED, replace(exit_, entry=str(other)), turn)
    retested = record(Target(ENTRY, Reason.REMOVAL, AT + 30, removal.id, 2), ended=turn)
    await store.conclude(retested, Decide(event(EventKind.DELISTED, of, turn), moved, removal=step), lease=None)
    await store.change(str(ENTRY), Decide(event(EventKind.LISTED, of, turn)), turn)
    refused = (await store.dossier(ENTRY, turn + 1, terms=terms)).refused
    assert refused is not None
    assert (refused.reason, refused.not_before) == ("too_soon", removal.at + REMOVAL_PAUSE)

    back = event(EventKind.CONFIRMED, exit_, turn + 100)
    step = replace(step, at=turn + 100)
    retested = record(Target(other, Reason.REMOVAL, turn, removal.id, 2), ended=turn + 100)
    closed = Decide(event(EventKind.DELISTED, of_other, turn + 100), back, removal=step)
    await store.conclude(retested, closed, lease=None)
    ended = await store.removal(removal.id)
    assert ended is not None
    assert (ended.state, ended.partly) == (RemovalState.STILL_OPEN, True)
    await store.change(str(other), Decide(event(EventKind.LISTED, of_other, turn + 100)), turn + 100)
    for at in (AT + 20 + REMOVAL_PAUSE, turn + REMOVAL_PAUSE - 1):
        refused = (await store.dossier(other, at, terms=terms)).refused
        assert refused is not None
        assert (refused.reason, refused.not_before) == ("too_soon", turn + REMOVAL_PAUSE)
    assert (await store.dossier(other, turn + REMOVAL_PAUSE, terms=terms)).refused is None
    if not control:
        assert (await store.dossier(other, turn + 101, terms=Terms(control=True))).refused is None


async def test_closing_one_entry_of_an_exit_is_no_failure(store: Store) -> None:
    """Where the next can't be retested yet. Three that ended still open would pause the requester."""
    entries = [ip_address("192.0.2.1") + number for number in range(5)]
    listings = [listing(str(entry), exits=(EXIT,)) for entry in entries]
    for entry, of in zip(entries, listings, strict=True):
        await store.conclude(record(target(entry)), lists(of, at=entry), lease=None)
    exits = [exit_listing(entry=str(entry)) for entry in entries]
    await store.change(EXIT, Decide(event(EventKind.LISTED, exits[0])), AT)
    terms, tell = Terms(per_requester=9, per_network=9), Recipient("you@example.org", ("1" * 32,))
    outcomes = []
    for number, (entry, of) in enumerate(zip(entries, listings, strict=True), start=1):
        at = AT + number * 1000
        removal = await store.request_removal(ip_address(EXIT), "owner", at, terms=terms, tell=tell)
        assert removal.target == entry
        another = await store.request_removal(entries[number], "another", at) if number < len(entries) else None
        left = (EventKind.CONFIRMED, exits[number]) if number < len(entries) else (EventKind.DELISTED, exits[-1])
        step = RemovalStep(removal.id, at, RemovalState.DELISTED, "closed twice: removed from the list")
        events = event(EventKind.DELISTED, of, at), event(*left, at)
        await store.change(str(entry), Decide(*events, removal=step), at)
        if another is not None:
            await store.removal_step(RemovalStep(another.id, at, RemovalState.INCONCLUSIVE))
        ended = await store.removal(removal.id)
        out = await store.outbox.take(at, 30 * DAY)
        assert ended is not None
        assert out is not None
        assert (out.removal, out.partly) == (removal.id, ended.partly)
        outcomes.append((ended.state, ended.partly))
    assert outcomes == [(RemovalState.STILL_OPEN, True)] * 4 + [(RemovalState.DELISTED, False)]
