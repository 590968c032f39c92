"""The daemon's side of the hand-over: what is sealed is kept, all else is a 4xx that is logged once."""

from __future__ import annotations

import time
from ipaddress import ip_address

import httpx
import pytest
import structlog
import trio

from scanner.handover import BATCH, HEADER, PATH, seal, taken
from scanner.insist import Insist
from scanner.mailroom import Mailroom
from scanner.post import Post
from scanner.proof import CanaryKey
from scanner.receipt import Delivery
from scanner.web.edge import BODY_LIMIT, Edge
from scanner.web.handover import Handover

OLD, NEW = (CanaryKey.from_master(b"m" * 32, "second", number) for number in (1, 2))
MAIN = CanaryKey.from_master(b"m" * 32, "main")
KEYS = {"second": {1: OLD, 2: NEW}, "main": {1: MAIN}}
LETTER = "ab" * 9


def delivery(key: CanaryKey = NEW, letter: str = LETTER, at: float = 1e9, canary: str = "second") -> bytes:
    return Delivery(canary, letter, ip_address("192.0.2.9"), 40000, 25, at).signed(key)


@pytest.fixture
async def office(store):
    """Its post, its application, and a function that posts."""
    post = Post(store, Insist(), Mailroom(), KEYS)
    app = Handover(KEYS, post.take)

    async def say(body: bytes, sealed: str | None = None, *, method: str = "POST", path: str = PATH) -> httpx.Response:
        headers = {HEADER: seal(NEW, body, time.time()) if sealed is None else sealed}
        transport = httpx.ASGITransport(app=Edge(app))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://daemon") as client:
            return await client.request(method, path, content=body, headers=headers)

    with structlog.testing.capture_logs() as logs:
        say.post, say.app, say.logs, say.store = post, app, logs, store  # type: ignore[attr-defined]
        yield say


async def test_it_comes_into_the_store_as_from_our_own_canary(office):
    body = delivery() + b"\n" + delivery(OLD, "cd" * 9, time.time() + 1e6) + b"\n"
    with office.post._mailroom.expecting(LETTER) as expected:
        answer = await office(body)
        assert expected.signed == delivery(), "a conversation that waits for it hears of it at once"
    assert (answer.status_code, answer.json()) == (200, {"taken": taken(NEW, body, []), "refused": []})
    assert await office.store.delivery(LETTER) == delivery()
    moments = await office.store._read(lambda c: c.execute("SELECT id, at FROM deliveries ORDER BY id").fetchall())
    assert moments[0] == (LETTER, 1e9)
    assert moments[1][1] == pytest.approx(time.time(), abs=60), "no canary's clock is ahead of ours"
    assert office.app.statistics() == {"taken": {"second": 2}, "refused": 0}


async def test_said_again_it_changes_nothing(office):
    body = delivery() + b"\n"
    sealed = seal(NEW, body, time.time())
    for _ in range(3):
        assert (await office(body, sealed)).status_code == 200
    assert (await office(delivery(NEW, at=2e9) + b"\n")).status_code == 200, "the first one counts"
    assert await office.store.delivery(LETTER) == delivery()


@pytest.mark.parametrize(
    "line",
    [
        delivery(MAIN, canary="main"),
        delivery(MAIN),
        delivery(NEW, "short"),
        delivery(NEW, at=float("nan")),
        delivery(NEW, at=10**400),
        delivery(NEW, at=-1.0),
        delivery(CanaryKey.from_master(b"x" * 32, "second")),
        b"junk",
        b"",
    ],
)
async def test_a_line_that_this_canary_did_not_sign_is_refused_and_the_others_kept(office, line):
    body = line + b"\n" + delivery() + b"\n"
    answer = await office(body)
    assert answer.json() == {"taken": taken(NEW, body, [0]), "refused": [0]}
    assert await office.store.delivery(LETTER) is not None
    assert (await office.store._read(lambda c: c.execute("SELECT count(*) FROM deliveries").fetchone())) == (1,)


async def test_all_else_is_refused_and_said_once(office):
    body = delivery() + b"\n"
    for _ in range(3):
        for sealed in (
            "",
            "junk \xff",
            seal(CanaryKey.from_master(b"x" * 32, "second"), body, time.time()),
            seal(CanaryKey.from_master(b"x" * 32, "third"), body, time.time()),
            seal(CanaryKey.from_master(b"x" * 32, "fourth"), body, time.time()),
            seal(NEW, body, time.time() - 400),
        ):
            headers_ok = sealed.isascii()
            if headers_ok:
                assert (await office(body, sealed)).status_code == 401
    assert "clocks differ" in (await office(body, seal(NEW, body, time.time() - 400))).text
    assert [(line["canary"], line["why"]) for line in office.logs] == [
        ("a stranger", "header"),
        ("second", "mac"),
        ("a stranger", "mac"),
        ("second", "clock"),
    ]
    assert (await office(b"x" * (BODY_LIMIT + 1))).status_code == 413
    assert (await office(body, method="GET")).status_code == 405
    assert (await office(body, path="/")).status_code == 404
    assert await office.store.delivery(LETTER) is None


async def test_a_canary_that_was_taken_over_makes_no_more_tasks_than_letters_fit(office):
    answer = await office(b"\n" * 1025)
    assert (answer.status_code, answer.json()) == (413, {"detail": "at most 1024 letters at once"})
    assert len(delivery()) * 1024 > BATCH, "as many as a canary sends"
    assert office.app.statistics() == {"taken": {}, "refused": 0}


async def test_a_store_that_fails_says_come_again(office, monkeypatch):
    from scanner.store import StoreError

    async def broken(*_):
        raise StoreError("full")

    monkeypatch.setattr(office.store, "deliver", broken)
    assert (await office(delivery() + b"\n")).status_code == 503


async def test_a_body_of_one_byte_a_second_is_not_waited_for(autojump_clock):
    async def never(*_):  # a store has threads, and while one works this clock would jump
        raise AssertionError

    async def drip():
        while True:
            await trio.sleep(1)
            yield b"x"

    transport = httpx.ASGITransport(app=Edge(Handover(KEYS, never)))
    async with httpx.AsyncClient(transport=transport, base_url="http://daemon") as client:
        with trio.fail_after(100):
            assert (await client.post(PATH, content=drip())).status_code == 408
