"""HTTP as lab hosts speak it: CONNECT, forwarding of absolute URIs, and every way of refusing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scanner.lab.internet import Destination, NotAllowed, destination
from scanner.lab.link import Gone, Link, Rewrite, relay

if TYPE_CHECKING:
    from scanner.lab.machine import Machine

After = Callable[[Link, "Machine"], Awaitable[None]]  # what a liar does once it has granted

CONNECT = ("CONNECT",)
FORWARD = ("GET", "POST", "PUT", "HEAD")
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_HOP_HEADERS = (b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive")


def answer(status: str, body: str = "", *headers: str) -> bytes:
    """A whole response that ends the connection."""
    lines = [f"HTTP/1.1 {status}", "Server: lab", *headers, "Content-Type: text/html"]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", body]
    return "\r\n".join(lines).encode()


def error(status: str) -> bytes:
    return answer(status, f"<html><title>{status}</title><h1>{status}</h1></html>\n")


FORBIDDEN = error("403 Forbidden")
PASSWORD_WANTED = answer("407 Proxy Authentication Required", "", 'Proxy-Authenticate: Basic realm="lab"')
BAD_REQUEST = error("400 Bad Request")


async def http(
    link: Link,
    machine: Machine,
    *,
    methods: tuple[str, ...] = CONNECT + FORWARD,
    granted: bytes = ESTABLISHED,
    refusal: bytes | None = None,
    after: After | None = None,
    rewrite: Rewrite | None = None,
    delay: float = 0.0,
    drip: bool = False,
    fussy: bool = False,
) -> None:
    """One request.

    granted: the answer to a good CONNECT; drip: byte by byte. refusal: said to everybody. after: grant
    without dialling, and do this. delay: seconds before dialling. fussy: deaf to a CONNECT in one write.
    """
    if not (head := await _head(link)):
        await link.send(BAD_REQUEST)
        return
    if refusal is not None:
        await link.send(refusal)
        return
    request, _, headers = head.partition(b"\n")
    method, _, rest = request.decode("latin-1").partition(" ")
    if fussy and method == "CONNECT" and link.segments() == 1:
        await link.drain()
        return
    where = _where(method, rest.partition(" ")[0])
    if method not in methods or where is None:
        await link.send(error("405 Method Not Allowed"))
        return
    if after is not None:
        await link.send(granted)
        await after(link, machine)
        return
    await machine.pause(delay)
    try:
        upstream = await machine.dial(link, where[0], where[1])
    except NotAllowed:
        await link.send(FORBIDDEN)
        return
    except OSError:
        await link.send(error("502 Bad Gateway"))
        return
    async with upstream:
        if method != "CONNECT":
            await upstream.send_all(f"{method} {where[2]} HTTP/1.1\r\n".encode("latin-1") + _kept(headers))
        elif drip:
            for byte in granted:
                await machine.pause(0.02)
                await link.send(bytes([byte]))
        else:
            await link.send(granted)
        await relay(link, upstream, rewrite)


async def _head(link: Link) -> bytes:
    """Request line and headers, or nothing where the client does not speak HTTP."""
    if not (chr(await link.peek()).isalpha() or await link.peek() in b"\r\n"):
        return b""
    head = b""
    while True:
        line = await link.until(b"\n")
        if not line.strip():
            if head:
                return head + line
            continue  # empty lines before the request are no error (RFC 9112 2.2)
        head += line
        if len(head) > 16384:
            raise Gone


def _where(method: str, target: str) -> tuple[Destination, int, str] | None:
    """Host, port and path that a request target means; None where it names no other host."""
    try:
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            return (destination(host), int(port), "") if 0 < int(port) < 65536 else None
        parts = urlsplit(target)
        if parts.scheme != "http" or not parts.hostname:
            return None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return destination(parts.hostname), parts.port or 80, path
    except ValueError:
        return None


def _kept(headers: bytes) -> bytes:
    """The header that goes on to the origin server."""
    lines = [
        line
        for line in headers.splitlines(keepends=True)
        if line.strip() and line.partition(b":")[0].strip().lower() not in _HOP_HEADERS
    ]
    return b"".join([*lines, b"Via: 1.1 lab\r\nConnection: close\r\n\r\n"])
