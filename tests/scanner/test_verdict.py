"""Evidence is not a verdict: what all of it means for the address."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.agenda import refutation
from scanner.model import Endpoint, Evidence, Face, Kind, Proven, Reason, State, Target, Visit
from scanner.verdict import judge
from tests.scanner.world import CANARIES, CONNECT, SOCKS5, START, VANTAGES, aim, relayed, shown

WHO = ip_address("192.0.2.1")
VISIT = Visit("0" * 32, Target(WHO, Reason.NOMINATION, START), (SOCKS5, CONNECT), VANTAGES[:1])
LISTED = replace(VISIT, listed=True)
PROVEN = replace(VISIT, listed=True, proven=refutation([Proven(SOCKS5, (aim(),))], CANARIES[:1]))
TWICE = replace(PROVEN, vantages=VANTAGES, proven=refutation([Proven(SOCKS5, (aim(),))], CANARIES))


@pytest.mark.parametrize(
    "kind", ["pretends", "intercepted", "silent", "hung_up", "tls_failed", "unreachable", "accepted", "turned_away"]
)
def test_doubt_makes_inconclusive_where_listed_or_proven_else_closed(kind):
    item = shown(Kind(kind), SOCKS5, aim())
    assert judge(VISIT, [item]).state is State.CLOSED
    assert judge(LISTED, [item]).state is State.INCONCLUSIVE
    assert judge(PROVEN, [item]).state is State.INCONCLUSIVE
    assert not judge(PROVEN, [item]).repaired


def test_filtered_makes_filtered():
    verdict = judge(PROVEN, [shown(Kind.FILTERED)])
    assert (verdict.state, verdict.filtered, verdict.repaired) == (State.FILTERED, True, False)


@pytest.mark.parametrize("kind", ["refused", "denied", "auth_required", "wrong_protocol"])
def test_refused_denied_auth_required_and_wrong_protocol_make_closed_and_are_signs_of_repair(kind):
    verdict = judge(PROVEN, [shown(Kind(kind), SOCKS5, aim())])
    assert (verdict.state, verdict.repaired) == (State.CLOSED, True)


def test_of_all_endpoints_the_first_state_that_applies():
    items = [
        shown(Kind.REFUSED, CONNECT),
        shown(Kind.FILTERED, Endpoint("socks4", 1)),
        shown(Kind.SILENT, SOCKS5, aim()),
    ]
    assert judge(LISTED, items).state is State.INCONCLUSIVE
    assert judge(LISTED, items[:2]).state is State.FILTERED
    assert judge(LISTED, items[:1]).state is State.CLOSED
    assert judge(LISTED, [*items, relayed(VISIT, Endpoint("socks4", 2))]).state is State.OPEN


def test_open_for_one_canary_and_not_for_another_is_tester_blocked():
    items = [shown(Kind.DENIED, SOCKS5, aim("c1")), relayed(VISIT, SOCKS5, aim("c2"))]
    verdict = judge(VISIT, items)
    assert verdict.state is State.TESTER_BLOCKED
    assert len(verdict.proofs) == 1
    assert "not for canary c1" in verdict.endpoints[0].detail


@pytest.mark.parametrize("kind", ["denied", "filtered", "refused", "silent", "hung_up"])
def test_open_for_one_vantage_and_not_for_another_is_tester_blocked(kind):
    items = [shown(Kind(kind), SOCKS5, None, vantage="v1"), relayed(VISIT, vantage="v2")]
    assert judge(replace(VISIT, vantages=VANTAGES), items).state is State.TESTER_BLOCKED


@pytest.mark.parametrize("kind", ["intercepted", "unreachable"])
def test_what_says_nothing_of_the_target_contradicts_no_proof(kind):
    items = [shown(Kind(kind), SOCKS5, aim("c1")), relayed(VISIT, SOCKS5, aim("c2"))]
    assert judge(VISIT, items).state is State.OPEN


def test_one_way_refused_and_another_taken_to_the_same_canary_is_open():
    items = [shown(Kind.DENIED, SOCKS5, aim("c1", Face.MAIL)), relayed(VISIT, SOCKS5, aim("c1"))]
    verdict = judge(VISIT, items)
    assert (verdict.state, verdict.mail) == (State.OPEN, False)


def denials(visit: Visit) -> list[Evidence]:
    return [
        shown(Kind.DENIED, SOCKS5, its, vantage=vantage.name)
        for vantage in visit.vantages
        for its in visit.proven[0].aims
    ]


def test_repaired_only_from_every_vantage_and_towards_every_canary():
    everything = denials(TWICE)
    assert judge(TWICE, everything).repaired
    for left_out in everything:
        assert not judge(TWICE, [item for item in everything if item is not left_out]).repaired
    doubted = [replace(everything[0], kind=Kind.HUNG_UP), *everything[1:]]
    assert not judge(TWICE, doubted).repaired


def test_a_closed_port_is_repair_for_all_that_was_reached_through_it():
    assert judge(TWICE, [shown(Kind.REFUSED, vantage="v1"), shown(Kind.REFUSED, vantage="v2")]).repaired
    assert not judge(TWICE, [shown(Kind.REFUSED, vantage="v1")]).repaired
    assert not judge(TWICE, [shown(Kind.REFUSED, vantage="v1"), shown(Kind.FILTERED, vantage="v2")]).repaired


def test_a_handshake_that_failed_says_nothing_where_the_clear_was_answered():
    failed = [replace(item, kind=Kind.TLS_FAILED) for item in denials(PROVEN)]
    verdict = judge(PROVEN, [*failed, *denials(PROVEN)])
    assert (verdict.state, verdict.repaired) == (State.CLOSED, True)
    assert [report.kind for report in verdict.endpoints] == [Kind.DENIED]
    assert judge(PROVEN, [*failed, relayed(VISIT)]).state is State.OPEN
    for unanswered in (Kind.REFUSED, Kind.FILTERED):
        verdict = judge(PROVEN, [*failed, replace(failed[0], kind=unanswered)])
        assert (verdict.state, verdict.repaired) == (State.INCONCLUSIVE, False), "it took a connection just before"
    elsewhere = [replace(item, vantage="v2") for item in denials(PROVEN)]
    assert not judge(TWICE, [failed[0], *denials(TWICE)[1:]]).repaired
    assert judge(PROVEN, [*failed, *elsewhere]).state is State.INCONCLUSIVE


def test_repaired_only_when_every_endpoint_ever_proven_is():
    both = replace(PROVEN, proven=(*PROVEN.proven, Proven(CONNECT, (aim(),))))
    assert not judge(both, [shown(Kind.REFUSED, SOCKS5)]).repaired
    assert judge(both, [shown(Kind.REFUSED, SOCKS5), shown(Kind.DENIED, CONNECT, aim())]).repaired


def test_an_endpoint_that_no_canary_can_be_asked_through_is_repaired_only_by_a_closed_port():
    blind = replace(PROVEN, proven=(Proven(SOCKS5, ()),))
    assert not judge(blind, []).repaired
    assert judge(blind, [shown(Kind.REFUSED)]).repaired


def test_nothing_proven_is_nothing_repaired():
    verdict = judge(VISIT, [shown(Kind.REFUSED)])
    assert (verdict.repaired, verdict.filtered) == (False, False)


def test_never_scan_is_said():
    assert judge(LISTED, [shown(Kind.NEVER_SCAN), shown(Kind.NEVER_SCAN, CONNECT)]).state is State.NEVER_SCAN
    assert judge(VISIT, []).why == "nothing was tried"


def test_exits_and_capabilities_are_those_of_the_proofs():
    items = [relayed(VISIT, exit_="203.0.113.1"), relayed(VISIT, towards=aim("c1", Face.MAIL), exit_="203.0.113.2")]
    verdict = judge(VISIT, items)
    assert [str(item) for item in verdict.exits] == ["203.0.113.1", "203.0.113.2"]
    assert verdict.mail is True
    assert verdict.endpoints[0].capabilities == ("tcp", "mail")
    assert judge(VISIT, items[:1]).mail is None


kinds = st.sampled_from([kind for kind in Kind if kind is not Kind.RELAYED])
items = st.lists(
    st.builds(
        lambda kind, endpoint, canary, vantage: shown(kind, endpoint, canary and aim(canary), vantage=vantage),
        kinds,
        st.sampled_from([SOCKS5, CONNECT]),
        st.sampled_from(["c1", "c2", None]),
        st.sampled_from(["v1", "v2"]),
    ),
    max_size=8,
)


@given(items, st.sampled_from([VISIT, LISTED, PROVEN, TWICE]))
def test_without_a_proof_nothing_is_open_and_no_two_signs_at_once(evidence, visit):
    verdict = judge(visit, evidence)
    assert verdict.state not in (State.OPEN, State.TESTER_BLOCKED)
    assert verdict.proofs == ()
    assert not (verdict.repaired and verdict.filtered)
    assert judge(visit, evidence) == verdict
    assert {report.endpoint for report in verdict.endpoints} == {item.endpoint for item in evidence}


@given(items, st.sampled_from([VISIT, LISTED, PROVEN, TWICE]))
def test_with_a_proof_it_is_open_or_tester_blocked_and_never_repaired(evidence, visit):
    verdict = judge(visit, [*evidence, relayed(visit)])
    assert verdict.state in (State.OPEN, State.TESTER_BLOCKED)
    assert not verdict.repaired
    assert not verdict.filtered
