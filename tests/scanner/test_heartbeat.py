"""What a daemon tells the store: a clock that is set, controls that fail and a store that fails."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from scanner import heartbeat as module
from scanner.heartbeat import Heartbeat
from scanner.insist import Insist
from scanner.publish.publisher import GOOD_CONTROLS
from scanner.store import StoreError


class Status:
    """The one table."""

    def __init__(self):
        self.rows = {}
        self.broken = False

    async def set_status(self, name, value, at):
        if self.broken:
            raise StoreError("the disk is full")
        self.rows[name] = value, at


@pytest.fixture
def made(monkeypatch):
    clock = SimpleNamespace(time=lambda: clock.now, monotonic=lambda: clock.passed, now=1e9, passed=5.0)
    monkeypatch.setattr(module, "time", clock)
    told = SimpleNamespace(store=Status(), trouble="", clock=clock, insist=Insist())
    controls = SimpleNamespace(trouble=lambda: told.trouble)
    heartbeat = Heartbeat(told.store, controls, told.insist, lambda: {"visits": 7})
    told.beat, told.run = heartbeat.beat, heartbeat.run
    return told


async def test_it_tells_how_it_stands_and_that_it_ends(made):
    await made.beat(running=True)
    assert made.store.rows["daemon"] == ({"running": True, "visits": 7}, 1e9)
    await made.beat(running=False)
    assert made.store.rows["daemon"] == ({"running": False, "visits": 7}, 1e9)


async def test_it_notes_once_a_minute_when_the_controls_were_good_and_only_then(made):
    """What the service of zone files hangs on, across restarts."""
    noted = []
    for passed in (0, 2, 58, 60, 62, 120):
        made.clock.now, made.clock.passed = 1e9 + passed, 5.0 + passed
        made.trouble = "canary main does not answer" if passed == 60 else ""
        await made.beat(running=True)
        noted.append(made.store.rows[GOOD_CONTROLS][1] - 1e9)
    assert noted == [0, 0, 0, 0, 62, 62]


async def test_a_clock_that_is_set_back_stops_no_note(made):
    await made.beat(running=True)
    made.clock.now, made.clock.passed = 1e9 - 86400, 66.0
    await made.beat(running=True)
    assert made.store.rows[GOOD_CONTROLS][1] == 1e9 - 86400


async def test_the_last_word_is_that_it_ends_whatever_beats_meanwhile(made, autojump_clock):
    """The end of a daemon waits for this write, and its regular beat can come due in just that moment."""
    write = made.store.set_status

    async def slowly(name, value, at):
        await trio.sleep(3)
        await write(name, value, at)

    made.store.set_status = slowly
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        await trio.sleep(1)  # in the middle of the first one
        await made.beat(running=False)
        await trio.sleep(30)
        assert made.store.rows["daemon"][0]["running"] is False
        nursery.cancel_scope.cancel()


async def test_a_store_that_fails_hears_of_the_next_one(made):
    made.store.broken = True
    await made.beat(running=True)
    assert made.insist.last_error == "the disk is full"
    made.store.broken = False
    await made.beat(running=True)
    assert set(made.store.rows) == {"daemon", GOOD_CONTROLS}
