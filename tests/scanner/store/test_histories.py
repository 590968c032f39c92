"""Random histories of nominating, leasing, concluding and crashing, against a model of dictionaries."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from scanner.model import EventKind, Reason, RemovalState, RemovalStep, Target
from scanner.store import REMOVAL_PAUSE, Leased, NominationIn, RemovalRefused, Store, open_store
from scanner.store.rows import network_of
from tests.scanner.store.make import AT, DAY, Decide, address, event, listing, record, watch

T = TypeVar("T")
TTL = 100.0
numbers = st.integers(0, 11)  # three networks of four
owners = st.sampled_from(["one", "two"])


@dataclass
class Row:
    target: Target
    taken: Leased | None = None


@dataclass
class Holding:
    owner: str | None = None
    until: float = 0.0
    lease: int = 0


class Host:
    """An open store in a Trio of its own: opening one for each rule takes most of the time."""

    def __init__(self, url: str) -> None:
        self._stop: trio.Event
        ready = threading.Event()

        async def main() -> None:
            async with open_store(url) as self._store:
                self._stop = trio.Event()
                self._token = trio.lowlevel.current_trio_token()
                ready.set()
                await self._stop.wait()

        self._thread = threading.Thread(target=trio.run, args=(main,))
        self._thread.start()
        assert ready.wait(30)

    def do(self, act: Callable[[Store], Awaitable[T]]) -> T:
        async def limited() -> T:
            with trio.fail_after(30):
                return await act(self._store)

        return trio.from_thread.run(limited, trio_token=self._token)

    def close(self) -> None:
        self._token.run_sync_soon(self._stop.set)
        self._thread.join(30)


class Histories(RuleBasedStateMachine):
    leases = Bundle("leases")

    @initialize(waiting=st.sets(numbers, min_size=4))
    def start(self, waiting: set[int]) -> None:
        self.directory = tempfile.mkdtemp()
        self.url = f"sqlite:///{Path(self.directory) / 'store.db'}"
        self.at = AT
        self.rows: dict[str, Row] = {}
        self.held: dict[str, Holding] = {}
        self.visited: dict[str, list[float]] = {}
        self.unanswered: dict[str, list[tuple[float, bool]]] = {}  # moments, and whether they need not wait
        self.listed: dict[str, object] = {}
        self.removals: dict[str, tuple[float, str, bool]] = {}
        self.events: list[tuple[str, str]] = []
        self.accepted: set[str] = set()

        self.host = Host(self.url)
        for number in waiting:
            self.nominate(number, trusted=True, sample=False)

    def teardown(self) -> None:
        if hasattr(self, "host"):
            try:
                assert self.do(lambda store: store.verify()) == []
            finally:
                self.host.close()
                shutil.rmtree(self.directory)

    def do(self, act: Callable[[Store], Awaitable[T]]) -> T:
        return self.host.do(act)

    @rule()
    def restart(self) -> None:
        self.host.close()
        self.host = Host(self.url)

    def plan(self, target: Target) -> float:
        """The rule of the store, in the model's words."""
        row = self.rows.setdefault(str(target.address), Row(target))
        old, rank = row.target, lambda t: 0 if t.removal else 1 if t.reason.on_demand else 2
        if (rank(target), target.due if rank(target) == rank(old) else 0) < (
            rank(old),
            old.due if rank(target) == rank(old) else 0,
        ):
            row.target = target
        return row.target.due

    @rule(seconds=st.sampled_from([0.0, 1.0, 50.0, 100.0, 1000.0, DAY]))
    def time_passes(self, seconds: float) -> None:
        self.at += seconds

    @rule(number=numbers, trusted=st.booleans(), sample=st.booleans())
    def nominate(self, number: int, trusted: bool, sample: bool) -> None:
        at = address(number)
        item = NominationIn(at, b"x" if sample else None, trusted=trusted)
        (made,) = self.do(lambda store: store.nominate([item], self.at))
        self.accepted.add(made.id)
        if not (trusted or sample):
            assert (made.state, made.due) == ("review", None)
            return
        last = max(self.visited.get(str(at), [0.0]))
        due = self.at if trusted or not last else max(self.at, last + DAY)
        assert made.due == self.plan(Target(at, Reason.NOMINATION, due))
        self.unanswered.setdefault(str(at), []).append((self.at, trusted))

    @rule(number=numbers, reason=st.sampled_from([Reason.OPERATOR, Reason.RESCAN]), later=st.sampled_from([0.0, 60.0]))
    def schedule(self, number: int, reason: Reason, later: float) -> None:
        target = Target(address(number), reason, self.at + later)
        assert self.do(lambda store: store.schedule(target)) == self.plan(target)

    @rule(leased=leases)
    def demand_during_a_visit(self, leased: Leased) -> None:
        target = Target(leased.target.address, Reason.OPERATOR, self.at)
        assert self.do(lambda store: store.schedule(target)) == self.plan(target)

    @rule(number=numbers)
    def ask_for_removal(self, number: int) -> None:
        at = address(number)
        running = [id_ for id_, (_, target, runs) in self.removals.items() if runs and target == str(at)]
        last = max([asked for asked, target, _ in self.removals.values() if target == str(at)], default=None)
        refused = self.do(lambda store: store.dossier(at, self.at)).refused
        if refused is not None:
            if refused.reason == "not_listed":
                assert str(at) not in self.listed
            elif refused.reason == "running":
                assert [refused.running] == running
            else:
                assert last is not None
                assert refused.not_before == last + REMOVAL_PAUSE > self.at
            with pytest.raises(RemovalRefused, match=refused.reason):
                self.do(lambda store: store.request_removal(at, "owner", self.at))
            return
        removal = self.do(lambda store: store.request_removal(at, "owner", self.at))
        assert str(at) in self.listed
        assert not running
        assert last is None or last + REMOVAL_PAUSE <= self.at
        self.removals[removal.id] = (self.at, str(at), True)
        self.plan(Target(at, Reason.REMOVAL, self.at, removal.id, 1))

    @rule(target=leases, owner=owners, limit=st.integers(1, 6), urgent=st.booleans())
    def lease(self, owner: str, limit: int, urgent: bool) -> object:
        return multiple(*self._lease(owner, limit, urgent))

    def _lease(self, owner: str, limit: int, urgent: bool) -> list[Leased]:
        def free(network: str) -> bool:
            held = self.held.get(network, Holding())
            return held.owner in (None, owner) or held.until <= self.at

        def ready(row: Row) -> bool:
            moment = row.taken.until if row.taken else row.target.due
            return moment <= self.at and free(network_of(row.target.address))

        due = [row.target for row in self.rows.values() if ready(row)]
        demanded = [target for target in due if target.reason.on_demand]
        could = demanded if urgent else due
        given = self.do(lambda store: store.lease(owner, self.at, TTL, limit, on_demand_only=urgent))
        targets = [item.target for item in given]
        assert len(targets) == min(limit, len(could))
        assert all(target in could for target in targets)
        assert len({target.address for target in targets}) == len(targets)
        first = [target for target in targets if target.reason.on_demand]
        assert len(first) == min(limit, len(demanded))
        rest = targets[len(first) :]
        assert targets[: len(first)] == first
        assert [target.due for target in rest] == sorted(target.due for target in rest)
        for network in {item.network for item in given}:
            held = self.held.setdefault(network, Holding())
            if held.owner != owner or held.until <= self.at:
                held.lease += 1
            held.owner, held.until = owner, self.at + TTL
        for item in given:
            assert item.until == self.at + TTL
            assert item.lease == self.held[item.network].lease
            self.rows[str(item.target.address)].taken = item
        return given

    def counts(self, leased: Leased) -> bool:
        row = self.rows.get(str(leased.target.address))
        given_again = row is not None and row.taken is not None and row.taken.until > leased.until
        return self.held[leased.network].lease == leased.lease and not given_again

    @rule(leased=consumes(leases), proof=st.booleans(), again=st.booleans(), twice=st.booleans())
    def conclude(self, leased: Leased, proof: bool, again: bool, twice: bool) -> None:
        at, name = leased.target.address, str(leased.target.address)
        visited = record(leased.target, ended=self.at)
        known = name in self.listed
        of = listing(name)
        kind = (EventKind.CONFIRMED if known else EventKind.LISTED) if proof else EventKind.DELISTED
        made = [event(kind, of, self.at)] if proof or known else []
        after = Target(at, Reason.RESCAN, self.at + DAY) if again else None
        step = None
        if leased.target.removal:
            step = RemovalStep(leased.target.removal, self.at, RemovalState.STILL_OPEN)
        decide = Decide(*made, watch=watch(at) if again else None, then=after, removal=step)

        async def act(store: Store) -> list[object]:
            return [await store.conclude(visited, decide, lease=leased) for _ in range(1 + twice)]

        events, *more = self.do(act)
        assert all(empty == () for empty in more)
        if not self.counts(leased):
            assert events == ()
            assert decide.seen == []
            self.visited.setdefault(name, []).append(self.at)  # it was touched all the same
            return
        assert len(decide.seen) == 1
        assert bool(decide.seen[0].listings) == known
        assert [(item.kind, item.listing) for item in events] == [(item.kind, of) for item in made]
        self.events += [(item.id, item.cursor) for item in events]
        self.visited.setdefault(name, []).append(self.at)
        if proof:
            self.listed[name] = of
        else:
            self.listed.pop(name, None)
        if step:
            began, target, _ = self.removals[step.removal]
            self.removals[step.removal] = (began, target, False)
            if left := self.unanswered.get(name):
                due = max(moment for moment, _ in left)
                due = due if any(trusted for _, trusted in left) else max(due, self.at + DAY)
                asked = Target(at, Reason.NOMINATION, due)
                after = asked if after is None or asked.due < after.due else after
        else:
            self.unanswered.pop(name, None)
        row = self.rows.get(name)
        waiting = row.target if row else None
        meanwhile = (
            waiting is not None
            and waiting.reason.on_demand
            and ((waiting.reason, waiting.removal) != (leased.target.reason, leased.target.removal))
        )
        if meanwhile:
            assert row is not None
            row.taken = None
        elif after:
            self.rows[name] = Row(after)
        else:
            self.rows.pop(name, None)

    @rule(leased=consumes(leases), later=st.sampled_from([0.0, 30.0, 500.0]))
    def give_back(self, leased: Leased, later: float) -> None:
        name = str(leased.target.address)
        given = self.do(lambda store: store.give_back(leased.target.address, self.at + later, lease=leased))
        row = self.rows.get(name)
        assert given == (row is not None and self.counts(leased))
        if given and row is not None:
            if row.target == leased.target:
                row.target = replace(row.target, due=self.at + later)
            row.taken = None

    @rule(owner=owners)
    def crash_and_release(self, owner: str) -> None:
        self.do(lambda store: store.release(owner))
        for network, held in self.held.items():
            if held.owner == owner:
                held.owner, held.lease = None, held.lease + 1
                for row in self.rows.values():
                    if network_of(row.target.address) == network:
                        row.taken = None

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "host"):
            return

        async def look(store: Store) -> None:
            assert [(item.id, item.cursor) for item in await store.events()] == self.events
            assert {item.id for item in await store.nominations(limit=10_000)} == self.accepted
            assert {of.address for of in await store.listings()} == set(self.listed)
            assert (await store.figures(self.at))["targets"] == len(self.rows)
            first = await store.next_due()
            ready = [row.taken.until if row.taken else row.target.due for row in self.rows.values()]
            assert not ready or (first is not None and first <= max(min(ready), self.at))

        self.do(look)


Histories.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestHistories = pytest.mark.slow(pytest.mark.timeout(600)(Histories.TestCase))
