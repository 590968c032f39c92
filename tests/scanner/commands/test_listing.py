"""listing: the operator's own hand."""

import json
import time

import pytest

from scanner.model import EventKind
from tests.scanner.store import make


def test_what_covers_a_network_is_shown(proxywarden):
    assert proxywarden("listing", "add", "9.8.0.0/16", "--reason", "wide").code == 0
    assert proxywarden("listing", "add", "9.8.8.0/24", "--list", "dul", "--reason", "narrow").code == 0
    for asked, reasons in (
        ("9.8.8.0/24", ["narrow", "wide"]),
        ("9.8.8.128/25", ["narrow", "wide"]),
        ("9.8.9.0/24", ["wide"]),
        ("9.0.0.0/8", []),
    ):
        found = [json.loads(line)["reason"] for line in proxywarden("listing", "show", asked, "--json").lines]
        assert sorted(found) == reasons


def test_added_shown_withdrawn(proxywarden, given):
    ended = proxywarden("listing", "add", "8.8.8.1", "--list", "rbl", "--reason", "phish", "--json")
    assert (ended.code, ended.err) == (0, "")
    event = json.loads(ended.out)
    assert (event["kind"], event["list"], event["address"], event["type"]) == ("listed", "rbl", "8.8.8.1", "manual")
    assert event["reason"] == "phish"

    again = proxywarden("listing", "add", "8.8.8.1", "--reason", "more phish")
    assert again.out.startswith("confirmed: 8.8.8.1 on rbl (manual) until 20")
    shown = [json.loads(line) for line in proxywarden("listing", "show", "--json").lines]
    assert [(item["address"], item["reason"]) for item in shown] == [("8.8.8.1", "more phish")]

    ended = proxywarden("listing", "withdraw", "8.8.8.1", "--reason", "mistaken")
    assert (ended.code, ended.out) == (0, "withdrawn: 8.8.8.1 on rbl (manual)\n")
    kinds = [(str(item.kind), item.reason) for item in given(lambda store: store.events())]
    assert kinds == [("listed", "phish"), ("confirmed", "more phish"), ("withdrawn", "mistaken")]
    ended = proxywarden("listing", "withdraw", "8.8.8.1")
    assert (ended.code, ended.said) == (2, ["proxywarden: 8.8.8.1 is not listed"])
    assert given(lambda store: store.verify()) == []


def test_an_exit_may_come_back_and_that_is_said(proxywarden, given):
    decide = make.Decide(make.event(EventKind.LISTED, make.exit_listing("203.0.113.9")))
    given(lambda store: store.change("203.0.113.9", decide, make.AT))
    ended = proxywarden("listing", "withdraw", "203.0.113.9")
    assert ended.out == "withdrawn: 203.0.113.9 on ops (exit)\n"
    assert ended.err.startswith("an exit is listed again when its entry leads there again")


def test_a_network(proxywarden):
    assert proxywarden("listing", "add", "2600::/32", "--reason", "x").code == 0
    assert proxywarden("listing", "show", "2600::1").lines[1].split()[:2] == ["rbl", "2600::/32"]
    assert proxywarden("listing", "show", "2600::/32").lines[1].split()[:2] == ["rbl", "2600::/32"]
    assert proxywarden("listing", "show", "2601::1").err == "2601::1 is not listed\n"
    assert proxywarden("listing", "withdraw", "2600::/32").code == 0


def test_how_long(proxywarden, given):
    now = time.time()
    assert proxywarden("listing", "add", "8.8.8.1", "--reason", "x", "--days", "2").code == 0
    assert proxywarden("listing", "add", "8.8.8.2", "--reason", "x").code == 0
    ends = {item.address: (item.expires - now) / make.DAY for item in given(lambda store: store.listings())}
    assert ends == pytest.approx({"8.8.8.1": 2, "8.8.8.2": 180}, abs=0.01)


def test_one_list_of_several(proxywarden, given):
    policy = make.lists(make.listing("8.8.8.1"), at=make.ip_address("8.8.8.1"))
    given(lambda store: store.change("8.8.8.1", policy, time.time()))
    assert proxywarden("listing", "add", "8.8.8.1", "--reason", "x").code == 0
    assert len(proxywarden("listing", "show").lines) == 3
    assert len(proxywarden("listing", "show", "--list", "rbl").lines) == 2
    ended = proxywarden("listing", "withdraw", "8.8.8.1", "--list", "dul")
    assert (ended.code, ended.said) == (2, ["proxywarden: 8.8.8.1 is not listed on dul"])
    assert proxywarden("listing", "withdraw", "8.8.8.1", "--list", "rbl").code == 0
    assert [item.list for item in given(lambda store: store.listings())] == ["ops"]
    assert given(lambda store: store.standing("8.8.8.1")).watch is not None
    assert proxywarden("listing", "withdraw", "8.8.8.1").code == 0
    assert given(lambda store: store.standing("8.8.8.1")).watch is None


def test_many_have_one_head(proxywarden, given, monkeypatch):
    monkeypatch.setattr("scanner.commands.listing._PAGE", 2)
    for last in range(5):
        assert proxywarden("listing", "add", f"8.8.8.{last}", "--reason", "x").code == 0
    lines = proxywarden("listing", "show").lines
    assert [line.split()[1] for line in lines] == ["ADDRESS", *(f"8.8.8.{last}" for last in range(5))]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("127.0.0.1", "--reason", "x"), "127.0.0.1 is on the never-list"),
        (("1.1.1.1", "--reason", "x"), "1.1.1.1 is on the never-list"),
        (("1.0.0.0/8", "--reason", "x"), "1.0.0.0/8 is on the never-list"),
        (("0.0.0.0/0", "--reason", "x"), "0.0.0.0/0 is on the never-list"),
        (("8.8.8.1/24", "--reason", "x"), "'8.8.8.1/24': expected an address, or a CIDR without host bits"),
        (("x", "--reason", "x"), "'x': expected an address, or a CIDR"),
        (("8.8.8.1", "--reason", " "), "--reason: expected why it is listed"),
        (("8.8.8.1", "--reason", "x", "--days", "0"), "--days 0: expected more than 0"),
        (("8.8.8.1", "--reason", "x", "--days", "nan"), "--days nan: expected more than 0"),
        (("8.8.8.1", "--reason", "x", "--list", "foo"), 'Invalid value "foo" for --list'),
        (("8.8.8.1",), 'Command "listing add" parameter --reason'),
    ],
)
def test_add_said_wrongly(proxywarden, home, arguments, expected):
    ended = proxywarden("listing", "add", *arguments)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.said
    assert line.startswith(f"proxywarden: {expected}")


def test_the_soft_never_list_yields_to_a_person(proxywarden):
    assert proxywarden("listing", "add", "209.85.128.1", "--reason", "seen by me").code == 0


def test_nothing(proxywarden, given):
    given(lambda store: store.figures(0))
    ended = proxywarden("listing", "show")
    assert (ended.code, ended.out, ended.err) == (0, "", "nothing is listed\n")
