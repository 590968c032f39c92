from __future__ import annotations

from collections.abc import Callable, Hashable

import httpx
import pytest
import trio

from scanner.web.app import Web, public_app
from scanner.web.edge import Edge
from scanner.web.turns import Turns


async def test_a_burst_is_served_at_once_and_then_as_many_a_second(autojump_clock: trio.testing.MockClock) -> None:
    turns, began = Turns(100), trio.current_time()
    served: list[float] = []

    async def one(client: int) -> None:
        assert await turns.take(client) is None
        served.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for client in range(125):
            nursery.start_soon(one, client)
    assert sum(moment == 0 for moment in served) in (24, 25)
    assert served[-1] == pytest.approx(1.0, abs=0.02)
    await trio.sleep(60)
    assert await turns.take(0) is None  # rest brings back the burst, and no more than that
    assert trio.current_time() - began == pytest.approx(61.0, abs=0.02)


async def test_who_would_wait_too_long_is_told_when_to_come_back(autojump_clock: trio.testing.MockClock) -> None:
    turns = Turns(10)
    async with trio.open_nursery() as nursery:
        for client in range(52):
            nursery.start_soon(turns.take, client)
        await trio.testing.wait_all_tasks_blocked()
        assert await turns.take(52) == pytest.approx(0.05)
        assert turns.refused == 1
        nursery.cancel_scope.cancel()


async def test_one_who_floods_is_sent_away_before_anybody_waits_long(autojump_clock: trio.testing.MockClock) -> None:
    turns, flood, others = Turns(100), [], []

    async def one(client: str, told: list[tuple[float | None, float]]) -> None:
        began = trio.current_time()
        told.append((await turns.take(client), trio.current_time() - began))

    async with trio.open_nursery() as nursery:
        for _ in range(30):  # three seconds of ten times the rate, and ten others a second
            for _ in range(100):
                nursery.start_soon(one, "flood", flood)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(one, f"other {len(others)}", others)
            await trio.sleep(0.1)
    assert len(others) == 30
    assert all(later is None and waited < 0.6 for later, waited in others)
    served = sum(later is None for later, _ in flood)
    assert 300 - 30 <= served <= 300 - 30 + 80, "what nobody else wants"
    assert turns.refused == len(flood) - served


async def test_who_asks_alone_waits_in_a_queue_as_long_as_a_share_allows(
    autojump_clock: trio.testing.MockClock,
) -> None:
    turns = Turns(100)
    async with trio.open_nursery() as nursery:
        for client in range(500):  # of whom nobody takes more than one
            nursery.start_soon(turns.take, client)
    assert turns.refused == 0
    assert len(turns._shares) <= 500
    for client in range(500, 2000):
        await trio.sleep(0.02)
        assert await turns.take(client) is None
    assert len(turns._shares) <= 3, "who comes seldom is forgotten at once"


async def test_neighbours_share_one_client_s_turns(web: Web) -> None:
    class Asked(Turns):
        async def take(self, client: Hashable) -> float | None:
            clients.append(client)
            return 1.0

    clients: list[Hashable] = []
    edge = Edge(public_app(web.site), turns=Asked(1))
    for address in ("192.0.2.1", "192.0.2.255", "192.0.3.1", "2001:db8::1", "2001:db8:0:ff::1", "2001:db8:0:100::1"):
        transport = httpx.ASGITransport(edge, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://dnsbl.test") as client:
            assert (await client.get("/")).status_code == 503
    assert [clients.index(client) for client in clients] == [0, 0, 2, 3, 3, 5]


async def test_a_stranger_is_sent_away_with_a_moment(web: Web, browse: Callable[..., httpx.AsyncClient]) -> None:
    turns = Turns(1)
    turns._full_at = trio.current_time() + 100
    edge = Edge(public_app(web.site), turns=turns)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://dnsbl.test") as client:
        answer = await client.get("/api/v1/lookup/192.0.2.1")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert 90 < int(answer.headers["retry-after"]) < 100
