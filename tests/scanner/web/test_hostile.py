"""The daemon under hostile connections: none ends it, nothing of them stays. FUZZ_CONNECTIONS=8000 fires so many."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import httpx
import pytest
import trio

from scanner.daemon import Daemon
from scanner.settings import WebSection
from scanner.web import live
from tests.fuzz.hostile import fire_all, shots
from tests.scanner.live import canary, descriptors, lab, lab_host, nominate, settings, until

COUNT = int(os.environ.get("FUZZ_CONNECTIONS", "400"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + COUNT // 10)]


def resident() -> int:
    """Bytes, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_hostile_connections_leave_nothing_and_the_scan_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_PING", 0.5)  # by which a stream with requests queued behind it finds its client gone
    one = canary(tmp_path)
    web = WebSection(listen=("127.0.0.1:0",), operator_listen=("127.0.0.1:0",), rate=5000)
    # All of them answer: whatever is slow here, none of it is a finding about them, nor about our controls.
    made = settings(tmp_path, one, scan={"connect_timeout": 20.0, "conversation_timeout": 20.0})
    made = made.model_copy(update={"web": web, "controls": made.controls.model_copy(update={"timeout": 20.0})})
    hosts = [lab_host(f"9.{n}", "connect" if n % 3 == 0 else "http-403") for n in range(1, 31)]
    with trio.fail_after(100 + COUNT / 10):
        async with lab(hosts, one), trio.open_nursery() as nursery:
            await one.work(nursery)
            daemon: Daemon = await nursery.start(Daemon(made).run)
            assert daemon.web is not None
            public, operators = daemon.web.servers

            async def nobody() -> bool:
                return public.connections.now + operators.connections.now == 0

            async def salvo(seed: int, count: int) -> None:
                heard = await fire_all(shots(seed, count), *public.binds[0])
                assert sum(answer.startswith(b"HTTP/1.1 ") for answer in heard) > count / 4
                assert not any(b"Traceback" in answer for answer in heard)
                await fire_all(shots(seed + 1, count // 10), *operators.binds[0])

            await salvo(1, 300)  # what is made once and kept: templates, caches, the allocator's arenas
            await until(nobody)
            before, open_before = resident(), descriptors()
            await nominate(daemon.store, [host.address for host in hosts], time.time())
            await salvo(3, COUNT)
            await until(nobody)

            async def visited() -> bool:
                return (await daemon.store.figures(time.time()))["visits.day"] >= len(hosts)

            await until(visited, 60)
            assert public.error == operators.error == ""
            assert [edge.errors for edge in daemon.web.edges] == [0, 0]
            assert daemon.web.site.streams.now == 0
            await until(lambda: _few(open_before))
            grown = resident() - before
            print(f"{COUNT} connections: {grown / 2**20:+.1f} MiB, {descriptors() - open_before:+} descriptors")
            assert grown < 40 << 20  # the whole number brings 25, and goes on to none: arenas of malloc
            host, port = public.binds[0]
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://{host}:{port}/api/v1/lookup/{hosts[2].address}")
            assert answer.json()["listed"] is True
            nursery.cancel_scope.cancel()


async def _few(before: int) -> bool:
    """Descriptors: as many as before, but for conversations of the controls."""
    return descriptors() <= before + 8
