"""Nobody makes the daemon touch loopback, private or never-scan space: no field, and no way of writing an address."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import quote

import httpx
import pytest

from core.cidr import CidrSet
from scanner.scope import Scope, load_scope
from scanner.settings import ScopeSection, Settings, WebSection
from scanner.store import Store
from scanner.web.app import Web
from scanner.web.sample import reported_address
from tests.scanner.web.conftest import list_by_proof

Browse = Callable[..., httpx.AsyncClient]
FORMS = {
    "plain": "127.0.0.1",
    "another loopback": "127.255.255.254",
    "this host": "0.0.0.0",
    "private": "10.0.0.1",
    "link-local, where clouds keep their secrets": "169.254.169.254",
    "shared": "100.64.0.1",
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "decimal": "2130706433",
    "hexadecimal": "0x7f000001",
    "hexadecimal by parts": "0x7f.0.0.1",
    "octal": "0177.0.0.1",
    "octal, all of it": "017700000001",
    "leading zeros": "127.000.000.001",
    "short": "127.1",
    "shorter": "127.0.1",
    "zero": "0",
    "with spaces": " 127.0.0.1\t",
    "spaces inside": "127. 0.0.1",
    "lines": "192.0.2.1\n127.0.0.1",
    "null": "127.0.0.1\0",
    "two": "192.0.2.1,127.0.0.1",
    "fullwidth digits": "１２７.0.0.1",
    "Arabic digits": "١٢٧.0.0.1",
    "circled digits": "①②⑦.0.0.1",
    "superscript": "12⁷.0.0.1",
    "ideographic stop": "127。0。0。1",
    "loopback, IPv6": "::1",
    "unspecified": "::",
    "written out": "0:0:0:0:0:0:0:1",
    "zone id": "::1%lo",
    "zone id, link-local": "fe80::1%25eth0",
    "link-local, IPv6": "fe80::1",
    "unique local": "fd00::1",
    "site-local": "fec0::1",
    "multicast, IPv6": "ff02::1",
    "IPv4-mapped": "::ffff:127.0.0.1",
    "IPv4-mapped, hexadecimal": "::ffff:7f00:1",
    "IPv4-mapped, written out": "0:0:0:0:0:ffff:0a00:0001",
    "IPv4-mapped, in capitals": "::FFFF:A00:1",
    "IPv4-compatible": "::127.0.0.1",
    "IPv4-translated": "::ffff:0:127.0.0.1",
    "NAT64": "64:ff9b::7f00:1",
    "NAT64, dotted": "64:ff9b::10.0.0.1",
    "NAT64 of the place": "64:ff9b:1::7f00:1",
    "6to4": "2002:7f00:1::",
    "6to4 of private": "2002:a00:1::1",
    "Teredo": "2001:0:7f00:1::",
    "documentation": "2001:db8::1",
    "discard": "100::1",
    "brackets": "[::1]",
    "with a port": "127.0.0.1:25",
    "with a length": "127.0.0.1/32",
    "with a user": "x@127.0.0.1",
    "an address of the web": "http://127.0.0.1/",
    "a name": "localhost",
    "a name that leads there": "127.0.0.1.nip.example",
    "a final dot": "127.0.0.1.",
    "a sign": "+127.0.0.1",
    "the operator's list": "198.51.100.9",
}


@pytest.fixture
def scope(settings: Settings) -> Scope:
    """As configured by default, and the operator's list."""
    found = load_scope(settings.model_copy(update={"scope": ScopeSection(never_scan=(), never_list=())}), None)
    return Scope(found.never_scan | CidrSet(["198.51.100.0/24"]), found.never_list, found.never_list_soft, CidrSet([]))


async def untouched(store: Store) -> None:
    """Nothing is scheduled, and nothing waits to be."""
    assert (await store.figures(time.time()))["targets"] == 0
    assert await store.nominations() == []


