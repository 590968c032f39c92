from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from scanner.model import Kind
from scanner.store import Store
from tests.scanner.store import make
from tests.scanner.web.conftest import CLIENT, delist, list_by_proof

Browse = Callable[..., httpx.AsyncClient]


async def test_the_first_page_names_the_address_that_asks(browse: Browse) -> None:
    page = await browse().get("/")
    assert page.status_code == 200
    assert f'<a href="/lookup/{CLIENT}">' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_the_form_leads_to_the_canonical_address(browse: Browse) -> None:
    page = await browse().get("/lookup", params={"address": " ::ffff:192.0.2.1 "})
    assert (page.status_code, page.headers["location"]) == (303, "/lookup/192.0.2.1")


@pytest.mark.parametrize(
    "text", ["", "example.com", "3221225985", "0300.0.2.1", "fe80::1%eth0", "١٩٢.0.2.1", "<b>", "1" * 500]
)
async def test_what_is_no_address_comes_back_with_the_form(browse: Browse, text: str) -> None:
    page = await browse().get("/lookup", params={"address": text})
    assert page.status_code == 422
    assert 'aria-invalid="true"' in page.text
    assert "<b>" not in page.text


async def test_a_listed_address_shows_why_and_how_to_fix_but_no_port(browse: Browse, store: Store) -> None:
    await list_by_proof(store, "192.0.2.1", time.time())
    page = await browse().get("/lookup/192.0.2.1")
    assert page.status_code == 200
    for text in ("is listed", "Open proxies (OPS)", "Dante", "unless it is confirmed before", "/removal"):
        assert text in page.text
    assert "1080" not in page.text.replace("ssh -D 127.0.0.1:1080", "")


async def test_an_address_that_was_listed_says_until_when_and_when_caches_clear(browse: Browse, store: Store) -> None:
    now = time.time()
    await list_by_proof(store, "192.0.2.1", now - 60)
    await delist(store, "192.0.2.1", now - 1)
    page = await browse().get("/lookup/192.0.2.1")
    assert "is not listed" in page.text
    assert "in their caches until" in page.text
    assert 'action="/removal"' not in page.text


@pytest.mark.parametrize(
    "path", ["/policy", "/status", "/healthz", "/robots.txt", "/static/style.css", "/static/live.js"]
)
async def test_pages_are_there(browse: Browse, path: str) -> None:
    assert (await browse().get(path)).status_code == 200


async def test_the_policy_is_that_of_the_configuration(browse: Browse) -> None:
    page = await browse().get("/policy")
    for text in ("30 days after the last confirmation; an exit 7 days", "1, 1, 2, 3", "no time, no time, 1 day"):
        assert text in " ".join(page.text.split()), text


@pytest.mark.parametrize("path", ["/nope", "/static/../style.css", "/static/base.html", "/api/nope"])
async def test_what_is_not_there(browse: Browse, path: str) -> None:
    page = await browse().get(path)
    assert page.status_code == 404


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/policy/", "/policy"),
        ("/removal/%0d%0aSet-Cookie:%20x//", "/removal/%0D%0ASet-Cookie%3A%20x"),
        ("/api/v1/events/?limit=3&after=%3F", "/api/v1/events?limit=3&after=%3F"),
        ("/api/v1/lookup", "/api/v1/lookup/"),
    ],
)
async def test_a_slash_too_many_leads_on_by_the_path_alone(browse: Browse, path: str, leads: str) -> None:
    page = await browse().get(path, headers={"Host": "evil.example"})
    assert (page.status_code, page.headers["location"]) == (307, leads)


@pytest.mark.parametrize("path", ["//", "//evil.example/", "//evil.example/policy/", "/nope/", "/policy/x/"])
async def test_a_slash_too_many_leads_nowhere_else(browse: Browse, path: str) -> None:
    assert (await browse().get("http://dnsbl.test" + path)).status_code == 404


async def test_a_problem_is_headed_in_words_for_people(browse: Browse) -> None:
    client = browse()
    page = await client.post("/removal", data={"address": "nonsense"})
    assert (page.status_code, "<h1>Something in it is wrong</h1>" in page.text) == (422, True)
    call = await client.post("/api/v1/removals", json={"address": "nonsense"})
    assert call.json()["title"] == "Unprocessable Entity"  # RFC 9457 4.2.1: as HTTP has it


async def proven(store: Store, said: bytes, detector: str) -> None:
    """Listed by a visit that heard this from the server."""
    pieces = [replace(piece, transcript=said) for piece in make.evidence() if piece.kind is Kind.RELAYED]
    record = make.record(ended=time.time(), pieces=tuple(pieces))
    listing = make.listing(detector=detector, visit=record.visit.id, expires=time.time() + 86400)
    await store.conclude(record, make.lists(listing), lease=None)


async def test_the_advice_leads_with_what_answered(browse: Browse, store: Store) -> None:
    await proven(store, b"< HTTP/1.1 200 OK\n< Via: 1.1 <script>x (Apache/2.4.57)\n", "http-get/0.1")
    page = (await browse().get("/lookup/192.0.2.1")).text
    assert page.index("<summary>Apache httpd") < page.index("<summary>Squid")
    assert "<details open><summary>Apache httpd" in page
    assert "2.4.57" not in page
    assert "answered as" not in page
    holder = (await browse("192.0.2.1").get("/lookup/192.0.2.1")).text
    assert "It answered as Apache httpd does." in holder
    assert "<script>x" not in holder
    advice = (await browse().get("/api/v1/lookup/192.0.2.1")).json()["listings"][0]["how_to_fix"]
    assert advice.index("ProxyRequests Off") < advice.index("http_access deny all")


@pytest.mark.parametrize(
    ("said", "detector"), [(b"< Server: nginx\n", "http-get/0.1"), (b"< 220 x ESMTP Postfix\n", "socks5/0.1")]
)
async def test_what_is_unknown_or_elsewhere_leads_nothing(
    browse: Browse, store: Store, said: bytes, detector: str
) -> None:
    await proven(store, said, detector)
    assert "<details open>" not in (await browse().get("/lookup/192.0.2.1")).text
    assert "It answered as" not in (await browse("192.0.2.1").get("/lookup/192.0.2.1")).text
