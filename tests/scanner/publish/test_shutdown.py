"""The end of a list: a month's warning, no entry, no wildcard, nobody else's server."""

import re
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec

import dns.zone

from scanner.publish.gate import Cycle, Tally, judge
from scanner.publish.image import item_of
from scanner.publish.settings import GateSection
from scanner.publish.shutdown import empty_zone, plan

NOW = 1_800_000_000.0  # 2027-01-15


def test_the_plan_warns_a_month_and_keeps_the_name_for_years():
    text = plan("list.example", ["bl.example", "bl6.example"], "https://list.example/", "a@list.example", NOW)
    days = [datetime.fromisoformat(day) for day in re.findall(r"^\d\. (?:Until )?([\d-]{10})", text, re.MULTILINE)]
    start, _, end, empty, silent, keep = days
    assert (end - start, empty - end) == (timedelta(31), timedelta(1))
    assert silent - end >= timedelta(30)
    assert keep - end >= timedelta(730)
    for zone in ("bl.example", "bl6.example"):
        assert text.count(f"--- empty zone {zone},") == text.count(f'{zone}. 3600 IN TXT "{zone} ends on') == 1
        assert f"{zone}. 604800 IN NS ns.invalid.{zone}.\nns.invalid.{zone}. 604800 IN A 192.0.2.1\n" in text


def test_no_step_needs_what_does_not_exist():
    """Each command and each setting of the plan is one of ours."""
    text = plan("list.example", ["bl.example"], "https://list.example/", "a@list.example", NOW)
    for word in re.findall(r"`proxywarden (\w+)", text):
        assert find_spec(f"scanner.commands.{word}"), word
    gate = GateSection(**dict(re.findall(r"(growth_\w+) = (\S+)", text)))
    tally = Tally()
    tally.add(item_of("11.0.0.1"), "socks5/1", "here", None)
    (trip,) = judge("ops", Cycle(0.0, 10**6), tally, entries=1, addresses=1, vantages=1, limits=gate)
    assert trip.rule == "growth"


def test_the_empty_zone_is_a_zone_and_lists_nothing():
    text = empty_zone("bl.example", "first.last@list.example", datetime.fromtimestamp(NOW, UTC))
    zone = dns.zone.from_text(text, "bl.example")
    assert {str(name) for name in zone.nodes} == {"@", "ns"}
    soa = zone.get_soa()
    assert soa.rname.to_text() == "first\\.last.list.example."
    assert soa.minimum == 86400  # how long resolvers remember that a name is not there
