"""The wall clock jumps by a day, either way, under a daemon at work: no list changes for it, who comes is served.

What was due when the clock went back is due again when it is right again.
"""

from __future__ import annotations

import time
from functools import partial

import pytest
import structlog

from scanner.daemon import Daemon
from scanner.lab.machine import Repair
from scanner.model import EventKind, Reason, RemovalState, Target
from tests.scanner.live import canary, lab, lab_host, nominate, settings, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
DAY = 86400.0
OPEN = [lab_host(f"68.{n}", "connect", repair=Repair.DENIES) for n in range(1, 31)]
BEFORE, AFTER, REPAIRED, LIAR = OPEN[:10], OPEN[10:20], OPEN[0], OPEN[1]


@pytest.fixture
def jump(monkeypatch):
    """Moves the wall clock, for every reader of it; Trio's own goes on."""
    real, moved = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + moved[0])

    def by(seconds: float) -> None:
        moved[0] += seconds

    with structlog.testing.capture_logs():
        yield by


async def listed(daemon, hosts):
    return {item.address for item in await daemon.store.listings("ops")} >= {str(host.address) for host in hosts}


async def answered(daemon, removal):
    found = await daemon.store.removal(removal.id)
    return found.state.final and found.state


@pytest.mark.parametrize("days", [1.0, -1.0])
async def test_the_clock_jumps_while_visits_are_under_way(days, jump, tmp_path, nursery):
    one = canary(tmp_path)
    await one.work(nursery)
    heard = []
    daemon = Daemon(settings(tmp_path, one), heard=lambda record, events: heard.append(record.visit.target))
    daemon.grace = 1.0
    async with lab(OPEN, one) as network:
        await nursery.start(daemon.run)
        await nominate(daemon.store, [host.address for host in BEFORE], time.time())
        await until(partial(listed, daemon, BEFORE))
        for host in BEFORE:
            await daemon.store.schedule(Target(host.address, Reason.RESCAN, time.time()))
        daemon.ring()
        jump(days * DAY)  # with visits leased, listings confirmed and a control round under way
        rounds = daemon.controls.rounds

        async def rescanned():  # without those who asked for removal: a retest takes a rescan's place
            again = {target.address for target in heard if target.reason is Reason.RESCAN}
            return again >= {host.address for host in BEFORE[2:]} and daemon.controls.rounds > rounds

        if days > 0:
            await until(rescanned)
        assert await listed(daemon, BEFORE)
        # Whoever comes now is served now.
        await nominate(daemon.store, [host.address for host in AFTER], time.time())
        network.repair(REPAIRED.address)
        asked = [
            await daemon.store.request_removal(host.address, str(host.address), time.time())
            for host in (REPAIRED, LIAR)
        ]
        daemon.ring()
        await until(partial(listed, daemon, AFTER))
        outcomes = [await until(partial(answered, daemon, removal)) for removal in asked]
        assert outcomes == [RemovalState.DELISTED, RemovalState.STILL_OPEN]
        jump(-days * DAY)  # and back
        await until(rescanned)
        await nominate(daemon.store, [host.address for host in OPEN[20:]], time.time())
        await until(partial(listed, daemon, OPEN[1:]))
        events = await daemon.store.events()
        ended = [event.listing.address for event in events if event.kind in {EventKind.DELISTED, EventKind.EXPIRED}]
        assert ended == [str(REPAIRED.address)]
        assert await daemon.store.verify() == []
        daemon.stop()
