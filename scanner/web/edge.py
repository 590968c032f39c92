"""What every request passes first: who asks, how much and how long it may send, who may order it, what it may show.

Plain ASGI, outside of the framework, so that no handler can be reached around it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import IPv6Address, IPv6Network
from typing import Any
from urllib.parse import urlsplit

import structlog
import trio

from core.cidr import CidrSet
from scanner.model import Address, parse_address
from scanner.web.turns import Turns
from scanner.web.words import PROBLEMS

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_LIMIT = 256 * 1024  # bytes: a spam with its attachments cut is under this
_BODY_SECONDS = 20.0  # for all of a body
_SAFE = ("GET", "HEAD", "OPTIONS")
_HOPS = 32  # entries of X-Forwarded-For that are looked at
_FRAMING = (b"content-length", b"transfer-encoding")  # of a request that has a body
_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self';"
        b" form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not no-referrer: with that a browser sends `Origin: null` with our own forms, and they would be refused.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
# Of titles and details that are all ours.
_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title} · Proxywarden</title>
<link rel="stylesheet" href="/static/style.css"></head>
<body><main id="main"><h1>{title}</h1><p class="wrong" role="alert">{detail}</p>
<p><a href="/">To the lookup</a></p></main>
</body></html>
"""
_log = structlog.get_logger()
# Else strangers write our log, a line for each bad form.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class Edge:
    """Wraps an application. errors: how many requests ended in a bug of ours. turns: none where nobody waits."""

    def __init__(self, app: Application, *, trusted: CidrSet = CidrSet([]), turns: Turns | None = None) -> None:
        self.errors = 0
        self.turns = turns
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        peer = parse_address(scope["client"][0].partition("%")[0])
        client, relayed = seen_client(peer, headers, self._trusted)
        scope["client"] = (str(client), 0)
        scope["extensions"] = {}  # a file that the server sends by its path has neither our head nor our deadline
        scope.setdefault("state", {}).update(client=client, relayed=relayed)
        head = scope["method"] == "HEAD"
        body = _Body(receive, expected=any(name in _FRAMING for name, _ in headers))
        answer = _Answer(send, body, head=head, page=_wants_page(scope))
        refusal = _refusal(scope["method"], headers)
        if refusal is not None:
            await answer.problem(*refusal)
            return
        later = await self.turns.take(_neighbourhood(client)) if self.turns else None
        if later is not None:
            await answer.problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many are asking just now", retry_after=later)
            return
        if head:  # RFC 9110 9.3.2: as GET, without the content; no handler needs to know
            scope = {**scope, "method": "GET"}
        try:
            with answer.wanted:
                await self._app(scope, body.receive, answer.send)
        except _Refused as error:
            await answer.problem(error.status, error.detail)
        except Exception as error:  # noqa: BLE001 - a bug: counted, logged, and nothing of it shown
            if body.refused is not None:  # the framework wraps what it hears from receive()
                await answer.problem(body.refused.status, body.refused.detail)
                return
            self.errors += 1
            _log.error("web request", path=scope["path"][:200], exc_info=error)
            await answer.problem(HTTPStatus.INTERNAL_SERVER_ERROR, "this is our mistake, not yours; it is logged")


def seen_client(peer: Address, headers: Iterable[tuple[bytes, bytes]], trusted: CidrSet) -> tuple[Address, bool]:
    """Who asks, and whether a proxy that we don't know passed it on.

    Behind a trusted web server that is the last untrusted hop of X-Forwarded-For; each trusted hop appends its peer.
    What can't be read is where believing ends. The second value says that the client is not proven to be whoever
    owns its address: an open proxy announces itself this way, and its users are not its owner.
    """
    names = {name for name, _ in headers}
    relayed = bool(names & {b"via", b"forwarded", b"x-forwarded-for", b"proxy-connection"})
    if peer not in trusted:
        return peer, relayed
    hops = b",".join(value for name, value in headers if name == b"x-forwarded-for").split(b",")[-_HOPS:]
    client = peer
    while hops and client in trusted:
        try:
            client = parse_address(hops.pop().decode("ascii"))
        except ValueError:
            return client, True
    return client, client in trusted or any(hop.strip() for hop in hops)


def requester_of(client: Address) -> str:
    """Under what name a client's requests are counted: IPv6 by its /64, since one host has all of that."""
    if isinstance(client, IPv6Address):
        return str(IPv6Network((client, 64), strict=False))
    return str(client)


def _neighbourhood(client: Address) -> tuple[int, int]:
    """Who shares one client's turns: its /24, or /56, as much as one holder easily has."""
    return client.version, int(client) >> (8 if client.version == 4 else 72)


