"""Showing control and opting out. The name server is one on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import httpx
import pytest
import trio

from scanner.secret import MasterSecret
from scanner.settings import Settings, WebSection
from scanner.store import Store
from scanner.web.app import Web
from scanner.web.control import CannotTell, Control
from tests.scanner.test_dnsbl import resetting_name_server

Browse = Callable[..., httpx.AsyncClient]
HELD = "192.0.2.1"
REVERSE = "1.2.0.192.in-addr.arpa."


class Names:
    """Answers from a dictionary (name, type) -> texts."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.rcode = dns.rcode.NOERROR
        self.asked: list[str] = []
        self.socket = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)

    async def run(self) -> None:
        while True:
            data, peer = await self.socket.recvfrom(4096)
            query = dns.message.from_wire(data)
            question = query.question[0]
            self.asked.append(str(question.name))
            answer = dns.message.make_response(query)
            kind = question.rdtype.name
            texts = self.records.get((str(question.name), kind))
            if texts:
                answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *texts))
            answer.set_rcode(self.rcode if texts or self.rcode else dns.rcode.NXDOMAIN)
            await self.socket.sendto(answer.to_wire(), peer)


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    names = Names()
    await names.socket.bind(("127.0.0.1", 0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(names.run)
        yield names
        nursery.cancel_scope.cancel()
    names.socket.close()


@pytest.fixture
async def settings(settings: Settings, names: Names) -> Settings:
    host, port = names.socket.getsockname()
    return settings.model_copy(update={"web": WebSection(resolver=f"{host}:{port}")})


async def ticket(client: httpx.AsyncClient, address: str = HELD) -> dict[str, Any]:
    return dict((await client.post("/api/v1/control", json={"address": address})).json())


async def check(client: httpx.AsyncClient, text: str) -> httpx.Response:
    return await client.post("/api/v1/control/check", json={"ticket": text})


async def test_a_name_server_that_resets_the_connection_cannot_tell() -> None:
    with resetting_name_server() as server:
        control = Control(MasterSecret({1: b"k" * 32}), server)
        with pytest.raises(CannotTell, match="no usable answer"):
            await control.published(control.ticket(ip_address(HELD)))


async def test_by_a_record_below_the_reverse_name(browse: Browse, names: Names) -> None:
    client = browse()
    given = await ticket(client)
    assert (await check(client, given["ticket"])).json()["shown"] is False
    names.records[f"_proxywarden.{REVERSE}", "TXT"] = ['"something else"', f'"{given["record"]}"']
    answer = (await check(client, given["ticket"])).json()
    assert answer["shown"] is True
    bearer = {"Authorization": f"Bearer {answer['token']}"}
    assert "visits" in (await client.get(f"/api/v1/lookup/{HELD}", headers=bearer)).json()
    assert "visits" not in (await client.get("/api/v1/lookup/192.0.2.2", headers=bearer)).json()
    assert "visits" not in (await client.get(f"/api/v1/lookup/{HELD}")).json()


async def test_everybody_can_read_the_record_but_it_is_of_no_use(browse: Browse, names: Names) -> None:
    given = await ticket(browse())
    names.records[f"_proxywarden.{REVERSE}", "TXT"] = [f'"{given["record"]}"']
    other = await ticket(browse("198.51.100.66"))
    assert (await check(browse("198.51.100.66"), other["ticket"])).json()["shown"] is False
    forged = given["ticket"][:-3] + ("AAA" if not given["ticket"].endswith("AAA") else "BBB")
    assert (await check(browse(), forged)).status_code == 422


async def test_a_ptr_name_counts_only_if_it_leads_back(browse: Browse, names: Names) -> None:
    client = browse()
    given = await ticket(client)
    names.records[REVERSE, "PTR"] = ["mail.example.org."]
    names.records["_proxywarden.mail.example.org.", "TXT"] = [f'"{given["record"]}"']
    assert (await check(client, given["ticket"])).json()["shown"] is False
    names.records["mail.example.org.", "A"] = [HELD]
    assert (await check(client, given["ticket"])).json()["shown"] is True


async def test_ipv6_and_a_servfail(browse: Browse, names: Names) -> None:
    given = await ticket(browse(), "2001:db8::1")
    assert given["names"][0].startswith("_proxywarden.1.0.0.0.")
    assert given["names"][0].endswith(".ip6.arpa")
    names.rcode = dns.rcode.SERVFAIL
    answer = await check(browse(), given["ticket"])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


async def test_by_the_form_it_is_remembered(browse: Browse, names: Names, web: Web) -> None:
    client = browse()
    page = await client.get(f"/control/{HELD}")
    text = page.text.split('name="ticket" value="')[1].split('"')[0]
    record = page.text.split('<pre tabindex="0">')[1].split("<")[0]
    again = await client.post("/control", data={"ticket": text})
    assert "not there yet" in again.text
    names.records[f"_proxywarden.{REVERSE}", "TXT"] = [f'"{record}"']
    done = await client.post("/control", data={"ticket": text})
    assert (done.status_code, done.headers["location"]) == (303, f"/lookup/{HELD}")
    assert "HttpOnly" in done.headers["set-cookie"]
    assert "Our latest tests" in (await client.get(f"/lookup/{HELD}")).text


async def test_looks_are_counted(browse: Browse, names: Names) -> None:
    given = await ticket(browse())
    statuses = [(await check(browse(), given["ticket"])).status_code for _ in range(31)]
    assert statuses == [200] * 30 + [429]


async def test_the_address_itself_shows_control_but_not_through_a_proxy(browse: Browse) -> None:
    assert "visits" in (await browse(HELD).get(f"/api/v1/lookup/{HELD}")).json()
    for name in ("Via", "X-Forwarded-For", "Forwarded"):
        assert "visits" not in (await browse(HELD, headers={name: "1.1 x"}).get(f"/api/v1/lookup/{HELD}")).json()


async def test_opting_out_and_back(browse: Browse, store: Store) -> None:
    owner = browse(HELD)
    assert f"Opt {HELD} out" in (await owner.get("/opt-out")).text
    stranger = await browse().post("/opt-out", data={"address": HELD})
    assert stranger.status_code == 403
    assert "show control of it first" in stranger.text
    assert "Publish a TXT record" in stranger.text  # and how
    assert (await owner.post("/opt-out", data={"address": HELD})).status_code == 303
    assert [item.network for item in await store.exclusions()] == [HELD]
    assert "opted out since" in (await owner.get("/opt-out")).text
    assert (await browse().post("/opt-out/end", data={"address": HELD})).status_code == 403
    assert (await owner.post("/opt-out/end", data={"address": HELD})).status_code == 303
    assert await store.exclusions() == []


async def test_what_the_operator_excluded_only_the_operator_ends(browse: Browse, store: Store) -> None:
    await store.exclude(HELD, "by letter", "operator:x", 1.0)
    assert (await browse(HELD).post("/opt-out/end", data={"address": HELD})).status_code == 404
    assert len(await store.exclusions()) == 1
