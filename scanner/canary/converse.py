"""Does what a face says, over a stream."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Awaitable, Callable

import trio

from scanner.canary.caller import Deliver, Dialogue
from scanner.protocols.conversation import ReadExactly, ReadUntil, Send, StartTls

READ = 4096  # bytes at once
_OVERHEAD = 4  # times the bytes of a face that TLS may take on the wire: records can be empty
_PARTING = 2.0  # seconds to say, and hear, that TLS ends


async def converse(
    stream: trio.abc.Stream,
    dialogue: Dialogue,
    limit: int,
    deliver: Callable[[Deliver], Awaitable[bool]] | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Do what a face says, until it ends. limit: bytes; after as many the stream counts as ended.

    deliver: keeps a letter, and says whether that is done. tls: for a face that starts it.

    Raises what the face and the stream raise.
    """
    received = bytearray()
    secured: trio.SSLStream[_Bounded] | None = None
    with contextlib.closing(dialogue), contextlib.suppress(StopIteration):
        step = next(dialogue)
        while True:
            if isinstance(step, Send):
                await stream.send_all(step.data)
                step = dialogue.send(b"")
                continue
            if isinstance(step, Deliver):
                step = dialogue.send(b"kept" if deliver is not None and await deliver(step) else b"")
                continue
            if isinstance(step, StartTls):
                assert tls is not None
                # What came before the handshake was said by whoever sits in between (CVE-2011-0411).
                received.clear()
                bounded = _Bounded(stream, _OVERHEAD * limit)
                stream = secured = trio.SSLStream(bounded, tls, server_side=True, https_compatible=True)
                step = dialogue.send(await _shaken(secured))
                continue
            while (end := _end(step, received)) is None:
                data = await stream.receive_some(min(READ, limit)) if limit else b""
                if not data:
                    end = len(received)
                    break
                limit -= len(data)
                received += data
            answer = bytes(received[:end])
            del received[:end]
            step = dialogue.send(answer)
    if secured is not None:
        with trio.move_on_after(_PARTING), contextlib.suppress(trio.BrokenResourceError):
            await secured.unwrap()


async def _shaken(stream: trio.SSLStream[_Bounded]) -> bytes:
    """Version and cipher; nothing where the handshake failed."""
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError:
        return b""
    return f"{stream.version()} {stream.cipher()[0]}".encode()


class _Bounded(trio.abc.Stream):
    """A stream under TLS, that ends after so many bytes."""

    def __init__(self, stream: trio.abc.Stream, limit: int) -> None:
        self._stream = stream
        self._left = limit

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._left <= 0:
            return b""
        data = await self._stream.receive_some(min(max_bytes or READ, self._left))
        self._left -= len(data)
        return bytes(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _end(step: ReadExactly | ReadUntil, received: bytearray) -> int | None:
    """Where the piece that was asked for ends, or None where there is more to come."""
    if isinstance(step, ReadExactly):
        return step.count if len(received) >= step.count else None
    at = received.find(step.separator, 0, step.limit)
    if at >= 0:
        return at + len(step.separator)
    return step.limit if len(received) >= step.limit else None
