"""Everything that strangers reach, with whatever strangers send: no 5xx, no traceback, the same headers everywhere."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
import trio
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st

from scanner.model import Listing, RemovalState, RemovalStep
from scanner.store import RemovalRefused, Store
from scanner.store.dossier import Dossier
from scanner.web import charts
from scanner.web.advice import advice_for
from scanner.web.app import Web, public_app
from scanner.web.edge import BODY_LIMIT
from scanner.web.view import shown, why_refused
from scanner.web.words import CRITERIA, STATES, TYPES, duration, flat, wait
from tests.scanner.web.conftest import list_by_proof

Browse = Callable[..., httpx.AsyncClient]
JUNK = (
    "",
    "\0",
    "é\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "A" * 3000,
    "../../etc/passwd",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    "%s%n",
    "-1",
    "[]",
    "192.0.2.1",
)
HEADERS = (
    {
        "X-Forwarded-For": "127.0.0.1",
        "Cookie": "control=x.y.z; operator=\u00e9".encode("latin-1"),
        "Authorization": "Bearer " + "x" * 3000,
    },
    {"Host": "", "Content-Type": "multipart/form-data; boundary=", "Last-Event-ID": "\x7f", "Range": "bytes=9-1"},
)


def places(web: Web) -> Iterator[tuple[str, str]]:
    def walk(routes: object) -> Iterator[APIRoute]:
        for route in routes:  # type: ignore[attr-defined]
            if isinstance(route, APIRoute):
                yield route
            elif hasattr(route, "original_router"):
                yield from walk(route.original_router.routes)

    for route in walk(public_app(web.site).routes):
        for method in route.methods:
            if not route.path.endswith("/stream"):
                yield method, route.path


async def test_every_place_with_junk(browse: Browse, web: Web, store: Store) -> None:
    await list_by_proof(store, "192.0.2.1", time.time())
    client, tried = browse(), 0
    for method, path in places(web):
        for number, junk in enumerate(JUNK):
            quoted = "".join(f"%{byte:02x}" for byte in junk.encode("latin-1")) or "%20"
            where = re.sub(r"\{[^}]+\}", quoted, path)
            names = ("address", "sample", "comment", "ticket", "after", "limit", "email", "network")
            fields = dict.fromkeys(names, junk)
            options: dict[str, object] = {"params": fields} if method == "GET" else {}
            if method == "POST" and path.startswith("/api/"):
                options = {"json": fields} if number % 2 else {"content": junk.encode("latin-1")}
            elif method == "POST":
                options = {"data": fields} if number % 2 else {"content": junk.encode("latin-1")}
            answer = await client.request(method, where, headers=HEADERS[number % 2], **options)  # type: ignore[arg-type]
            tried += 1
            assert answer.status_code < 500 or path == "/readyz", (method, where, answer.text)
            assert "Traceback" not in answer.text
            if answer.headers.get("content-type", "").startswith("text/html"):
                assert "<script>alert" not in answer.text
            assert answer.headers["x-content-type-options"] == "nosniff"
            if path.startswith("/api/v1") and answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json"
    assert tried > 250


async def test_methods_that_are_not_there(browse: Browse) -> None:
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
        answer = await browse().request(method, "/api/v1/events")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/v1/lookup/192.0.2.1", "GET, HEAD, OPTIONS"),
        ("/api/v1/removals", "POST, OPTIONS"),
        ("/nominate", "GET, POST, HEAD, OPTIONS"),
    ],
)
async def test_options_says_what_a_path_may_be_asked_for(browse: Browse, path: str, allow: str) -> None:
    answer = await browse().options(path)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allow, b"")
    assert (await browse().options("/api/v1/nope")).status_code == 404


@pytest.mark.parametrize("text", ["{bad", '"address": 1', "[1,"])
async def test_what_is_no_json_is_told_so(browse: Browse, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await browse().post("/api/v1/removals", content=text, headers=headers)
    assert (answer.status_code, answer.json()["errors"]) == (422, [{"field": "body", "detail": "expected JSON"}])


async def test_head_is_get_without_the_content(browse: Browse, web: Web, store: Store) -> None:
    await list_by_proof(store, "192.0.2.1", time.time())
    client, tried = browse(), 0
    for method, path in places(web):
        if method == "GET":
            where = re.sub(r"\{[^}]+\}", "192.0.2.1", path)
            get, head = await client.get(where), await client.head(where)
            tried += 1
            assert (head.status_code, head.content) == (get.status_code, b""), where
            assert head.headers["content-type"] == get.headers["content-type"]
            assert head.headers["x-content-type-options"] == "nosniff"
    assert tried > 12
    with trio.fail_after(5):  # and nobody waits for the end of a stream
        assert (await client.head("/api/v1/events/stream")).headers["content-type"].startswith("text/event-stream")
    assert web.site.streams.now == 0


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/v1/removals", "application/json"),
        ("/api/v1/nominations", "application/json"),
        ("/nominate", "application/x-www-form-urlencoded"),
        ("/nominate", "multipart/form-data; boundary=b"),
        ("/removal", "application/x-www-form-urlencoded"),
    ],
)
async def test_a_long_body_is_refused_although_nobody_said_how_long(browse: Browse, path: str, kind: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
            if "multi" in kind
            else b'{"address":"'
        )
        for _ in range(BODY_LIMIT // 0x4000 + 1):
            yield b"a" * 0x4000

    answer = await browse().post(path, content=pieces(), headers={"content-type": kind})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "accept", "page"),
    [("/nominate", "text/html,*/*", True), ("/nominate", "*/*", False), ("/api/v1/nominations", "text/html", False)],
)
async def test_whoever_reads_pages_is_refused_by_a_page(browse: Browse, path: str, accept: str, page: bool) -> None:
    client = browse()
    for refused in (
        await client.post(path, headers={"Accept": accept, "Origin": "http://evil.test"}),
        await client.post(path, headers={"Accept": accept}, content=b"a" * (BODY_LIMIT + 1)),
    ):
        assert refused.status_code in (403, 413)
        assert refused.headers["content-type"] == ("text/html; charset=utf-8" if page else "application/problem+json")
        assert ('role="alert"' in refused.text) is page
        assert "content-security-policy" in refused.headers


async def test_the_openapi_description_names_every_call(browse: Browse) -> None:
    schema = (await browse().get("/api/openapi.json")).json()
    assert {
        "/api/v1/lookup/{address}",
        "/api/v1/removals",
        "/api/v1/removals/{id}",
        "/api/v1/nominations",
        "/api/v1/events",
        "/api/v1/events/stream",
    } <= set(schema["paths"])
    page = (await browse().get("/api/docs")).text
    assert "POST /api/v1/removals" in page
    assert "<script" not in page
    assert page.count("<summary>Answer (20") == sum(map(len, schema["paths"].values()))


async def test_the_described_answers_are_like_the_real_ones(browse: Browse, store: Store) -> None:
    await list_by_proof(store, "192.0.2.1", time.time())
    client = browse()
    schema = (await client.get("/api/openapi.json")).json()
    id_ = (await client.post("/api/v1/removals", json={"address": "192.0.2.1"})).json()["id"]
    await store.removal_step(RemovalStep(id_, time.time(), RemovalState.STILL_OPEN))
    await list_by_proof(store, "192.0.2.2", time.time())
    for path, body in (
        ("/api/v1/lookup/{address}", None),
        ("/api/v1/removals", {"address": "192.0.2.2"}),
        ("/api/v1/removals/{id}", None),
        ("/api/v1/removals/{id}/appeal", {"text": "why"}),
        ("/api/v1/nominations", {"address": "8.8.8.8"}),
        ("/api/v1/events", None),
        ("/api/v1/control", {"address": "192.0.2.1"}),
    ):
        where = path.format(address="192.0.2.1", id=id_)
        answer = await client.get(where) if body is None else await client.post(where, json=body)
        described = schema["paths"][path]["get" if body is None else "post"]["responses"][str(answer.status_code)]
        assert shape(described["content"]["application/json"]["example"]) == shape(answer.json()), path
    assert list(schema["paths"]["/api/v1/events/stream"]["get"]["responses"]["200"]["content"]) == ["text/event-stream"]


def shape(value: object) -> object:
    """The names in it, as deep as they go; of a list those of its first."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value[:1] if isinstance(item, dict)] if isinstance(value, list) else None


