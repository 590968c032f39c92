"""What a visit tries, by what it is judged, and which letters count: the pipeline's own decisions, without sockets."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from types import SimpleNamespace

import pytest

from scanner.controls import Controls
from scanner.insist import Insist
from scanner.model import (
    Endpoint,
    Evidence,
    Kind,
    Proven,
    Reason,
    Standing,
    Target,
    VisitRecord,
    Watch,
)
from scanner.pipeline import Pipeline, judged_by, plan
from scanner.store import Leased, Store
from scanner.verdict import judge
from tests.scanner.live import canary, settings
from tests.scanner.world import relayed

FIRST, SECOND = Endpoint("http-connect", 8080), Endpoint("socks5", 1080)
HERE = IPv4Address("127.82.6.9")
OUT, OURS = IPv4Address("127.82.6.10"), IPv4Address("127.82.0.1")


def planned(tmp_path, reason=Reason.NOMINATION, standing=None, **target):
    one = canary(tmp_path)
    config = settings(tmp_path)
    return plan(Target(HERE, reason, 0.0, **target), standing or Standing(), config, (FIRST, SECOND), [one.target])


def watching(endpoint):
    return Standing(watch=Watch("ops", HERE, (Proven(endpoint, ()),), 0.0))


async def test_a_visit_tries_what_was_proven_and_the_ranking(tmp_path):
    visit = planned(tmp_path, standing=watching(SECOND))
    assert [known.endpoint for known in visit.proven] == [SECOND]
    assert visit.endpoints == (FIRST, SECOND)
    assert visit.connect_timeout is None
    assert len(visit.id) == 32
    assert visit.id != planned(tmp_path).id


async def test_a_retest_tries_what_was_proven_twice_and_the_rest_once_and_briefly(tmp_path):
    first = planned(tmp_path, Reason.REMOVAL, watching(SECOND), removal="r", pass_number=1)
    assert first.endpoints == (FIRST,)
    assert first.connect_timeout == 3.0
    again = planned(tmp_path, Reason.REMOVAL, watching(SECOND), removal="r", pass_number=2)
    assert again.endpoints == ()
    assert [known.endpoint for known in again.proven] == [SECOND]


async def test_what_was_proven_during_a_visit_was_not_refused_in_it(tmp_path):
    before = Standing(watch=Watch("ops", HERE, (Proven(FIRST, ()),), 0.0))
    visit = planned(tmp_path, Reason.REMOVAL, before, removal="r")
    seen = [Evidence(endpoint, Kind.REFUSED, vantage="main") for endpoint in (FIRST, SECOND)]
    record = VisitRecord(visit, 0.0, 1.0, tuple(seen[:1]), judge(visit, seen[:1]))
    assert record.verdict.repaired
    assert judged_by(before, before, record, ()) is record
    relay = Watch("rss", HERE, (Proven(SECOND, ()),), 0.0)
    assert not judged_by(before, replace(before, relay=relay), record, ()).verdict.repaired
    both = replace(record, evidence=tuple(seen))
    assert judged_by(before, replace(before, relay=relay), both, ()).verdict.repaired


async def test_what_a_void_visit_saw_proves_nothing(tmp_path, monkeypatch):
    kept = []

    async def conclude(self, record, decide, *, lease):
        kept.append(record)

    monkeypatch.setattr(Store, "conclude", conclude)
    pipeline = object.__new__(Pipeline)
    pipeline.void, pipeline._insist, pipeline._store = 0, Insist(), object.__new__(Store)
    visit = planned(tmp_path)
    proof = relayed(visit)
    record = VisitRecord(visit, 0.0, 1.0, (proof,), judge(visit, (proof,)))
    await pipeline._void(Leased(visit.target, "127.82.6.0/24", 1, 0.0), record, "bad")
    assert [(one.verdict.why, one.verdict.proofs, one.evidence) for one in kept] == [("void: bad", (), (proof,))]


async def test_an_opt_out_yields_to_a_sample_alone(tmp_path):
    assert not planned(tmp_path, standing=Standing(excluded="asked")).despite_optout
    assert planned(tmp_path, standing=Standing(excluded="asked", sampled=True)).despite_optout


@pytest.mark.parametrize(("good", "exit_", "discarded"), [(False, OUT, []), (True, OURS, ["ab"])])
async def test_a_late_letter_counts_only_on_a_good_way_and_from_an_address_that_is_not_ours(
    monkeypatch, good, exit_, discarded
):
    asked, thrown = [], []

    async def good_since(self, mark, used):
        asked.append((mark, used))
        return good

    async def discard_letter(self, letter):
        thrown.append(letter)

    monkeypatch.setattr(Controls, "mark", lambda self: 7)
    monkeypatch.setattr(Controls, "good_since", good_since)
    monkeypatch.setattr(Store, "discard_letter", discard_letter)
    pipeline = object.__new__(Pipeline)
    pipeline._controls, pipeline._store = object.__new__(Controls), object.__new__(Store)
    pipeline._insist, pipeline._prober = Insist(), SimpleNamespace(egress={OURS})
    posted = SimpleNamespace(letter="ab", address=HERE, vantage="here", aim=SimpleNamespace(canary="main"))
    assert await pipeline.late(posted, SimpleNamespace(exit=exit_)) is good
    assert asked == [(7, {("here", "main")})]
    assert thrown == discarded
