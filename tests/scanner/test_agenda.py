"""What a visit asks, in which order, and when it has seen enough."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

from scanner.agenda import Agenda, refutation, ways
from scanner.model import THROUGH, CanaryTarget, Endpoint, Face, Kind, Proven, Reason, Target, Visit
from scanner.protocols import PROTOCOLS
from tests.scanner.world import CANARIES, CONNECT, SOCKS5, START, VANTAGES, aim, relayed, shown

WHO = ip_address("192.0.2.1")
FULL = CanaryTarget(
    "c1", ip_address("198.51.100.1"), ip_address("2001:db8::25"), "canary.example", tcp=4000, mail=25, http=80
)


def a_visit(*endpoints: Endpoint, **changes: object) -> Visit:
    visit = Visit("0" * 32, Target(WHO, Reason.NOMINATION, START), endpoints or (SOCKS5,), VANTAGES[:1])
    return replace(visit, **changes)  # type: ignore[arg-type]


def interview(visit, port, answers, canaries=CANARIES, patience=float("inf"), elapsed=0.0):
    """Play an interview: the questions asked, and whether it saw enough. answers: aim -> kind."""
    asked = []
    talk = Agenda(visit, canaries, patience).interview(port)
    try:
        question = next(talk)
        while True:
            asked.append((question.endpoint, question.aim))
            kind = answers(question.aim)
            item = (
                relayed(visit, question.endpoint, question.aim)
                if kind is Kind.RELAYED
                else shown(kind, question.endpoint, question.aim)
            )
            question = talk.send(replace(item, elapsed=elapsed))
    except StopIteration as stop:
        return asked, stop.value


def test_proven_endpoints_are_tried_first_and_a_port_in_one_go():
    known = (Proven(CONNECT, (aim(),)),)
    agenda = Agenda(a_visit(SOCKS5, Endpoint("socks4", 8080), proven=known), CANARIES)
    assert agenda.ports == (8080, 1080)
    missed = [endpoint for endpoint, _, _ in agenda.missed({8080: Kind.REFUSED})]
    assert missed == [CONNECT, Endpoint("socks4", 8080)]


def test_the_first_proof_is_enough():
    asked, enough = interview(a_visit(capabilities=False), 1080, lambda aim: Kind.RELAYED)
    assert (asked, enough) == ([(SOCKS5, aim())], True)


def test_a_thorough_visit_goes_on():
    asked, enough = interview(a_visit(thorough=True), 1080, lambda aim: Kind.RELAYED)
    assert [its.capability for _, its in asked] == ["tcp", "mail", "mail-delivered"]
    assert not enough


def test_a_letter_is_sent_through_a_proxy_once_where_the_mail_port_was_reached_and_only_thoroughly():
    def asked(answers, endpoint=SOCKS5, canaries=(FULL,), **changes):
        return [its for _, its in interview(a_visit(endpoint, **changes), 1080, answers, canaries)[0]]

    every = lambda aim: Kind.RELAYED  # noqa: E731
    assert [str(its) for its in asked(every, thorough=True)][-1] == "c1/mail/198.51.100.1:25/through"
    assert [its.form for its in asked(every, thorough=True)].count(THROUGH) == 1
    assert THROUGH not in {its.form for its in asked(every)}
    no_mail = lambda aim: Kind.DENIED if aim.face is Face.MAIL else Kind.RELAYED  # noqa: E731
    assert THROUGH not in {its.form for its in asked(no_mail, thorough=True)}
    only_mail = lambda aim: Kind.RELAYED if aim.face is Face.MAIL else Kind.DENIED  # noqa: E731
    assert asked(only_mail, thorough=True)[-1].form == THROUGH
    assert THROUGH not in {its.form for its in asked(every, Endpoint("http-get", 1080), thorough=True)}
    assert THROUGH not in {its.form for its in asked(every, thorough=True, canaries=(replace(FULL, mail=2525),))}
    relay = interview(a_visit(RELAY, thorough=True), 25, every, POST)[0]
    assert THROUGH not in {its.form for _, its in relay}


def test_capabilities_are_measured_on_the_endpoint_that_relayed():
    asked, _ = interview(a_visit(), 1080, lambda aim: Kind.RELAYED, (FULL,))
    assert [its.capability for _, its in asked] == ["tcp", "mail", "http", "name", "ipv6"]


def test_denied_for_one_canary_it_asks_for_another():
    asked, enough = interview(
        a_visit(capabilities=False), 1080, lambda a: Kind.RELAYED if a.canary == "c2" else Kind.DENIED
    )
    assert [its.canary for _, its in asked] == ["c1", "c1", "c2"]
    assert enough


def test_hung_up_on_it_asks_once_for_each_other_canary():
    asked, enough = interview(a_visit(), 1080, lambda aim: Kind.HUNG_UP)
    assert [(its.canary, its.face) for _, its in asked] == [("c1", Face.TCP), ("c2", Face.TCP)]
    assert not enough


def test_what_is_clearly_something_else_is_asked_once():
    for kind in (Kind.WRONG_PROTOCOL, Kind.AUTH_REQUIRED, Kind.SILENT, Kind.REFUSED):
        asked, enough = interview(a_visit(), 1080, lambda aim, kind=kind: kind)
        assert (len(asked), enough) == (1, False)


def test_an_endpoint_that_takes_too_long_is_not_asked_in_every_way():
    asked, _ = interview(a_visit(), 1080, lambda aim: Kind.PRETENDS, patience=20, elapsed=15)
    assert len(asked) == 2


def test_a_list_that_asks_for_mail_makes_the_visit_go_on_until_it_is_proven():
    visit = a_visit(SOCKS5, Endpoint("socks4", 1080), mail=True, capabilities=False)
    asked, enough = interview(visit, 1080, lambda a: Kind.DENIED if a.face is Face.MAIL else Kind.RELAYED)
    assert {endpoint.protocol for endpoint, _ in asked} == {"socks5", "socks4"}
    assert not enough
    asked, enough = interview(visit, 1080, lambda aim: Kind.RELAYED)
    assert ([its.face for _, its in asked], enough) == ([Face.TCP, Face.MAIL], True)


def test_a_retest_asks_for_all_that_was_proven_and_for_every_other_canary():
    proven = refutation([Proven(SOCKS5, (aim("c1", Face.MAIL),))], CANARIES)
    visit = a_visit(proven=proven)
    asked, enough = interview(visit, 1080, lambda aim: Kind.DENIED)
    assert [its for _, its in asked] == [aim("c1", Face.MAIL), aim("c2"), aim("c2", Face.MAIL)]
    assert not enough


def test_a_retest_ends_where_nothing_listens_any_more():
    visit = a_visit(proven=refutation([Proven(SOCKS5, (aim(), aim("c2")))], CANARIES))
    asked, _ = interview(visit, 1080, lambda aim: Kind.REFUSED)
    assert len(asked) == 1


def test_a_canary_that_was_moved_or_taken_down_is_asked_for_where_it_is():
    moved = replace(aim(), port=4001)
    gone = replace(aim(), canary="old")
    (known,) = refutation([Proven(SOCKS5, (moved, gone))], CANARIES[:1])
    assert known.aims == (aim("c1"), aim("c1", Face.MAIL))
    assert (
        refutation([Proven(SOCKS5, (moved,))], [CanaryTarget("c6", address6=ip_address("2001:db8::1"), http=80)]) != ()
    )


def test_the_ways_to_a_canary_are_each_face_and_then_each_other_kind_of_host():
    assert [str(way) for way in ways(FULL, PROTOCOLS["socks5"])] == [
        "c1/tcp/198.51.100.1:4000",
        "c1/mail/198.51.100.1:25",
        "c1/http/198.51.100.1:80",
        "c1/tcp/canary.example:4000",
        "c1/tcp/[2001:db8::25]:4000",
    ]
    assert next(str(way) for way in ways(FULL, PROTOCOLS["http-get"])) == "c1/http/198.51.100.1:80"
    assert ways(CanaryTarget("c6", address6=ip_address("2001:db8::1"), tcp=1), PROTOCOLS["socks4"]) == ()


RELAY = Endpoint("smtp-relay", 25)
POST = tuple(replace(canary, mail_domain=f"{canary.id}.example") for canary in CANARIES)


def forms(asked):
    return [f"{way.canary}/{way.form}" for _, way in asked]


def test_a_relay_is_asked_in_each_form_of_the_visit_and_plainly_for_the_other_canaries():
    asked, enough = interview(a_visit(RELAY, forms=("plain", "percent")), 25, lambda aim: Kind.DENIED, POST)
    assert (forms(asked), enough) == (["c1/plain", "c1/percent", "c2/plain"], False)
    assert {(way.host, way.port, way.capability) for _, way in asked} == {
        ("c1.example", 25, "mail"),
        ("c2.example", 25, "mail"),
    }
    asked, _ = interview(a_visit(RELAY), 25, lambda aim: Kind.ACCEPTED, POST)
    assert len(asked) == len(PROTOCOLS["smtp-relay"].forms) + 1


def test_the_first_receipt_ends_it_and_so_does_a_login():
    asked, enough = interview(
        a_visit(RELAY), 25, lambda aim: Kind.RELAYED if aim.form == "null-sender" else Kind.ACCEPTED, POST
    )
    assert (forms(asked), enough) == (["c1/plain", "c1/null-sender"], True)
    for kind in (Kind.AUTH_REQUIRED, Kind.DEFERRED, Kind.SILENT, Kind.WRONG_PROTOCOL):
        asked, enough = interview(a_visit(RELAY), 25, lambda aim, kind=kind: kind, POST)
        assert (forms(asked), enough) == (["c1/plain"], False)


def test_without_a_mail_domain_no_relay_is_asked():
    assert interview(a_visit(RELAY), 25, lambda aim: Kind.RELAYED) == ([], False)
    assert interview(a_visit(SOCKS5, RELAY), 1080, lambda aim: Kind.RELAYED)[1]


def test_a_proof_for_one_list_is_none_for_the_other():
    """An open proxy is no open relay: both are looked for, and each only until it is found."""
    agenda = Agenda(a_visit(RELAY, SOCKS5, CONNECT, capabilities=False), POST)

    def play(port):
        talk = agenda.interview(port)
        asked = 0
        try:
            question = next(talk)
            while True:
                asked += 1
                question = talk.send(relayed(a_visit(), question.endpoint, question.aim))
        except StopIteration as stop:
            return asked, stop.value

    assert play(1080) == (1, False)
    assert play(8080) == (0, False)
    assert play(25) == (1, True)


def questions(visit, answers):
    """Of a mail relay: the form and whether it went without STARTTLS. answers: question -> kind."""
    asked = []
    talk = Agenda(visit, POST[:1]).interview(25)
    question = next(talk)
    with suppress(StopIteration):
        while True:
            asked.append((question.aim.form, question.clear))
            kind = answers(question)
            its = (question.endpoint, question.aim)
            question = talk.send(relayed(visit, *its) if kind is Kind.RELAYED else shown(kind, *its))
    return asked


def test_where_starttls_came_to_nothing_the_same_form_is_asked_once_in_the_clear():
    def broken(then):
        return lambda question: then if question.clear else Kind.TLS_FAILED

    two = a_visit(RELAY, forms=("plain", "percent"))
    assert questions(two, broken(Kind.RELAYED)) == [("plain", False), ("plain", True)]
    each = [("plain", False), ("plain", True), ("percent", False), ("percent", True)]
    assert questions(two, broken(Kind.DENIED)) == each
    for kind in (Kind.TLS_FAILED, Kind.HUNG_UP, Kind.REFUSED):
        assert questions(two, broken(kind)) == each[:2], "no more than once"
    (known,) = refutation((Proven(RELAY, ways(POST[0], PROTOCOLS["smtp-relay"], ["percent"])),), POST[:1])
    retest = a_visit(RELAY, proven=(known,))
    for kind in (Kind.DENIED, Kind.RELAYED, Kind.TLS_FAILED):
        assert questions(retest, broken(kind)) == each[2:]


def test_the_patience_with_a_relay_counts_both_connections():
    asked, _ = interview(a_visit(RELAY), 25, lambda aim: Kind.TLS_FAILED, POST[:1], patience=20, elapsed=15)
    assert forms(asked) == ["c1/plain"] * 2


def test_a_relay_is_refuted_by_the_form_that_relayed():
    percent = ways(POST[0], PROTOCOLS["smtp-relay"], ["percent"])
    (asked,) = refutation((Proven(RELAY, percent),), POST)
    assert [f"{way.canary}/{way.form}" for way in asked.aims] == ["c1/percent", "c2/plain"]