@pytest.mark.parametrize("name", FORMS)
async def test_no_form_of_an_address_gets_in(browse: Browse, store: Store, name: str) -> None:
    text = FORMS[name]
    client = browse("8.8.8.8")
    sample = "Received: from a ([8.8.4.4]) by mx; now\r\n\r\nspam"
    for call in (
        client.post("/api/v1/nominations", json={"address": text, "sample": sample}),
        client.post("/nominate", data={"address": text, "sample": sample}),
        client.post("/nominate", data={"address": text}, files={"file": ("x", sample.encode())}),
        client.post("/api/v1/removals", json={"address": text}),
        client.post("/removal", data={"address": text}),
        client.post("/opt-out", data={"address": text}),
        client.post("/api/v1/control/check", json={"ticket": text}),
    ):
        answer = await call
        assert 400 <= answer.status_code < 500, (answer.request.url, answer.text)
    if text.strip("\0"):
        looked_up = await client.get(f"/api/v1/lookup/{quote(text, safe='')}")
        assert looked_up.status_code in (200, 404, 422)
    await untouched(store)


@pytest.mark.parametrize("name", FORMS)
async def test_no_sample_leads_there(browse: Browse, store: Store, name: str) -> None:
    text = FORMS[name]
    headers = [f"Received: from a ([{literal}]) by mx; now" for literal in (text, f"IPv6:{text}")]
    report = (
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n--b\r\n'
        f"Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nSource-IP: {text}\r\n\r\n--b--\r\n"
    )
    for sample in (*(f"{header}\r\n\r\nspam" for header in headers), report):
        answer = await browse("8.8.8.8").post("/api/v1/nominations", json={"sample": sample})
        found = reported_address(sample.encode())
        assert answer.status_code == 422, (sample, found)
    await untouched(store)


def written() -> Iterator[tuple[str, str]]:
    """What of it Python reads as an address, and that address."""
    for name, text in FORMS.items():
        with suppress(ValueError):
            address = str(ip_address(text.strip()))
            if "%" not in address:
                yield name, address


@pytest.mark.parametrize(("name", "address"), list(written()))
async def test_who_is_listed_there_is_not_retested(browse: Browse, store: Store, name: str, address: str) -> None:
    """A listing by mistake, or from before the address was put on the list, is no way either."""
    await list_by_proof(store, address, time.time())
    answer = await browse("8.8.8.8").post("/api/v1/removals", json={"address": FORMS[name]})
    assert answer.status_code in (404, 422)  # listed under the IPv4 address that it means, it is found by that only
    await untouched(store)


class TestBehindAServer:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        section = WebSection(trusted_proxies=("192.0.2.7",), public_url="https://bl.example.net")
        return settings.model_copy(update={"web": section})

    @pytest.mark.parametrize("name", FORMS)
    async def test_no_header_makes_a_client_the_holder_of_what_may_not_be_touched(
        self, browse: Browse, store: Store, web: Web, name: str
    ) -> None:
        """Whatever it says, the address that it shows control of is still not visited, and a name leads nowhere."""
        text = FORMS[name]
        value = re.sub(r"[\0\n\t]", "", text).encode("utf-8")
        headers = [(b"x-forwarded-for", value), (b"host", value.strip() or b"x"), (b"x-forwarded-host", value.strip())]
        for peer in ("192.0.2.7", "8.8.8.8"):
            client = browse(peer)
            asked = await client.post("/api/v1/nominations", json={"address": text, "sample": "s"}, headers=headers)
            assert 400 <= asked.status_code < 500
            removal = await client.post("/api/v1/removals", json={"address": text}, headers=headers)
            assert 400 <= removal.status_code < 500
            found = await client.get("/lookup", params={"address": "8.8.4.4"}, headers=headers)
            assert (found.status_code, found.headers["location"]) == (303, "/lookup/8.8.4.4")
        await untouched(store)


async def test_a_redirect_goes_to_a_path_of_ours(browse: Browse) -> None:
    for text in ("//127.0.0.1/", "http://127.0.0.1", "\\\\127.0.0.1", "8.8.8.8/../x", "8.8.8.8\r\nLocation: http://x"):
        answer = await browse().get("/lookup", params={"address": text})
        assert answer.status_code == 422
        assert "location" not in answer.headers
    ours = await browse().get("/lookup/8.8.8.8/")
    assert ours.headers.get("location", "http://dnsbl.test/").startswith("http://dnsbl.test/")
