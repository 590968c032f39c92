"""Where canaries elsewhere hand over the letters that came to them: a listener of its own, for them alone."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import structlog
import trio

from scanner.handover import HEADER, PATH, taken, unseal
from scanner.proof import CanaryKey, Forged
from scanner.store import StoreError
from scanner.web.edge import Edge, Receive, Scope, Send
from scanner.web.server import Server

_CONNECTIONS = 64  # at once; half of them from one address
_LETTERS = 1024  # of one POST, each a task; of the shortest BATCH holds fewer
_JSON = (b"content-type", b"application/json")
_log = structlog.get_logger()

Take = Callable[[str, bytes], Awaitable[None]]
"""Puts a delivery of this canary into the store. Raises Forged for what it did not sign, StoreError for trouble."""


class Handover:
    """The application. taken: letters by canary, with those that were there already; refused: requests and letters."""

    def __init__(self, keys: Mapping[str, Mapping[int, CanaryKey]], take: Take) -> None:
        self.taken: dict[str, int] = {}
        self.refused = 0
        self._keys = keys
        self._take = take
        self._told: set[tuple[str, str]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != PATH:
            await _answer(send, HTTPStatus.NOT_FOUND, {"detail": f"canaries hand over at {PATH}"})
            return
        if scope["method"] != "POST":
            await _answer(send, HTTPStatus.METHOD_NOT_ALLOWED, {"detail": "expected POST"}, (b"allow", b"POST"))
            return
        sealed = dict(scope["headers"]).get(HEADER.lower().encode(), b"").decode("latin-1")
        body = await _whole(receive)
        try:
            key = unseal(self._keys, sealed, body, time.time())
        except Forged as error:
            self._refuse(sealed.partition(" ")[0], str(error))
            detail = "the clocks differ by more than 5 minutes" if str(error) == "clock" else "not sealed by a canary"
            await _answer(send, HTTPStatus.UNAUTHORIZED, {"detail": detail}, (b"www-authenticate", HEADER.encode()))
            return
        letters = body.splitlines()
        if len(letters) > _LETTERS:
            detail = f"at most {_LETTERS} letters at once"
            await _answer(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"detail": detail})
            return
        try:
            refused = await self._all(key.canary, letters)
        except* StoreError as errors:
            _log.error("letters not taken", canary=key.canary, error=str(errors.exceptions[0]))
            await _answer(send, HTTPStatus.SERVICE_UNAVAILABLE, {"detail": "they can't be kept just now: come again"})
        else:
            await _answer(send, HTTPStatus.OK, {"taken": taken(key, body, refused), "refused": refused})

    async def _all(self, canary: str, lines: list[bytes]) -> list[int]:
        """The numbers of those that were refused. All at once: the store commits them together."""
        refused = []

        async def one(number: int, signed: bytes) -> None:
            try:
                await self._take(canary, signed)
            except Forged as error:
                refused.append(number)
                self._refuse(canary, f"letter: {error}")
            else:
                self.taken[canary] = self.taken.get(canary, 0) + 1

        async with trio.open_nursery() as nursery:
            for number, signed in enumerate(lines):
                nursery.start_soon(one, number, signed)
        return sorted(refused)

    def _refuse(self, canary: str, why: str) -> None:
        """Counted; said once for each canary that we know and each reason, as strangers would write our log."""
        self.refused += 1
        who = canary if canary in self._keys else "a stranger"
        if (who, why) not in self._told:
            self._told.add((who, why))
            _log.warning("hand-over refused", canary=who, why=why)

    def statistics(self) -> dict[str, object]:
        return {"taken": dict(self.taken), "refused": self.refused}


def server(app: Handover, listen: tuple[str, ...]) -> Server:
    """Its listener."""
    return Server("hand-over", Edge(app), listen, most=_CONNECTIONS)


async def _whole(receive: Receive) -> bytes:
    """A body, which the edge has bounded."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _answer(send: Send, status: int, value: Mapping[str, object], *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps(value).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": int(status), "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})
