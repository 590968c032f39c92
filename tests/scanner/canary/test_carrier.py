"""The way from a canary to its daemon: whatever the daemon and the way do, no letter is lost, and each counts once."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import structlog
import trio

from scanner.canary import carrier as module
from scanner.canary.carrier import Carrier
from scanner.canary.spool import open_spool
from scanner.fetch import Answer, FetchError, calling
from scanner.handover import KEPT
from scanner.proof import CanaryKey, Forged
from scanner.store import StoreError
from scanner.web.handover import Handover, server
from tests.scanner.live import free_port, until

KEY = CanaryKey.from_master(b"m" * 32, "second")
IDS = [f"{number:018x}" for number in range(300)]


class Office:
    """The daemon's side. broken: what it raises for a letter."""

    def __init__(self):
        self.got = []
        self.broken = {}

    async def take(self, canary, signed):
        if problem := self.broken.get(signed):
            raise problem
        self.got.append((canary, signed))


@asynccontextmanager
async def daemon(office, port=0, keys=None):
    async with trio.open_nursery() as nursery:
        app = Handover(keys or {"second": {1: KEY}}, office.take)
        listener = await nursery.start(server(app, (f"127.0.0.1:{port}",)).run)
        assert not listener.error
        yield listener.binds[0][1]
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def logs(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.05)
    with structlog.testing.capture_logs() as found:
        yield found


async def spool_of(tmp_path, *letters):
    spool = open_spool(tmp_path / "spool", 1000)
    for letter in letters:
        await spool.keep(letter, letter.encode())
    return spool


async def carry(carrier, at=None):
    async with calling() as caller:
        await carrier.carry(caller, at or time.time())


async def empty(spool):
    async def is_empty():
        return len(spool) == 0

    await until(is_empty)


async def test_all_of_them_arrive_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 1000)
    spool, office = await spool_of(tmp_path, *IDS), Office()
    async with daemon(office) as port, trio.open_nursery() as nursery:
        carrier = Carrier(spool, KEY, f"http://127.0.0.1:{port}/")
        nursery.start_soon(carrier.run)
        await empty(spool)
        await spool.keep("f" * 18, b"one more")
        await empty(spool)
        nursery.cancel_scope.cancel()
    assert sorted(office.got) == sorted(("second", data) for data in (b"one more", *(i.encode() for i in IDS)))
    assert carrier.carried == 301
    assert list((tmp_path / "spool").iterdir()) == []


async def test_while_the_daemon_is_down_they_wait_and_it_is_said_once(tmp_path, logs):
    spool, office, port = await spool_of(tmp_path, *IDS[:3]), Office(), free_port("127.0.0.1")
    carrier = Carrier(spool, KEY, f"http://127.0.0.1:{port}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(carrier.run)
        while not carrier.error:
            await trio.sleep(0.01)
        assert len(spool) == 3
        async with daemon(office, port):
            await empty(spool)
        nursery.cancel_scope.cancel()
    assert len(office.got) == 3
    assert [line["event"] for line in logs] == ["hand-over", "hand-over works again"]


async def test_what_the_store_cannot_keep_is_handed_over_again_all_of_it(tmp_path):
    spool, office = await spool_of(tmp_path, *IDS[:3]), Office()
    async with daemon(office) as port:
        carrier = Carrier(spool, KEY, f"http://127.0.0.1:{port}")
        office.broken[IDS[1].encode()] = StoreError("full")
        with pytest.raises(FetchError, match="503"):
            await carry(carrier)
        assert len(spool) == 3
        office.broken.clear()
        await carry(carrier)
    assert len(spool) == 0
    assert {signed for _, signed in office.got} == {letter.encode() for letter in IDS[:3]}


async def test_a_letter_that_is_refused_keeps_none_behind_it(tmp_path, logs):
    spool, office = await spool_of(tmp_path, *IDS[:3]), Office()
    office.broken[IDS[0].encode()] = Forged("delivery")
    async with daemon(office) as port:
        carrier = Carrier(spool, KEY, f"http://127.0.0.1:{port}")
        await carry(carrier)
    assert (len(spool), len(office.got), carrier.carried) == (0, 2, 2)
    assert [line["letter"] for line in logs if "refused" in line["event"] and "letter" in line] == [IDS[0]]


async def test_a_letter_that_the_daemon_fails_at_holds_up_none(tmp_path, logs):
    """It is tried again, behind all others, and what comes meanwhile goes before it."""
    bad, later = IDS[5].encode(), b"f" * 18
    spool, office = await spool_of(tmp_path, *IDS[:20]), Office()
    office.broken[bad] = RuntimeError("a bug")
    async with daemon(office) as port, trio.open_nursery() as nursery:
        carrier = Carrier(spool, KEY, f"http://127.0.0.1:{port}")
        nursery.start_soon(carrier.run)

        async def left():
            return len(spool) == 1 and carrier.error

        await until(left)
        assert "500" in carrier.error
        await spool.keep(later.decode(), later)
        await until(left)
        assert bad not in {signed for _, signed in office.got}
        assert later in {signed for _, signed in office.got}
        office.broken |= {letter.encode(): RuntimeError("a bug") for letter in IDS[20:23]}  # all of them, for a while
        for letter in IDS[20:23]:
            await spool.keep(letter, letter.encode())
        await trio.sleep(0.5)
        for letter in IDS[20:23]:
            del office.broken[letter.encode()]
        await until(left)
        office.broken.clear()
        await empty(spool)
        nursery.cancel_scope.cancel()
    assert {signed for _, signed in office.got} == {later, *(letter.encode() for letter in IDS[:23])}


async def test_while_the_daemon_fails_at_all_of_them_each_pause_grows(tmp_path):
    spool, asked = await spool_of(tmp_path, *IDS[:4]), []

    class Fails:
        async def ask(self, method, url, content, headers):
            asked.append((trio.current_time(), content.count(b"\n")))
            return Answer(500, "Internal Server Error", None, None)

    async def three_times():
        return len(asked) >= 9

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Carrier(spool, KEY, "http://127.0.0.1:1")._run, Fails())
        await until(three_times)
        nursery.cancel_scope.cancel()
    moments, sizes = zip(*asked[:9], strict=True)
    assert sizes == (4, 2, 1) * 3
    assert moments[3] - moments[2] >= 0.05
    assert moments[6] - moments[5] >= 0.1
    assert len(spool) == 4