@pytest.mark.parametrize("at", [{}, {"entry": "192.0.2.9", "type": "exit"}, {"type": "manual", "list": "rbl"}])
@pytest.mark.parametrize("excluded", [None, "asked"])
def test_every_kind_of_listing_has_a_next_step_and_advice(at: dict[str, str], excluded: str | None) -> None:
    values = {"list": "ops", "address": "192.0.2.1", "type": "entry", "entry": None} | at
    listing = Listing(
        criterion="x",
        reason="r",
        detector="socks5/1",
        vantage="",
        first_listed=1.0,
        last_confirmed=1.0,
        expires=9e9,
        **values,
    )  # type: ignore[arg-type]
    dossier = Dossier(None, 2.0, (listing,), {"192.0.2.1": 8e9, "192.0.2.9": 8e9}, excluded, None, None)  # type: ignore[arg-type]
    (item,) = shown(dossier)
    assert item.next_step.endswith(".")
    assert item.advice.text == advice_for(listing).text != ""


@pytest.mark.parametrize("reason", ["not_listed", "running", "too_soon", "excluded", "relisted", "paused", "busy"])
def test_every_refusal_is_said_in_a_sentence(reason: str) -> None:
    text = why_refused(RemovalRefused(reason, not_before=5000.0), 1000.0)
    assert text[0].isupper()
    assert text.endswith(".")
    assert reason not in text or reason in ("running", "excluded")


