"""The known-open and the known-closed control of this process: a proxy that takes CONNECT to our canaries, and one
that refuses everything."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import trio

from scanner.config import ConfigError

OPEN_HEAD = b"HTTP/1.1 200 Connection established\r\n\r\n"
CLOSED_HEAD = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LIFE = 20.0  # seconds for one connection

Answer = Callable[[trio.SocketStream], Awaitable[None]]


async def serve_known(nursery: trio.Nursery, at: tuple[str, int], allowed: frozenset[tuple[str, int]]) -> list[int]:
    """Serve both in the nursery; their ports, the open one's first.

    at: host and port of the open one. The closed one has the port above; with port 0 both have any that is free.
    allowed: where the open one dials, so that it is an open proxy to nobody else.
    """
    host, port = at
    places = (port, port + 1) if port else (0, 0)
    return [
        await nursery.start(_serve, (host, its), partial(answer, allowed=allowed if open_ else frozenset()))
        for its, open_ in zip(places, (True, False), strict=True)
    ]


async def _serve(
    at: tuple[str, int], talk: Answer, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    try:
        listeners = await trio.open_tcp_listeners(at[1], host=at[0])
    except OSError as error:
        why = error.strerror or error
        raise ConfigError(f"controls.listen: cannot listen on {at[0]} port {at[1]}: {why}") from None
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(talk, listeners)


async def answer(stream: trio.SocketStream, allowed: frozenset[tuple[str, int]]) -> None:
    """One connection to a control. A name is looked up by this machine's own resolver."""
    with trio.move_on_after(_LIFE), suppress(OSError, trio.BrokenResourceError):
        async with stream:
            way = _destination(await _head(stream))
            if way not in allowed:
                await stream.send_all(CLOSED_HEAD)
                return
            async with await trio.open_tcp_stream(*way) as canary:
                await stream.send_all(OPEN_HEAD)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_pump, stream, canary)
                    await _pump(canary, stream)
                    nursery.cancel_scope.cancel()


async def _head(stream: trio.SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < 2048 and (data := await stream.receive_some(1024)):
        head += data
    return head


def _destination(head: bytes) -> tuple[str, int]:
    """Where a CONNECT wants to go; nowhere for whatever else a stranger says."""
    found = re.match(rb"CONNECT \[?([0-9A-Za-z.:-]{1,253}?)\]?:([0-9]{1,5}) ", head)
    return (found[1].decode(), int(found[2])) if found else ("", 0)


async def _pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await source.receive_some(4096):
            await sink.send_all(data)
