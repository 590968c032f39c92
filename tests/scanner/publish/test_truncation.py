"""Guards: what a cut line reads as, and only what the list does not hold."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import words
from core.cidr import CidrSet
from scanner.publish.image import item_of
from scanner.publish.truncation import guards4, guards6, guards_of_singles

NONE = CidrSet([])


def number(text):
    return int.from_bytes(item_of(text), "big")


@pytest.mark.parametrize(("last", "cut"), [(7, []), (0, []), (12, [1]), (100, [1, 10]), (255, [2, 25]), (20, [2])])
def test_a_last_octet_is_cut_digit_by_digit(last, cut):
    guards = guards_of_singles([array("I", [number(f"11.0.0.{last}")])], NONE)
    assert list(guards) == [number(f"11.0.0.{n}") for n in cut]


def test_what_is_listed_needs_no_guard():
    listed = [array("I", map(number, ("11.0.0.1", "11.0.1.39"))), array("I", map(number, ("11.0.0.1", "11.0.0.123")))]
    assert list(guards_of_singles(listed, NONE)) == [number("11.0.0.12"), number("11.0.1.3")]
    assert list(guards_of_singles(listed, CidrSet(["11.0.1.0/24"]))) == [number("11.0.0.12")]


def test_ranges_are_cut_to_wider_ones():
    assert guards4([item_of("198.51.100.64/26")], NONE, 16) == [
        "198.5.0.0/16",
        "198.51.0.0/16",
        "198.51.1.0/24",
        "198.51.10.0/24",
        "198.51.100.0/24",
        "198.51.100.6",
    ]
    assert "198.51.0.0/16" not in guards4([item_of("198.51.100.64/26")], CidrSet(["198.51.0.0/16"]), 16)


def texts6(items, listed):
    return words.write_lines(*guards6(map(item_of, items), listed), b"", b"\n").decode().split()


def test_addresses_of_ipv6_are_cut_to_prefixes():
    found = texts6(["2001:db8::12"], NONE)
    assert {"2::/16", "2001::/16", "2001:d::/32", "2001:db8::/32", "2001:db8::/128", "2001:db8::1/128"} <= set(found)
    assert "2000::/3" in texts6(["2000::/32"], CidrSet(["2000::/32"]))
    assert not any(guard.count(".") for guard in texts6(["::ffff:7f00:2"], NONE))


def test_an_ipv6_network_that_the_list_holds_whole_is_not_guarded():
    listed = ["2001:db8::/32", "2001:db8:1::/48"]
    assert "2001:db8::/32" not in texts6(listed, CidrSet(listed))
    assert {"2001:db::/32", "2001::/16"} <= set(texts6(listed, CidrSet(listed)))


@given(st.sets(st.builds("10.{}.{}.0/{}".format, st.sampled_from([1, 12, 123]), st.integers(0, 63), st.just(24))))
def test_what_the_list_holds_whole_is_not_guarded_and_all_else_is(texts):
    listed = CidrSet(texts)
    guards = guards4([item_of(text) for text in texts], listed, 16)
    assert not any(CidrSet([guard]) <= listed for guard in guards)
    for text in texts:
        octets = text.split(".")
        for cut in (f"10.{octets[1]}.0.0/16", f"10.{octets[1][0]}.0.0/16", f"10.{octets[1]}.{octets[2][0]}.0/24"):
            assert cut in guards or CidrSet([cut]) <= listed