def test_every_state_criterion_and_type_has_words() -> None:
    assert set(STATES) == set(RemovalState)
    assert {"open-proxy", "open-proxy-exit", "open-relay", "open-relay-output", "operator"} <= set(CRITERIA)
    assert {"entry", "exit", "relay-output", "manual"} <= set(TYPES)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(86400, "1 day"), (2592000, "30 days"), (600, "10 minutes"), (90, "90 seconds"), (0, "0 seconds")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_waits() -> None:
    assert [wait(seconds) for seconds in (0.2, 119, 120, 7300, 200000)] == [
        "1 second",
        "119 seconds",
        "2 minutes",
        "2 hours",
        "2 days",
    ]


def test_a_tree_of_figures_as_lines() -> None:
    tree = {
        "a_b": 1,
        "c": {"latest": 0.0, "e": ["x", "y"], "f": {}},
        "g": "",
        "h.i_j": 1,
        "/var/log/pw_1/events.jsonl": "ok",
    }
    assert list(flat(tree)) == [
        ("a b", "1"),
        ("c, latest", "1970-01-01 00:00 UTC"),
        ("c, e", "x, y"),
        ("c, f", "none"),
        ("g", "none"),
        ("h, i j", "1"),
        ("/var/log/pw_1/events.jsonl", "ok"),
    ]


@given(st.lists(st.integers(0, 10**9), max_size=40), st.text(max_size=20))
def test_charts_are_well_formed_whatever_the_figures(values: list[int], name: str) -> None:
    from xml.etree import ElementTree

    name = "".join(char for char in name if char.isprintable())
    days = [86400.0 * number for number in range(len(values))]
    root = ElementTree.fromstring(charts.columns(name, days, [(name, values), ("b", values)]))
    for rect in root.iter("rect"):
        assert 0 <= float(rect.get("y", "")) <= 200
        assert float(rect.get("height", "")) >= 0
        assert float(rect.get("x", "")) + float(rect.get("width", "")) <= 640
    ElementTree.fromstring(charts.rows(name, [(name, value) for value in values]))


@given(st.floats(0, 1e15))
def test_the_top_of_a_chart_is_round_and_not_too_high(value: float) -> None:
    assert value <= charts.nice(value) <= max(2, value * 2)
