from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import httpx
import pytest
import trio

from scanner.model import Decision, Event, EventKind, RemovalState, RemovalStep, Standing, parse_address
from scanner.pipeline import removal_rule
from scanner.settings import RemovalSection, Settings
from scanner.store import Store, open_store
from scanner.web.app import Web
from scanner.web.words import dated, moment
from tests.scanner.store.make import record
from tests.scanner.web.conftest import CLIENT, delist, list_by_proof

Browse = Callable[..., httpx.AsyncClient]
PROXY = "192.0.2.1"


async def ask(client: httpx.AsyncClient, address: str = PROXY) -> httpx.Response:
    return await client.post("/api/v1/removals", json={"address": address})


async def finish(store: Store, id_: str, state: RemovalState, at: float | None = None) -> None:
    await store.removal_step(RemovalStep(id_, at or time.time(), state, "as the test says"))


async def test_by_the_form(browse: Browse, store: Store) -> None:
    await list_by_proof(store, PROXY, time.time())
    client = browse()
    assert 'action="/removal"' in (await client.get(f"/lookup/{PROXY}")).text
    asked = await client.post("/removal", data={"address": PROXY})
    assert asked.status_code == 303
    page = await client.get(asked.headers["location"])
    assert "Requested" in page.text
    assert '<meta http-equiv="refresh"' in page.text
    assert "data-live=" in page.text
    again = await client.post("/removal", data={"address": PROXY})
    assert again.headers["location"] == asked.headers["location"]  # it is running: watch that
    await finish(store, asked.headers["location"].rpartition("/")[2], RemovalState.DELISTED)
    page = await client.get(asked.headers["location"])
    assert "It is closed" in page.text
    assert "http-equiv" not in page.text
    lease = await store.lease("test", time.time() + 1, 60, 10)
    assert [(str(item.target.address), item.target.reason) for item in lease] == [(PROXY, "removal")]


@pytest.mark.parametrize(
    ("outcome", "look", "paused"),
    [
        (RemovalState.STILL_OPEN, "bad", True),
        (RemovalState.TESTER_BLOCKED, "bad", False),
        (RemovalState.INCONCLUSIVE, "doubt", False),
    ],
)
async def test_asked_in_vain_the_page_says_what_next(
    browse: Browse, store: Store, outcome: RemovalState, look: str, paused: bool
) -> None:
    await list_by_proof(store, PROXY, time.time())
    client = browse()
    id_ = (await ask(client)).json()["id"]
    await finish(store, id_, outcome)
    removal = await store.removal(id_)
    assert removal is not None
    page = (await client.get(f"/removal/{id_}")).text
    assert f'<div class="state {look}">' in page  # "busy" looks like work that goes on
    assert f'<a href="/lookup/{PROXY}">The page of {PROXY}</a> says how to close it' in page
    assert f"ask again from {dated(moment(removal.at + 900))} on" in page
    assert ("pause your requests" in page) is paused


async def test_one_of_two_entries_closed_and_the_other_asked_for_elsewhere_the_page_says_what_next(
    browse: Browse, store: Store
) -> None:
    now, other, exit_ = time.time(), "192.0.2.2", "192.0.2.9"
    await list_by_proof(store, PROXY, now, exits=(exit_,))
    await list_by_proof(store, other, now, exits=(exit_,))
    await list_by_proof(store, exit_, now, type="exit", entry=PROXY)
    client = browse()
    id_ = (await ask(client, exit_)).json()["id"]
    await store.request_removal(ip_address(other), "another", now)

    def closed(standing: Standing) -> Decision:
        (entry,) = [listing for listing in standing.listings if listing.address == PROXY]
        (left,) = [listing for listing in standing.listings if listing.address == exit_]
        events = Event(EventKind.DELISTED, now, entry), Event(EventKind.CONFIRMED, now, replace(left, entry=other))
        return Decision(events, removal=RemovalStep(id_, now, RemovalState.DELISTED, "closed twice"))

    await store.change(PROXY, closed, now)
    page = (await client.get(f"/removal/{id_}")).text
    for text in ("<strong>Still listed</strong>", f"through {other} come out here too", f"ask for {exit_} again from"):
        assert text in page
    for text in ("It still relays", "Still open", "says how to close it"):
        assert text not in page
    assert (await client.get(f"/api/v1/removals/{id_}")).json()["outcome"] == "still_open"


