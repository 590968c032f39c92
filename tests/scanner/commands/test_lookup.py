"""lookup and visits: exit codes, and what is shown of what strangers wrote."""

import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.scanner.store import make

ADDRESS = "8.8.8.1"


def listed(given, listing=None):
    policy = make.lists(listing or make.listing(ADDRESS, first_listed=1_700_000_000.0), at=make.ip_address(ADDRESS))
    given(lambda store: store.change(ADDRESS, policy, time.time()))


@contextmanager
def serving(status, body, content_type="application/json"):
    """An HTTP server on loopback that gives everybody this answer; yields its address and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()
            with suppress(ConnectionError):  # who has read enough goes away, and the server would complain on stderr
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# The store


def test_not_listed(proxywarden, given):
    given(lambda store: store.figures(0))
    ended = proxywarden("lookup", ADDRESS)
    assert (ended.code, ended.out, ended.err) == (0, f"{ADDRESS} is not listed\n", "")
    ended = proxywarden("lookup", ADDRESS, "--json")
    assert ended.code == 0
    answer = json.loads(ended.out)
    assert (answer["address"], answer["listed"], answer["listings"]) == (ADDRESS, False, [])
    assert answer["removal"]["possible"] is False


def test_listed(proxywarden, given):
    listed(given)
    ended = proxywarden("lookup", ADDRESS)
    assert (ended.code, ended.err) == (1, "")
    assert ended.lines[0] == f"{ADDRESS} is listed"
    assert "ops: open-proxy (entry)" in ended.out
    ended = proxywarden("lookup", f" ::ffff:{ADDRESS}", "--json")
    assert ended.code == 1
    answer = json.loads(ended.out)
    assert answer["removal"] == {"possible": True, "not_before": None, "why": ""}
    (listing,) = answer["listings"]
    assert (listing["list"], listing["type"], listing["criterion"]) == ("ops", "entry", "open-proxy")
    assert listing["first_listed"] == "2023-11-14T22:13:20Z"
    assert "unless it is confirmed before" in listing["next_step"]
    assert "Dante" in listing["how_to_fix"]


def test_the_advice_is_wrapped(proxywarden, given, monkeypatch):
    listed(given)
    monkeypatch.setenv("COLUMNS", "72")
    lines = proxywarden("lookup", ADDRESS).lines
    assert max(map(len, lines[3:])) <= 72
    assert "from: of each client pass and socks pass rule" in " ".join(line.strip() for line in lines)


def test_an_opt_out_is_said(proxywarden, given):
    listed(given)
    assert "opted out" not in proxywarden("lookup", ADDRESS).out
    assert proxywarden("optout", "add", ADDRESS, "--reason", "letter").code == 0
    ended = proxywarden("lookup", ADDRESS)
    assert "  opted out of being probed" in ended.lines
    answer = json.loads(proxywarden("lookup", ADDRESS, "--json").out)
    assert (answer["opted_out"], answer["removal"]["possible"]) == (True, False)
    assert "optout remove" in answer["removal"]["why"]


def test_a_network_covers_its_addresses(proxywarden):
    assert proxywarden("listing", "add", "8.8.7.0/24", "--reason", "test").code == 0
    assert proxywarden("lookup", "8.8.7.1").code == 1
    assert proxywarden("lookup", "8.8.9.1").code == 0


def test_can_not_tell_without_a_store(proxywarden, home):
    ended = proxywarden("lookup", ADDRESS)
    assert (ended.code, ended.out) == (3, "")
    assert len(ended.said) == 1
    assert not (home / "data").exists()


def test_can_not_tell_from_a_file_that_is_no_store(proxywarden, home):
    (home / "data").mkdir()
    (home / "data" / "proxywarden.sqlite").write_bytes(b"no database at all" * 100)
    ended = proxywarden("lookup", ADDRESS)
    assert (ended.code, ended.out) == (3, "")
    assert len(ended.said) == 1
    assert "not an SQLite database" in ended.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("8.8.8",), "'8.8.8' is not an IPv4 or IPv6 address"),
        (("8.8.8.0/24",), "'8.8.8.0/24' is not an IPv4 or IPv6 address"),
        ((ADDRESS, "--zone", "x"), "--zone NAME and --dns ADDRESS:PORT belong together"),
        ((ADDRESS, "--dns", "127.0.0.1:53"), "--zone NAME and --dns ADDRESS:PORT belong together"),
        ((ADDRESS, "--zone", "x", "--dns", "127.0.0.1"), "--dns '127.0.0.1': expected ADDRESS:PORT"),
        ((ADDRESS, "--zone", "x", "--dns", "localhost:53"), "--dns 'localhost:53': expected ADDRESS:PORT"),
        ((ADDRESS, "--zone", "a..b", "--dns", "127.0.0.1:53"), "--zone 'a..b': "),
        ((ADDRESS, "--zone", "x" * 64, "--dns", "127.0.0.1:53"), "--zone 'xxx"),
        ((ADDRESS, "--server", "example.net"), "--server 'example.net': expected a web address"),
        ((ADDRESS, "--server", "http://[x"), "--server 'http://[x': expected a web address"),
        ((ADDRESS, "--server", "http://127.0.0.1", "--zone", "x"), "--server and --zone exclude each other"),
    ],
)
def test_said_wrongly(proxywarden, arguments, expected):
    ended = proxywarden("lookup", *arguments)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.said
    assert line.startswith(f"proxywarden: {expected}")


# A server

ANSWER = {
    "address": ADDRESS,
    "listed": True,
    "listings": [{"list": "ops", "type": "entry", "criterion": "open\x1b[31m-proxy", "how_to_fix": "close it"}],
    "removal": {"possible": True, "not_before": None, "why": ""},
}


def test_a_server_is_asked(proxywarden):
    with serving(200, json.dumps(ANSWER).encode()) as (server, asked):
        ended = proxywarden("lookup", ADDRESS, "--server", server + "/")
        as_json = proxywarden("lookup", ADDRESS, "--server", server, "--json")
    assert asked == [f"/api/v1/lookup/{ADDRESS}"] * 2
    assert (ended.code, as_json.code) == (1, 1)
    assert "close it" in ended.out
    assert "\x1b" not in ended.out
    assert json.loads(as_json.out) == ANSWER


def test_a_server_that_does_not_list_it(proxywarden):
    with serving(200, b'{"address": "::1", "listed": false, "listings": []}') as (server, asked):
        assert proxywarden("lookup", "::1", "--server", server).code == 0
    assert asked == ["/api/v1/lookup/::1"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"{}"),
        (302, b"{}"),
        (500, b"x"),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"listed": "no", "listings": []}'),
        (200, b'{"listed": true, "listings": ["x"]}'),
        (200, b"[" * 100_000),
        (200, b'{"a": "' + b"x" * 2_000_000 + b'"}'),
    ],
)
def test_can_not_tell_from_another_answer(proxywarden, status, body):
    with serving(status, body) as (server, _):
        ended = proxywarden("lookup", ADDRESS, "--server", server)
    assert (ended.code, ended.out) == (3, "")
    (line,) = ended.said
    assert server in line


def test_can_not_tell_from_no_server(proxywarden):
    ended = proxywarden("lookup", ADDRESS, "--server", "http://127.0.0.1:1")
    assert (ended.code, ended.out) == (3, "")
    assert len(ended.said) == 1


# visits


def test_every_visit_with_what_was_sent(proxywarden, given):
    address = make.ip_address(ADDRESS)
    records = [
        make.record(make.target(address), ended=make.AT + n * make.DAY, pieces=make.evidence(address)) for n in (0, 1)
    ]

    async def work(store):
        for record in records:
            await store.conclude(record, make.Decide(), lease=None)

    given(work)
    ended = proxywarden("visits", ADDRESS, "--json")
    assert (ended.code, ended.err) == (0, "")
    found = [json.loads(line) for line in ended.lines]
    assert [item["id"] for item in found] == [record.visit.id for record in reversed(records)]
    assert found[0]["reason"] == "nomination"
    assert found[0]["vantages"] == ["here", "there"]
    relayed = next(item for item in found[0]["endpoints"] if item["evidence"] == "relayed")
    assert (relayed["protocol"], relayed["port"], relayed["exit"]) == ("socks5", 1080, make.EXIT)
    assert relayed["transcript"].startswith("> hello\n< \\xff")

    text = proxywarden("visits", ADDRESS, "--limit", "1").out
    assert text.count("visit ") == 1
    assert "reason: nomination" in text
    assert "from here, there" in text
    assert "> hello" in text
    assert all(char.isprintable() or char == "\n" for char in text)


def test_no_visit(proxywarden, given):
    given(lambda store: store.figures(0))
    ended = proxywarden("visits", ADDRESS)
    assert (ended.code, ended.out, ended.err) == (0, "", f"no visit to {ADDRESS} is on record\n")
    assert proxywarden("visits", ADDRESS, "--limit", "0").code == 2
