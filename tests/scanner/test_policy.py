"""Promises of the policy over random histories of a small world."""

from __future__ import annotations

from functools import cache, partial
from ipaddress import ip_address
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import event as hypothesis_event
from hypothesis import strategies as st

from scanner.listing import Rules, add_by_hand, withdraw
from scanner.model import Address, Decision, EventKind, Kind, Reason, Standing, State, VisitRecord
from scanner.settings import Settings
from tests.scanner.world import CANARIES, DAY, HOUR, VANTAGES, Host, World, replay

HOSTS = ("192.0.2.1", "192.0.2.2", "2001:db8::1")
EXITS = tuple(map(ip_address, ("203.0.113.1", "203.0.113.2", "203.0.113.66", "2001:db8:e::1", "2001:db8:e::2")))
MODES = (
    Kind.RELAYED,
    Kind.RELAYED,
    Kind.REFUSED,
    Kind.DENIED,
    Kind.FILTERED,
    Kind.SILENT,
    Kind.PRETENDS,
    Kind.HUNG_UP,
    Kind.UNREACHABLE,
)
DOUBT = {Kind.SILENT, Kind.PRETENDS, Kind.HUNG_UP, Kind.UNREACHABLE, Kind.INTERCEPTED, Kind.ACCEPTED}

hosts = st.sampled_from(HOSTS)
becomes = st.tuples(
    st.just("become"),
    hosts,
    st.sampled_from(MODES),
    st.frozensets(st.sampled_from(("v1", "v2", "c1", "c2")), max_size=2),
    st.lists(st.sampled_from(EXITS), max_size=3, unique=True).map(tuple),
)
waits = st.tuples(st.just("wait"), st.sampled_from((HOUR, DAY, 2 * DAY, 4 * DAY, 8 * DAY, 31 * DAY)))
often = st.tuples(st.sampled_from(("nominate", "remove")), hosts)
others = st.tuples(st.sampled_from(("withdraw", "add", "optout", "optin")), hosts)
steps = st.tuples(st.just("clock"), st.sampled_from((-2 * DAY, -HOUR, HOUR, 3 * DAY)))
anything = st.one_of(becomes, becomes, waits, waits, waits, waits, often, often, others, steps)
histories = st.lists(anything, min_size=10, max_size=40)


@cache
def settings_with(vantages: int) -> Settings:
    return Settings(vantage=tuple({"name": vantage.name} for vantage in VANTAGES[:vantages]))


def world(vantages: int = 1, canaries: int = 1, **rules: object) -> World:
    return World(
        {name: Host(ip_address(name)) for name in HOSTS},
        Rules(vantages=vantages, canaries=canaries, **rules),  # type: ignore[arg-type]
        settings_with(vantages),
        CANARIES[:canaries],
    )


def act(of: World, action: tuple[object, ...]) -> None:
    name, *rest = action
    if name == "wait":
        of.wait(rest[0])  # type: ignore[arg-type]
        return
    if name == "clock":
        of.now += rest[0]  # type: ignore[operator]
        of.steps += 1
        return
    where = str(rest[0])
    host = of.hosts[where]
    if name == "become":
        host.mode, host.hides_from, host.exits = rest[1:]  # type: ignore[assignment]
    elif name == "nominate":
        of.nominate(where)
        of.wait(1)
    elif name == "remove":
        if any(item.address == where for item in of.book.entries()):
            of.remove(where)
    elif name == "withdraw":
        if any(item.address == where for item in of.book.listings.values()):
            of.change(where, partial(withdraw, list_=None, address=where, at=of.now, reason="operator"))
    elif name == "add":
        add = partial(add_by_hand, list_="rbl", address=where, reason="spam", expiry=9 * DAY, rules=of.rules)
        of.change(where, partial(add, at=of.now))
    else:
        host.optout = name == "optout"
        (of.book.excluded.add if host.optout else of.book.excluded.discard)(where)