@pytest.mark.parametrize("why", ["running", "too_soon", "relisted", "excluded"])
async def test_the_page_says_when_the_entry_that_is_left_can_be_retested(
    browse: Browse, store: Store, why: str
) -> None:
    now, other, exit_ = time.time(), "192.0.2.2", "192.0.2.9"
    for _ in range(3 if why == "relisted" else 0):
        await list_by_proof(store, other, now)
        await delist(store, other, now)
    for address in (PROXY, other):
        await list_by_proof(store, address, now, exits=(exit_,))
    await list_by_proof(store, exit_, now, type="exit", entry=PROXY)
    client = browse()
    id_ = (await ask(client, exit_)).json()["id"]
    later = now + 300
    if why in ("running", "too_soon"):
        before = await store.request_removal(ip_address(other), "another", later)
    if why == "too_soon":
        await finish(store, before.id, RemovalState.INCONCLUSIVE)
    if why == "excluded":
        await store.exclude(other, "asked", "test", now)

    def closed(standing: Standing) -> Decision:
        (entry,) = [listing for listing in standing.listings if listing.address == PROXY]
        (left,) = [listing for listing in standing.listings if listing.address == exit_]
        events = Event(EventKind.DELISTED, now, entry), Event(EventKind.CONFIRMED, now, replace(left, entry=other))
        return Decision(events, removal=RemovalStep(id_, now, RemovalState.DELISTED, "closed twice"))

    rule = removal_rule(Settings())
    leased = next(item for item in await store.lease("test", now + 1, 60, 9) if str(item.target.address) == PROXY)
    await store.conclude(record(leased.target, ended=now + 2), closed, lease=leased, not_before=rule)
    page = (await client.get(f"/removal/{id_}")).text
    moments = {"running": later + 900, "too_soon": later + 900, "relisted": now + 2 * 86400}
    if why == "excluded":
        assert "have the opt-out of the other one ended" in page
        assert "again from" not in page.replace("\n", " ")
    else:
        assert dated(moment(moments[why])) in page


async def test_what_a_person_listed_is_for_a_person(browse: Browse, store: Store) -> None:
    await list_by_proof(store, PROXY, time.time(), list="rbl", type="manual", criterion="operator")
    client = browse()
    refused = await ask(client)
    assert (refused.status_code, refused.json()["detail"].rpartition(": ")[2]) == (404, "write to the operator.")
    assert (await client.get(f"/api/v1/lookup/{PROXY}")).json()["removal"]["why"] == refused.json()["detail"]
    page = (await client.get(f"/lookup/{PROXY}")).text
    assert refused.json()["detail"] in page
    for text in ("unless confirmed again", "How to close it", "Port and transcript"):
        assert text not in page


async def test_by_the_api(browse: Browse, store: Store, web: Web) -> None:
    rung = []
    web.site.ring = lambda: rung.append(1)
    await list_by_proof(store, PROXY, time.time())
    client = browse()
    accepted = await ask(client)
    value = accepted.json()
    assert (accepted.status_code, value["state"], len(value["id"])) == (202, "requested", 32)
    assert value["status_url"] == f"http://127.0.0.1:8025/removal/{value['id']}"
    assert rung == [1]
    running = await ask(client)
    assert (running.status_code, running.json()["id"]) == (409, value["id"])
    await finish(store, value["id"], RemovalState.STILL_OPEN)
    status = (await client.get(f"/api/v1/removals/{value['id']}")).json()
    assert (status["state"], status["outcome"], len(status["steps"])) == ("still_open", "still_open", 2)
    soon = await ask(client)
    assert (soon.status_code, 0 < int(soon.headers["retry-after"]) <= 901) == (429, True)
    lookup = (await client.get(f"/api/v1/lookup/{PROXY}")).json()
    assert lookup["removal"]["possible"] is False
    assert lookup["removal"]["not_before"] == soon.json()["not_before"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"address": "192.0.2.9"}, 404, None),
        ({"address": "nonsense"}, 422, "address"),
        ({"address": 7}, 422, "address"),
        ({}, 422, "address"),
        ({"address": PROXY, "email": "no mail"}, 422, "email"),
        ({"address": PROXY, "email": "a@b\r\nBcc: c@d"}, 422, "email"),
        ([], 422, "body"),
    ],
)
async def test_what_is_refused(browse: Browse, body: object, status: int, field: str | None) -> None:
    answer = await browse().post("/api/v1/removals", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    if field:
        assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("id_", ["0" * 32, "x", "..%2F..", "0" * 31 + "A"])
async def test_no_such_request(browse: Browse, id_: str) -> None:
    assert (await browse().get(f"/api/v1/removals/{id_}")).status_code == 404
    assert (await browse().get(f"/removal/{id_}")).status_code == 404


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "203.0.113.5", "::1", "::ffff:127.0.0.1"])
async def test_what_may_not_be_touched_is_not_retested(browse: Browse, store: Store, address: str) -> None:
    """Not even where it is listed, as before it came onto the never-scan list."""
    assert (await ask(browse(), address)).status_code == 404
    await list_by_proof(store, "127.0.0.1" if "ffff" in address else address, time.time())
    assert (await ask(browse(), address)).status_code == 422
    assert await store.lease("test", time.time() + 1, 60, 10) == []