@pytest.mark.parametrize("junk", [b"", b"a\nb\n", b"a\rb"])
async def test_what_a_disk_damaged_is_given_up_alone(tmp_path, logs, junk):
    spool, office = await spool_of(tmp_path, *IDS[:3]), Office()
    (tmp_path / "spool" / IDS[1]).write_bytes(junk)
    office.broken[IDS[2].encode()] = Forged("delivery")
    async with daemon(office) as port:
        await carry(Carrier(spool, KEY, f"http://127.0.0.1:{port}"))
    assert (len(spool), [signed for _, signed in office.got]) == (0, [IDS[0].encode()])
    assert [line["letters"] for line in logs if "damaged" in line["event"]] == [[IDS[1]]]
    assert [line["letter"] for line in logs if "letter" in line and "refused" in line["event"]] == [IDS[2]]


@pytest.mark.parametrize(
    ("keys", "ahead", "why"),
    [
        ({"second": {1: CanaryKey.from_master(b"x" * 32, "second")}}, 0, "401"),
        ({"main": {1: CanaryKey.from_master(b"m" * 32, "main")}}, 0, "401"),
        (None, 400, "401: the clocks differ"),
    ],
)
async def test_a_daemon_that_does_not_know_us_gets_none(tmp_path, keys, ahead, why):
    spool, office = await spool_of(tmp_path, IDS[0]), Office()
    async with daemon(office, keys=keys) as port:
        with pytest.raises(FetchError, match=why):
            await carry(Carrier(spool, KEY, f"http://127.0.0.1:{port}"), time.time() + ahead)
    assert (len(spool), office.got) == (1, [])


@pytest.mark.parametrize(
    "answer",
    [
        b'{"taken": "00", "refused": []}',
        b"{}",
        b'{"refused": [0], "taken": 1}',
        b"<html>log in</html>",
        b'{"refused": 0}',
    ],
)
async def test_whoever_else_says_200_took_nothing(tmp_path, answer):
    """A web server on the way, or one that took the daemon's place."""
    spool = await spool_of(tmp_path, IDS[0])

    async def serve(stream):
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        with pytest.raises(FetchError):
            await carry(Carrier(spool, KEY, f"http://127.0.0.1:{listener.socket.getsockname()[1]}"))
        nursery.cancel_scope.cancel()
    assert len(spool) == 1


async def test_what_nobody_waits_for_any_more_is_given_up(tmp_path, logs):
    spool, office = await spool_of(tmp_path, *IDS[:2]), Office()
    old = time.time() - KEPT - 60
    os.utime(tmp_path / "spool" / IDS[0], (old, old))
    async with daemon(office) as port:
        await carry(Carrier(spool, KEY, f"http://127.0.0.1:{port}"))
    assert (len(spool), [signed for _, signed in office.got]) == (0, [IDS[1].encode()])
    assert [line["letters"] for line in logs if "given up" in line["event"]] == [[IDS[0]]]


async def test_it_waits_longer_each_time_and_at_most_a_minute(tmp_path, monkeypatch, autojump_clock):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 1.0)
    carrier = Carrier(await spool_of(tmp_path, IDS[0]), KEY, "http://127.0.0.1:1")
    moments = []

    async def nobody(caller, at):
        moments.append(trio.current_time())
        if len(moments) < 10:
            raise FetchError("nobody there")
        await carrier._spool.drop(IDS[:1])

    monkeypatch.setattr(carrier, "carry", nobody)
    with trio.move_on_after(1000):
        await carrier.run()
    pauses = [round(later - earlier) for earlier, later in pairwise(moments)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert carrier.error == ""
