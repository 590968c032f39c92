"""The gate's rules by themselves; test_ledger.py has them in front of a store."""

import json

import pytest

from scanner.publish.gate import Cycle, Tally, judge, network_of, system_map
from scanner.publish.image import item_of
from scanner.publish.settings import GateSection, RbldnsdSection


@pytest.mark.parametrize(
    ("text", "network"), [("11.2.3.4", "11.2.0.0/16"), ("11.2.3.0/24", "11.2.0.0/16"), ("2a00:1::5", "2a00:1::/32")]
)
def test_entries_count_for_their_network(text, network):
    assert network_of(item_of(text)) == network


def test_a_tally_adds_up_and_outlives_a_restart():
    one, two = Tally(), Tally()
    one.add(item_of("11.0.0.1"), "socks5/1", "here", "AS1")
    two.add(item_of("11.0.0.2"), "socks5/2", "there", None)
    both = one + Tally.of(json.loads(json.dumps(two.state())))
    assert (both.added, both.detectors["socks5"], both.networks["11.0.0.0/16"], both.systems["AS1"]) == (2, 2, 2, 1)


@pytest.mark.parametrize("line", ["11.0.0.0/8", "11.0.0.0/8 ASx", "11.0.0.0/8 1 2"])
def test_a_wrong_line_of_the_systems_is_named(line):
    with pytest.raises(ValueError, match="line 2"):
        system_map(["# head", line])


LIMITS = GateSection(
    growth_floor=10,
    growth_share=0.5,
    removal_floor=2,
    share_floor=4,
    max_entries={"ops": 30},
    max_addresses={"ops": 40},
)


def said(added=0, base=0, removed=0, entries=0, addresses=0):
    tally = Tally()
    for number in range(added):
        tally.add(bytes((11, number % 3, 0, number)), ("socks5/1", "http-get/1")[number % 4 == 0], "here", None)
    cycle = Cycle(0.0, base, removed=removed)
    return [
        str(trip)
        for trip in judge("ops", cycle, tally, entries=entries, addresses=addresses, vantages=1, limits=LIMITS)
    ]


LOOK = "look at what waits with `proxywarden publish`, then `proxywarden publish --accept`"


@pytest.mark.parametrize(
    ("numbers", "lines"),
    [
        ({"added": 10, "entries": 30, "addresses": 40}, []),
        (
            {"added": 12},
            [
                "growth: 12 additions to 0 entries, expected at most 10; most are of socks5 (9) and 11.0.0.0/16 (4)"
                f" (publish.gate.growth_floor); {LOOK}"
            ],
        ),
        ({"added": 12, "base": 24}, []),
        (
            {"added": 16, "base": 30},
            [
                "growth: 16 additions to 30 entries, expected at most 15; most are of socks5 (12) and 11.0.0.0/16 (6)"
                f" (publish.gate.growth_share); {LOOK}"
            ],
        ),
        (
            {"removed": 3},
            [f"removals: 3 of 0 entries went, expected at most 2 (publish.gate.removal_floor); {LOOK}"],
        ),
        (
            {"entries": 31, "addresses": 41},
            [
                "entries: 31 entries, expected at most 30 (publish.gate.max_entries.ops);"
                " set another limit or withdraw some: no `--accept` passes it",
                "coverage: 41 addresses, expected at most 40 (publish.gate.max_addresses.ops);"
                " set another limit or withdraw some: no `--accept` passes it",
            ],
        ),
    ],
)
def test_a_trip_names_the_value_the_limit_and_what_to_do(numbers, lines):
    shares = [line for line in said(**numbers) if not line.startswith("network: ")]
    assert shares == lines


def test_the_limits_of_one_list_leave_those_of_the_others():
    assert LIMITS.max_entries == GateSection().max_entries | {"ops": 30}
    assert RbldnsdSection(expires_hours={"dul": 7}).expires_hours == RbldnsdSection().expires_hours | {"dul": 7}
