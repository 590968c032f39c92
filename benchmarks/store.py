"""How much does the store carry? Nominations and visits a second, leases out of a million targets, bytes a target.

python -m benchmarks.store [--targets N] prints one table; under a minute on two cores.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path

import trio

from scanner.model import (
    Aim,
    Decision,
    Endpoint,
    Event,
    EventKind,
    Evidence,
    Face,
    Kind,
    Listing,
    Proven,
    Reason,
    Standing,
    State,
    Target,
    Vantage,
    Verdict,
    Visit,
    VisitRecord,
    Watch,
)
from scanner.store import Leased, NominationIn, Store, open_store

TASKS = 500
SECONDS = 4.0
AT = 1_800_000_000.0
SAMPLE = b"Received: from [192.0.2.1] by mx.example; Sun, 22 Nov 2026 10:00:00 +0000\r\nSubject: spam\r\n" * 8
TRANSCRIPT = b"> \x05\x01\x00\n< \x05\x00\n> \x05\x01\x00\x01\xc0\x00\x02\x01\x00\x19\n< \x05\x02\n" * 4
ENDPOINTS = [Endpoint("socks5", port) for port in range(1080, 1110)]


def row(name: str, value: str, note: str = "") -> None:
    print(f"{name:<44} {value:>14}  {note}", flush=True)


async def crowd(store: Store, act: Callable[[int], Awaitable[object]]) -> tuple[float, float]:
    """TASKS tasks act in turn for SECONDS: acts a second, acts a commit."""
    count, commits = 0, store.commits
    start = time.perf_counter()

    async def one(number: int) -> None:
        nonlocal count
        while time.perf_counter() - start < SECONDS:
            await act(number)
            count += 1

    async with trio.open_nursery() as nursery:
        for number in range(TASKS):
            nursery.start_soon(one, number)
    return count / (time.perf_counter() - start), count / max(1, store.commits - commits)


def address(rng: random.Random) -> IPv4Address:
    return IPv4Address(0x0B000000 + rng.getrandbits(28))


def record(leased: Leased, *, proven: bool) -> tuple[VisitRecord, Callable[[Standing], Decision]]:
    """A visit of 30 endpoints, two of which answered; and its decision."""
    target = leased.target
    aim = Aim("main", IPv4Address("198.51.100.1"), 25, Face.MAIL)
    evidence = [Evidence(endpoint, Kind.FILTERED, at=AT) for endpoint in ENDPOINTS[2:]]
    evidence += [
        Evidence(endpoint, Kind.DENIED, "reply 2", "here", aim, None, 0.2, AT, TRANSCRIPT) for endpoint in ENDPOINTS[:2]
    ]
    visit = Visit(os.urandom(16).hex(), target, tuple(ENDPOINTS), (Vantage("here"),))
    verdict = Verdict(target.address, State.OPEN if proven else State.CLOSED, "socks5 on port 1080 carried it")

    def decide(standing: Standing) -> Decision:
        if not proven:
            return Decision()
        listing = Listing(
            "ops", str(target.address), "entry", "relayed", "nomination", "proxywarden/1", "here", AT, AT,
            AT + 2_592_000, exits=(str(target.address),), visit=visit.id,
        )  # fmt: skip
        watch = Watch("ops", target.address, (Proven(ENDPOINTS[0], (aim,)),), AT + 86400)
        event = Event(EventKind.LISTED, AT, listing)
        return Decision((event,), watch, Target(target.address, Reason.RESCAN, AT + 86400))

    return VisitRecord(visit, AT, AT + 1, tuple(evidence), verdict), decide


async def rates(store: Store, rng: random.Random) -> None:
    async def nominate(_: int) -> None:
        await store.nominate([NominationIn(address(rng), SAMPLE)], AT)

    rate, group = await crowd(store, nominate)
    row("nominations, one each, 500 tasks", f"{rate:,.0f}/s", f"{group:.0f} a commit")

    start = time.perf_counter()
    await store.nominate([NominationIn(address(rng), SAMPLE) for _ in range(20_000)], AT)
    row("nominations, 20,000 at once", f"{20_000 / (time.perf_counter() - start):,.0f}/s")

    for proven in (False, True):
        leased = await store.lease("bench", AT, 3600, 20_000)
        start, commits, count = time.perf_counter(), store.commits, 0

        async def visit(items: list[Leased], proven: bool = proven) -> None:
            nonlocal count
            while items and time.perf_counter() - start < SECONDS:  # noqa: B023
                one = items.pop()
                visited, decide = record(one, proven=proven)
                await store.conclude(visited, decide, lease=one)
                count += 1

        async with trio.open_nursery() as nursery:
            for _ in range(TASKS):
                nursery.start_soon(visit, leased)
        rate = count / (time.perf_counter() - start)
        name = "listed, with watch and rescan" if proven else "nothing found"
        row(f"conclude, {name}, 500 tasks", f"{rate:,.0f}/s", f"{count / (store.commits - commits):.0f} a commit")

    once = []
    for _ in range(200):
        start = time.perf_counter()
        await store.set_status("bench", {"a": 1}, AT)
        once.append((time.perf_counter() - start) * 1e3)
    row("one commit alone, median", f"{statistics.median(once):.2f} ms")


def fill(path: Path, count: int, rng: random.Random) -> None:
    """Targets, four fifths of them due, put in by plain SQL: nominating a million would take the whole minute."""
    with sqlite3.connect(path) as connection:
        numbers = sorted({0x20000000 + rng.getrandbits(28) for _ in range(count)})
        connection.executemany(
            "INSERT OR IGNORE INTO networks (id, ready_at) VALUES (?, ?)",
            ((str(IPv4Address(number >> 8 << 8)) + "/24", AT - 1e6) for number in numbers),
        )
        connection.executemany(
            "INSERT INTO targets (address, network, reason, on_demand, due, pass_number) VALUES (?, ?, ?, 0, ?, 1)",
            (
                (str(IPv4Address(n)), str(IPv4Address(n >> 8 << 8)) + "/24", "rescan", AT + rng.uniform(-8e5, 2e5))
                for n in numbers
            ),
        )
    connection.close()


async def leases(store: Store, count: int) -> None:
    times, taken = [], 0
    for step in range(100):
        start = time.perf_counter()
        found = await store.lease("bench", AT + step, 600, 64)
        times.append((time.perf_counter() - start) * 1e3)
        taken += len(found)
    times.sort()
    row(f"lease of 64 of {count:,} targets, p50", f"{times[50]:.2f} ms", f"{taken:,} taken in all")
    row("  p99", f"{times[98]:.2f} ms")
    start = time.perf_counter()
    await store.schedule(Target(IPv4Address("32.1.2.3"), Reason.OPERATOR, AT))
    (first,) = await store.lease("bench", AT + 200, 600, 1)
    assert first.target.reason is Reason.OPERATOR
    row("on demand: asked and leased", f"{(time.perf_counter() - start) * 1e3:.2f} ms")
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS and await store.lease("bench", AT + 300, 600, 1000):
        taken += 1000
    row("figures for the status page", f"{await timed(lambda: store.figures(AT)):.0f} ms")


async def timed(act: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await act()
    return (time.perf_counter() - start) * 1e3


async def main(targets: int) -> None:
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as directory:
        async with open_store(f"sqlite:///{directory}/rates.db") as store:
            await rates(store, rng)
        path = Path(directory) / "schedule.db"
        async with open_store(f"sqlite:///{path}"):
            pass
        empty = path.stat().st_size
        fill(path, targets, rng)
        row(f"bytes a target, of {targets:,}", f"{(path.stat().st_size - empty) / targets:.0f}", "with networks")
        async with open_store(f"sqlite:///{path}") as store:
            await leases(store, targets)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=1_000_000)
    trio.run(main, parser.parse_args().targets)
