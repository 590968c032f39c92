"""The mail exchangers of our own domain: a name server on loopback that is played here."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
import structlog
import trio

from scanner import exchangers as module
from scanner.exchangers import LookupFailed, exchangers, keep_known
from tests.scanner.test_dnsbl import name_server, resetting_name_server

RECORDS = {
    ("mail.example", "MX"): ["10 a.example.", "20 b.example."],
    ("a.example", "A"): ["192.0.2.1", "192.0.2.2"],
    ("a.example", "AAAA"): ["2001:db8::1"],
    ("b.example", "A"): ["192.0.2.3"],
    ("bare.example", "A"): ["192.0.2.9"],
    ("null.example", "MX"): ["0 ."],
}


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("mail.example", {"192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3"}),
        ("bare.example", {"192.0.2.9"}),
        ("null.example", set()),
        ("absent.example", set()),
    ],
)
async def test_by_mx_or_by_the_name_itself(domain: str, found: set[str]) -> None:
    with name_server(RECORDS) as (server, asked):
        assert await exchangers(domain, server) == {ip_address(text) for text in found}
    assert all(recursive for _, _, recursive in asked)


@pytest.mark.parametrize("trouble", [{"rcode": "SERVFAIL"}, {"spoil": lambda wire: b"junk" + wire}])
async def test_who_cannot_tell_says_so(monkeypatch: pytest.MonkeyPatch, trouble: dict[str, object]) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.3)
    with name_server(RECORDS, **trouble) as (server, _), pytest.raises(LookupFailed) as caught:  # type: ignore[arg-type]
        await exchangers("mail.example", server)
    assert "mail.example: 127.0.0.1 port" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_who_resets_the_connection_cannot_tell() -> None:
    with resetting_name_server() as server, pytest.raises(LookupFailed, match=r"mail\.example: 127\.0\.0\.1 port"):
        await exchangers("mail.example", server)


async def test_where_a_look_fails_the_last_word_stands(monkeypatch: pytest.MonkeyPatch, autojump_clock: object) -> None:
    answers: list[object] = [LookupFailed("x"), LookupFailed("x"), {1}, LookupFailed("y"), {2}]
    told = []

    async def look(domain: str, server: tuple[str, int]) -> frozenset[object]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return frozenset(answer)  # type: ignore[call-overload]

    monkeypatch.setattr(module, "exchangers", look)
    with structlog.testing.capture_logs() as logs, trio.move_on_after(3600 + 180 + 30):
        await keep_known(["mail.example"], ("127.0.0.1", 53), lambda found: told.append((trio.current_time(), found)))
    start = told[0][0] - 120
    assert [(round(at - start), found) for at, found in told] == [(120, {1}), (3780, {2})]
    assert [line["error"] for line in logs] == ["x", "y"], "each trouble once"