async def test_from_another_sites_page(browse: Browse, store: Store) -> None:
    await list_by_proof(store, PROXY, time.time())
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.test"}, {"Origin": "null"}):
        answer = await browse().post("/removal", data={"address": PROXY}, headers=headers)
        assert answer.status_code == 403
    answer = await browse().post("/removal", data={"address": PROXY}, headers={"Origin": "http://dnsbl.test"})
    assert answer.status_code == 303


async def test_three_failures_pause_the_requester_and_nobody_else(browse: Browse, store: Store) -> None:
    now = time.time()
    for number in range(1, 6):
        await list_by_proof(store, f"192.0.2.{number}", now)
    for number in range(1, 4):
        id_ = (await ask(browse(), f"192.0.2.{number}")).json()["id"]
        await finish(store, id_, RemovalState.STILL_OPEN)
    paused = await ask(browse(), "192.0.2.4")
    assert (paused.status_code, "still open" in paused.json()["detail"]) == (429, True)
    assert 86000 < int(paused.headers["retry-after"]) <= 86401
    assert (await ask(browse("198.51.100.8"), "192.0.2.4")).status_code == 202
    assert (await ask(browse("192.0.2.5"), "192.0.2.5")).status_code == 202


async def relisted(store: Store, now: float, **changes: object) -> None:
    for back in (400, 300, 200):
        await list_by_proof(store, PROXY, now - back, **changes)
        await store.change(PROXY, end_all(now - back + 50), now)
    await list_by_proof(store, PROXY, now, **changes)


async def test_the_owner_of_a_relay_is_not_held_up_by_others(browse: Browse, store: Store) -> None:
    """By asking from the address: neither the others' last request, nor their failures, nor relistings count."""
    await relisted(store, time.time(), list="rss", criterion="open-relay", detector="smtp-relay/0.1")
    assert (await ask(browse())).status_code == 429
    owner = browse(PROXY)
    accepted = await ask(owner)
    assert accepted.status_code == 202
    await finish(store, accepted.json()["id"], RemovalState.STILL_OPEN)
    assert (await ask(owner)).status_code == 429  # by the request of its own
    assert (await ask(browse(PROXY, headers={"Via": "1.1 squid"}))).status_code == 429


@pytest.mark.parametrize("type_", ["entry", "exit"])
async def test_from_an_open_proxy_everybody_can_ask(browse: Browse, store: Store, web: Web, type_: str) -> None:
    """It neither waives the delay after relistings nor gets ahead of others; a TXT record does both."""
    await relisted(store, time.time(), **({"type": "exit", "entry": PROXY} if type_ == "exit" else {}))
    user = browse(PROXY)
    assert "visits" in (await user.get(f"/api/v1/lookup/{PROXY}")).json()  # what its users know anyway
    if type_ == "entry":
        delayed = await ask(user)
        assert (delayed.status_code, "within a year" in delayed.json()["detail"]) == (429, True)
    assert (await user.post("/opt-out", data={"address": PROXY})).status_code == 403
    for place in ("/opt-out", f"/control/{PROXY}", f"/lookup/{PROXY}"):
        page = await user.get(place)
        assert (page.status_code, "listed as an open proxy" in page.text) == (200, True), place
    assert f"Opt {PROXY} out" not in (await user.get("/opt-out")).text
    owner = browse(headers={"Authorization": f"Bearer {web.site.control.show(parse_address(PROXY))}"})
    accepted = await ask(owner)
    assert accepted.status_code == 202
    await finish(store, accepted.json()["id"], RemovalState.STILL_OPEN)
    assert (await owner.post("/opt-out", data={"address": PROXY})).status_code == 303
    assert (await user.post("/opt-out/end", data={"address": PROXY})).status_code == 303  # a removal needs that


