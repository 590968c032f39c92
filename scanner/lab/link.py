"""One accepted connection as a lab host handles it: buffered reads, and the pump that every relay shares."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address

import trio

Rewrite = Callable[[bytes], bytes]

_DATA_SEGMENTS_IN = 152  # offset of tcpi_data_segs_in, a u32, in struct tcp_info (linux/tcp.h)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() sends RST


class Gone(Exception):
    """The other side ended it, or sent more than any sane client would."""


class Link:
    """A client's connection."""

    __slots__ = ("_buffer", "peer", "stream")

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.peer = IPv4Address(stream.socket.getpeername()[0])
        self._buffer = bytearray()

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise Gone
        self._buffer += data

    async def peek(self) -> int:
        """The next byte, which stays to be read."""
        while not self._buffer:
            await self._more()
        return self._buffer[0]

    async def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._more()
        return self._take(count)

    async def until(self, separator: bytes, limit: int = 16384) -> bytes:
        """Up to and including the separator."""
        while (end := self._buffer.find(separator)) < 0:
            if len(self._buffer) > limit:
                raise Gone
            await self._more()
        return self._take(end + len(separator))

    async def some(self) -> bytes:
        """Whatever comes next; Gone at the end."""
        await self.peek()
        return self._take(len(self._buffer))

    async def drain(self) -> None:
        """Read and say nothing until the other side ends it."""
        self._buffer.clear()
        while await self.stream.receive_some(65536):
            pass

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    def segments(self) -> int:
        """How many segments with data have come in: the nearest that TCP has to the peer's writes."""
        info = self.stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _DATA_SEGMENTS_IN + 4)
        return int.from_bytes(info[_DATA_SEGMENTS_IN:], "little") if len(info) == _DATA_SEGMENTS_IN + 4 else 0

    def reset(self) -> None:
        """End it with RST."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.stream.socket.close()

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data


async def relay(link: Link, upstream: trio.SocketStream, rewrite: Rewrite | None = None) -> None:
    """Pump both ways until upstream ends; rewrite sees, and may change, what comes back from it."""

    async def upward() -> None:
        try:
            while True:
                await upstream.send_all(await link.some())
        except Gone:
            await finish(upstream)
        except trio.BrokenResourceError:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(upward)
        try:
            while data := await upstream.receive_some(65536):
                await link.send(rewrite(data) if rewrite else data)
        except trio.BrokenResourceError:
            pass
        nursery.cancel_scope.cancel()


async def finish(stream: trio.SocketStream) -> None:
    """Say that no more will come."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.send_eof()