class Judge:
    """Holds each decision against the rules."""

    def __init__(self, of: World) -> None:
        self.world = of
        self.automatic: dict[Address, tuple[float, int]] = {}  # the last one's end, and steps of the clock until then
        of.on_visit = self.visited
        of.on_change = self.changed

    def visited(self, standing: Standing, record: VisitRecord, decision: Decision) -> None:
        rules, verdict, own = self.world.rules, record.verdict, str(record.visit.address)
        assert len(decision.events) <= 1 + rules.exits_per_entry
        for event in decision.events:
            entry = event.listing.type == "entry"
            if entry and not event.kind.ends:
                assert verdict.proofs, "only a proof lists or confirms"
                assert event.listing.address == own
            if entry and event.kind.ends:
                assert event.kind is EventKind.DELISTED
                self.delisted(record, event.reason)
            self.finite(event.listing.expires, event.listing.last_confirmed)
        kinds = {item.kind for item in record.evidence if item.endpoint.protocol == "socks5"}
        if kinds <= DOUBT or kinds == {Kind.NEVER_SCAN}:
            assert not decision.events, "doubt neither lists nor delists"
        if verdict.state is State.TESTER_BLOCKED:
            assert any(event.listing.address == own and not event.kind.ends for event in decision.events)
        self.spaced(record)
        self.whole(decision)

    def delisted(self, record: VisitRecord, reason: str) -> None:
        """Every delisting has its cause."""
        own = record.visit.address
        earlier = [item for item in self.world.book.records if item.visit.address == own]
        if reason == "removal":
            before = earlier[-2]
            assert record.visit.reason is before.visit.reason is Reason.REMOVAL
            assert (before.visit.target.pass_number, record.visit.target.pass_number) == (1, 2)
            assert record.verdict.repaired
            assert before.verdict.repaired
            assert record.started >= before.ended + 10
            return
        assert record.visit.reason is Reason.RESCAN
        rescans = [item for item in earlier if item.visit.reason is Reason.RESCAN]
        count = {"rescan": 2, "gone": 3}[reason]
        its = rescans[-count:]
        assert len(its) == count
        assert all(later.ended >= item.ended + DAY for item, later in pairwise(its))
        if reason == "rescan":
            assert all(item.verdict.repaired for item in its)
        else:
            assert all(item.verdict.filtered for item in its)
            assert self.world.rules.vantages == 2

    def spaced(self, record: VisitRecord) -> None:
        if record.visit.reason.on_demand:
            return
        own = record.visit.address
        before, self.automatic[own] = self.automatic.get(own), (record.ended, self.world.steps)
        if before is not None:
            ended, steps = before
            if steps == self.world.steps:  # who sets the clock may see two visits closer together
                assert record.started >= ended + DAY, "two automatic visits in 24 h"

    def changed(self, of: str, decision: Decision) -> None:
        for event in decision.events:
            self.finite(event.listing.expires, event.listing.last_confirmed)
            assert event.kind is not EventKind.LISTED or event.listing.type == "manual"
        self.whole(decision)

    def finite(self, expires: float, confirmed: float) -> None:
        assert 0 < expires - confirmed <= self.world.rules.expiry_cap

    def whole(self, decision: Decision) -> None:
        book = self.world.book
        entries = {item.address for item in book.entries()}
        for item in book.exits():
            assert item.entry in entries, "an exit goes with its entries"
            assert item.expires <= item.last_confirmed + self.world.rules.exit_expiry
        for entry in entries:
            assert entry in book.watches
        for event in decision.events:
            if event.kind is EventKind.LISTED and event.listing.type == "exit":  # others are handed over to it
                its = sum(item.entry == event.listing.entry for item in book.exits())
                assert its <= self.world.rules.exits_per_entry
            words = (event.reason, event.listing.reason, event.listing.criterion, event.listing.detector)
            assert not any("1080" in word or "8080" in word for word in words), "no port is published"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories, st.integers(1, 2), st.integers(1, 2), st.integers(1, 2))
def test_whatever_happens_the_rules_hold_and_every_listing_ends(history, vantages, canaries, exits):
    of = world(vantages, canaries, exits_per_entry=exits)
    Judge(of)
    for name, host in of.hosts.items():  # so that there is something to change
        host.exits = EXITS[:1] + EXITS[-1:]
        of.nominate(name)
    of.wait(2 * DAY)
    assert len(of.book.entries()) == len(HOSTS)
    assert {item.address for item in of.book.exits()} <= {"203.0.113.1", "2001:db8:e::/64"}
    for action in history:
        act(of, action)
    for event in of.book.events:
        hypothesis_event(f"{event.kind} {event.listing.type} {event.reason}")
    assert replay(of.book.events) == of.book.listings
    for name, host in of.hosts.items():
        host.mode, host.optout = Kind.SILENT, False
        of.book.excluded.discard(name)
    of.wait(of.rules.expiry_cap + 4 * DAY)
    assert of.book.listings == {}
    of.wait(4 * DAY)
    assert of.book.targets == {}, "nothing is visited that is not listed"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(waits, often, steps), max_size=25), st.data())
def test_doubt_alone_never_lists(history, data):
    of = world(2, 2)
    for host in of.hosts.values():
        host.mode = data.draw(st.sampled_from([*sorted(DOUBT), Kind.FILTERED, Kind.DENIED, Kind.REFUSED]))
    for action in history:
        act(of, action)
    assert of.book.events == []


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(DOUBT)), st.integers(1, 2), st.integers(1, 6), st.booleans())
def test_doubt_alone_never_delists_before_the_expiry(kind, vantages, hours, ask):
    of = world(vantages, 2)
    of.nominate(HOSTS[0])
    of.wait(1)
    (entry,) = of.book.entries()
    of.hosts[HOSTS[0]].mode = kind
    for _ in range(20):
        of.wait(hours * HOUR)
        if ask:
            of.remove(HOSTS[0])
    assert of.book.entries() == [entry]
    of.run_until(entry.expires - 1)
    assert of.book.entries() == [entry]
    of.wait(1)
    assert of.book.entries() == []
