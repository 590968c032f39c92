"""Whose turn it is, under a virtual clock and with a store that gives what it is told to."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
import structlog
import trio

from scanner.model import Reason, Target
from scanner.schedule import LEASE, Scheduler
from scanner.store import Leased, StoreError


class Due:
    """A store in which everything is due; counts what is asked of it."""

    def __init__(self, *leased):
        self.waiting = list(leased)
        self.given_back = []
        self.released = []
        self.fails = 0

    async def _checkpoint(self):
        await trio.lowlevel.checkpoint()
        if self.fails:
            self.fails -= 1
            raise StoreError("store: it is locked")

    async def release(self, owner):
        await self._checkpoint()
        self.released.append(owner)

    async def next_due(self):
        await self._checkpoint()
        return 0.0 if self.waiting else None

    async def lease(self, owner, at, ttl, limit, *, on_demand_only=False):
        await self._checkpoint()
        self.waiting.sort(key=lambda one: not one.target.reason.on_demand)
        fit = [one for one in self.waiting if one.target.reason.on_demand or not on_demand_only]
        taken = fit[:limit]
        self.waiting = [one for one in self.waiting if one not in taken]
        return taken

    async def give_back(self, address, due, *, lease):
        await self._checkpoint()
        self.given_back.append((address, due - time.time()))
        return True


def leased(address, reason=Reason.NOMINATION):
    address = ip_address(address)
    network = str(address).rpartition(".")[0]
    return Leased(Target(address, reason, 0.0), network, 1, LEASE)


class Visits:
    """Carries out visits that take so long; remembers when each began."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.began = {}
        self.ended = []

    async def __call__(self, one):
        self.began[str(one.target.address)] = trio.current_time()
        await trio.sleep(self.seconds)
        self.ended.append(str(one.target.address))


@asynccontextmanager
async def scheduling(store, visits, **options):
    """From second 0 on; stopped at the end, and then everything is over."""
    scheduler = Scheduler(store, "me", **{"hosts": 100, "network_rate": 10.0, "connections": 20, **options})
    with trio.fail_after(10_000), structlog.testing.capture_logs() as scheduler.logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scheduler.run, visits)
            yield scheduler
            scheduler.stop()
    assert (scheduler.under_way, scheduler.on_demand) == (0, 0)


async def test_what_was_held_by_a_daemon_before_us_is_freed_first(autojump_clock):
    store = Due()
    async with scheduling(store, Visits()):
        await trio.sleep(1)
    assert store.released == ["me"]


async def test_a_network_is_visited_at_its_pace_and_others_meanwhile(autojump_clock):
    store, visits = Due(*(leased(f"192.0.2.{n}") for n in (1, 2, 3)), leased("198.51.100.1")), Visits()
    async with scheduling(store, visits):
        await trio.sleep(20)
    assert visits.began == pytest.approx({"192.0.2.1": 0, "198.51.100.1": 0, "192.0.2.2": 2, "192.0.2.3": 4})


async def test_a_network_that_is_busy_for_long_is_given_back(autojump_clock):
    store, visits = Due(*(leased(f"192.0.2.{n}") for n in range(1, 11))), Visits()
    async with scheduling(store, visits):
        await trio.sleep(1)
    assert len(visits.began) <= 3
    assert len(store.given_back) >= 7
    assert all(wait > 5 or wait <= 0.1 for _, wait in store.given_back)  # those that were stopped: at once


async def test_on_demand_goes_ahead_of_thousands_and_with_every_place_taken(autojump_clock):
    many = [leased(f"10.{n // 250}.{n % 250}.1") for n in range(5000)]
    store, visits = Due(*many), Visits(1000)
    async with scheduling(store, visits, hosts=50) as scheduler:
        await trio.sleep(10)
        assert scheduler.under_way == 50
        store.waiting.append(leased("192.0.2.1", Reason.REMOVAL))
        store.waiting.append(leased("192.0.2.2", Reason.OPERATOR))
        scheduler.ring()
        await trio.sleep(0.01)
        assert visits.began["192.0.2.1"] == visits.began["192.0.2.2"] == pytest.approx(10)
        assert (scheduler.under_way, scheduler.on_demand) == (52, 2)
        store.waiting.clear()


async def test_on_demand_waits_for_no_pace(autojump_clock):
    store = Due(leased("192.0.2.1"), leased("192.0.2.2", Reason.REMOVAL))
    visits = Visits()
    async with scheduling(store, visits, connections=40):
        await trio.sleep(1)
    assert set(visits.began.values()) == {0}


async def test_while_nothing_can_be_shown_only_who_waits_is_visited(autojump_clock):
    store, visits, works = Due(leased("192.0.2.1"), leased("192.0.2.2", Reason.REMOVAL)), Visits(), []
    async with scheduling(store, visits, ready=lambda: bool(works)):
        await trio.sleep(5)
        assert list(visits.began) == ["192.0.2.2"]
        works.append(True)
        await trio.sleep(1)
    assert list(visits.began) == ["192.0.2.2", "192.0.2.1"]


async def test_stopped_it_begins_nothing_that_it_took_and_ends_what_it_began(autojump_clock):
    store, visits = Due(*(leased(f"192.0.2.{n}") for n in (1, 2, 3))), Visits(8)
    async with scheduling(store, visits) as scheduler:
        await trio.sleep(1)
        scheduler.stop()
        store.waiting.append(leased("198.51.100.1"))
    assert visits.ended == ["192.0.2.1"]
    assert {str(address) for address, _ in store.given_back} >= {"192.0.2.2", "192.0.2.3"}
    assert "198.51.100.1" not in visits.began


async def test_a_visit_that_takes_longer_than_its_lease_is_ended_and_said(autojump_clock):
    store, visits = Due(leased("192.0.2.1")), Visits(10 * LEASE)
    async with scheduling(store, visits) as scheduler:
        await trio.sleep(LEASE)
        assert scheduler.under_way == 0
    assert visits.ended == []
    assert [line["event"] for line in scheduler.logs] == ["visit took too long"]


async def test_a_store_that_fails_is_asked_again(autojump_clock):
    store, visits = Due(leased("192.0.2.1")), Visits()
    store.fails = 6
    async with scheduling(store, visits):
        await trio.sleep(200)
    assert visits.ended == ["192.0.2.1"]


async def test_an_idle_daemon_asks_for_no_lease(autojump_clock):
    store = Due()
    store.lease = None
    async with scheduling(store, Visits()):
        await trio.sleep(5)