async def test_failures_of_an_open_proxys_users_do_not_pause_its_owner(browse: Browse, store: Store) -> None:
    now = time.time()
    for number in range(1, 5):
        await list_by_proof(store, f"192.0.2.{number}", now)
    for number in range(2, 5):
        id_ = (await ask(browse(PROXY), f"192.0.2.{number}")).json()["id"]
        await finish(store, id_, RemovalState.STILL_OPEN)
    assert (await ask(browse(PROXY))).status_code == 202
    await list_by_proof(store, "192.0.2.5", now)
    assert (await ask(browse(PROXY), "192.0.2.5")).status_code == 429  # they pause what it asks about others


def end_all(at: float):
    from scanner.listing import withdraw

    return lambda standing: withdraw(standing, address=PROXY, list_=None, at=at, reason="test")


class TestBuckets:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"removal": RemovalSection(per_requester=3, per_network=5)})

    async def test_a_requester_and_a_network_have_an_allowance_that_outlives_a_restart(
        self, browse: Browse, store: Store
    ) -> None:
        now = time.time()
        for number in range(1, 12):
            await list_by_proof(store, f"192.0.2.{number}", now)
        await list_by_proof(store, "198.51.100.200", now)
        first = [(await ask(browse(), f"192.0.2.{number}")).status_code for number in range(1, 5)]
        assert first == [202, 202, 202, 429]
        second = [(await ask(browse("198.51.100.8"), f"192.0.2.{number}")).status_code for number in range(5, 8)]
        assert second == [202, 202, 429]
        async with open_store(f"sqlite:///{store.path}") as reopened:
            moment = await reopened.take(f"removal:web:{CLIENT}", time.time(), 3, 3600)
            assert moment is not None
        assert (await ask(browse("192.0.2.9"), "192.0.2.9")).status_code == 202
        busy = await ask(browse(), "198.51.100.200")
        assert 1000 < int(busy.headers["retry-after"]) <= 1201
        assert (await ask(browse("198.51.100.9"), "198.51.100.200")).status_code == 202


async def test_the_stream_tells_each_step_and_ends(browse: Browse, store: Store, web: Web) -> None:
    await list_by_proof(store, PROXY, time.time())
    id_ = (await ask(browse())).json()["id"]
    heard: list[dict] = []  # type: ignore[type-arg]

    def text() -> str:
        return b"".join(message.get("body", b"") for message in heard).decode()

    async def steps() -> None:
        """Each when the one before it is shown: two that come at once are shown at once."""
        for shown, state in enumerate((RemovalState.RETESTING, RemovalState.CONFIRMING, RemovalState.DELISTED), 1):
            while text().count("id: ") < shown:
                await trio.sleep(0.01)
            await finish(store, id_, state)

    async def send(message: dict) -> None:  # type: ignore[type-arg]
        heard.append(message)

    path = f"/removal/{id_}/stream"
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "client": (CLIENT, 1)}
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(web.site.changes.run)
            nursery.start_soon(steps)
            await web.edges[0](scope, trio.sleep_forever, send)
            nursery.cancel_scope.cancel()
    assert dict(heard[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert text().count("id: ") == 4
    assert "event: end" in text()
    assert web.edges[0].errors == web.site.streams.now == 0


async def test_streams_are_counted(browse: Browse, store: Store, web: Web) -> None:
    await list_by_proof(store, PROXY, time.time())
    id_ = (await ask(browse())).json()["id"]
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(web.site.changes.run)
            for _ in range(8):
                nursery.start_soon(browse().get, f"/removal/{id_}/stream")
            while web.site.streams.now < 8:
                await trio.sleep(0.01)
            refused = await browse().get(f"/removal/{id_}/stream")
            assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
            nursery.cancel_scope.cancel()
    assert web.site.streams.now == 0
