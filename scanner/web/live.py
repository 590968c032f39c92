"""Server-sent events: streams that are counted, wake when something was written, and end when the client goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import trio
from fastapi import Request, Response

from scanner.store import Store, StoreError
from scanner.web.edge import Receive, Scope, Send, requester_of
from scanner.web.problems import Problem, problem_response

_LOOK = 0.25  # seconds between looks for what was written
_PING = 15.0  # seconds without news until a line goes out that keeps the connection open
_LIFE = 900.0  # seconds; the browser comes back by itself
_MOST, _EACH = 200, 8  # streams in all, and of one requester


class Changes:
    """Wakes those who wait for something new in the store; looks only while somebody waits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.next = trio.Event()  # taken before a look at the store, so that nothing that came after it is missed
        self._waiting = 0
        self._seen: int | None = None

    async def run(self) -> None:
        while True:
            await trio.sleep(_LOOK)
            if not self._waiting:
                continue
            with suppress(StoreError):
                changed = await self._store.changed()
                if changed != self._seen:
                    self._seen = changed
                    self.next.set()
                    self.next = trio.Event()

    async def wait(self, since: trio.Event, seconds: float) -> bool:
        """Until something was written since then: False where nothing was for so long."""
        self._waiting += 1
        try:
            with trio.move_on_after(seconds):
                await since.wait()
                return True
            return False
        finally:
            self._waiting -= 1


class Streams:
    """How many there are, in all and of one requester."""

    def __init__(self) -> None:
        self.now = 0
        self._each: Counter[str] = Counter()

    @contextmanager
    def admitted(self, requester: str) -> Iterator[bool]:
        if self.now >= _MOST or self._each[requester] >= _EACH:
            yield False
            return
        self.now += 1
        self._each[requester] += 1
        try:
            yield True
        finally:
            self.now -= 1
            self._each[requester] -= 1
            if not self._each[requester]:
                del self._each[requester]


class EventStream(Response):
    """Sends what an iterator gives, until it ends, the client goes, or the stream has lived long enough."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, streams: Streams, messages: AsyncIterator[str]) -> None:
        super().__init__()
        self._requester = requester_of(request.state.client)
        self._streams = streams
        self._messages = messages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.admitted(self._requester) as admitted:
            if not admitted:
                problem = Problem(429, "too many streams are open", retry_after=30)
                await problem_response(problem)(scope, receive, send)
                return
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                nursery.cancel_scope.deadline = trio.current_time() + _LIFE
                async with aclosing(self._messages) as messages:  # type: ignore[type-var]
                    async for text in messages:
                        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
                nursery.cancel_scope.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def message(data: str, **fields: str) -> str:
    """One event; fields: event, id."""
    lines = [f"{name}: {value}" for name, value in fields.items()]
    lines += [f"data: {line}" for line in data.splitlines() or [""]]
    return "\n".join(lines) + "\n\n"


async def news(changes: Changes, since: trio.Event) -> str | None:
    """A comment for the wire where nothing came for a while, else None. since: changes.next, before the last look."""
    return None if await changes.wait(since, _PING) else ": still here\n\n"


async def _until_gone(receive: Any, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
