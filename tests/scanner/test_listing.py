"""The rules of the lists, a test for each sentence."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from ipaddress import ip_address

import pytest

from core.cidr import CidrSet
from scanner.listing import Rules, add_by_hand, decide, expire, removal_not_before, resume, withdraw
from scanner.model import EventKind, Face, Kind, Listing, Reason, RemovalState, Standing, State, Target, VisitRecord
from scanner.pipeline import plan
from scanner.verdict import judge
from tests.scanner.test_policy import world
from tests.scanner.world import CANARIES, DAY, HOUR, SOCKS5, START, World, address, aim, relayed

A, B = "192.0.2.1", "192.0.2.2"
EXIT, OTHER_EXIT = "203.0.113.1", "203.0.113.2"
DELAYS = (0, 0, 1 * DAY, 2 * DAY, 4 * DAY)


def open_world(vantages: int = 2, canaries: int = 2, exits: tuple[str, ...] = (), **rules: object) -> World:
    """A is open and listed."""
    of = world(vantages, canaries, **rules)
    of.hosts[A].exits = tuple(map(ip_address, exits))
    of.nominate(A)
    of.wait(1)
    return of


def entry(of: World, name: str = A) -> Listing | None:
    return of.book.listings.get(("ops", name, "entry"))


def causes(of: World, name: str = A) -> list[tuple[str, str]]:
    return [(str(event.kind), event.reason) for event in of.book.events if event.listing.address == name]


def test_a_proof_lists_with_criterion_detector_vantage_evidence_and_expiry():
    of = open_world()
    listing = entry(of)
    assert listing is not None
    assert (listing.criterion, listing.reason, listing.vantage) == ("open-proxy", "nomination", "v1")
    assert listing.detector.startswith("socks5/")
    assert listing.visit == of.book.records[-1].visit.id
    assert listing.expires == listing.last_confirmed + 30 * DAY


def test_automatic_rescans_come_after_24_hours_and_grow_to_7_days():
    of = open_world()
    of.wait(60 * DAY)
    ended = [record.ended for record in of.book.records]
    pauses = [round((later - former) / HOUR) for former, later in itertools.pairwise(ended)]
    assert pauses[0] == 24
    assert pauses == sorted(pauses)
    assert max(pauses) == 168


def test_an_entry_with_exits_is_rescanned_every_3_days_at_least():
    of = open_world(exits=(EXIT,))
    of.wait(60 * DAY)
    ended = [record.ended for record in of.book.records]
    assert max(later - former for former, later in itertools.pairwise(ended)) <= 72 * HOUR + 3


def test_a_rescan_always_comes_before_the_expiry():
    of = open_world(expiry=5 * DAY)
    of.wait(60 * DAY)
    assert {kind for kind, _ in causes(of)} == {"listed", "confirmed"}


def test_a_removal_request_delists_after_two_passes_with_signs_of_repair():
    of = open_world()
    of.hosts[A].mode = Kind.DENIED
    of.remove(A)
    assert entry(of) is None
    assert [step.state for step in of.book.steps] == [RemovalState.CONFIRMING, RemovalState.DELISTED]
    first, second = of.book.records[-2:]
    assert second.started - first.ended >= 10
    assert of.now - START < 60
    assert causes(of)[-1] == ("delisted", "removal")


@pytest.mark.parametrize("kind", [Kind.FILTERED, Kind.SILENT, Kind.PRETENDS, Kind.HUNG_UP, Kind.UNREACHABLE])
def test_filtered_is_not_repair_and_neither_is_doubt(kind):
    of = open_world()
    of.hosts[A].mode = kind
    of.remove(A)
    assert entry(of) is not None
    assert of.book.steps[-1].state is RemovalState.INCONCLUSIVE


def test_who_still_relays_is_told():
    of = open_world()
    of.remove(A)
    assert of.book.steps[-1].state is RemovalState.STILL_OPEN
    assert causes(of)[-1] == ("confirmed", "")


def test_a_first_visit_with_a_blocked_canary_lists_and_the_retest_keeps_it_as_tester_blocked():
    of = world(2, 2)
    of.hosts[A].hides_from = frozenset({"c1"})
    of.nominate(A)
    of.wait(1)
    assert of.book.records[-1].verdict.state is State.TESTER_BLOCKED
    assert entry(of) is not None
    of.remove(A)
    assert of.book.steps[-1].state is RemovalState.TESTER_BLOCKED
    assert entry(of) is not None


def test_who_blocks_the_vantage_that_proved_him_stays():
    of = open_world()
    of.hosts[A].hides_from = frozenset({"v1"})
    of.remove(A)
    assert of.book.steps[-1].state is RemovalState.TESTER_BLOCKED
    of.wait(20 * DAY)
    assert entry(of) is not None


def test_two_automatic_rescans_with_signs_of_repair_delist():
    of = open_world()
    of.hosts[A].mode = Kind.REFUSED
    of.wait(DAY + HOUR)
    assert entry(of) is not None
    of.wait(DAY + HOUR)
    assert causes(of)[-1] == ("delisted", "rescan")
    assert of.book.targets == {}


def test_a_doubtful_rescan_between_breaks_the_row():
    of = open_world()
    for mode in (Kind.REFUSED, Kind.SILENT, Kind.REFUSED):
        of.hosts[A].mode = mode
        of.wait(DAY + 60)
    assert entry(of) is not None
    of.wait(DAY + 60)
    assert entry(of) is None


@pytest.mark.parametrize("mode", [Kind.REFUSED, Kind.FILTERED])
def test_rescans_less_than_24_hours_apart_count_as_one(mode):
    """Such as a step of the clock brings together."""
    of = open_world()
    of.hosts[A].mode = mode
    for _ in range(4):
        of.now += 5 * HOUR
        of.visit(Target(address(A), Reason.RESCAN, of.now))
    assert entry(of) is not None
    row = of.book.watches[A].clean if mode is Kind.REFUSED else of.book.watches[A].filtered
    assert len(row) == 1


def test_who_nominates_an_address_to_time_its_visit_gains_nothing():
    of = open_world()
    of.hosts[A].mode = Kind.REFUSED
    for _ in range(3):
        of.visit(Target(address(A), Reason.NOMINATION, of.now))
        of.now += 10
    assert entry(of) is not None
    assert of.book.watches[A].clean == ()
    assert of.book.targets[A].due >= of.now - 20 + DAY


def test_three_visits_filtered_from_two_vantages_end_the_listing_as_gone():
    of = open_world()
    of.hosts[A].mode = Kind.FILTERED
    of.wait(2 * DAY + 2 * HOUR)
    assert entry(of) is not None
    of.wait(DAY)
    assert causes(of)[-1] == ("delisted", "gone")


def test_filtered_from_one_vantage_only_the_expiry_ends_it():
    of = open_world(vantages=1)
    of.hosts[A].mode = Kind.FILTERED
    of.wait(29 * DAY)
    assert entry(of) is not None
    of.wait(2 * DAY)
    assert ("expired", "not confirmed before its expiry") in causes(of)


@pytest.mark.parametrize(("vantages", "canaries"), [(1, 1), (1, 2), (2, 1)])
def test_with_one_vantage_or_canary_a_delisting_schedules_one_recheck(vantages, canaries):
    of = open_world(vantages, canaries)
    of.hosts[A].mode = Kind.REFUSED
    of.remove(A)
    delisted = of.now
    target = of.book.targets[A]
    assert delisted + 24 * HOUR <= target.due <= delisted + 72 * HOUR
    of.wait(4 * DAY)
    assert of.book.targets == {}
    assert of.book.watches == {}


def test_with_two_of_each_there_is_no_recheck():
    of = open_world()
    of.hosts[A].mode = Kind.REFUSED
    of.remove(A)
    assert of.book.targets == {}


def test_reopening_at_the_recheck_counts_double():
    of = open_world(1, 1)
    of.hosts[A].mode = Kind.REFUSED
    of.remove(A)
    of.hosts[A].mode = Kind.RELAYED
    of.wait(3 * DAY)
    listing = entry(of)
    assert listing is not None
    assert ("listed", "reopened") in causes(of)
    assert listing.expires == listing.last_confirmed + 60 * DAY
    standing = of.book.standing(A, of.now)
    assert len(standing.ends) == 2
    assert removal_not_before(standing, DELAYS) == listing.first_listed + DAY


@pytest.mark.parametrize(
    ("times", "factor", "delay"), [(0, 1, 0), (1, 1, 0), (2, 2, 1), (3, 3, 2), (4, 3, 4), (9, 3, 4)]
)
def test_relistings_within_365_days_lengthen_the_expiry_and_delay_removal(times, factor, delay):
    of = open_world()
    standing = replace(of.book.standing(A, of.now), ends=(("ops", START - DAY),) * times + (("rss", START - DAY),))
    again = decide(standing, of.book.records[-1], of.rules).events[0].listing
    assert again.expires == again.last_confirmed + min(90, 30 * factor) * DAY
    assert removal_not_before(standing, DELAYS) == again.first_listed + delay * DAY


def test_no_listing_lasts_longer_than_the_cap():
    of = world(2, 2, expiry=40 * DAY)
    standing = Standing(ends=(("ops", START - DAY),) * 3)
    visit = plan(Target(address(A), Reason.NOMINATION, START), standing, of.settings, (SOCKS5,), CANARIES)
    evidence = (relayed(visit),)
    (event,) = decide(standing, VisitRecord(visit, START, START, evidence, judge(visit, evidence)), of.rules).events
    assert event.listing.expires == START + 90 * DAY


def test_what_is_not_listed_has_no_removal_to_wait_for():
    assert removal_not_before(Standing(ends=(("ops", START),) * 5), DELAYS) == 0.0


def test_an_address_inside_the_dul_expires_after_5_days():
    of = open_world()
    standing = replace(of.book.standing(A, of.now), dynamic=True)
    listing = decide(standing, of.book.records[-1], of.rules).events[0].listing
    assert listing.expires == listing.last_confirmed + 5 * DAY


def test_a_list_that_asks_for_mail_lists_only_what_reached_port_25():
    of = open_world()
    (record,) = of.book.records
    rules = replace(of.rules, require_mail=True)
    assert decide(Standing(), record, rules).events
    only_web = tuple(item for item in record.evidence if item.aim is None or item.aim.face is not Face.MAIL)
    verdict = judge(record.visit, only_web)
    assert decide(Standing(), replace(record, evidence=only_web, verdict=verdict), rules).events == ()


# Never-list


def test_the_hard_never_list_is_never_listed_and_says_so():
    of = open_world(never_list=CidrSet([A]))
    assert of.book.events == []
    decision = decide(Standing(), of.book.records[-1], of.rules)
    assert "never-list" in decision.barred
    assert not decision.held


def test_what_was_listed_before_the_never_list_said_so_is_withdrawn():
    of = open_world()
    of.rules = replace(of.rules, never_list=CidrSet([A]))
    of.wait(2 * DAY)
    assert causes(of)[-1] == ("withdrawn", "never-list")


def test_the_soft_never_list_waits_for_a_person():
    of = open_world(never_list_soft=CidrSet([A]))
    assert of.book.events == []
    assert of.book.held == [A]
    of.visit(Target(address(A), Reason.OPERATOR, of.now))
    assert entry(of) is not None
    of.wait(2 * DAY)
    assert causes(of)[-1][0] == "confirmed"


def test_listing_by_hand_respects_the_never_list():
    rules = Rules(never_list=CidrSet(["192.0.2.0/24"]), never_list_soft=CidrSet(["198.51.100.7"]))
    by_hand = partial(add_by_hand, Standing(), list_="rbl", reason="spam", at=START, expiry=DAY, rules=rules)
    for inside in ("192.0.2.9", "192.0.0.0/8", "192.0.2.128/25"):
        with pytest.raises(ValueError, match="never-list"):
            by_hand(address=inside)
    (event,) = by_hand(address="198.51.100.7").events
    assert (event.kind, event.listing.type, event.listing.expires) == (EventKind.LISTED, "manual", START + DAY)


def test_the_operators_hand_ends_a_listing_and_no_recheck_follows():
    of = open_world(1, 1, exits=(EXIT,))
    of.wait(2 * DAY)
    assert of.book.exits() != []
    of.change(A, partial(withdraw, list_=None, address=A, at=of.now, reason="operator"))
    assert of.book.listings == {}
    assert (of.book.targets, of.book.watches) == ({}, {})
    with pytest.raises(ValueError, match="not listed"):
        withdraw(Standing(), list_="rbl", address=A, at=START, reason="operator")


@pytest.mark.parametrize("reason", [Reason.NOMINATION, Reason.RESCAN, Reason.REMOVAL])
def test_the_operators_hand_is_not_undone_by_a_visit_from_before_it(reason):
    of = open_world(2, 2)
    target = Target(address(A), reason, of.now, "r" if reason is Reason.REMOVAL else None)
    visit = plan(target, of.book.standing(A, of.now), of.settings, (SOCKS5,), CANARIES)
    of.change(A, partial(withdraw, list_=None, address=A, at=of.now + 1, reason="operator"))
    evidence = (relayed(visit),)
    record = VisitRecord(visit, of.now, of.now + 2, evidence, judge(visit, evidence))
    decision = decide(of.book.standing(A, record.ended), record, of.rules)
    assert (decision.events, decision.next_target) == ((), None)
    if reason is Reason.REMOVAL:
        assert decision.removal is not None
        assert (decision.removal.state, decision.removal.detail) == (RemovalState.DELISTED, "not listed any more")
    of.wait(DAY)
    of.visit(Target(address(A), reason, of.now, target.removal))
    assert bool(of.book.entries()) == (reason is Reason.NOMINATION), "only a new reason to look lists again"


# Expiry


def test_expiry_ends_what_is_due_and_leaves_the_rest():
    of = open_world()
    listing = entry(of)
    assert listing is not None
    mine = partial(add_by_hand, list_="rbl", address=A, reason="spam", at=of.now, expiry=DAY, rules=of.rules)
    of.change(A, mine)
    standing = of.book.standing(A, of.now)
    decision = expire(standing, at=of.now + DAY, rules=of.rules)
    assert [event.listing.list for event in decision.events] == ["rbl"]
    assert decision.watch == standing.watch
    assert expire(standing, at=of.now, rules=of.rules).events == ()


def test_an_opt_out_stops_the_time_of_a_listing_and_nothing_else():
    listing = entry(open_world())
    assert listing is not None
    listed = listing.last_confirmed
    event = resume(listing, since=listed + DAY, at=listed + 100 * DAY)
    assert (event.kind, event.listing) == (EventKind.CONFIRMED, replace(listing, expires=listing.expires + 99 * DAY))
    seen_since = replace(listing, last_confirmed=listed + 50 * DAY, expires=listed + 80 * DAY)
    assert resume(seen_since, since=listed + DAY, at=listed + 100 * DAY).listing.expires == listed + 130 * DAY


def test_a_removal_that_finds_the_listing_gone_says_so():
    of = open_world()
    record = of.book.records[-1]
    target = Target(address(A), Reason.REMOVAL, of.now, "r", 1)
    visit = replace(record.visit, target=target)
    closed = VisitRecord(visit, of.now, of.now, (), judge(visit, ()))
    step = decide(Standing(), closed, of.rules).removal
    assert step is not None
    assert step.state is RemovalState.DELISTED


def test_the_proof_of_a_visit_is_real():
    of = open_world()
    (record,) = of.book.records
    assert all(item.proof is not None for item in record.verdict.proofs)
    with pytest.raises(ValueError, match="if and only if"):
        replace(relayed(record.visit, towards=aim()), proof=None)
