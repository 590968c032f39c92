"""Five hundred listings being rescanned while the canaries and the controls break, one way after the other.

No list may change for it, whoever asks meanwhile gets a true answer afterwards, and all goes on when it works again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest
import structlog
import trio

from scanner.canary import server
from scanner.controls import Controls
from scanner.daemon import Daemon
from scanner.lab.machine import Repair
from scanner.lab.network import Network
from scanner.model import Event, EventKind, Reason, RemovalState, State, Target, VisitRecord
from tests.scanner.live import Canary, canary, lab, lab_host, nominate, settings, until

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

OPEN = [lab_host(f"{60 + n // 250}.{1 + n % 250}", "connect", repair=Repair.DENIES) for n in range(500)]
CLOSED = [lab_host(f"64.{n}", "http-403") for n in range(1, 51)]  # nominated, and never to be listed
FAULTS = ("killed", "slow", "wrong key", "control closed", "control open")


@dataclass
class Place:
    """A daemon, its canary and its controls, and whatever is wrong with them just now."""

    canary: Canary
    nursery: trio.Nursery
    daemon: Daemon
    network: Network
    wrong: str = ""
    records: list[VisitRecord] = field(default_factory=list)

    async def breaks(self, fault: str) -> None:
        self.wrong = fault
        if fault == "killed":
            await self.canary.kill()
        elif fault == "wrong key":
            await self.canary.work(self.nursery, wrong_key=True)

    async def works(self) -> None:
        if self.wrong in {"killed", "wrong key"}:
            await self.canary.work(self.nursery)
        self.wrong = ""

    async def due(self, addresses: set[str]) -> None:
        """These rescans, now: what days would bring, in seconds."""
        now = time.time()
        async with trio.open_nursery() as nursery:
            for address in addresses:
                nursery.start_soon(self.daemon.store.schedule, Target(ip_address(address), Reason.RESCAN, now))
        self.daemon.ring()

    async def visited(self, least: int) -> None:
        async def enough() -> bool:
            return len({record.visit.address for record in self.records if not void(record)}) >= least

        await until(enough, 120)

    async def listed(self) -> set[str]:
        return {item.address for item in await self.daemon.store.listings("ops") if item.type == "entry"}


def void(record: VisitRecord) -> bool:
    return record.verdict.why.startswith("void")


@pytest.fixture
async def place(tmp_path, nursery, monkeypatch):
    monkeypatch.setattr("scanner.pipeline._VOID_PAUSE", 0.5)
    monkeypatch.setattr("scanner.controls._TROUBLED", 0.3)
    one = canary(tmp_path)
    await one.work(nursery)
    scan = {"hosts": 96, "per_network_rate": 1e6, "sockets": 512}
    config = settings(tmp_path, one, control_timeout=1.5, scan=scan)
    made: Place

    def heard(record: VisitRecord, events: tuple[Event, ...]) -> None:
        made.records.append(record)

    daemon = Daemon(config, heard=heard)
    daemon.grace = 1.0
    converse, look = server.converse, Controls._look

    async def slowly(*arguments, **named) -> None:
        if made.wrong == "slow":
            await trio.sleep(2.5)  # longer than a control waits, shorter than a conversation does
        await converse(*arguments, **named)

    async def other_way_round(self, *arguments) -> str:
        """The control proxies closed, or both of them open."""
        if not made.wrong.startswith("control"):
            return await look(self, *arguments)
        true, chosen = self.ports, self.ports[made.wrong == "control closed"]
        self.ports = [chosen, chosen]
        try:
            return await look(self, *arguments)
        finally:
            self.ports = true

    monkeypatch.setattr(server, "converse", slowly)
    monkeypatch.setattr(Controls, "_look", other_way_round)
    with structlog.testing.capture_logs():
        async with lab([*OPEN, *CLOSED], one) as network:
            made = Place(one, nursery, daemon, network)
            await nursery.start(daemon.run)
            yield made
            daemon.stop()


async def test_no_fault_of_ours_changes_a_list_and_all_goes_on_afterwards(place):
    daemon, store = place.daemon, place.daemon.store
    await nominate(store, [host.address for host in OPEN], time.time())
    await place.visited(len(OPEN))
    everybody = {str(host.address) for host in OPEN}
    assert await place.listed() == everybody
    before = await store.last_cursor()
    removals, repaired = [], set()
    for number, fault in enumerate(FAULTS):
        honest, liar = OPEN[2 * number], OPEN[2 * number + 1]
        place.records.clear()
        voids, bad = daemon.pipeline.void, daemon.controls.bad_rounds
        listed = everybody - repaired  # nobody watches the others: a rescan of theirs that is void is not repeated
        await place.due(listed)
        await place.visited(60)
        await place.breaks(fault)
        while daemon.controls.bad_rounds < bad + 2:
            await trio.sleep(0.05)
        # While nothing can be shown: one owner repairs and asks, another only asks, and somebody is nominated.
        place.network.repair(honest.address)
        for host in (honest, liar):
            removals.append((await store.request_removal(host.address, str(host.address), time.time()), host is honest))
        mine = CLOSED[10 * number : 10 * number + 10]
        await nominate(store, [host.address for host in mine], time.time())
        daemon.ring()
        counted = daemon.pipeline.visits

        async def some_void(voids: int = voids) -> bool:
            return daemon.pipeline.void > voids

        await until(some_void)  # visits were under way
        await trio.sleep(1.0)
        assert await place.listed() == everybody - repaired, fault
        assert not [item for item, _ in removals[-2:] if (await store.removal(item.id)).state.final], fault
        assert daemon.pipeline.visits - counted < 200, f"{fault}: hosts are asked while nothing can be shown"
        await place.works()
        repaired.add(str(honest.address))
        await place.visited(len(listed) + len(mine))
        for removal, _ in removals[-2:]:

            async def over(id_: str = removal.id) -> bool:
                return (await store.removal(id_)).state.final

            await until(over)
        assert await place.listed() == everybody - repaired, fault
    for removal, true in removals:
        state = (await store.removal(removal.id)).state
        assert state is (RemovalState.DELISTED if true else RemovalState.STILL_OPEN)
    events = []
    while batch := await store.events(before, 1000):
        events += batch
        before = batch[-1].cursor
    ended = [event.listing.address for event in events if event.kind is not EventKind.CONFIRMED]
    assert sorted(ended) == sorted(repaired)
    assert not [event for event in events if event.kind is EventKind.LISTED]
    visits = [visit for host in OPEN[:20] for visit in await store.visits(host.address)]
    assert {visit.state for visit in visits if visit.why.startswith("void")} <= {State.INCONCLUSIVE}
    assert await store.verify() == []
