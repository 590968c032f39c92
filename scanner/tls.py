"""TLS on a connection that a conversation is under way on. Whom we test shows any certificate, and none is checked."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable
from hashlib import sha256
from typing import Protocol

import trio

_MOST = 1 << 18  # bytes on the wire of one connection: certificates are long, and records that carry nothing are many


class Plain(Protocol):
    """A connection as a conversation needs it."""

    def recv(self, size: int, /) -> Awaitable[bytes]: ...

    def send(self, data: bytes, /) -> Awaitable[int]: ...


def _context() -> ssl.SSLContext:
    """For whatever a server speaks: what is open to strangers is often old."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


_CONTEXT = _context()


class Secured:
    """A connection under TLS, with the methods of the plain one. presented: version, and the certificate's hash."""

    def __init__(self, stream: trio.SSLStream[_Stream]) -> None:
        self._stream = stream
        certificate = stream.getpeercert(binary_form=True) or b""
        self.presented = f"{stream.version()}, certificate with SHA-256 {sha256(certificate).hexdigest()}".encode()

    async def recv(self, size: int, /) -> bytes:
        try:
            return bytes(await self._stream.receive_some(size))
        except trio.BrokenResourceError as error:
            raise OSError(str(error)) from error

    async def send(self, data: bytes, /) -> int:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise OSError(str(error)) from error
        return len(data)


async def secure(wire: Plain) -> Secured:
    """Make the handshake. OSError where it fails."""
    stream = trio.SSLStream(_Stream(wire), _CONTEXT, https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        raise OSError(str(error)) from error
    return Secured(stream)


class _Stream(trio.abc.Stream):
    """A connection as Trio's TLS needs it, that ends after so many bytes: most of them are never text to be counted."""

    def __init__(self, wire: Plain) -> None:
        self._wire = wire
        self._left = _MOST

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._left <= 0:
            return b""
        try:
            data = await self._wire.recv(min(max_bytes or 16384, self._left))
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error
        self._left -= len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[await self._wire.send(bytes(rest)) :]
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
