"""Visits from target to event, with the daemon around them: what commits, and what never does."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from itertools import pairwise

import pytest
import structlog
import trio

from scanner import known
from scanner.daemon import Daemon
from scanner.insist import Insist
from scanner.lab.machine import Repair
from scanner.listing import withdraw
from scanner.model import (
    Decision,
    Endpoint,
    EventKind,
    Kind,
    Proven,
    Reason,
    RemovalState,
    RemovalStep,
    State,
    Target,
)
from scanner.pipeline import Pipeline
from scanner.settings import ListsSection, OpsSection
from scanner.store import StoreError, open_store
from tests.scanner.live import CANARY, PORT, Canary, canary, lab, lab_host, nominate, peer, settings, until
from tests.scanner.store import make

OPEN = lab_host("6.1", "connect", repair=Repair.DENIES)
FRESH = lab_host("6.2", "connect")
FREE = IPv4Address("127.82.6.3")  # where the lab has no host


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr("scanner.pipeline._VOID_PAUSE", 1.0)
    monkeypatch.setattr("scanner.pipeline._EXPIRE_EVERY", 0.1)
    monkeypatch.setattr("scanner.controls._TROUBLED", 0.3)
    with structlog.testing.capture_logs():
        yield


@asynccontextmanager
async def running(tmp_path, *canaries, hosts=(OPEN, FRESH), **changes):
    """A daemon whose canaries are ours to break, and a lab."""
    async with lab(hosts, *canaries) as network, trio.open_nursery() as nursery:
        daemon = Daemon(settings(tmp_path, *canaries, **changes))
        daemon.grace = 1.0
        await nursery.start(daemon.run)
        daemon.network = network
        yield daemon
        assert await daemon.store.verify() == []
        daemon.stop()


@pytest.fixture
async def main(tmp_path, nursery):
    one = canary(tmp_path)
    await one.work(nursery)
    return one


async def listed(daemon, host):
    return [item for item in await daemon.store.lookup(host.address) if item.list == "ops"]


async def open_and_listed(daemon, host=OPEN):
    await nominate(daemon.store, [host.address], time.time())
    await until(partial(listed, daemon, host))


async def outcome(daemon, removal):
    return await daemon.store.removal(removal.id)


async def test_nominated_proven_listed_repaired_and_delisted(tmp_path, main):
    async with running(tmp_path, main) as daemon:
        await open_and_listed(daemon)
        daemon.network.repair(OPEN.address)
        removal = await daemon.store.request_removal(OPEN.address, "owner", time.time())
        daemon.ring()

        async def over():
            return (await outcome(daemon, removal)).state.final

        await until(over)
        steps = [step.state for step in (await outcome(daemon, removal)).steps]
        assert steps == [
            RemovalState.REQUESTED,
            RemovalState.RETESTING,
            RemovalState.CONFIRMING,
            RemovalState.DELISTED,
        ]
        assert not await listed(daemon, OPEN)
        kinds = [event.kind for event in await daemon.store.events()]
        assert kinds == [EventKind.LISTED, EventKind.DELISTED]
        assert daemon.pipeline.void == 0


@pytest.mark.parametrize(("repaired", "ends"), [(3, RemovalState.DELISTED), (2, RemovalState.STILL_OPEN)])
async def test_one_request_for_an_exit_retests_its_entries_in_turn(repaired, ends, tmp_path, main):
    exit_ = IPv4Address("127.82.6.9")
    entries = [
        replace(lab_host(f"6.{last}", "connect-other-exit", repair=Repair.DENIES), exit=exit_) for last in (10, 11, 12)
    ]
    often_enough = ListsSection(ops=OpsSection(exit_interval_minutes=1e-9))  # in a single visit
    async with running(tmp_path, main, hosts=entries, lists=often_enough) as daemon:
        for entry in entries:  # the first has the exit's listing, and the next where that one goes
            await open_and_listed(daemon, entry)
        assert [item.type for item in await daemon.store.lookup(exit_)] == ["exit"]
        for entry in entries[:repaired]:
            daemon.network.repair(entry.address)
        removal = await daemon.store.request_removal(exit_, "owner", time.time())
        daemon.ring()

        async def over():
            return (await outcome(daemon, removal)).state.final

        await until(over)
        ended = await outcome(daemon, removal)
        assert (ended.state, ended.partly, ended.target) == (ends, False, entries[-1].address)
        assert [step.detail for step in ended.steps if "off the list, but" in step.detail] == [
            f"{one.address} is off the list, but conversations through {then.address} come out here too:"
            " now that one is retested"
            for one, then in pairwise(entries)
        ]
        assert [bool(await listed(daemon, entry)) for entry in entries] == [False, False, repaired < 3]
        assert bool(await daemon.store.lookup(exit_)) == (repaired < 3)


async def test_what_holds_up_a_retest_is_told_of_each_entry_of_an_exit(tmp_path):
    first, other, exit_ = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), "203.0.113.9"
    ofs = [make.listing(str(entry), exits=(exit_,)) for entry in (first, other)]
    out = make.exit_listing(exit_, entry=str(first))
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        for of in (*ofs, out):
            await store.change(of.address, make.Decide(make.event(EventKind.LISTED, of)), make.AT)
        removal = await store.request_removal(IPv4Address(exit_), "owner", make.AT + 20)
        pipeline = Pipeline.__new__(Pipeline)  # only what tells
        pipeline._store, pipeline._insist = store, Insist()
        before = Target(first, Reason.REMOVAL, make.AT, removal.id, 2)
        for _ in range(2):
            await pipeline._tell(before, "held up")
        step = RemovalStep(removal.id, make.AT + 30, RemovalState.DELISTED)
        moved = make.event(EventKind.CONFIRMED, replace(out, entry=str(other)), make.AT + 30)
        closed = make.Decide(make.event(EventKind.DELISTED, ofs[0], make.AT + 30), moved, removal=step)
        await store.conclude(make.record(before, ended=make.AT + 30), closed, lease=None)
        await pipeline._tell(before, "cut short")  # by who lost the lease
        for number in (1, 1, 2):
            await pipeline._tell(Target(other, Reason.REMOVAL, make.AT, removal.id, number))
            await pipeline._tell(Target(other, Reason.REMOVAL, make.AT, removal.id, number), "held up")
        ended = await store.removal(removal.id)
        assert [(step.state, step.detail == "held up") for step in ended.steps] == [
            (RemovalState.REQUESTED, False),
            (RemovalState.CONFIRMING, True),
            (RemovalState.RETESTING, False),  # the other's turn
            (RemovalState.RETESTING, False),
            (RemovalState.RETESTING, True),
            (RemovalState.CONFIRMING, True),
        ]


async def kill(main: Canary, nursery, monkeypatch):
    await main.kill()


async def hang(main, nursery, monkeypatch):
    await main.hang(nursery)


async def change_key(main, nursery, monkeypatch):
    await main.work(nursery, wrong_key=True)


async def kill_control(main, nursery, monkeypatch):
    async def dead(stream, allowed):
        await stream.aclose()

    monkeypatch.setattr(known.answer, "__code__", dead.__code__)


@pytest.mark.parametrize("fault", [kill, hang, change_key, kill_control])
async def test_invariant_7_while_the_controls_fail_no_visit_changes_a_list(fault, tmp_path, nursery, main):
    """Broken in the middle of a visit: what it saw is void, it is told, repeated, and right once all works again."""
    broken, patch = trio.Event(), pytest.MonkeyPatch()

    async def break_it(stream):
        await stream.receive_some(4096)
        if not broken.is_set():
            broken.set()
            await fault(main, nursery, patch)
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with running(tmp_path, main, control_timeout=1.0 if fault is hang else 10.0) as daemon:
        await open_and_listed(daemon)
        before = await daemon.store.events()
        rounds = daemon.controls.bad_rounds
        daemon.network._change(daemon.network.machines[OPEN.address], None)  # gone, and in its place:
        await peer(nursery, str(OPEN.address), break_it, ports=[PORT])
        removal = await daemon.store.request_removal(OPEN.address, "owner", time.time())
        daemon.ring()
        await broken.wait()
        await nominate(daemon.store, [FRESH.address], time.time())

        async def waits():
            steps = (await outcome(daemon, removal)).steps
            return any("controls fail" in step.detail for step in steps)

        await until(waits)
        await trio.sleep(1.0)  # time for mistakes
        assert daemon.pipeline.void >= 1
        assert daemon.controls.bad_rounds > rounds
        assert await daemon.store.events() == before
        assert await listed(daemon, OPEN)
        assert not (await outcome(daemon, removal)).state.final
        told = [step.detail for step in (await outcome(daemon, removal)).steps]
        assert len(told) == len(set(told)) + 1  # requested and retesting say nothing, and nothing is said twice
        void, first = await daemon.store.visits(OPEN.address)  # kept, and not repeated while the fault lasts
        assert (void.state, first.state) == (State.INCONCLUSIVE, State.OPEN)
        assert void.why.startswith("void: our own controls fail")
        assert void.evidence
        patch.undo()
        await main.work(nursery)

        async def over():
            return (await outcome(daemon, removal)).state is RemovalState.DELISTED

        await until(over)
        assert not await listed(daemon, OPEN)
        await until(partial(listed, daemon, FRESH))


async def test_invariant_7_a_fault_that_is_over_before_the_visit_ends_makes_it_void_all_the_same(
    tmp_path, nursery, main
):
    broken = trio.Event()

    async def break_it(stream):
        await stream.receive_some(4096)
        if not broken.is_set():
            broken.set()
            bad = daemon.controls.bad_rounds
            await main.kill()
            while daemon.controls.bad_rounds == bad:
                daemon.controls._wanted.set()
                await trio.sleep(0.01)
            await main.work(nursery)
            while not daemon.controls.good_now([("main", "main")]):
                await trio.sleep(0.01)
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with running(tmp_path, main, scan={"conversation_timeout": 60.0}) as daemon:
        await open_and_listed(daemon)
        daemon.network._change(daemon.network.machines[OPEN.address], None)  # gone, and in its place:
        await peer(nursery, str(OPEN.address), break_it, ports=[PORT])
        await daemon.store.schedule(Target(OPEN.address, Reason.RESCAN, time.time()))
        daemon.ring()

        async def visited():
            return len(await daemon.store.visits(OPEN.address)) > 1

        await until(visited)
        second = (await daemon.store.visits(OPEN.address))[-2]
        assert second.why.startswith("void: our own controls fail")
        assert Kind.DENIED in {item.kind for item in second.evidence}


async def test_a_void_rescan_of_what_the_operator_withdrew_meanwhile_is_not_repeated(tmp_path, nursery, main):
    async def break_it(stream):
        await stream.receive_some(4096)
        away = partial(withdraw, list_=None, address=str(OPEN.address), at=time.time(), reason="operator")
        await daemon.store.change(str(OPEN.address), away, time.time())
        await main.kill()

    async with running(tmp_path, main) as daemon:
        await open_and_listed(daemon)
        daemon.network._change(daemon.network.machines[OPEN.address], None)  # gone, and in its place:
        await peer(nursery, str(OPEN.address), break_it, ports=[PORT])
        await daemon.store.schedule(Target(OPEN.address, Reason.RESCAN, time.time()))
        daemon.ring()

        async def void():
            return daemon.pipeline.void and len(await daemon.store.visits(OPEN.address)) == 2

        await until(void)
        assert (await daemon.store.figures(time.time()))["targets"] == 0
        assert not await listed(daemon, OPEN)


async def test_what_was_void_is_not_touched_again_until_its_own_way_works(tmp_path, nursery, main):
    """One canary of two is away: nothing is in trouble as a whole, and yet this visit would be void again."""
    other = canary(tmp_path, CANARY + 9, "other")
    await other.work(nursery)

    async def break_it(stream):
        await stream.receive_some(4096)
        await other.kill()
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with running(tmp_path, main, other) as daemon:
        gone = await peer(nursery, str(FREE), break_it, ports=[PORT])
        await nominate(daemon.store, [FREE], time.time())
        daemon.ring()

        async def void():
            return daemon.pipeline.void

        await until(void)
        assert daemon.controls.trouble() == ""
        touched = gone.total
        await trio.sleep(2.5)  # more than twice the pause after a void visit
        assert (daemon.pipeline.void, gone.total) == (1, touched)
        await other.work(nursery)

        async def again():
            return gone.total > touched

        await until(again)


async def test_invariant_7_while_no_canary_works_nobody_is_touched(tmp_path, nursery, main):
    async with running(tmp_path, main) as daemon:
        await main.kill()
        assert not await daemon.controls.good_since(0, [("main", "main")])
        connects = daemon.connector.statistics()["connects"]
        await nominate(daemon.store, [FRESH.address], time.time())
        await daemon.store.schedule(Target(OPEN.address, Reason.OPERATOR, time.time()))
        await trio.sleep(1.5)
        assert daemon.connector.statistics()["connects"] == connects
        assert await daemon.store.visits(FRESH.address) == []
        await main.work(nursery)
        await until(partial(listed, daemon, FRESH))
        await until(partial(listed, daemon, OPEN))


async def test_with_one_of_two_canaries_dead_what_the_other_proves_counts(tmp_path, nursery, main):
    second = canary(tmp_path, IPv4Address("127.82.0.30"), "second")
    async with running(tmp_path, main, second) as daemon:
        assert await daemon.controls.good_since(0, [("main", "main")])
        await open_and_listed(daemon)
        assert daemon.pipeline.void == 0


async def test_what_a_store_refuses_for_a_while_is_not_lost(tmp_path, main, monkeypatch):
    async with running(tmp_path, main) as daemon:
        fails = [True] * 3
        for name in ("conclude", "lease", "next_due", "exclusions", "changed", "standing", "set_status"):
            monkeypatch.setattr(daemon.store, name, failing(getattr(daemon.store, name), list(fails)))
        monkeypatch.setattr("scanner.insist._FIRST", 0.01)
        await open_and_listed(daemon)
        assert daemon.insist.last_error == "store: the disk is full"
        assert daemon.statistics()["last_error"] == "store: the disk is full"


def failing(method, fails):
    async def work(*args, **options):
        if fails:
            fails.pop()
            raise StoreError("store: the disk is full")
        return await method(*args, **options)

    return work


class Later:
    def __init__(self, moment):
        self.moment = moment

    def time(self):
        return self.moment


async def test_a_listing_expires_though_no_canary_works(tmp_path, nursery, main, monkeypatch):
    async with running(tmp_path, main) as daemon:
        await open_and_listed(daemon)
        await main.kill()
        (item,) = await listed(daemon, OPEN)
        monkeypatch.setattr("scanner.pipeline.time", Later(item.expires + 1))

        async def gone():
            return not await listed(daemon, OPEN)

        await until(gone)
        assert [event.kind for event in await daemon.store.events()] == [EventKind.LISTED, EventKind.EXPIRED]


async def test_a_visit_during_which_more_was_proven_is_no_repair(tmp_path, nursery, main):
    more = Proven(Endpoint("smtp-relay", 25), ())  # as a late letter shows

    def proves(standing):
        return Decision(watch=replace(standing.watch, proven=(*standing.watch.proven, more)))

    async def refuse(stream):
        await stream.receive_some(4096)
        if more not in (await daemon.store.standing(OPEN.address)).watch.proven:
            await daemon.store.change(str(OPEN.address), proves, time.time())
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with running(tmp_path, main) as daemon:
        await open_and_listed(daemon)
        daemon.network._change(daemon.network.machines[OPEN.address], None)  # repaired, and in its place:
        await peer(nursery, str(OPEN.address), refuse, ports=[PORT])
        await daemon.store.schedule(Target(OPEN.address, Reason.RESCAN, time.time()))
        daemon.ring()

        async def visited():
            return len(await daemon.store.visits(OPEN.address)) > 1

        await until(visited)
        watch = (await daemon.store.standing(OPEN.address)).watch
        assert more in watch.proven
        assert watch.clean == ()
