"""The simulated week, small: the policy holds with thousands of hosts whose owners do what they like."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks.week import Week, charts
from scanner.model import EventKind, Kind, RemovalState


@pytest.mark.parametrize("seed", [1, 2])
def test_a_week_holds_every_rule(seed, tmp_path):
    """What must be so at each step the benchmark itself asserts; here, that it happens at all, and the outcome."""
    week = Week(1000, seed)
    week.run()
    week.check()
    kinds = {event.kind for event in week.register.events}
    assert {EventKind.LISTED, EventKind.CONFIRMED, EventKind.DELISTED} <= kinds
    assert {RemovalState.DELISTED, RemovalState.STILL_OPEN, RemovalState.INCONCLUSIVE} <= set(week.answers)
    assert max(week.waits) < 60, "off the list within a minute"
    assert week.sizes[-1][1] > 0, "some exits were seen twice"
    open_ = {address for address, host in week.hosts.items() if host.mode is Kind.RELAYED}
    listed = {address for _, address, type_ in week.register.listings if type_ == "entry"}
    assert len(open_ - listed) < len(open_) / 10, "nearly all that is open is listed"
    charts(week, tmp_path)
    for name in ("size", "visits", "delist"):
        assert len(ElementTree.parse(tmp_path / f"week-{name}.svg").getroot()) > 10


def test_the_same_seed_is_the_same_week():
    first, second = Week(200, 7), Week(200, 7)
    first.run()
    second.run()
    assert first.sizes == second.sizes
    assert first.visits == second.visits
