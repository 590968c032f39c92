"""kill -9 of the whole daemon under load: nothing accepted is lost, no event is lost or told twice.

DAEMON_CRASHES=200 CRASHES_TIMEOUT=1800 kills it more often, by hand.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from ipaddress import IPv4Address
from itertools import pairwise

import pytest
import trio

from scanner.lab.machine import Repair
from scanner.model import Event, EventKind, Reason, RemovalState, Target
from scanner.store import NominationIn, RemovalRefused, Store, open_store
from tests.scanner import forked
from tests.scanner.live import SPAM, canary, lab, lab_host, until
from tests.scanner.program import written

ROUNDS = int(os.environ.get("DAEMON_CRASHES", "25"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(int(os.environ.get("CRASHES_TIMEOUT", "400")))]
KINDS = ("connect", "connect", "http-403", "grants-page", "http-407", "connect-other-exit")
HOSTS = [lab_host(f"66.{n}", KINDS[n % len(KINDS)], repair=Repair.DENIES) for n in range(1, 61)]


class Crowd:
    """Those who ask: in a process of their own, as the pages are, and with what they were told."""

    def __init__(self, store: Store, rng: random.Random) -> None:
        self.store = store
        self.nominations: dict[str, IPv4Address] = {}
        self.removals: list[str] = []
        self.followed: list[Event] = []
        self._rng = rng

    async def ask(self) -> None:
        while True:
            await trio.sleep(self._rng.uniform(0, 0.04))
            hosts = self._rng.sample(HOSTS, 2)
            now = time.time()
            items = [NominationIn(host.address, SPAM, trusted=True) for host in hosts]
            for made, host in zip(await self.store.nominate(items, now), hosts, strict=True):
                self.nominations[made.id] = host.address
            await self.store.schedule(Target(self._rng.choice(HOSTS).address, Reason.RESCAN, now))
            if self._rng.random() < 0.2:
                try:
                    made = await self.store.request_removal(hosts[0].address, str(hosts[0].address), now)
                except RemovalRefused:
                    continue
                self.removals.append(made.id)

    async def follow(self) -> None:
        """Events by cursor, while they are made."""
        while True:
            await self.catch_up()
            await trio.sleep(0.01)

    async def catch_up(self) -> None:
        cursor = self.followed[-1].cursor if self.followed else None
        while batch := await self.store.events(cursor, 100):
            self.followed += batch
            cursor = batch[-1].cursor

    async def answered(self) -> bool:
        """Everybody who asked has his answer."""
        running = [id_ for id_ in self.removals if not (await self.store.removal(id_)).state.final]
        return not running and (await self.store.next_due() or 1e12) > time.time() + 60


async def kill_at_random(file, store: Store, rng: random.Random, number: int) -> None:
    process = forked.start(file)
    began = time.time()
    if number % 4 == 0:
        await trio.sleep(rng.uniform(0.0, 0.5))  # in mid-start
    else:

        async def works():
            assert process.is_alive(), (file.parent / "log").read_text()[-3000:]
            value, at = (await store.status()).get("daemon", ({}, 0.0))
            return at >= began and value["running"]

        await until(works)
        await trio.sleep(rng.uniform(0.0, 1.0))
    process.kill()
    await trio.to_thread.run_sync(process.join)
    assert process.exitcode == -signal.SIGKILL
    process.close()


async def test_invariant_8_the_whole_daemon_killed_again_and_again(tmp_path):
    rng = random.Random()
    one = canary(tmp_path)
    file = written(tmp_path, one, hosts=16)
    (tmp_path / "data").mkdir(mode=0o700)
    url = f"sqlite:///{tmp_path}/data/proxywarden.sqlite"
    async with lab(HOSTS, one), open_store(url) as store:
        crowd = Crowd(store, rng)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crowd.ask)
            nursery.start_soon(crowd.follow)
            for number in range(ROUNDS):
                await kill_at_random(file, store, rng, number)
                if number % 5 == 0:
                    assert await store.verify() == []
            nursery.cancel_scope.cancel()
        process = forked.start(file)
        await until(crowd.answered, 200)
        os.kill(process.pid, signal.SIGTERM)
        await trio.to_thread.run_sync(process.join)
        assert process.exitcode == 0
        process.close()
        await crowd.catch_up()
        await check(crowd, tmp_path / "events.jsonl")
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    print(f"{ROUNDS} kills, {len(crowd.nominations)} nominations, {len(crowd.removals)} removal requests,"
          f" {len(crowd.followed)} events")  # fmt: skip


async def check(crowd: Crowd, lines) -> None:
    store = crowd.store
    assert await store.verify() == []
    kept = {item.id for item in await store.nominations(limit=1_000_000)}
    assert crowd.nominations.keys() <= kept, "an accepted nomination is lost"
    for host in HOSTS:
        if host.address in crowd.nominations.values():
            assert await store.visits(host.address, 1), f"{host.address} was nominated and never visited"
    states = [(await store.removal(id_)).state for id_ in crowd.removals]
    assert set(states) <= {RemovalState.STILL_OPEN, RemovalState.INCONCLUSIVE}, "nobody repaired anything"
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [item["cursor"] for item in told] == [event.cursor for event in crowd.followed]
    events = crowd.followed
    assert len({event.id for event in events}) == len(events)
    twice = Counter((event.listing.key, event.kind, event.listing.visit) for event in events)
    assert not [key for key, times in twice.items() if times > 1], "a visit told something twice"
    by_listing: dict[object, list[Event]] = {}
    for event in events:
        by_listing.setdefault(event.listing.key, []).append(event)
    for its in by_listing.values():
        assert its[0].kind is EventKind.LISTED
        for before, after in pairwise(its):
            assert (after.kind is EventKind.LISTED) == before.kind.ends, "listed twice, or confirmed without listing"
    open_ = {str(host.address) for host in HOSTS if host.kind.name.startswith("connect")}
    assert {key[1] for key in by_listing if key[2] == "entry"} <= open_
