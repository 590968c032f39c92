"""The gate in front of a store: what it lets through, what it holds, what it never publishes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cidr import CidrSet
from scanner.model import EventKind
from scanner.publish.gate import system_map
from scanner.publish.image import item_of
from scanner.publish.ledger import Ledger
from scanner.publish.settings import GateSection
from tests.scanner.publish.source import AT, Memory

NONE = CidrSet([])


def host(number):
    """Spread over networks, as real finds are."""
    return f"{11 + number % 200}.{number // 7 % 250}.{number // 200 % 250}.{number % 97 + 1}"


class Gate:
    """A ledger over a store in memory, with the steps that a publisher takes."""

    def __init__(self, store, *, never=NONE, soft=NONE, state=None, now=AT, systems=None, **limits):
        self.store, self.now = store, now
        self.state = state or {}
        self.ledger = Ledger(GateSection(**limits), never, soft, vantages=2, systems=systems)

    async def open(self):
        await self.ledger.load(self.store, self.state, self.now)
        return await self.release()

    async def release(self, *, accept=False):
        changes = await self.ledger.advance(self.store)
        await self.ledger.settle(self.store, self.now, changes, accept=accept)
        self.state = json.loads(json.dumps(self.ledger.state()))
        return changes

    def published(self, list_="ops"):
        return {str(net) for net in self.ledger.published.covered(list_).cidrs()}

    def rules(self, list_="ops"):
        return [trip.partition(":")[0] for trip in self.ledger.trips.get(list_, [])]


def several(store, count, start=0, **more):
    for number in range(start, start + count):
        store.list(
            host(number), detector=f"{('socks5', 'http-get', 'socks4')[number % 3]}/1", vantage="ab"[number % 2], **more
        )


async def test_ordinary_additions_pass_and_say_what_changed():
    store = Memory()
    gate = Gate(store)
    await gate.open()
    event = store.list("11.0.0.1")
    changes = await gate.release()
    assert gate.published() == {"11.0.0.1/32"}
    assert changes.items == {("ops", item_of("11.0.0.1"))}
    assert changes.events == [event]


async def test_a_surge_is_held_and_what_was_published_stays():
    store = Memory()
    several(store, 900)
    gate = Gate(store)
    await gate.open()
    before = gate.published()
    assert len(before) == 900
    several(store, 200, 900)
    await gate.release()
    assert gate.rules() == ["growth"]
    assert gate.published() == before


async def test_a_removal_passes_a_tripped_gate():
    store = Memory()
    several(store, 900)
    gate = Gate(store)
    await gate.open()
    several(store, 200, 900)
    await gate.release()
    store.end(host(5), detector="http-get/1", vantage="b")
    store.end(host(1000), detector="socks4/1", vantage="a")  # one of those that are held
    changes = await gate.release()
    assert f"{host(5)}/32" not in gate.published()
    assert len(gate.published()) == 899
    assert [event.listing.address for event in changes.events] == [host(5)]


async def test_accept_lets_pass_what_a_person_looked_at_and_begins_a_new_cycle():
    store = Memory()
    several(store, 1500)
    gate = Gate(store)
    await gate.open()
    assert gate.published() == set()
    changes = await gate.release(accept=True)
    assert len(gate.published()) == 1500
    assert len(changes.events) == 1500
    several(store, 900, 1500)
    await gate.release()
    assert len(gate.published()) == 2400


async def test_slow_growth_counts_within_a_cycle_and_a_new_cycle_counts_anew():
    store = Memory()
    gate = Gate(store)
    await gate.open()
    for part in range(3):
        several(store, 400, part * 400, at=gate.now + 3600)
        gate.now += 3600
        await gate.release()
    assert len(gate.published()) == 800
    assert gate.rules() == ["growth"]
    gate.now += 24 * 3600
    await gate.release()
    assert len(gate.published()) == 1200


async def test_a_restart_changes_nothing():
    store = Memory()
    several(store, 900)
    gate = Gate(store)
    await gate.open()
    several(store, 200, 900)
    await gate.release()
    again = Gate(store, state=gate.state)
    await again.open()
    assert (again.published(), again.rules()) == (gate.published(), ["growth"])
    store.list(host(5000))
    last = Gate(store, state=again.state)
    await last.open()
    assert last.published() == gate.published()


async def test_what_was_listed_while_nobody_published_goes_through_the_gate():
    store = Memory()
    several(store, 5)
    gate = Gate(store)
    await gate.open()
    several(store, 1500, 5)
    later = Gate(store, state=gate.state)
    await later.open()
    assert (len(later.published()), later.rules()) == (5, ["growth"])


@pytest.mark.parametrize(
    ("address", "list_", "rule"),
    [
        ("11.0.0.0/24", "ops", "prefix"),
        ("2a00::/48", "rss", "prefix"),
        ("11.0.0.0/11", "dul", "prefix"),
        ("0.0.0.0/1", "rbl", "absent"),
        ("127.0.0.1", "ops", "absent"),
        ("127.0.0.0/16", "dul", "absent"),
        ("8.8.8.8", "ops", "never_list"),
        ("8.8.0.0/16", "dul", "never_list"),
    ],
)
async def test_what_is_never_published_is_not_by_accept_either(address, list_, rule):
    store = Memory()
    gate = Gate(store, never=CidrSet(["8.8.8.8"]))
    await gate.open()
    store.list(address, list_=list_)
    store.list("11.200.0.1", list_=list_)
    await gate.release()
    assert (gate.rules(list_), gate.published(list_)) == ([rule], set())
    await gate.release(accept=True)
    assert (gate.rules(list_), gate.published(list_)) == ([], {"11.200.0.1/32"})
    again = Gate(store, never=CidrSet(["8.8.8.8"]), state=gate.state)
    await again.open()
    assert (again.rules(list_), again.published(list_)) == ([], {"11.200.0.1/32"})


async def test_the_widest_that_a_list_allows_passes():
    store = Memory()
    gate = Gate(store)
    await gate.open()
    store.list("11.0.0.0/12", list_="dul")
    store.list("2a00:100::/24", list_="dul")
    store.list("2a00::/64", type_="exit")
    await gate.release()
    assert gate.published("dul") == {"11.0.0.0/12", "2a00:100::/24"}
    assert gate.published() == {"2a00::/64"}


async def test_a_new_never_list_takes_out_what_was_published():
    store = Memory()
    store.list("11.0.0.1")
    store.list("11.0.0.2")
    gate = Gate(store)
    await gate.open()
    again = Gate(store, never=CidrSet(["11.0.0.1"]), state=gate.state)
    await again.open()
    assert (again.published(), again.rules()) == ({"11.0.0.2/32"}, [])


async def test_the_soft_never_list_waits_for_a_person():
    store = Memory()
    gate = Gate(store, soft=CidrSet(["9.9.9.0/24"]))
    await gate.open()
    store.list("9.9.9.1")
    await gate.release()
    assert gate.rules() == ["soft never-list"]
    await gate.release(accept=True)
    assert gate.published() == {"9.9.9.1/32"}
    store.list("9.9.9.2", type_="manual")
    await gate.release()
    assert gate.published() == {"9.9.9.1/32", "9.9.9.2/32"}


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda n: {"address": f"11.5.{n // 250}.{n % 250}"}, "network"),
        (lambda n: {"address": f"2a00:7::{n + 1:x}"}, "network"),
        (lambda n: {"address": f"{11 + n % 4}.{n % 200}.{n // 200}.9"}, "system"),
        (lambda n: {"detector": "socks5/1"}, "detector"),
        (lambda n: {"vantage": "a"}, "vantage"),
    ],
)
async def test_a_share_that_is_too_large_trips(make, rule):
    store = Memory()
    gate = Gate(store, systems=system_map(["12.0.0.0/8 AS64500", "13.0.0.0/8 64500 # the same"]))
    await gate.open()
    for number in range(300):
        usual = {"address": host(number), "detector": f"d{number % 5}/1", "vantage": "ab"[number % 2]}
        store.list(**usual | make(number))
    await gate.release()
    assert gate.rules() == [rule]
    assert gate.published() == set()


async def test_shares_of_a_handful_mean_nothing():
    store = Memory()
    gate = Gate(store)
    await gate.open()
    for number in range(249):
        store.list(f"11.5.0.{number}")
    await gate.release()
    assert gate.ledger.published.count("ops") == 249


async def test_removals_by_the_dozen_hold_additions_but_pass_and_a_purge_is_none():
    store = Memory()
    several(store, 900)
    gate = Gate(store, removal_floor=10)
    await gate.open()
    gate.now += 86400
    for number in range(200):
        store.end(host(number), EventKind.WITHDRAWN, detector=f"{('socks5', 'http-get', 'socks4')[number % 3]}/1")
    await gate.release()
    assert gate.rules() == []
    for number in range(200, 300):
        store.end(host(number))
    several(store, 1, 5000)
    await gate.release()
    assert gate.rules() == ["removals"]
    assert len(gate.published()) == 600


@pytest.mark.parametrize(
    ("limits", "rule"), [({"max_entries": {"ops": 2}}, "entries"), ({"max_addresses": {"rbl": 300}}, "coverage")]
)
async def test_caps_are_for_the_configuration_not_for_accept(limits, rule):
    store = Memory()
    gate = Gate(store, **limits)
    await gate.open()
    for number in range(3):
        store.list(host(number))
    store.list("11.4.0.0/23", list_="rbl")
    await gate.release(accept=True)
    assert gate.rules("ops" if rule == "entries" else "rbl") == [rule]
    assert gate.published("ops" if rule == "entries" else "rbl") == set()


async def test_a_moved_heading_is_a_change():
    store = Memory()
    gate = Gate(store)
    await gate.open()
    store.list("11.0.0.1", detector="socks5/1")
    await gate.release()
    store.list("11.0.0.1", detector="http-get/1")
    changes = await gate.release()
    assert changes.items == {("ops", item_of("11.0.0.1"))}
    store.list("11.0.0.1", detector="http-post/1")
    changes = await gate.release()
    assert (changes.items, len(changes.events)) == (set(), 1)


DAY = 86400


async def held_for_days(store, **limits):
    """A list that a growth cap held for two days; a restart with more patience lets it pass."""
    gate = Gate(store, growth_floor=2, **limits)
    await gate.open()
    for number in range(1, 6):
        store.list(f"11.0.0.{number}")
    await gate.release()
    assert gate.rules() == ["growth"]
    gate.now += 2 * DAY
    return gate


async def test_what_waited_for_a_day_waits_for_a_new_proof_and_young_finds_pass():
    store = Memory()
    gate = await held_for_days(store)
    store.list("11.0.0.2", at=gate.now)  # proven again, and so published
    young = store.list("11.0.0.6", at=gate.now)
    again = Gate(store, state=gate.state, now=gate.now)
    await again.open()
    assert again.published() == {"11.0.0.2/32", "11.0.0.6/32"}
    assert again.rules() == ["stale"]
    assert "11.0.0.1 and 3 more" in again.ledger.trips["ops"][0]
    assert young.id not in {event.id for aside in again.ledger.stale.values() for event in aside.events}


async def test_a_new_proof_tells_both_events_and_an_end_tells_none():
    store = Memory()
    gate = await held_for_days(store)
    again = Gate(store, state=gate.state, now=gate.now)
    await again.open()
    store.end("11.0.0.2", at=gate.now)
    store.list("11.0.0.3", at=gate.now)
    changes = await again.release()
    told = [(event.kind, event.listing.address) for event in changes.events]
    assert told == [(EventKind.LISTED, "11.0.0.3"), (EventKind.CONFIRMED, "11.0.0.3")]
    last = Gate(store, state=again.state, now=gate.now)
    await last.ledger.load(store, last.state, last.now)
    assert (await last.release()).events == []
    assert last.published() == {"11.0.0.3/32"}
    assert {key[2] for key in last.ledger.stale} == {item_of(f"11.0.0.{number}") for number in (1, 4, 5)}


async def test_a_restart_between_a_new_proof_and_its_release_tells_each_event_once():
    store = Memory()
    gate = await held_for_days(store)
    again = Gate(store, state=gate.state, now=gate.now)
    await again.open()
    store.list("11.0.0.3", at=gate.now)
    store.end("11.0.0.4", at=gate.now)
    last = Gate(store, state=again.state, now=gate.now)
    await last.ledger.load(store, last.state, last.now)
    told = [(event.kind, event.listing.address) for event in (await last.release()).events]
    assert told == [(EventKind.LISTED, "11.0.0.3"), (EventKind.CONFIRMED, "11.0.0.3")]
    assert {key[2] for key in last.ledger.stale} == {item_of(f"11.0.0.{number}") for number in (1, 2, 5)}


async def test_events_are_told_in_their_order():
    store = Memory()
    gate = Gate(store)
    await gate.open()
    for address in ("11.0.0.1", "11.0.0.2", "11.0.0.1", "11.0.0.3", "11.0.0.2"):
        store.list(address)
    changes = await gate.release()
    assert [event.cursor for event in changes.events] == ["1", "2", "3", "4", "5"]


async def test_a_person_may_publish_what_is_stale():
    store = Memory()
    gate = await held_for_days(store)
    again = Gate(store, state=gate.state, now=gate.now)
    await again.open()
    later = Gate(store, state=again.state, now=gate.now)
    await later.ledger.load(store, later.state, later.now)
    changes = await later.release(accept=True)
    assert (later.ledger.published.count("ops"), later.rules(), len(changes.events)) == (5, [], 5)
    assert later.ledger.stale == {}


async def test_a_persons_own_entries_and_declared_ranges_are_never_stale():
    store = Memory()
    gate = Gate(store, growth_floor=0)
    await gate.open()
    store.list("11.0.0.1", type_="manual")
    store.list("11.16.0.0/12", list_="dul")
    await gate.release()
    again = Gate(store, state=gate.state, now=gate.now + 9 * DAY)
    await again.open()
    assert (again.published(), again.published("dul")) == ({"11.0.0.1/32"}, {"11.16.0.0/12"})


async def test_standing_listings_are_no_queue():
    """A publisher that begins on an old store: only how many there are is looked at."""
    store = Memory()
    several(store, 5)
    gate = Gate(store, now=AT + 30 * DAY)
    await gate.open()
    assert len(gate.published()) == 5


ADDRESSES = ["11.0.0.1", "11.0.0.2", "200.1.1.1", "2a00::1", "127.0.0.1", "8.8.8.8", "11.7.0.0/16"]
steps = st.lists(
    st.tuples(
        st.sampled_from(["list", "end", "restart", "release", "day", "accept"]),
        st.sampled_from(ADDRESSES),
        st.sampled_from(["ops", "dul"]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps)
async def test_published_held_and_barred_are_the_store(history):
    """At every release each listing is in exactly one place, and nothing is published that is not listed."""
    store, never, told = Memory(), CidrSet(["8.8.8.8"]), []
    gate = Gate(store, never=never, growth_floor=3)
    await gate.open()
    for what, address, list_ in history:
        if what == "list":
            store.list(address, list_=list_, at=gate.now)
        elif what == "end":
            store.end(address, list_=list_)
        elif what == "day":
            gate.now += DAY + 1
        else:
            if what == "restart":
                gate = Gate(store, never=never, growth_floor=3, state=gate.state, now=gate.now)
                await gate.ledger.load(store, gate.state, gate.now)
            changes = await gate.release(accept=what == "accept")
            told += [event.id for event in changes.events]
            assert len(told) == len(set(told))
            ledger = gate.ledger
            places = [(key[0], key[1], item_of(address)) for key in store.standing for address in [key[1]]]
            aside = {key for key in ledger.stale if ledger.held.find(*key) is None}
            assert len(ledger.published) + len(ledger.held) + len(ledger.barred) + len(aside) == len(places)
            for list_name, address_text, item in places:
                where = [
                    ledger.published.find(list_name, "entry", item) is not None,
                    ledger.held.find(list_name, "entry", item) is not None,
                    (list_name, "entry", item) in ledger.barred,
                    (list_name, "entry", item) in aside,
                ]
                assert sum(where) == 1
                assert not (where[0] and address_text in ("127.0.0.1", "8.8.8.8"))
