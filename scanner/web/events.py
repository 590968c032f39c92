"""The public events: in pages by cursor, and as a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from scanner.model import Event
from scanner.publish.events import public
from scanner.web.docs import answers
from scanner.web.live import EventStream, message, news
from scanner.web.problems import Problem
from scanner.web.site import Site

_BATCH = 200
_EVENT = {
    "cursor": "2f",
    "id": "7f1d0c7a2b9e4a5f8c3d6e1f0a9b8c7d",
    "at": "2026-11-22T10:00:00Z",
    "kind": "listed",
    "list": "ops",
    "address": "192.0.2.1",
    "type": "exit",
    "criterion": "open-proxy-exit",
    "reason": "nomination",
    "detector": "socks5/1.0",
    "vantage": "main",
    "first_listed": "2026-11-22T10:00:00Z",
    "last_confirmed": "2026-11-22T10:00:00Z",
    "expires": "2026-12-22T10:00:00Z",
    "entry": "192.0.2.9",
    "exits": [],
    "visit": "0a9b8c7d7f1d0c7a2b9e4a5f8c3d6e1f",
}
Cursor = Annotated[str | None, Query(max_length=40, description="the cursor of the last event seen")]


def api(site: Site) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["events"])

    @router.get(
        "/events",
        summary="What changed on the lists, the oldest first",
        responses=answers({"events": [_EVENT], "cursor": "2f"}),
    )
    async def events(after: Cursor = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> dict[str, Any]:
        await _check(site, after)
        found = await site.store.events(after or None, limit)
        return {"events": [public(event) for event in found], "cursor": found[-1].cursor if found else after or None}

    @router.get(
        "/events/stream",
        summary="The same as server-sent events, from now on or from a cursor",
        status_code=200,
        response_class=EventStream,
        responses=answers(message(json.dumps(_EVENT), id="2f", event="listed"), kind="text/event-stream"),
    )
    async def stream(
        request: Request,
        after: Cursor = None,
        named: Annotated[bool, Query(description="false: no `event:` lines, for an `onmessage` that hears all")] = True,
        last_event_id: Annotated[str | None, Header(max_length=40)] = None,
    ) -> Response:
        start = last_event_id or after
        await _check(site, start)
        if not start:
            start = await site.store.last_cursor()
        return EventStream(request, site.streams, _follow(site, start, named=named))

    return router


async def _check(site: Site, cursor: str | None) -> None:
    """Problem 422 for what this store never gave: whoever goes on from there would wait for ever, and not know."""
    try:
        if cursor:
            await site.store.check_cursor(cursor)
    except ValueError as error:
        raise Problem(422, str(error), field="after") from None


async def _follow(site: Site, cursor: str | None, *, named: bool) -> AsyncIterator[str]:
    place = f"id: {cursor}\n" if cursor else ""  # where a browser goes on that heard nothing before the stream ended
    yield f": events follow\n{place}\n"
    while True:
        since = site.changes.next
        while found := await site.store.events(cursor, _BATCH):
            cursor = found[-1].cursor
            yield "".join(_message(event, named=named) for event in found)
        ping = await news(site.changes, since)
        if ping:
            yield ping


def _message(event: Event, *, named: bool) -> str:
    data = json.dumps(public(event))
    return message(data, id=event.cursor, event=str(event.kind)) if named else message(data, id=event.cursor)
