"""Mail relays under the policy: receipts list, 5xx on the form that relayed delists, and each list by itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import count

import pytest

from core.cidr import CidrSet
from scanner.listing import Rules, add_by_hand, decide, decide_late, expire, removal_not_before, withdraw
from scanner.lists import near
from scanner.model import (
    Aim,
    Endpoint,
    EventKind,
    Evidence,
    Face,
    Kind,
    Proven,
    Reason,
    RemovalState,
    Standing,
    State,
    Target,
    Vantage,
    Visit,
    VisitRecord,
)
from scanner.receipt import Delivery, Letter, Receipt
from scanner.verdict import judge
from tests.scanner.world import DAY, KEYS, SOCKS5, START, relayed, shown

A, OUT = ip_address("192.0.2.1"), ip_address("192.0.2.77")
RELAY = Endpoint("smtp-relay", 25)
PLAIN, PERCENT = (Aim("c1", "c1.example", 25, Face.MAIL, form) for form in ("plain", "percent"))
RULES = Rules()
_ids = count(1)


def letter(kind: Kind = Kind.RELAYED, aim: Aim = PLAIN, *, at: float = START, out=A) -> Evidence:
    id_ = next(_ids).to_bytes(9, "big")
    proof = None
    if kind is Kind.RELAYED:
        signed = Delivery("c1", id_.hex(), out, 40000, 25, at).signed(KEYS["c1"])
        proof = Receipt(KEYS["c1"], Letter(id_, A, RELAY), signed)
    return Evidence(RELAY, kind, "", "v1", aim, proof, at=at, letter=id_.hex())


def seen(*evidence: Evidence, at: float = START, proven=(), reason=Reason.NOMINATION, **target: object) -> VisitRecord:
    who = Target(A, reason, at, **target)  # type: ignore[arg-type]
    visit = Visit(f"{next(_ids):032x}", who, (), (Vantage("v1"),), proven, listed=bool(proven))
    return VisitRecord(visit, at - 1, at, evidence, judge(visit, evidence))


def after(standing: Standing, decision) -> Standing:
    """What the store makes of a decision."""
    keep = {listing.key: listing for listing in standing.listings}
    ends = list(standing.ends)
    for event in decision.events:
        if event.kind.ends:
            del keep[event.listing.key]
            ends.append((event.listing.list, event.at))
        else:
            keep[event.listing.key] = event.listing
    return replace(
        standing, listings=tuple(keep.values()), watch=decision.watch, relay=decision.relay, ends=tuple(ends)
    )


def listed(standing: Standing) -> set[tuple[str, str, str]]:
    return {listing.key for listing in standing.listings}


def open_relay(rules: Rules = RULES, *evidence: Evidence) -> Standing:
    return after(Standing(), decide(Standing(), seen(*(evidence or (letter(),))), rules))


ENTRY = ("rss", str(A), "entry")


def test_a_receipt_lists():
    decision = decide(Standing(), seen(letter(Kind.DENIED), letter(aim=PERCENT, out=OUT)), RULES)
    (event,) = decision.events
    assert (event.kind, event.listing.key, event.listing.criterion) == (EventKind.LISTED, ENTRY, "open-relay")
    assert event.listing.detector.startswith("smtp-relay/")
    assert event.listing.exits == (str(OUT),), "the output host is told, and not listed"
    assert decision.watch is None
    assert decision.relay is not None
    assert decision.relay.proven == (Proven(RELAY, (PERCENT,)),)
    assert decision.next_target == Target(A, Reason.RESCAN, START + DAY)


@pytest.mark.parametrize(
    "kind", [Kind.ACCEPTED, Kind.DEFERRED, Kind.DENIED, Kind.TURNED_AWAY, Kind.PRETENDS, Kind.INTERCEPTED]
)
def test_nothing_else_does(kind):
    assert decide(Standing(), seen(letter(kind)), RULES).events == ()
    assert judge(seen().visit, [letter(kind)]).state is State.CLOSED


@pytest.mark.parametrize("kind", [Kind.ACCEPTED, Kind.DEFERRED, Kind.TURNED_AWAY, Kind.FILTERED, Kind.SILENT])
def test_doubt_does_not_delist(kind):
    standing = open_relay()
    assert standing.relay is not None
    for day in range(1, 5):
        proven = standing.relay.proven
        visit = seen(letter(kind), at=START + day * DAY, proven=proven, reason=Reason.RESCAN)
        assert visit.verdict.state in (State.INCONCLUSIVE, State.FILTERED)
        standing = after(standing, decide(standing, visit, RULES))
        assert listed(standing) == {ENTRY}


def test_two_refusals_of_the_form_that_relayed_delist():
    standing = open_relay(RULES, letter(aim=PERCENT))
    assert standing.relay is not None
    proven = standing.relay.proven
    for day, aim, gone in ((1, PLAIN, False), (2, PERCENT, False), (3, PERCENT, True)):
        visit = seen(letter(Kind.DENIED, aim), at=START + day * DAY, proven=proven, reason=Reason.RESCAN)
        standing = after(standing, decide(standing, visit, RULES))
        assert (listed(standing) == set()) == gone, "another form's refusal tells nothing"
    assert standing.relay is not None
    assert standing.relay.recheck is not None


def test_a_removal_takes_two_passes():
    standing = open_relay()
    assert standing.relay is not None
    proven = standing.relay.proven
    asked = {"proven": proven, "reason": Reason.REMOVAL, "removal": "r"}
    first = decide(standing, seen(letter(Kind.DENIED), at=START + 60, **asked), RULES)
    assert first.removal is not None
    assert first.removal.state is RemovalState.CONFIRMING
    assert first.next_target is not None
    assert (first.next_target.pass_number, first.next_target.removal) == (2, "r")
    standing = after(standing, first)
    second = decide(standing, seen(letter(Kind.DENIED), at=START + 75, pass_number=2, **asked), RULES)
    assert second.removal is not None
    assert second.removal.state is RemovalState.DELISTED
    assert listed(after(standing, second)) == set()
    still = decide(standing, seen(letter(), at=START + 75, **asked), RULES)
    assert still.removal is not None
    assert still.removal.state is RemovalState.STILL_OPEN


def test_who_turns_the_tester_away_is_told_so_and_stays():
    standing = open_relay()
    assert standing.relay is not None
    asked = {"proven": standing.relay.proven, "reason": Reason.REMOVAL, "removal": "r"}
    decision = decide(standing, seen(letter(Kind.TURNED_AWAY), at=START + 60, **asked), RULES)
    assert decision.removal is not None
    assert decision.removal.state is RemovalState.INCONCLUSIVE
    assert "turned away" in decision.removal.detail
    assert listed(after(standing, decision)) == {ENTRY}


def test_who_turns_one_tester_away_and_relays_for_another_blocks_the_tester():
    other = Aim("c2", "c2.example", 25, Face.MAIL, "plain")
    visit = seen(letter(Kind.TURNED_AWAY, other), letter())
    assert visit.verdict.state is State.TESTER_BLOCKED
    assert len(decide(Standing(), visit, RULES).events) == 1


def both(rules: Rules = RULES) -> Standing:
    visit = seen(letter(), relayed(seen().visit, SOCKS5))
    return after(Standing(), decide(Standing(), visit, rules))


def test_an_address_can_be_on_both_lists_and_each_goes_by_itself():
    standing = both()
    assert listed(standing) == {ENTRY, ("ops", str(A), "entry")}
    assert standing.watch is not None
    assert standing.relay is not None
    proven = (*standing.watch.proven, *standing.relay.proven)
    assert removal_not_before(standing, (0.0,)) == START
    for day in (1, 2):
        pieces = (letter(Kind.DENIED), relayed(seen().visit, SOCKS5, at=START + day * DAY))
        visit = seen(*pieces, at=START + day * DAY, proven=proven, reason=Reason.RESCAN)
        standing = after(standing, decide(standing, visit, RULES))
    assert listed(standing) == {("ops", str(A), "entry")}
    assert standing.watch is not None
    asked = {"proven": proven, "reason": Reason.REMOVAL, "removal": "r"}
    pieces = (letter(), shown(Kind.DENIED, SOCKS5, standing.watch.proven[0].aims[0]))
    first = decide(both(), seen(*pieces, at=START + 9, **asked), RULES)
    assert first.removal is not None
    assert first.removal.state is RemovalState.CONFIRMING, "one of them is repaired: it gets its second pass"
    pieces = (letter(), shown(Kind.DENIED, SOCKS5, standing.watch.proven[0].aims[0]))
    last = decide(after(both(), first), seen(*pieces, at=START + 20, pass_number=2, **asked), RULES)
    assert last.removal is not None
    assert last.removal.state is RemovalState.STILL_OPEN
    assert listed(after(both(), last)) == {ENTRY}


def test_on_each_list_a_removal_takes_two_passes_with_signs_of_repair_in_a_row():
    standing = both()
    assert standing.watch is not None
    assert standing.relay is not None
    proven = (*standing.watch.proven, *standing.relay.proven)
    asked = {"proven": proven, "reason": Reason.REMOVAL, "removal": "r"}
    aim = standing.watch.proven[0].aims[0]
    passes = (  # of the relay, of the proxy, what is listed afterwards
        (Kind.SILENT, Kind.DENIED, {"ops", "rss"}),
        (Kind.DENIED, Kind.DENIED, {"rss"}),
        (Kind.DENIED, None, set()),
    )
    for number, (relay, proxy, left) in enumerate(passes, 1):
        pieces = [letter(relay), *([shown(proxy, SOCKS5, aim)] if proxy else [])]
        known = proven if proxy else standing.relay.proven
        visit = seen(*pieces, at=START + 12 * number, pass_number=min(number, 2), **{**asked, "proven": known})
        decision = decide(standing, visit, RULES)
        standing = after(standing, decision)
        assert {key[0] for key in listed(standing)} == left
        assert standing.relay is not None
    assert decision.removal is not None
    assert decision.removal.state is RemovalState.DELISTED
    clean, doubt = ([letter(kind), shown(Kind.SILENT, SOCKS5, aim)] for kind in (Kind.DENIED, Kind.SILENT))
    standing = both()
    for number, pieces in enumerate((clean, doubt, clean), 1):
        visit = seen(*pieces, at=START + 12 * number, pass_number=min(number, 2), **asked)
        standing = after(standing, decide(standing, visit, RULES))
    assert {key[0] for key in listed(standing)} == {"ops", "rss"}, "doubt between them: not in a row"


def test_a_removal_ends_also_where_the_lists_take_turns_in_answering():
    standing = both()
    assert standing.watch is not None
    assert standing.relay is not None
    asked = {"proven": (*standing.watch.proven, *standing.relay.proven), "reason": Reason.REMOVAL, "removal": "r"}
    aim, number = standing.watch.proven[0].aims[0], 1
    for relay, proxy in ((Kind.SILENT, Kind.DENIED), (Kind.DENIED, Kind.SILENT), (Kind.SILENT, Kind.DENIED)):
        visit = seen(letter(relay), shown(proxy, SOCKS5, aim), at=START + 12 * number, pass_number=number, **asked)
        decision = decide(standing, visit, RULES)
        standing = after(standing, decision)
        assert decision.removal is not None
        if decision.removal.state.final:
            break
        assert decision.next_target is not None
        number = decision.next_target.pass_number
    assert (number, decision.removal.state) == (3, RemovalState.INCONCLUSIVE)
    assert {key[0] for key in listed(standing)} == {"ops", "rss"}


@pytest.mark.parametrize(("reason", "nominated", "lists"), [
    (Reason.RESCAN, START - 9, False),
    (Reason.RESCAN, START + 9, True),  # of another list: it answers a nomination that came since
    (Reason.REMOVAL, START + 9, False),
    (Reason.NOMINATION, START - 9, True),
])  # fmt: skip
def test_what_the_operator_ended_is_listed_again_for_a_new_reason_only(reason, nominated, lists):
    standing = Standing(withdrawn={"rss": START}, nominated=nominated)
    visit = seen(letter(at=START + DAY), at=START + DAY, reason=reason)
    assert bool(decide(standing, visit, RULES).events) == lists


def test_expiry_hand_and_withdrawal():
    standing = both(replace(RULES, relay_expiry=60 * DAY))
    ended = expire(standing, at=START + 31 * DAY, rules=RULES)
    assert {event.listing.list for event in ended.events} == {"ops"}
    only = withdraw(standing, list_="rss", address=str(A), at=START + 1, reason="x")
    assert [event.listing.key for event in only.events] == [ENTRY]
    assert (only.watch, only.relay) == (standing.watch, None)
    assert withdraw(standing, list_=None, address=str(A), at=START + 1, reason="x").next_target is None
    by_hand = add_by_hand(standing, list_="rbl", address=str(A), reason="x", at=START, expiry=DAY, rules=RULES)
    assert (by_hand.watch, by_hand.relay) == (standing.watch, standing.relay)


def test_output_hosts_are_listed_where_the_operator_wants_it():
    rules = replace(RULES, list_outputs=True)
    standing = open_relay(rules, letter(out=OUT))
    output = ("rss", str(OUT), "relay-output")
    assert listed(standing) == {ENTRY, output}
    assert standing.relay is not None
    for day in (1, 2):
        visit = seen(letter(Kind.DENIED), at=START + day * DAY, proven=standing.relay.proven, reason=Reason.RESCAN)
        standing = after(standing, decide(standing, visit, rules))
    assert listed(standing) == set(), "it goes with its entry"


def test_an_output_host_of_ours_or_on_a_never_list_is_not_listed():
    """What a relay took can come to us by way of our own second exchanger."""
    for own in (
        {"near": near([], [], [OUT])},
        {"never_list": CidrSet([str(OUT)])},
        {"never_list_soft": CidrSet([str(OUT)])},
    ):
        rules = replace(RULES, list_outputs=True, **own)
        assert listed(open_relay(rules, letter(out=OUT))) == {ENTRY}


def test_a_late_letter_lists_its_output_host_too():
    rules = replace(RULES, list_outputs=True)
    decision = decide_late(Standing(), seen(letter(out=OUT), at=START + 3 * DAY), rules, accepted=START)
    assert {event.listing.key for event in decision.events} == {ENTRY, ("rss", str(OUT), "relay-output")}


@pytest.mark.parametrize("inside", ["192.0.2.200", "192.0.2.1"])
def test_who_relays_for_us_with_reason_is_not_listed(inside):
    networks = near([ip_address(inside)], [], []) if inside != str(A) else near([], [], [A])
    decision = decide(Standing(), seen(letter()), replace(RULES, near=networks))
    assert decision.events == ()
    assert "with reason" in decision.barred
    proxy = decide(Standing(), seen(relayed(seen().visit, SOCKS5)), replace(RULES, near=networks))
    assert len(proxy.events) == 1, "of open proxies it says nothing"


def test_who_was_listed_before_we_knew_of_the_reason_is_not_asked_again_at_once():
    standing = open_relay()
    assert standing.relay is not None
    rules = replace(RULES, near=near([], [], [A]))
    visit = seen(letter(), at=START + DAY, proven=standing.relay.proven, reason=Reason.RESCAN)
    decision = decide(standing, visit, rules)
    assert decision.events == (), "it proves nothing, and is no repair"
    assert "with reason" in decision.barred
    assert decision.next_target == Target(A, Reason.RESCAN, START + 2 * DAY)
    assert [event.listing.key for event in expire(standing, at=START + 31 * DAY, rules=rules).events] == [ENTRY]


def test_near():
    ours = [ip_address("198.51.100.9"), ip_address("2001:db8:1:2::3")]
    inside = near(ours, ["198.51.0.0/16", "203.0.113.0/24"], [ip_address("192.0.2.9")])
    assert inside == CidrSet(["198.51.0.0/16", "2001:db8:1::/48", "192.0.2.9"])


def test_never_list_and_soft_never_list():
    hard = decide(Standing(), seen(letter()), replace(RULES, never_list=CidrSet([str(A)])))
    assert (hard.events, bool(hard.barred)) == ((), True)
    soft = decide(Standing(), seen(letter()), replace(RULES, never_list_soft=CidrSet([str(A)])))
    assert (soft.events, bool(soft.held)) == ((), True)


# Letters that come late


def test_a_late_letter_lists_and_leaves_the_proxy_alone():
    standing = after(Standing(), decide(Standing(), seen(relayed(seen().visit, SOCKS5)), RULES))
    standing = replace(standing, watch=replace(standing.watch, clean=(START + 5,)))
    decision = decide_late(standing, seen(letter(), at=START + 3 * DAY), RULES, accepted=START)
    assert [event.listing.key for event in decision.events] == [ENTRY]
    assert decision.watch == standing.watch
    assert decision.next_target is not None
    assert decision.next_target.due == START + DAY


def test_a_late_letter_counts_from_the_moment_that_the_server_took_it():
    decision = decide_late(Standing(), seen(letter(), at=START + 4 * DAY), RULES, accepted=START)
    (event,) = decision.events
    made = event.listing
    assert (event.at, made.first_listed) == (START + 4 * DAY, START + 4 * DAY)
    assert (made.last_confirmed, made.expires) == (START, START + RULES.relay_expiry)
    dynamic = Standing(dynamic=True)  # lasts five days
    gone = decide_late(dynamic, seen(letter(), at=START + 5 * DAY), RULES, accepted=START)
    assert (gone.events, gone.relay) == ((), None)


def test_letters_of_one_visit_are_one_confirmation_and_each_form_has_to_be_refused():
    first = seen(letter(), at=START + DAY)
    standing = after(Standing(), decide_late(Standing(), first, RULES, accepted=START))
    second = replace(first, evidence=(letter(aim=PERCENT),), verdict=judge(first.visit, (letter(aim=PERCENT),)))
    decision = decide_late(standing, second, RULES, accepted=START + 60)
    assert decision.events == ()
    assert decision.relay is not None
    assert decision.relay.proven == (Proven(RELAY, (PLAIN, PERCENT)),)
    assert decision.next_target is not None


def test_a_late_letter_of_before_the_last_confirmation_confirms_nothing():
    standing = open_relay()
    for accepted, confirms in ((START - 60, False), (START, False), (START + 60, True)):
        decision = decide_late(standing, seen(letter(), at=START + DAY), RULES, accepted=accepted)
        assert bool(decision.events) == confirms
        assert decision.relay is not None


def test_a_letter_from_before_the_repair_is_void():
    standing = Standing(ends=(("rss", START + 10),))
    assert decide_late(standing, seen(letter(), at=START + DAY), RULES, accepted=START).events == ()
    assert len(decide_late(standing, seen(letter(), at=START + DAY), RULES, accepted=START + 11).events) == 1
    other = Standing(ends=(("ops", START + 10),))
    assert len(decide_late(other, seen(letter(), at=START + DAY), RULES, accepted=START).events) == 1


# Letters to bring again


def test_a_letter_that_was_deferred_is_brought_again_some_times():
    item = letter(Kind.DEFERRED)
    standing = Standing()
    for tries in range(1, 5):
        decision = decide(standing, seen(item), RULES)
        due = decision.next_target
        assert (due == Target(A, Reason.NOMINATION, START + DAY)) == (tries < RULES.letter_tries)
        standing = replace(standing, deferred=((RELAY, PLAIN, bytes.fromhex(item.letter), tries),))
    assert decide(Standing(), seen(item, reason=Reason.RESCAN), RULES).next_target is None
    assert decide(Standing(), seen(letter(Kind.ACCEPTED)), RULES).next_target is None
