"""nominate and remove against a server: the real web side, and servers that mean harm."""

import gzip
import json
import os
import pty
import re
import resource
import subprocess
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import trio

from core.cidr import CidrSet
from scanner.cli import run
from scanner.commands import removal as removal_module
from scanner.model import RemovalState, RemovalStep
from scanner.scope import Scope
from scanner.secret import MasterSecret
from scanner.settings import Settings, WebSection
from scanner.store import open_store
from scanner.web.app import Web
from tests.scanner.commands.conftest import ROOT, Ended
from tests.scanner.web.conftest import list_by_proof

pytestmark = pytest.mark.timeout(60)
ID = "0123456789abcdef" * 2


@pytest.fixture
def cli(home, capsys):
    """Runs a command line in a thread, beside the server that it asks."""

    async def run_it(*arguments):
        capsys.readouterr()
        code = await trio.to_thread.run_sync(run, [str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err, err
        assert "\x1b" not in out + err
        return Ended(code, out, err)

    return run_it


@pytest.fixture
async def there(tmp_path):
    """The web side of a Proxywarden, with its store."""
    never = CidrSet(["203.0.113.0/24", "127.0.0.0/8"])
    made = Settings(
        data_dir=tmp_path, web=WebSection(listen=("127.0.0.1:0",), operator_listen=(), nominations_per_requester=3)
    )
    with trio.fail_after(50):
        async with open_store(f"sqlite:///{tmp_path}/there.db") as store, trio.open_nursery() as nursery:
            web = Web(made, Scope(never, never, CidrSet([]), CidrSet([])), store, MasterSecret({1: b"m" * 32}))
            await nursery.start(web.run)
            host, port = web.servers[0].binds[0]
            yield SimpleNamespace(url=f"http://{host}:{port}", store=store)
            assert web.edges[0].errors == 0
            nursery.cancel_scope.cancel()


# Nominations


async def test_nominated_there_and_not_here(cli, there, home):
    ended = await cli("nominate", "192.0.2.1", "192.0.2.2", "--server", there.url + "/", "--comment", "seen", "--json")
    assert (ended.code, ended.said) == (0, ["2 nominated"])
    assert [json.loads(line)["state"] for line in ended.lines] == ["review", "review"]
    kept = {str(item.address): item for item in await there.store.nominations()}
    assert {item.comment for item in kept.values()} == {"seen"}
    assert {item.submitter for item in kept.values()} == {"web:127.0.0.1"}
    assert not (home / "data").exists()


async def test_a_sample_arrives_as_it_is(cli, there, home):
    (home / "spam.eml").write_bytes(b"Subject: \xe9\r\n\r\n\x00\xff")
    ended = await cli("nominate", "192.0.2.1", "--server", there.url, "--sample", home / "spam.eml")
    assert (ended.code, ended.lines[0].split()[:2]) == (0, ["192.0.2.1", "scheduled,"])
    (kept,) = await there.store.nominations()
    assert kept.sample == b"Subject: \xe9\r\n\r\n\x00\xff"


async def test_what_the_server_refuses_is_told_and_the_rest_goes_on(cli, there, home):
    (home / "list").write_text("192.0.2.1\n203.0.113.9\nrubbish\n192.0.2.2 # a comment\n")
    ended = await cli("nominate", "--file", home / "list", "--server", there.url)
    assert ended.code == 2
    why = "203.0.113.9 is special-use (documentation, RFC 5737): it is never visited"
    assert ended.said == [
        f"proxywarden: {home}/list:2: {there.url}: {why}",
        f"proxywarden: {home}/list:3: 'rubbish' is not an IPv4 or IPv6 address",
        "2 nominated, 2 not",
    ]


async def test_too_many_says_when_to_come_back_and_where_it_stopped(cli, there):
    ended = await cli("nominate", *(f"192.0.2.{n}" for n in range(1, 7)), "--server", there.url)
    assert (ended.code, len(ended.lines), ended.said[0]) == (2, 3, "3 nominated")
    (line,) = ended.said[1:]
    assert "; come back at 20" in line
    assert ".;" not in line
    assert line.endswith("stopped at 192.0.2.4")


async def test_a_token_of_a_trusted_submitter(cli, there, home, capsys, monkeypatch):
    """As `operator add --submitter` prints it there."""
    monkeypatch.setenv("PROXYWARDEN_STORE__URL", f"sqlite:///{there.store.path}")
    token = (await cli("operator", "add", "trap", "--submitter")).out
    monkeypatch.delenv("PROXYWARDEN_STORE__URL")
    (home / "token").write_text(token)
    addresses = [f"192.0.2.{n}" for n in range(1, 8)]
    ended = await cli("nominate", *addresses, "--server", there.url, "--token-file", home / "token")
    assert ended.code == 0
    kept = await there.store.nominations()
    assert {(item.state, item.submitter, item.trusted) for item in kept} == {("scheduled", "submitter:trap", False)}
    (home / "token").write_text("pws_" + "x" * 40)
    wrong = await cli("nominate", *addresses, "--server", there.url, "--token-file", home / "token")
    assert wrong.code == 2
    assert wrong.said[1:] == [f"proxywarden: {there.url}: the token is none of ours, or no more; stopped at 192.0.2.1"]


@pytest.mark.parametrize(
    ("arguments", "content", "expected"),
    [
        (("--token-file", "TOKEN"), "pws_12345678", "--token-file needs --server"),
        (("--token-file", "TOKEN", "--server", "http://192.0.2.1"), "pws_12345678", "--token-file: http://192.0.2.1 "),
        (("--token-file", "TOKEN", "--server", "https://192.0.2.1"), "a b\nc", "--token-file TOKEN: expected one"),
        (("--token-file", "/nowhere", "--server", "https://192.0.2.1"), "", "--token-file /nowhere: No such file"),
        (("--server", "example.net"), "", "--server 'example.net': expected a web address"),
    ],
)  # fmt: skip
def test_nominate_said_wrongly(proxywarden, home, arguments, content, expected):
    (home / "token").write_text(content)
    token = str(home / "token")
    ended = proxywarden("nominate", "192.0.2.1", *(item.replace("TOKEN", token) for item in arguments))
    assert (ended.code, ended.out) == (2, "")
    assert ended.said[-1].startswith(f"proxywarden: {expected.replace('TOKEN', token)}")


# Removals


async def play(store, *outcome):
    while not (taken := [item for item in await store.lease("me", time.time(), 60, 5) if item.target.removal]):
        await trio.sleep(0.05)
    for state in outcome:
        await trio.sleep(0.1)
        await store.removal_step(RemovalStep(taken[0].target.removal, time.time(), state, "so it is"))


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (RemovalState.DELISTED, 0),
        (RemovalState.STILL_OPEN, 1),
        (RemovalState.TESTER_BLOCKED, 3),
        (RemovalState.INCONCLUSIVE, 3),
    ],
)
async def test_a_removal_there_is_followed_to_its_end(cli, there, monkeypatch, outcome, code):
    monkeypatch.setattr(removal_module, "_ASK", 0.1)
    await list_by_proof(there.store, "192.0.2.1", time.time())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, there.store, RemovalState.RETESTING, RemovalState.CONFIRMING, outcome)
        ended = await cli("remove", "192.0.2.1", "--server", there.url, "--json")
    assert (ended.code, ended.err) == (code, "")
    steps = [json.loads(line) for line in ended.lines]
    assert [step["state"] for step in steps] == ["requested", "retesting", "confirming", str(outcome)]
    assert {(step["address"], len(step["id"])) for step in steps} == {("192.0.2.1", 32)}


