from __future__ import annotations

from ipaddress import ip_address

import pytest

from scanner.model import Reason, Target
from scanner.store import Leased, Store
from tests.scanner.store.make import AT, DAY, ENTRY, Decide, address, record, target


def addresses(leased: list[Leased]) -> list[str]:
    return [str(item.target.address) for item in leased]


async def test_on_demand_first_then_by_due(store: Store) -> None:
    await store.schedule(target(address(0), due=AT - 5))
    await store.schedule(target(address(4), due=AT - 9))
    await store.schedule(target(address(8), Reason.OPERATOR, AT))
    await store.schedule(target(address(12), due=AT + 1))
    leased = await store.lease("me", AT, 60, 10)
    assert addresses(leased) == [str(address(8)), str(address(4)), str(address(0))]
    assert leased[0].network == "192.0.4.0/24"
    assert leased[0].until == AT + 60
    assert await store.lease("me", AT, 60, 10) == []
    assert await store.next_due() == AT + 1


async def test_only_on_demand(store: Store) -> None:
    await store.schedule(target(address(0), due=AT - 5))
    await store.schedule(target(address(8), Reason.OPERATOR, AT))
    assert addresses(await store.lease("me", AT, 60, 10, on_demand_only=True)) == [str(address(8))]
    assert await store.lease("me", AT, 60, 10, on_demand_only=True) == []


async def test_networks_take_turns(store: Store) -> None:
    """A network that is due all at once leaves places for the others."""
    for number in range(4):
        await store.schedule(target(address(number), due=AT - 100))
    for network in (1, 2, 3):
        await store.schedule(target(address(4 * network), due=AT - 1))
    first = await store.lease("me", AT, 60, 4)
    assert {item.network for item in first} == {f"192.0.{2 + n}.0/24" for n in range(4)}
    assert len(await store.lease("me", AT, 60, 10)) == 3


async def test_a_full_lease_takes_all_of_one_network(store: Store) -> None:
    for number in range(4):
        await store.schedule(target(address(number)))
    assert len(await store.lease("me", AT, 60, 3)) == 3
    assert len(await store.lease("me", AT, 60, 3)) == 1


async def test_a_network_belongs_to_one_owner_until_its_lease_ends(store: Store) -> None:
    await store.schedule(target(address(0)))
    await store.schedule(target(address(1)))
    (mine,) = await store.lease("me", AT, 60, 1)
    assert await store.lease("you", AT + 59, 60, 10) == []
    await store.schedule(target(address(2), Reason.OPERATOR))
    assert await store.lease("you", AT + 59, 60, 10) == []
    yours = await store.lease("you", AT + 60, 60, 10)
    assert len(yours) == 3  # the one that I took as well: its time is over
    assert {item.lease for item in yours} == {mine.lease + 1}


async def test_ipv6_networks_are_48s(store: Store) -> None:
    for text in ("2001:db8:1::1", "2001:db8:1:ffff::1", "2001:db8:2::1"):
        await store.schedule(target(ip_address(text)))
    leased = await store.lease("me", AT, 60, 10)
    assert {item.network for item in leased} == {"2001:db8:1::/48", "2001:db8:2::/48"}


async def test_a_lease_extends_but_keeps_its_number(store: Store) -> None:
    await store.schedule(target(address(0)))
    await store.schedule(target(address(1), due=AT + 30))
    (first,) = await store.lease("me", AT, 60, 10)
    (second,) = await store.lease("me", AT + 30, 60, 10)
    assert first.lease == second.lease
    assert await store.lease("you", AT + 61, 60, 10) == []


async def test_what_was_not_concluded_in_time_is_given_out_again(store: Store) -> None:
    await store.schedule(target())
    (late,) = await store.lease("me", AT, 60, 10)
    assert await store.lease("me", AT + 59, 60, 10) == []
    (again,) = await store.lease("me", AT + 60, 60, 10)
    assert again.target == late.target
    decide = Decide()
    assert await store.conclude(record(late.target, id_="a" * 32), decide, lease=late) == ()
    assert decide.seen == []
    await store.conclude(record(again.target, id_="b" * 32), decide, lease=again)
    assert len(decide.seen) == 1


async def test_a_target_given_out_again_within_one_lease_is_fenced_too(store: Store) -> None:
    """The network's lease was prolonged by other targets, so its number alone would not tell."""
    await store.schedule(target(address(0)))
    await store.schedule(target(address(1), due=AT + 50))
    (late,) = await store.lease("me", AT, 60, 10)
    await store.lease("me", AT + 50, 600, 10)
    (again,) = await store.lease("me", AT + 60, 600, 10)
    assert (again.target, again.lease) == (late.target, late.lease)
    decide = Decide()
    await store.conclude(record(late.target), decide, lease=late)
    assert decide.seen == []
    assert not await store.give_back(late.target.address, AT + 70, lease=late)
    await store.conclude(record(again.target), decide, lease=again)
    assert len(decide.seen) == 1


