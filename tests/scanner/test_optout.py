"""Opting out: what it keeps, and what it yields to."""

from __future__ import annotations

from dataclasses import replace

from scanner.model import Reason, Standing, State, Target
from scanner.pipeline import plan
from scanner.settings import Settings
from tests.scanner.test_listing import A, entry, open_world
from tests.scanner.test_policy import settings_with, world
from tests.scanner.world import CANARIES, DAY, START, address


def test_an_opt_out_keeps_the_listing_as_it_is():
    of = open_world()
    before = entry(of)
    of.hosts[A].optout = True
    of.book.excluded.add(A)
    of.wait(60 * DAY)
    assert entry(of) == before
    of.remove(A)
    assert "opted out" in of.book.steps[-1].detail
    assert entry(of) == before


def test_an_opt_out_yields_to_one_visit_for_each_nomination_that_carries_a_sample():
    of = world()
    of.hosts[A].optout = True
    of.book.excluded.add(A)
    of.nominate(A, sample=False)
    of.wait(1)
    assert of.book.records[-1].verdict.state is State.NEVER_SCAN
    of.nominate(A)
    of.wait(2 * DAY)
    assert of.book.records[1].visit.despite_optout
    assert entry(of) is not None
    of.wait(9 * DAY)
    assert [record.visit.despite_optout for record in of.book.records].count(True) == 1


def test_without_an_opt_out_a_sample_changes_nothing():
    visit = plan(Target(address(A), Reason.NOMINATION, START), Standing(sampled=True), settings_with(1), (), CANARIES)
    assert not visit.despite_optout


def test_a_retest_tries_at_most_8_of_the_ranking_and_once():
    settings = Settings()
    target = Target(address(A), Reason.REMOVAL, START, "r")
    first = plan(target, Standing(), settings, settings.endpoints, CANARIES)
    assert len(first.endpoints) == 8
    assert first.connect_timeout == 3.0
    assert plan(replace(target, pass_number=2), Standing(), settings, settings.endpoints, CANARIES).endpoints == ()