async def test_only_asked_for_there(cli, there):
    await list_by_proof(there.store, "192.0.2.1", time.time())
    ended = await cli("remove", "192.0.2.1", "--server", there.url, "--no-wait", "--email", "me@example.net")
    assert (ended.code, ended.err) == (0, "")
    (line,) = ended.lines
    assert "requested: http://127.0.0.1:8025/removal/" in line


async def test_the_servers_refusals_are_one_line(cli, there):
    not_listed = await cli("remove", "192.0.2.1", "--server", there.url)
    assert (not_listed.code, not_listed.said) == (
        2,
        [f"proxywarden: {there.url}: Nothing is listed that a retest could refute."],
    )
    await list_by_proof(there.store, "192.0.2.1", time.time())
    await cli("remove", "192.0.2.1", "--server", there.url, "--no-wait")
    running = await cli("remove", "192.0.2.1", "--server", there.url)
    assert running.code == 2
    assert "/removal/" in running.said[0]
    await play(there.store, RemovalState.STILL_OPEN)
    too_soon = await cli("remove", "192.0.2.1", "--server", there.url)
    assert (too_soon.code, len(too_soon.said)) == (2, 1)
    assert "; come back at 20" in too_soon.said[0]
    assert "; come back at 20" not in running.said[0]
    bad_mail = await cli("remove", "192.0.2.1", "--server", there.url, "--email", "nonsense")
    assert (bad_mail.code, len(bad_mail.said)) == (2, 1)
    assert "email" in bad_mail.said[0]


