"""kill -9 of the daemon while removal requests come in over HTTP: each that was accepted ends in an outcome."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import pytest
import trio

from scanner.store import open_store
from tests.scanner.live import canary, free_port, until
from tests.scanner.program import program, written
from tests.scanner.web.conftest import list_by_proof

COUNT = int(os.environ.get("REMOVALS", "60"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(100 + COUNT)]


async def ask(url: str, addresses: list[str], accepted: dict[str, str], refused: list[str]) -> None:
    """Until the server is gone. What came back is what counts: an answer that was cut off is none."""
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        while addresses:
            address = addresses.pop()
            try:
                answer = await client.post("/api/v1/removals", json={"address": address})
            except httpx.HTTPError:
                refused.append(address)
                return
            assert answer.status_code == 202, answer.text
            accepted[answer.json()["id"]] = address


async def test_killed_in_the_midst_of_requests_it_answers_each_that_it_accepted(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    file = written(tmp_path, canary(tmp_path))
    text = file.read_text().replace("[web]\nlisten = []", f'[web]\nlisten = ["127.0.0.1:{port}"]')
    file.write_text(text + "[removal]\nper_requester = 100000\nper_network = 100000\n")
    everyone = [f"127.85.{number % 50}.{number // 50 + 1}" for number in range(COUNT)]
    (tmp_path / "data").mkdir(mode=0o700)
    async with open_store(f"sqlite:///{tmp_path}/data/proxywarden.sqlite") as store:
        for address in everyone:
            await list_by_proof(store, address, time.time())
    accepted: dict[str, str] = {}
    waiting, cut_off = list(everyone), []
    async with program(file) as (process, _), trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask, f"http://127.0.0.1:{port}", waiting, accepted, cut_off)
        while len(accepted) < COUNT / 2:
            await trio.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert COUNT / 2 <= len(accepted) < COUNT
    async with program(file) as (process, store):
        assert await store.verify() == []

        async def all_of_them() -> bool:
            found = [await store.removal(id_) for id_ in accepted]
            return all(removal is not None and removal.state.final for removal in found)

        await until(all_of_them, 60 + COUNT / 10)
        # And whoever was cut off, or never came to ask, is served now, or told which request of theirs is running.
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for address in cut_off:
                answer = await client.post("/api/v1/removals", json={"address": address})
                assert answer.status_code in (202, 404, 409, 429)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert await store.verify() == []
    print(f"{len(accepted)} accepted of {COUNT}, {len(cut_off)} cut off, all of the accepted ended")
