"""Appeals: from the requester's form to the operator's answer, and what the requester sees of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest
from markupsafe import escape

from scanner.appeal import AppealState
from scanner.model import EventKind, RemovalState, RemovalStep, parse_address
from scanner.settings import RemovalSection, Settings
from scanner.store import Store
from scanner.web.app import Web
from tests.scanner.web.conftest import list_by_proof

Browse = Callable[..., httpx.AsyncClient]
PROXY = "192.0.2.1"
WORDS = "It is a <b>honeypot</b>."


async def failed(
    store: Store, address: str = PROXY, state: RemovalState = RemovalState.STILL_OPEN, ago: float = 1000
) -> str:
    """The id of a request that came out so."""
    if not await store.lookup(parse_address(address)):
        await list_by_proof(store, address, time.time())
    removal = await store.request_removal(parse_address(address), "web:198.51.100.7", time.time() - ago)
    await store.unschedule(parse_address(address))
    await store.removal_step(RemovalStep(removal.id, time.time() - ago + 50, state))
    return removal.id


async def appeal(client: httpx.AsyncClient, id_: str, text: str = WORDS) -> httpx.Response:
    return await client.post(f"/api/v1/removals/{id_}/appeal", json={"text": text})


@pytest.mark.parametrize("state", [RemovalState.STILL_OPEN, RemovalState.TESTER_BLOCKED, RemovalState.INCONCLUSIVE])
async def test_by_the_form(browse: Browse, store: Store, state: RemovalState) -> None:
    id_ = await failed(store, state=state)
    client = browse()
    assert f'action="/removal/{id_}/appeal"' in (await client.get(f"/removal/{id_}")).text
    done = await client.post(f"/removal/{id_}/appeal", data={"text": WORDS})
    assert (done.status_code, done.headers["location"]) == (303, f"/removal/{id_}#appeal")
    page = (await client.get(f"/removal/{id_}")).text
    assert "Waiting for a person" in page
    assert "&lt;b&gt;honeypot" in page
    assert "/appeal" not in page
    assert (await client.post(f"/removal/{id_}/appeal", data={"text": WORDS})).status_code == 409


async def test_by_the_api(browse: Browse, store: Store) -> None:
    id_ = await failed(store, ago=3000)
    client = browse()
    taken = await appeal(client, id_)
    assert (taken.status_code, taken.json()["state"]) == (202, "open")
    assert taken.json()["status_url"].endswith(f"/removal/{id_}")
    again = await appeal(client, id_)
    assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")
    other = await failed(store)
    assert (await appeal(client, other)).json()["detail"].startswith("Another appeal about this address")
    status = (await client.get(f"/api/v1/removals/{id_}")).json()["appeal"]
    assert (status["state"], status["text"], len(status["steps"])) == ("open", WORDS, 1)


async def test_what_is_refused(browse: Browse, store: Store) -> None:
    client = browse()
    assert (await appeal(client, "0" * 32)).status_code == 404
    assert (await appeal(client, "x")).status_code == 404
    id_ = await failed(store)
    for text in ('""', f'"{"x" * 1001}"', '" \\n "', '"\\ud800"', "7"):
        answer = await client.post(
            f"/api/v1/removals/{id_}/appeal",
            content=f'{{"text": {text}}}',
            headers={"Content-Type": "application/json"},
        )
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "text")
    assert (await client.post(f"/removal/{id_}/appeal", data={"text": "x" * 1001})).status_code == 422
    running = await store.request_removal(parse_address(PROXY), "web:x", time.time())
    assert (await appeal(client, running.id)).status_code == 409
    assert await store.appeals.list(waiting=True) == []


@pytest.mark.parametrize("text", [WORDS + "x" * 1000, " \t"])
async def test_a_refused_form_comes_back_with_what_was_typed(browse: Browse, store: Store, text: str) -> None:
    id_ = await failed(store)
    page = await browse().post(f"/removal/{id_}/appeal", data={"text": text})
    back = await browse().get(f"/removal/{id_}/appeal")
    assert (back.status_code, back.headers["location"]) == (303, f"/removal/{id_}"), "whoever reloads it"
    assert page.status_code == 422
    assert '<p class="wrong" role="alert">expected 1 to 1000 characters' in page.text
    assert '<details class="panel" id="appeal" open>' in page.text
    assert f">\n{escape(text)}</textarea>" in page.text


async def test_a_second_appeal_comes_back_beside_the_first(browse: Browse, store: Store) -> None:
    id_ = await failed(store)
    await appeal(browse(), id_, "the first")
    page = await browse().post(f"/removal/{id_}/appeal", data={"text": "the <second>"})
    assert (page.status_code, "There is an appeal against this request already" in page.text) == (409, True)
    assert "readonly>\nthe &lt;second&gt;</textarea>" in page.text
    assert "the first" in page.text


async def test_what_no_form_of_ours_sends_does_not_come_back(browse: Browse, store: Store) -> None:
    page = await browse().post(f"/removal/{await failed(store)}/appeal", data={"text": "x" * 4001})
    assert (page.status_code, "xxx" in page.text) == (422, False)


class TestLimit:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"removal": RemovalSection(appeals_per_requester=2)})

    async def test_a_requester_has_so_many_a_day(self, browse: Browse, store: Store) -> None:
        ids = [await failed(store, f"192.0.2.{number}") for number in (1, 2, 3)]
        answers = [await appeal(browse(), id_) for id_ in ids]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert 43000 < int(answers[2].headers["retry-after"]) <= 43201
        page = await browse().post(f"/removal/{ids[2]}/appeal", data={"text": WORDS})
        assert (page.status_code, f"{escape(WORDS)}</textarea>" in page.text) == (429, True)
        assert "retry-after" in page.headers
        assert (await appeal(browse("198.51.100.8"), ids[2])).status_code == 202


async def test_the_operator_sees_text_and_evidence_and_declines(
    browse: Browse, store: Store, alice: httpx.AsyncClient
) -> None:
    id_ = await failed(store)
    made = (await appeal(browse(), id_)).json()["id"]
    assert "1 appeal waits" in (await alice.get("/operator")).text
    assert f"/operator/appeals/{made}" in (await alice.get("/operator/appeals")).text
    page = (await alice.get(f"/operator/appeals/{made}")).text
    for text in ("&lt;b&gt;honeypot", "still open", "open-proxy", "Our latest tests of it", "web:198.51.100.7"):
        assert text in page
    silent = await alice.post(f"/operator/appeals/{made}", data={"answer": "decline"})
    assert silent.status_code == 422
    done = await alice.post(f"/operator/appeals/{made}", data={"answer": "decline", "text": "1080 <i>relays"})
    assert done.status_code == 303
    again = await alice.post(f"/operator/appeals/{made}", data={"answer": "withdraw", "text": "x"})
    assert again.status_code == 422
    told = (await browse().get(f"/removal/{id_}")).text
    assert "Declined" in told
    assert "1080 &lt;i&gt;relays" in told
    assert "alice" not in told
    assert "alice" not in (await browse().get(f"/api/v1/removals/{id_}")).text
    assert [(entry.deed.operator, entry.deed.action) for entry in await store.journal()] == [
        ("alice", "appeal: decline")
    ]


async def test_the_operator_withdraws(browse: Browse, store: Store, alice: httpx.AsyncClient) -> None:
    made = (await appeal(browse(), await failed(store))).json()["id"]
    done = await alice.post(f"/operator/appeals/{made}", data={"answer": "withdraw", "text": "a honeypot indeed"})
    assert done.status_code == 303
    assert await store.lookup(parse_address(PROXY)) == []
    last = (await store.events())[-1]
    assert (last.kind, last.reason) == (EventKind.WITHDRAWN, "a honeypot indeed")
    assert "Listing withdrawn" in (await alice.get("/operator/appeals")).text


async def test_the_operator_has_it_retested(browse: Browse, store: Store, web: Web, alice: httpx.AsyncClient) -> None:
    rung = []
    web.site.ring = lambda: rung.append(1)
    id_ = await failed(store)
    made = (await appeal(browse(), id_)).json()["id"]
    await alice.post(f"/operator/appeals/{made}", data={"answer": "retest"})
    assert rung == [1]
    retest = (await store.appeals.find(made)).retest
    page = (await browse().get(f"/removal/{id_}")).text
    assert f'href="/removal/{retest}"' in page
    assert "Retest once more" not in (await alice.get(f"/operator/appeals/{made}")).text
    await store.unschedule(parse_address(PROXY))
    await store.removal_step(RemovalStep(retest, time.time(), RemovalState.STILL_OPEN))
    assert (await store.appeals.find(made)).state is AppealState.OPEN
    assert "Retest once more" in (await alice.get(f"/operator/appeals/{made}")).text


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/x"), ("POST", "/x")])
async def test_nothing_without_a_session(desk: Callable[[], httpx.AsyncClient], method: str, path: str) -> None:
    form = {"answer": "decline", "text": "x"} if method == "POST" else None
    answer = await desk().request(method, f"/operator/appeals{path}", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/operator/sign-in")


async def test_there_is_no_such_appeal(alice: httpx.AsyncClient) -> None:
    assert (await alice.get("/operator/appeals/x")).status_code == 404
    gone = await alice.post(f"/operator/appeals/{'0' * 32}", data={"answer": "decline", "text": "x"})
    assert gone.status_code == 404
    assert (await alice.post("/operator/appeals/x", data={"answer": "eat", "text": "x"})).status_code == 422