def test_remove_said_wrongly(proxywarden):
    ended = proxywarden("remove", "192.0.2.1", "--email", "a@b.c")
    assert (ended.code, ended.said) == (2, ["proxywarden: --email needs --server: it is for who does not wait here"])


# Servers that mean harm


def http(status, body=b"", **headers):
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return head.encode() + b"\r\n" + body


def sent(value, **headers):
    return http(200, json.dumps(value).encode(), Content_Type="application/json", **headers)


ASKED = http(202, json.dumps({"id": ID, "state": "requested", "status_url": "\x1b[2J"}).encode())
ESCAPES = {"at": "\x1b]0;x\x07", "state": "retesting", "detail": "\x1b[31m\r\n\u202eevil \ud800" + "x" * 5000}


async def request(stream):
    """All of one, so that each is answered once."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := await stream.receive_some(65536)):
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    while length and len(body) < int(length[1]):
        body += await stream.receive_some(65536)
    return head


async def serve(listener, answers, asked):
    """Answers the POST with the first and each question that follows with the second; then goes on for ever."""

    async def one(stream):
        with suppress(trio.BrokenResourceError):
            async with stream:
                while head := await request(stream):
                    asked.append(head.split(b"\r\n")[0].decode())
                    answer = answers[0] if head.startswith(b"POST") else answers[-1]
                    if isinstance(answer, bytes):
                        await stream.send_all(answer)
                        continue
                    await stream.send_all(answer[0])
                    while True:
                        await stream.send_all(answer[1])
                        await trio.sleep(0.01)

    await trio.serve_listeners(one, [listener])


@pytest.fixture
async def harmful():
    """Starts a server with these answers; its address, and what it was asked."""
    async with trio.open_nursery() as nursery:

        async def start(answers):
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            asked = []
            nursery.start_soon(serve, listener, answers, asked)
            return f"http://127.0.0.1:{listener.socket.getsockname()[1]}", asked

        yield start
        nursery.cancel_scope.cancel()


STRANGE = {
    "not JSON": http(200, b"<html>"),
    "no object": sent([1]),
    "no id": sent({"state": "requested"}),
    "an id that is a path": sent({"id": "../../etc", "state": "requested"}),
    "redirect": http(302, Location="http://127.0.0.1:9/"),
    "redirect that keeps the method": http(307, b"{}", Location="http://127.0.0.1:9/"),
    "huge": (b"HTTP/1.1 200 X\r\n\r\n", b"x" * 1_000_000),
    "endless events": (b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n\r\n", b": \n\n"),
    "endless head": (b"HTTP/1.1 200 X\r\n", b"X: y\r\n" * 1000),
    "bomb": http(200, gzip.compress(b"[" * 200_000_000, 1), Content_Encoding="gzip"),
    "deep": http(200, b'{"a":' * 100_000),
    "long number": http(200, b'{"id": ' + b"9" * 100_000 + b"}"),
    "escapes in a problem": http(500, json.dumps({"detail": "\x1b[2J"}).encode()),
    "escapes in a refusal": http(409, b'{"detail": "\\u001b[2J\\nproxywarden: fake", "status_url": "\\u009b2J"}'),
    "no text in a problem": http(422, json.dumps({"detail": {"a": 1}}).encode()),
    "nonsense to wait for": http(429, json.dumps({"detail": "x"}).encode(), Retry_After="9" * 500),
    "no HTTP": b"SSH-2.0-x\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
async def test_a_hostile_server(cli, harmful, monkeypatch, name):
    if name.startswith("endless"):
        monkeypatch.setattr("scanner.fetch._TIMEOUT", 2.0)
    url, asked = await harmful([STRANGE[name]])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for arguments in (("remove", "192.0.2.1"), ("nominate", "192.0.2.1")):
        ended = await cli(*arguments, "--server", url)
        assert ended.code in (2, 3)
        assert (ended.code == 3) == (not name.endswith(("refusal", "wait for")))
        assert ended.out == ""
        assert len([line for line in ended.said if line.startswith("proxywarden: ")]) == 1, ended.err
        assert len(ended.err) < 1500
    assert len(asked) == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 60_000  # KiB


LYING = {
    "unknown state": sent({"state": "dancing", "steps": []}),
    "no steps": sent({"state": "retesting", "steps": 5}),
    "steps of nothing": sent({"state": "retesting", "steps": [None]}),
    "steps without a text": sent({"state": "retesting", "steps": [{"at": 1, "state": [], "detail": None}]}),
    "very many steps": sent({"state": "retesting", "steps": [{"at": "x", "state": "y", "detail": ""}] * 2001}),
}


async def test_a_removal_of_an_exit_of_many_entries_is_followed(cli, harmful):
    turns = [{"at": "x", "state": state, "detail": "d" * 200} for state in ("retesting", "confirming")] * 100
    url, _ = await harmful([ASKED, sent({"state": "delisted", "steps": turns})])
    ended = await cli("remove", "192.0.2.1", "--server", url)
    assert (ended.code, len(ended.lines)) == (0, 200)


@pytest.mark.parametrize("name", LYING)
async def test_a_lying_server(cli, harmful, name):
    url, _ = await harmful([ASKED, LYING[name]])
    ended = await cli("remove", "192.0.2.1", "--server", url)
    assert (ended.code, ended.out, len(ended.said)) == (3, "", 1)
    assert f"the request is kept: {url}/removal/{ID}" in ended.said[0]


async def test_what_it_says_is_harmless_to_a_terminal(cli, harmful):
    url, _ = await harmful([ASKED, sent({"state": "still_open", "steps": [ESCAPES]})])
    ended = await cli("remove", "192.0.2.1", "--server", url)
    assert ended.code == 1
    (line,) = ended.lines
    assert len(line) < 700
    assert line.isprintable()
    told = await cli("remove", "192.0.2.1", "--server", url, "--no-wait")
    assert told.lines[0].isprintable()


async def test_a_server_without_news_is_given_up(cli, harmful, monkeypatch):
    monkeypatch.setattr(removal_module, "_ASK", 0.02)
    monkeypatch.setattr(removal_module, "_NO_NEWS", 0.5)
    url, _ = await harmful([ASKED, sent({"state": "retesting", "steps": [{"at": "x", "state": "y", "detail": ""}]})])
    ended = await cli("remove", "192.0.2.1", "--server", url)
    assert (ended.code, ended.lines) == (3, ["x y"])
    assert "no news for" in ended.said[0]


async def test_an_outage_on_the_way_is_waited_for(cli, harmful, monkeypatch):
    monkeypatch.setattr(removal_module, "_ASK", 0.05)
    answers = [ASKED, http(503, b"{}")]
    url, asked = await harmful(answers)

    async def recover():
        while len(asked) < 4:
            await trio.sleep(0.02)
        answers[1] = sent({"state": "delisted", "steps": [{"at": "x", "state": "delisted", "detail": ""}]})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(recover)
        ended = await cli("remove", "192.0.2.1", "--server", url)
    assert (ended.code, ended.lines) == (0, ["x delisted"])
    monkeypatch.setattr(removal_module, "_OUTAGE", 0.5)
    answers[1] = http(503, b"{}")
    given_up = await cli("remove", "192.0.2.1", "--server", url)
    assert given_up.code == 3
    assert "answered 503" in given_up.said[0]


async def test_nobody_there(cli):
    for command in ("remove", "nominate"):
        ended = await cli(command, "192.0.2.1", "--server", "http://127.0.0.1:1")
        assert ended.code == 3
        assert sum(line.startswith("proxywarden: http://127.0.0.1:1/") for line in ended.said) == 1


async def test_a_terminal_sees_what_is_waited_for_and_a_file_gets_the_steps(harmful, home):
    url, _ = await harmful([ASKED, sent({"state": "retesting", "steps": [{"at": "x", "state": "y", "detail": ""}]})])
    leader, follower = pty.openpty()
    try:
        with trio.fail_after(50):
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "scanner", "remove", "192.0.2.1", "--server", url, "--json"],
                stdout=subprocess.PIPE,
                stderr=follower,
                cwd=ROOT,
                env={**os.environ, "TERM": "xterm"},
            )
            try:
                assert json.loads(await process.stdout.receive_some(1000))["state"] == "y"
                shown = b""
                while b"retesting" not in shown:
                    await trio.lowlevel.wait_readable(leader)
                    shown += os.read(leader, 65536)
                assert b'"state"' not in shown
            finally:
                process.kill()
                await process.wait()
                await process.stdout.aclose()
    finally:
        os.close(leader)
        os.close(follower)


@pytest.mark.parametrize("command", ["lookup", "nominate", "remove"])
def test_a_proxy_of_the_environment_that_is_none_is_one_line(proxywarden, monkeypatch, command):
    monkeypatch.setenv("http_proxy", "foo:bar")
    ended = proxywarden(command, "8.8.8.1", "--server", "http://127.0.0.1:1")
    assert (ended.code, ended.out) == (3, "")
    assert ended.said[0].startswith("proxywarden: the proxy that the environment names")
