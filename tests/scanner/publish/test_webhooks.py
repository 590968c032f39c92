"""Webhooks against an HTTP server on loopback: signed, in order, at least once, and nobody waits for anybody."""

import hashlib
import hmac
import json
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from scanner.config import ConfigError
from scanner.fetch import FetchError
from scanner.publish.log import SealedLog
from scanner.publish.settings import WebhookSection
from scanner.publish.webhooks import Webhook, signature
from tests.scanner.publish.source import AT, Memory

SECRET = "a secret of many bytes"


class Endpoint:
    """Answers each POST with the next of `answers`, then 204, and remembers what it took."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.events = []
        self.asked = 0

    @property
    def taken(self):
        return [event["address"] for event in self.events]

    async def serve(self, stream):
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some(65536)
            head, _, body = data.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
            while len(body) < int(fields["content-length"]):
                body += await stream.receive_some(65536)
            self.asked += 1
            answer = self.answers.pop(0) if self.answers else b"204 No Content"
            if answer is None:
                return  # hangs up
            if answer.startswith(b"2"):
                at, digest = (part.partition("=")[2] for part in fields["proxywarden-signature"].split(","))
                expected = hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
                assert digest == expected
                self.events += json.loads(body)["events"]
            await stream.send_all(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@asynccontextmanager
async def listening(endpoint):
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, endpoint.serve, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
            yield f"http://127.0.0.1:{port}/hook"
            nursery.cancel_scope.cancel()


def hook_of(url, store, log, name="hook"):
    return Webhook(WebhookSection(name=name, url=url, secret=SECRET), store, log)


@pytest.fixture
def store():
    return Memory()


@pytest.fixture
def log(tmp_path, store):
    made = SealedLog(tmp_path / "log", 1 << 20)
    made.append([store.list(f"11.0.0.{number}") for number in range(250)], AT)
    return made


ADDRESSES = [f"11.0.0.{number}" for number in range(250)]


async def test_everything_in_order_and_once_where_nothing_fails(store, log):
    endpoint = Endpoint()
    async with listening(endpoint) as url:
        hook = hook_of(url, store, log)
        assert await hook.send_new() == 250
        assert await hook.send_new() == 0
    assert endpoint.taken == ADDRESSES
    assert endpoint.asked == 3
    assert store.shown["webhook hook"][0]["cursor"] == 250


async def test_a_restart_goes_on_behind_what_was_taken(store, log):
    endpoint = Endpoint()
    async with listening(endpoint) as url:
        await hook_of(url, store, log).send_new()
        log.append([store.list("12.0.0.1")], AT)
        assert await hook_of(url, store, log).send_new() == 1
    assert endpoint.taken[250:] == ["12.0.0.1"]


async def test_an_endpoint_that_fails_is_tried_again_and_shown(store, log, monkeypatch):
    monkeypatch.setattr("scanner.publish.webhooks._FIRST_PAUSE", 0.01)
    endpoint = Endpoint(b"503 Busy", None, b"302 Elsewhere\r\nLocation: http://127.0.0.1:1/", b"200 OK", b"500 No")
    async with listening(endpoint) as url, trio.open_nursery() as nursery:
        hook = hook_of(url, store, log)
        nursery.start_soon(hook.run)
        errors = set()
        while len(endpoint.taken) < 250:
            errors.add(store.shown.get("webhook hook", ({"error": ""},))[0]["error"].rpartition(": ")[2])
            await trio.sleep(0.002)
        while hook.cursor != 250:
            await trio.sleep(0.002)
        nursery.cancel_scope.cancel()
    assert endpoint.taken == ADDRESSES
    assert "answered 503 Busy" in errors
    assert store.shown["webhook hook"][0] == {"cursor": 250, "failures": 0, "error": ""}


async def test_a_dead_endpoint_keeps_nobody_else(store, log):
    endpoint = Endpoint()
    async with listening(endpoint) as url, trio.open_nursery() as nursery:
        nursery.start_soon(hook_of("http://127.0.0.1:9/", store, log, "dead").run)
        nursery.start_soon(hook_of(url, store, log).run)
        while len(endpoint.taken) < 250 or "webhook dead" not in store.shown:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert endpoint.taken == ADDRESSES
    assert store.shown["webhook dead"][0]["failures"] >= 1


async def test_what_is_said_of_an_endpoint_is_its_name_and_no_token(store, log):
    hook = hook_of("http://me:word@127.0.0.1:9/hook?token=abc", store, log, "partner")
    with pytest.raises(FetchError, match=r"^partner: all attempts to connect to 127\.0\.0\.1:9 failed$"):
        await hook.send_new()


def test_the_signature_is_of_moment_and_body():
    ours = signature(b"k", b"body", 5)
    assert ours == "t=5,v1=" + hmac.new(b"k", b"5.body", hashlib.sha256).hexdigest()
    assert signature(b"k", b"body", 6) != ours


def test_a_secret_file_that_is_not_there_or_short_is_said(tmp_path, store, log):
    short = tmp_path / "short"
    for path, said in ((tmp_path / "absent", "No such file"), (short, "at least 16 bytes")):
        short.write_text("abc")
        with pytest.raises(ConfigError, match=said):
            Webhook(WebhookSection(url="http://127.0.0.1/", secret_file=str(path)), store, log)
