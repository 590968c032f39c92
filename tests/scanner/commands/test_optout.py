"""optout: who does not want to be probed."""

import json

import pytest


def test_added_shown_removed(proxywarden):
    ended = proxywarden("optout", "add", "8.8.8.0/24", "--reason", "asked\x1b by mail")
    assert (ended.code, ended.out, ended.err) == (0, "8.8.8.0/24 is opted out\n", "")
    assert proxywarden("optout", "add", "2600::1", "--reason", "by mail").code == 0
    found = {item["network"]: item for item in map(json.loads, proxywarden("optout", "show", "--json").lines)}
    assert set(found) == {"8.8.8.0/24", "2600::1"}
    assert found["2600::1"].keys() == {"network", "reason", "by", "at"}
    assert found["2600::1"]["by"].startswith("operator:")
    text = proxywarden("optout", "show").out
    assert "8.8.8.0/24" in text
    assert "\x1b" not in text
    assert proxywarden("optout", "remove", "8.8.8.0/24").code == 0
    ended = proxywarden("optout", "remove", "8.8.8.0/24")
    assert ended.code == 2
    assert ended.said == ["proxywarden: 8.8.8.0/24 is not opted out: `proxywarden optout show` lists what is"]
    assert len(proxywarden("optout", "show", "--json").lines) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("8.8.8.1/24", "--reason", "x"), "'8.8.8.1/24': expected an address, or a CIDR without host bits"),
        (("8.8.8.1", "--reason", " "), "--reason: expected who asked"),
        (("8.8.8.1",), 'Command "optout add" parameter --reason'),
    ],
)
def test_add_said_wrongly(proxywarden, arguments, expected):
    ended = proxywarden("optout", "add", *arguments)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.said
    assert line.startswith(f"proxywarden: {expected}")


def test_nothing(proxywarden, given):
    given(lambda store: store.figures(0))
    ended = proxywarden("optout", "show")
    assert (ended.code, ended.out, ended.err) == (0, "", "nothing is opted out\n")
