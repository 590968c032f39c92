from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest
import trio

from scanner.store import Store
from scanner.web.app import Web
from tests.scanner.web.conftest import delist, list_by_proof

Browse = Callable[..., httpx.AsyncClient]


async def test_pages_by_cursor(browse: Browse, store: Store) -> None:
    for number in range(5):
        await list_by_proof(store, f"192.0.2.{number}", time.time())
    client, seen, cursor = browse(), [], ""
    while page := (await client.get("/api/v1/events", params={"after": cursor, "limit": 2})).json()["events"]:
        seen += [event["address"] for event in page]
        cursor = page[-1]["cursor"]
    assert seen == [f"192.0.2.{number}" for number in range(5)]
    assert "port" not in page


@pytest.mark.parametrize(
    "query", ["after=-1", "after=%00", "after=" + "z" * 30, "after=zz", "after=1", "limit=0", "limit=100000", "limit=x"]
)
async def test_bad_queries(browse: Browse, query: str) -> None:
    answer = await browse().get(f"/api/v1/events?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, query.partition("=")[0])


async def test_a_cursor_outlives_its_event(browse: Browse, store: Store) -> None:
    now = time.time()
    await list_by_proof(store, "192.0.2.1", now - 800 * 86400)
    await delist(store, "192.0.2.1", now - 700 * 86400)
    cursor = await store.last_cursor()
    assert (await store.purge(now, now))["events"] == 2
    client = browse()
    assert (await client.get("/api/v1/events", params={"after": cursor})).json() == {"events": [], "cursor": cursor}
    assert (await client.get("/api/v1/events/stream", headers={"Last-Event-ID": "3"})).status_code == 422


@pytest.mark.parametrize(
    ("query", "names"), [(b"", ["event: listed", "event: delisted"]), (b"named=false", [])], ids=["named", "unnamed"]
)
async def test_the_stream_resumes_and_follows(
    browse: Browse, store: Store, web: Web, query: bytes, names: list[str]
) -> None:
    now = time.time()
    await list_by_proof(store, "192.0.2.1", now)
    cursor = await store.last_cursor()
    await list_by_proof(store, "192.0.2.2", now)
    heard: list[str] = []

    async def send(message: dict) -> None:  # type: ignore[type-arg]
        heard.append(message.get("body", b"").decode())

    async def receive() -> dict:  # type: ignore[type-arg]
        if not heard and not asked:
            asked.append(1)
            return {"type": "http.request", "body": b"", "more_body": False}
        while "delisted" not in "".join(heard):
            await trio.sleep(0.05)
        return {"type": "http.disconnect"}

    asked: list[int] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/events/stream",
        "query_string": query,
        "headers": [(b"last-event-id", (cursor or "").encode())],
        "client": ("192.0.2.77", 1),
    }
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(web.site.changes.run)
            nursery.start_soon(web.edges[0], scope, receive, send)
            while "192.0.2.2" not in "".join(heard):
                await trio.sleep(0.01)
            await delist(store, "192.0.2.1", now + 1)
            while web.site.streams.now:
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    text = "".join(heard)
    assert [line for line in text.splitlines() if line.startswith("event: ")] == names
    first, _, news = text.partition("\n\n")
    assert first == f": events follow\nid: {cursor}"  # for whoever hears no event before the end
    assert [line[:4] for line in news.splitlines() if line.startswith(("id: ", "data: "))] == ["id: ", "data"] * 2
    assert '"address": "192.0.2.2"' in text