def _wants_page(scope: Scope) -> bool:
    """Whether a browser shows the answer to a person."""
    accept = dict(scope["headers"]).get(b"accept", b"")
    return b"text/html" in accept and not scope["path"].startswith("/api/")


def _refusal(method: str, headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, str] | None:
    """Requests that change something must come from a page of ours, or from no page at all."""
    values = dict(headers)
    length = values.get(b"content-length", b"0")
    if not length.isdigit() or int(length[:20]) > BODY_LIMIT:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may have {BODY_LIMIT // 1024} KiB at most"
    if method in _SAFE:
        return None
    site = values.get(b"sec-fetch-site")
    origin = values.get(b"origin")
    if site is not None:
        ours = site in (b"same-origin", b"none")
    else:
        ours = origin is None or _host(origin) == values.get(b"host", b"").decode("latin-1").lower()
    return None if ours else (HTTPStatus.FORBIDDEN, "the request comes from another site's page")


def _host(origin: bytes) -> str | None:
    try:
        return urlsplit(origin.decode("latin-1")).netloc.lower() or None
    except ValueError:
        return None


class _Refused(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class _Body:
    """A request's body, bounded in size and time."""

    def __init__(self, receive: Receive, *, expected: bool) -> None:
        self.refused: _Refused | None = None
        self._receive = receive
        self._size = 0
        self.whole = not expected
        self._deadline = trio.current_time() + _BODY_SECONDS

    async def receive(self) -> Message:
        if self.whole:
            return await self._receive()  # the end of a body that is none, and then the disconnection
        with trio.move_on_at(self._deadline) as waiting:
            message = await self._receive()
        if waiting.cancelled_caught:
            self.refused = _Refused(HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {_BODY_SECONDS:.0f} s")
            raise self.refused
        self._size += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        if self._size > BODY_LIMIT:
            self.refused = _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may have {BODY_LIMIT // 1024} KiB at most"
            )
            raise self.refused
        return message

    @asynccontextmanager
    async def unwanted(self) -> AsyncIterator[None]:
        """Throws away meanwhile what is left of it.

        anycorn's queue of two pieces is full of a body that nobody reads, and at the end of an answer it is the
        answering task itself that puts the disconnection there: it would wait for ever, and the connection with it.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._throw_away)
            yield
            nursery.cancel_scope.cancel()

    async def _throw_away(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _Answer:
    """Completes an application's answer. wanted: ends the application where nothing more of it is."""

    def __init__(self, send: Send, body: _Body, *, head: bool, page: bool) -> None:
        self.wanted = trio.CancelScope()
        self._send = send
        self._body = body
        self._head = head
        self._page = page
        self._started = False

    async def send(self, message: Message) -> None:
        """As ASGI's. Where the body was refused, that is the answer: a framework makes a 400 of what it hears."""
        if not self._started and self._body.refused is not None:
            await self.problem(self._body.refused.status, self._body.refused.detail)
            self.wanted.cancel()
            return
        await self._pass(message)

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            given = {name.lower() for name, _ in message["headers"]}
            extra = [(name, value) for name, value in _HEADERS if name not in given]
            if b"cache-control" not in given:
                extra.append((b"cache-control", b"no-store"))
            message["headers"] = [*message["headers"], *extra]
            await self._out(message)
            if self._head:
                await self._out({"type": "http.response.body", "body": b""})
                self.wanted.cancel()  # it may be a stream without an end
        elif not self._head:
            await self._out(message)

    async def _out(self, message: Message) -> None:
        if self._body.whole:
            await self._send(message)
            return
        async with self._body.unwanted():
            await self._send(message)

    async def problem(self, status: int, detail: str, *, retry_after: float | None = None) -> None:
        """As RFC 9457 has it, or as a page for people; nothing where the answer is under way."""
        if self._started:
            return
        title = HTTPStatus(status).phrase
        problem = {"type": "about:blank", "title": title, "status": int(status), "detail": detail}
        body = (
            _PAGE.format(title=PROBLEMS.get(status, title), detail=detail) if self._page else json.dumps(problem)
        ).encode()
        headers = [
            (b"content-type", b"text/html; charset=utf-8" if self._page else b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),  # of a body that was refused the rest is still coming
        ]
        if retry_after is not None:
            headers.append((b"retry-after", b"%d" % (retry_after + 1)))
        await self._pass({"type": "http.response.start", "status": int(status), "headers": headers})
        await self._pass({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing to start or to end: the daemon does that."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
