from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address

import httpx
import pytest

from scanner.store import NominationIn, Store
from scanner.web.sessions import hashed
from tests.scanner.web.conftest import PASSWORD, invited, list_by_proof

Browse = Callable[..., httpx.AsyncClient]


async def test_a_one_time_link_sets_the_password_once(desk: Callable[[], httpx.AsyncClient], store: Store) -> None:
    client, link = desk(), await invited(store)
    assert "A password for alice" in (await client.get(link)).text
    assert (await client.post(link, data={"password": "short"})).status_code == 422
    done = await client.post(link, data={"password": PASSWORD})
    assert (done.status_code, done.headers["location"]) == (303, "/operator")
    assert "HttpOnly" in done.headers["set-cookie"]
    assert "SameSite=strict" in done.headers["set-cookie"]
    assert (await client.get("/operator")).status_code == 200
    assert (await desk().get(link)).status_code == 404
    assert (await desk().post(link, data={"password": PASSWORD + "2"})).status_code == 404
    late = await invited(store, "bob", -1)
    assert (await desk().get(late)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/operator"),
        ("GET", "/operator/listings"),
        ("GET", "/operator/exclusions"),
        ("POST", "/operator/nominations/x"),
        ("POST", "/operator/listings"),
        ("POST", "/operator/listings/withdraw"),
        ("POST", "/operator/exclusions"),
        ("POST", "/operator/exclusions/end"),
    ],
)
async def test_nothing_without_a_session(desk: Callable[[], httpx.AsyncClient], method: str, path: str) -> None:
    client = desk()
    client.cookies.set("operator", "WyJhbGljZSIsMV0.aSEx4g.forged", domain="127.0.0.1")
    form = (
        {"accept": "true", "address": "192.0.2.1", "network": "192.0.2.1", "reason": "x"} if method == "POST" else None
    )
    answer = await client.request(method, path, data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/operator/sign-in")


async def test_none_of_it_is_on_the_public_listener(browse: Browse) -> None:
    for path in ("/operator", "/operator/sign-in", "/metrics"):
        assert (await browse().get(path)).status_code == 404


async def test_signing_in_and_out(desk: Callable[[], httpx.AsyncClient], alice: httpx.AsyncClient) -> None:
    client = desk()
    for name, password in (("alice", "wrong password"), ("nobody", PASSWORD), ("", "")):
        answer = await client.post("/operator/sign-in", data={"name": name, "password": password})
        assert answer.status_code in (403, 422)
    assert (await client.post("/operator/sign-in", data={"name": "alice", "password": PASSWORD})).status_code == 303
    assert (await client.get("/operator")).status_code == 200
    kept = client.cookies.get("operator")
    await client.post("/operator/sign-out")
    client.cookies.set("operator", kept or "", domain="127.0.0.1", path="/operator")
    assert (await client.get("/operator")).status_code == 303  # the old cookie is of no use


async def test_tries_are_counted(desk: Callable[[], httpx.AsyncClient]) -> None:
    answers = [await desk().post("/operator/sign-in", data={"name": "a", "password": "b"}) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [403] * 10 + [429]


async def test_a_nomination_is_accepted_or_dismissed_by_name(alice: httpx.AsyncClient, store: Store) -> None:
    first, second = await store.nominate(
        [NominationIn(ip_address(f"192.0.2.{n}"), comment="<i>x") for n in (1, 2)], time.time()
    )
    page = (await alice.get("/operator")).text
    assert "192.0.2.1" in page
    assert "<i>x" not in page
    assert (await alice.post(f"/operator/nominations/{first.id}", data={"accept": "true"})).status_code == 303
    assert (await alice.post(f"/operator/nominations/{second.id}", data={"accept": "false"})).status_code == 303
    assert (await alice.post(f"/operator/nominations/{second.id}", data={"accept": "true"})).status_code == 404
    assert {item.state for item in await store.nominations()} == {"scheduled", "dismissed"}
    deeds = [entry.deed for entry in await store.journal()]
    assert [(deed.operator, deed.action) for deed in deeds[-2:]] == [
        ("alice", "dismiss nomination"),
        ("alice", "accept nomination"),
    ]


async def test_listing_and_withdrawing_by_name(alice: httpx.AsyncClient, store: Store) -> None:
    form = {"address": "192.0.2.0/25", "reason": "snowshoe", "list": "rbl", "days": "3"}
    assert (await alice.post("/operator/listings", data=form)).status_code == 303
    for wrong in (
        {"address": "203.0.113.1"},  # on the never-list
        {"address": "192.0.2.1/24"},
        {"reason": ""},
        {"days": "0"},
        {"list": "nope"},
    ):
        assert (await alice.post("/operator/listings", data=form | wrong)).status_code == 422
    page = await alice.get("/operator/listings", params={"address": "192.0.2.9"})
    assert "192.0.2.0/25" in page.text
    assert "snowshoe" in page.text
    ended = await alice.post("/operator/listings/withdraw", data={"address": "192.0.2.0/25", "reason": "mistake"})
    assert ended.status_code == 303
    again = await alice.post("/operator/listings/withdraw", data={"address": "192.0.2.0/25", "reason": "mistake"})
    assert again.status_code == 404
    assert [str(event.kind) for event in await store.events()] == ["listed", "withdrawn"]
    assert [entry.deed.action for entry in await store.journal()] == ["withdraw", "list on rbl"]


async def test_exclusions_by_name(alice: httpx.AsyncClient, store: Store) -> None:
    form = {"network": "192.0.2.0/24", "reason": "letter"}
    assert (await alice.post("/operator/exclusions", data=form)).status_code == 303
    assert [(item.network, item.by) for item in await store.exclusions()] == [("192.0.2.0/24", "operator:alice")]
    assert "letter" in (await alice.get("/operator/exclusions")).text
    assert (await alice.post("/operator/exclusions/end", data=form)).status_code == 303
    assert (await alice.post("/operator/exclusions/end", data=form)).status_code == 404
    assert await store.exclusions() == []


async def test_metrics(desk: Callable[[], httpx.AsyncClient], store: Store) -> None:
    await list_by_proof(store, "192.0.2.1", time.time())
    await store.set_status("daemon", {"running": True, "visits": 7, "controls": {"rounds": 3}}, time.time())
    text = (await desk().get("/metrics")).text
    for line in (
        'proxywarden_listings{list="ops",type="entry"} 1.0',
        "proxywarden_visits_total 7.0",
        "proxywarden_ready 0.0",
    ):
        assert line in text


async def test_a_gate_that_holds_is_said_first(alice: httpx.AsyncClient, store: Store) -> None:
    why = "growth: 5 additions to 0 entries, expected at most 3 (publish.gate.growth_floor); look <b>"
    publishers = {"rbldnsd": "ok, 0 entries", "exports": "failed: disk <full>", "held.ops": why, "entries_held": 5}
    await store.set_status("daemon", {"running": True, "publishers": publishers}, time.time())
    page = (await alice.get("/operator")).text
    said = page.index("Additions to ops are held. growth: 5 additions")
    assert said < page.index("Nominations that wait")
    assert "look &lt;b&gt;" in page[said : said + 200]
    assert "Additions to rss" not in page
    assert page.index("exports failed: disk &lt;full&gt;") < page.index("Nominations that wait")
    assert "rbldnsd ok" not in page


@pytest.mark.parametrize(("daemon", "command"), [(0, -5), (-5, 0)])
async def test_the_publishers_are_shown_once_as_told_last(
    alice: httpx.AsyncClient, store: Store, daemon: float, command: float
) -> None:
    now = time.time()
    shown = {"running": True, "publishers": {"rbldnsd": "ok, 1 entries"}}
    await store.set_status("daemon", shown, now + daemon)
    await store.set_status("publish", {"rbldnsd": "ok, 2 entries"}, now + command)
    page = (await alice.get("/operator")).text
    assert (page.count("<dt>rbldnsd</dt>"), "<h2>Publish</h2>" in page) == (1, False)
    assert f"<dd>ok, {1 if daemon > command else 2} entries</dd>" in page


async def test_a_submitters_nomination_needs_no_sample(browse: Browse, store: Store) -> None:
    await store.invite("trap", hashed("pws_token"), None, time.time())
    bearer = {"Authorization": "Bearer pws_token"}
    answer = await browse().post("/api/v1/nominations", json={"address": "192.0.2.1"}, headers=bearer)
    assert answer.json()["state"] == "scheduled"
    wrong = await browse().post(
        "/api/v1/nominations", json={"address": "192.0.2.1"}, headers={"Authorization": "Bearer pws_x"}
    )
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Bearer")
    assert [item.submitter for item in await store.nominations()] == ["submitter:trap"]
    await store.remove_account("trap")
    gone = await browse().post("/api/v1/nominations", json={"address": "192.0.2.1"}, headers=bearer)
    assert gone.status_code == 401
