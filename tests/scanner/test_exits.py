"""The rules of exits, a test for each sentence."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from core.cidr import CidrSet
from scanner.exits import exit_events, exit_name
from scanner.model import Kind, Reason, Standing, Target, Visit, VisitRecord
from scanner.rules import Rules
from scanner.verdict import judge
from tests.scanner.test_listing import EXIT, OTHER_EXIT, A, B, open_world
from tests.scanner.world import DAY, SOCKS5, START, VANTAGES, address, relayed

WHO = address(A)


def record(*exits: str, at: float = START) -> VisitRecord:
    visit = Visit("0" * 32, Target(WHO, Reason.NOMINATION, START), (SOCKS5,), VANTAGES[:1])
    evidence = tuple(relayed(visit, exit_=exit_, at=at) for exit_ in exits)
    return VisitRecord(visit, at - 1, at + 1, evidence, judge(visit, evidence))


def listed(seen, *exits: str, standing: Standing | None = None, **rules: object) -> list[str]:
    events = exit_events(standing or Standing(), record(*exits), seen, Rules(**rules))  # type: ignore[arg-type]
    return [event.listing.address for event in events]


def twice(name: str) -> list[tuple[str, float, str]]:
    return [(name, START, "tcp"), (name, START - 900, "tcp")]


def test_an_exit_is_listed_after_two_conversations_at_least_10_minutes_apart():
    assert listed([(EXIT, START, "tcp")], EXIT) == []
    assert listed([(EXIT, START, "tcp"), (EXIT, START - 599, "tcp")], EXIT) == []
    assert listed([(EXIT, START, "tcp"), (EXIT, START - 600, "tcp")], EXIT) == [EXIT]


def test_one_of_the_conversations_is_plain_tcp():
    assert listed([(EXIT, START, "http"), (EXIT, START - 900, "mail")], EXIT) == []
    assert listed([(EXIT, START, "http"), (EXIT, START - 900, "tcp")], EXIT) == [EXIT]


def test_an_ipv6_exit_is_listed_as_its_64():
    assert exit_name(ip_address("2001:db8:1:2:3::4")) == "2001:db8:1:2::/64"
    assert exit_name(ip_address(EXIT)) == EXIT


def test_never_if_it_is_on_the_never_list_hard_or_soft():
    seen = [(EXIT, START, "tcp"), (EXIT, START - 900, "tcp")]
    assert listed(seen, EXIT, never_list=CidrSet([EXIT])) == []
    assert listed(seen, EXIT, never_list_soft=CidrSet([EXIT])) == []
    name = "2001:db8:1:2::/64"
    seen = [(name, START, "tcp"), (name, START - 900, "tcp")]
    assert listed(seen, "2001:db8:1:2::5", never_list=CidrSet(["2001:db8:1:2::9"])) == []


def test_an_exit_on_the_never_list_is_not_named_in_its_entrys_listing():
    of = open_world(exits=(EXIT,), never_list=CidrSet([EXIT]))
    assert of.book.entries()[0].exits == ()


def test_at_most_16_for_one_entry():
    exits = [f"203.0.113.{number}" for number in range(1, 31)]
    seen = [(exit_, START - back, "tcp") for exit_ in exits for back in (0, 900)]
    assert len(listed(seen, *exits)) == 16
    assert len(listed(seen, *exits, exits_per_entry=3)) == 3
    assert listed(seen, *exits, exits_per_entry=0) == []
    (known,) = (event.listing for event in exit_events(Standing(), record(EXIT), twice(EXIT), Rules()))
    standing = Standing((known,))
    assert listed([*twice(EXIT), *twice(OTHER_EXIT)], OTHER_EXIT, standing=standing, exits_per_entry=1) == []
    assert listed(twice(EXIT), EXIT, standing=standing, exits_per_entry=1) == [EXIT], "what is listed is confirmed"


def test_the_entry_is_no_exit_of_its_own():
    assert listed([], A) == []


def test_an_exit_goes_when_its_entry_goes():
    of = open_world(exits=(EXIT,))
    of.wait(2 * DAY)
    (exit_,) = of.book.exits()
    assert (exit_.entry, exit_.expires) == (A, exit_.last_confirmed + 7 * DAY)
    of.hosts[A].mode = Kind.REFUSED
    of.remove(A)
    assert of.book.listings == {}
    assert of.book.events[-1].reason == "its entry: removal"


def test_an_exit_of_two_entries_goes_with_the_last_of_them():
    of = open_world(exits=(EXIT,))
    of.hosts[B].exits = of.hosts[A].exits
    of.nominate(B)
    of.wait(4 * DAY)
    (exit_,) = of.book.exits()
    first = exit_.entry
    second = B if first == A else A
    assert first is not None
    of.hosts[first].mode = Kind.REFUSED
    of.remove(first)
    (exit_,) = of.book.exits()
    assert exit_.entry == second
    of.hosts[second].mode = Kind.REFUSED
    of.remove(second)
    assert of.book.listings == {}


def test_an_exit_that_its_first_entry_left_stays_with_the_one_that_has_it():
    of = open_world(exits=(EXIT,))
    of.hosts[B].exits = of.hosts[A].exits
    of.nominate(B)
    of.wait(3 * DAY)
    assert {item.entry for item in of.book.exits()} == {A}
    of.hosts[A].exits = (ip_address(OTHER_EXIT),)
    of.wait(12 * DAY)
    of.hosts[A].mode = Kind.REFUSED
    of.remove(A)
    assert [(item.address, item.entry) for item in of.book.exits()] == [(EXIT, B)]


def test_an_exit_goes_7_days_after_it_was_last_seen():
    of = open_world(exits=(EXIT,))
    of.wait(2 * DAY)
    of.hosts[A].exits = (ip_address(OTHER_EXIT),)
    of.wait(8 * DAY)
    assert [item.address for item in of.book.exits()] == [OTHER_EXIT]
    of.wait(8 * DAY)
    assert set(of.book.entries()[0].exits) == {OTHER_EXIT}


def test_sightings_are_bounded():
    of = open_world(exits=tuple(f"203.0.{number}.1" for number in range(200)))
    of.wait(90 * DAY)
    assert len(of.book.watches[A].exits_seen) <= 64
    assert len(of.book.entries()[0].exits) <= 17
    assert len(of.book.exits()) <= 16


def test_more_exits_in_one_visit_than_are_remembered_are_no_error():
    exits = [f"203.0.{number}.1" for number in range(100)]
    assert listed([(exits[0], START, "tcp"), (exits[0], START - 900, "tcp")], *exits) == [exits[0]]


def test_a_confirmed_exit_keeps_when_it_was_first_listed():
    of = open_world(exits=(EXIT,))
    of.wait(2 * DAY)
    (before,) = of.book.exits()
    of.wait(9 * DAY)
    (after,) = of.book.exits()
    assert after == replace(before, last_confirmed=after.last_confirmed, expires=after.expires, visit=after.visit)
    assert after.last_confirmed > before.last_confirmed


def test_an_entry_of_another_list_keeps_no_exit() -> None:
    """What RSS knows of an exit is no reason for OPS to keep it."""
    from scanner.exits import exits_without
    from scanner.model import EventKind, Listing, Standing

    exit_ = Listing(
        *("ops", "203.0.113.9", "exit", "open-proxy-exit", "nomination", "exit/1", "main"),
        first_listed=0.0,
        last_confirmed=0.0,
        expires=100.0,
        entry="192.0.2.1",
    )
    standing = Standing((exit_,), exit_entries={("rss", "203.0.113.9"): ("192.0.2.2",), ("ops", "203.0.113.9"): ()})
    (event,) = exits_without("192.0.2.1", standing, EventKind.DELISTED, 1.0, "removal")
    assert event.kind is EventKind.DELISTED
    kept = Standing((exit_,), exit_entries={("ops", "203.0.113.9"): ("192.0.2.2",)})
    (event,) = exits_without("192.0.2.1", kept, EventKind.DELISTED, 1.0, "removal")
    assert (event.kind, event.listing.entry) == (EventKind.CONFIRMED, "192.0.2.2")
    (event,) = exits_without("192.0.2.1", kept, EventKind.EXPIRED, 99.0, "not confirmed")
    assert event.kind is EventKind.CONFIRMED
    (event,) = exits_without("192.0.2.1", kept, EventKind.EXPIRED, 100.0, "not confirmed")
    assert event.kind is EventKind.EXPIRED, "its own time is up as well"
