"""A crash at any moment loses no accepted nomination and no event, and repeats no event.

STORE_CRASHES=200 CRASHES_TIMEOUT=1800 kills it more often, by hand.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from scanner.store import Store, StoreError, open_store

ROUNDS = int(os.environ.get("STORE_CRASHES", "25"))
ROOT = Path(__file__).parents[3]


class Child:
    """under_load.py on a store, and what it said."""

    def __init__(self, url: str, owner: str, seconds: float = 30) -> None:
        command = [sys.executable, "-m", "tests.scanner.store.under_load", url, owner, str(seconds)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        self.said: list[list[str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                self.said.append(line.decode().split())

    def wait_for(self, lines: int) -> None:
        deadline = time.monotonic() + 30
        while len(self.said) < lines and time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(0.001)

    def end(self, how: signal.Signals | None = signal.SIGKILL) -> int:
        if how is not None:
            self.process.send_signal(how)
        code = self.process.wait(60)
        self._reader.join(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def following(url: str) -> Iterator[list[str]]:
    """Another process's view, as a publisher has it: event ids, in order, by cursor, while they are made."""
    seen: list[str] = []
    stop = threading.Event()

    async def follow() -> None:
        cursor = None
        while True:
            last = stop.is_set()
            try:
                async with open_store(url, migrate=False) as store:
                    while not stop.is_set() or last:
                        batch = await store.events(cursor, limit=50)
                        seen.extend(item.id for item in batch)
                        cursor = batch[-1].cursor if batch else cursor
                        if last and not batch:
                            return
                        await trio.sleep(0 if batch else 0.005)
            except StoreError:  # not there yet
                if last:
                    raise
                await trio.sleep(0.01)

    thread = threading.Thread(target=trio.run, args=(follow,))
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(60)


async def _check(url: str, children: list[Child], followed: list[str]) -> tuple[int, int]:
    nominations = {words[1] for child in children for words in child.said if words[0] == "nomination"}
    told = [words for child in children for words in child.said if words[0] == "event"]
    async with open_store(url) as store:
        assert await store.verify() == []
        kept = {item.id for item in await store.nominations(limit=1_000_000)}
        assert nominations <= kept, "an accepted nomination is lost"
        events = await _events(store)
    ids = [item.id for item in events]
    assert len(set(ids)) == len(ids)
    assert followed == ids, "a follower by cursor saw something else than what is there"
    by_id = {item.id: item for item in events}
    for _, id_, cursor, _visit in told:
        assert by_id[id_].cursor == cursor, "an event that was made is lost, or moved"
    assert len({id_ for _, id_, *_ in told}) == len(told)
    return len(nominations), len(told)


async def _events(store: Store) -> list[object]:
    found, cursor = [], None
    while batch := await store.events(cursor, limit=1000):
        found += batch
        cursor = batch[-1].cursor
    return found


@pytest.mark.slow
@pytest.mark.timeout(int(os.environ.get("CRASHES_TIMEOUT", "300")))
def test_killed_at_random_moments(url: str) -> None:
    """Again and again on the same file, also while it is being made and while it recovers."""
    rng = random.Random()
    children = []
    with following(url) as followed:
        for number in range(ROUNDS):
            child = Child(url, "scanner")
            children.append(child)
            if number % 5 == 0:
                time.sleep(rng.uniform(0.1, 0.9))  # in mid-start
            else:
                child.wait_for(1 + rng.randrange(400))
                time.sleep(rng.uniform(0, 0.02))
            assert child.end() == -signal.SIGKILL
    nominations, events = trio.run(_check, url, children, followed)
    assert nominations > 500
    assert events > 100


@pytest.mark.slow
def test_two_processes_write_at_once(url: str) -> None:
    """Scanners that share a file share no target, lose nothing, and wait for each other."""
    with following(url) as followed:
        children = [Child(url, owner, 4.0) for owner in ("one", "two")]
        assert [child.end(None) for child in children] == [0, 0]
    nominations, events = trio.run(_check, url, children, followed)
    assert nominations > 100
    assert events > 20
    # Which of them gets how much is SQLite's luck: its lock is no queue. Each wrote, and none waited for ever.
    assert all(child.said for child in children)