async def test_release_frees_all_that_an_owner_held_and_fences_it(store: Store) -> None:
    await store.schedule(target(address(0)))
    await store.schedule(target(address(4)))
    mine = await store.lease("me", AT, 600, 1)
    mine += await store.lease("me", AT, 600, 1)
    assert await store.release("you") == 0
    assert await store.release("me") == 2
    assert len(await store.lease("you", AT + 1, 600, 10)) == 2
    decide = Decide()
    await store.conclude(record(mine[0].target), decide, lease=mine[0])
    assert decide.seen == []


async def test_a_void_visit_is_due_later(store: Store) -> None:
    await store.schedule(target())
    (leased,) = await store.lease("me", AT, 60, 1)
    assert await store.give_back(ENTRY, AT + 30, lease=leased)
    assert await store.lease("me", AT + 29, 60, 1) == []
    (again,) = await store.lease("me", AT + 30, 60, 1)
    assert again.target == target(due=AT + 30)
    assert not await store.give_back(address(3), AT)


async def test_a_void_visit_does_not_delay_what_came_meanwhile(store: Store) -> None:
    await store.schedule(target())
    (leased,) = await store.lease("me", AT, 600, 1)
    await store.schedule(target(reason=Reason.OPERATOR, due=AT + 1))
    assert await store.lease("me", AT + 2, 600, 1) == []  # nobody is visited twice at once
    assert await store.give_back(ENTRY, AT + 500, lease=leased)
    (demanded,) = await store.lease("me", AT + 2, 600, 1)
    assert demanded.target == target(reason=Reason.OPERATOR, due=AT + 1)


async def test_on_demand_during_a_visit_survives_its_conclusion(store: Store) -> None:
    await store.schedule(target(reason=Reason.RESCAN))
    (leased,) = await store.lease("me", AT, 600, 1)
    await store.schedule(target(reason=Reason.OPERATOR, due=AT + 1))
    later = Target(ENTRY, Reason.RESCAN, AT + DAY)
    await store.conclude(record(leased.target), Decide(then=later), lease=leased)
    (demanded,) = await store.lease("me", AT + 2, 600, 1)
    assert demanded.target.reason is Reason.OPERATOR
    await store.conclude(record(demanded.target), Decide(then=later), lease=demanded)
    assert await store.lease("me", AT + DAY - 1, 600, 1) == []
    assert await store.next_due() == AT + DAY


async def test_the_second_pass_of_a_removal_goes_ahead(store: Store) -> None:
    first = Target(ENTRY, Reason.REMOVAL, AT, "a" * 32, 1)
    await store.schedule(first)
    (leased,) = await store.lease("me", AT, 600, 1)
    await store.schedule(target(reason=Reason.OPERATOR))
    second = Target(ENTRY, Reason.REMOVAL, AT + 20, "a" * 32, 2)
    await store.conclude(record(leased.target), Decide(then=second), lease=leased)
    (leased,) = await store.lease("me", AT + 20, 600, 1)
    assert leased.target == second


async def test_a_conclusion_without_a_next_visit_ends_the_schedule(store: Store) -> None:
    await store.schedule(target())
    (leased,) = await store.lease("me", AT, 60, 1)
    await store.conclude(record(leased.target), Decide(), lease=leased)
    assert await store.lease("me", AT + DAY, 60, 1) == []
    assert await store.next_due() is None
    await store.schedule(target())
    await store.unschedule(ENTRY)
    assert await store.lease("me", AT + DAY, 60, 1) == []


async def test_a_decision_without_a_visit_keeps_who_waits(store: Store) -> None:
    """Only a rescan goes with its watch: an accepted nomination is never dropped."""
    await store.schedule(target(due=AT + 50))
    await store.change(str(ENTRY), Decide(), AT)
    assert await store.next_due() == AT + 50
    await store.unschedule(ENTRY)
    await store.schedule(target(reason=Reason.RESCAN, due=AT + 50))
    await store.change(str(ENTRY), Decide(then=target(reason=Reason.RESCAN, due=AT + 70)), AT)
    (leased,) = await store.lease("me", AT + 70, 60, 1)
    assert leased.target.due == AT + 70
    await store.change(str(ENTRY), Decide(), AT)
    assert await store.lease("me", AT + DAY, 60, 1) == []


async def test_a_lease_must_last(store: Store) -> None:
    with pytest.raises(ValueError, match="0"):
        await store.lease("me", AT, 0, 1)


async def test_a_network_without_a_due_target_is_not_held(store: Store) -> None:
    """Its target was put off for somebody who asked; until then the network is anybody's."""
    await store.schedule(target(address(0)))
    await store.schedule(target(address(0), Reason.OPERATOR, AT + 60))
    assert await store.lease("me", AT, 600, 10) == []
    (yours,) = await store.lease("you", AT + 60, 600, 10)
    assert yours.lease == 1
