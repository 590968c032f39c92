"""Views: the value of each kind of entry, and what is wrong with one that an operator wrote."""

import pytest

from scanner.publish.views import SHIPPED, Heading, View, family, heading, lint, plain, view

MAPS = view("maps", {})


@pytest.mark.parametrize(
    ("list_", "type_", "value"),
    [
        ("ops", "entry", "127.1.0.8"),
        ("ops", "manual", "127.1.0.8"),
        ("ops", "exit", "127.1.0.16"),
        ("rss", "entry", "127.1.0.4"),
        ("dul", "dynamic", "127.1.0.2"),
        ("rbl", "manual", "127.1.0.1"),
    ],
)
def test_maps_has_one_bit_for_each(list_, type_, value):
    assert MAPS.value(Heading(list_, type_, "socks")) == value


def test_lists_with_kinds_of_proxies_tell_them_apart():
    dronebl, sorbs = view("dronebl", {}), view("sorbs", {})
    assert dronebl.value(heading("ops", "entry", "socks4a/1", "")) == "127.0.0.8"
    assert dronebl.value(heading("ops", "entry", "http-connect/1", "")) == "127.0.0.9"
    assert sorbs.value(heading("ops", "entry", "https-get/1", "")) == "127.0.0.2"
    assert sorbs.value(heading("ops", "entry", "", "")) == "127.0.0.4"


def test_what_a_view_does_not_name_is_not_published():
    assert view("dronebl", {}).value(Heading("dul", "dynamic")) is None


def test_a_view_of_the_operator_goes_before_a_shipped_one():
    assert view("maps", {"maps": {"ops": "127.0.0.9"}}).value(Heading("ops", "exit")) == "127.0.0.9"
    with pytest.raises(KeyError):
        view("nobody", {})


def test_values_of_a_list_begin_with_its_own():
    assert MAPS.values_of("ops") == ("127.1.0.8", "127.1.0.16")
    assert View("x", {}).values_of("ops") == ()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_views_are_clean(name):
    assert list(lint(name, SHIPPED[name])) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("ops", "10.0.0.1", "127.0.0.0/8"),
        ("ops", "nonsense", "127.0.0.0/8"),
        ("ops", "127.0.0.1", "being absent"),
        ("ops", "127.255.255.254", "error"),
        ("opps", "127.0.0.2", "expected one of ops"),
        ("ops.port", "127.0.0.2", ".entry"),
    ],
)
def test_lint_names_key_and_value(key, value, said):
    (line,) = lint("mine", {key: value})
    assert line.startswith(f"mine.{key}")
    assert said in line


def test_families_of_detectors():
    names = ("http-get/1", "h2-connect/1", "socks5/2", "telnet/1", "smtp-relay/1", "operator/1", "")
    assert [family(name) for name in names] == ["http", "http", "socks", "telnet", "smtp", "", ""]


def test_only_the_operators_words_become_text_and_only_plain_ones():
    assert heading("ops", "entry", "socks5/1", "evil\n$1").note == ""
    assert heading("rbl", "manual", "operator/1", "spam\n127.0.0.1 :$x\x00ü " + "y" * 200).note.startswith(
        "spam 127.0.0.1 :x"
    )
    assert plain("$$\r\n") == ""
    assert len(plain("z" * 500)) == 80
