"""The HTTP face: the challenge in the path or in a POST's body, the answer in a header and in the body.

Both, as some proxies drop headers that they don't know and others rewrite the body. RFC 9110 and 9112 are
followed as far as one request and one response that nobody may keep need it.
"""

from __future__ import annotations

from collections.abc import Generator

from scanner.canary.caller import Caller, Dialogue
from scanner.proof import CHALLENGE_MARK, NAME_LIMIT
from scanner.protocols.conversation import ReadExactly, ReadUntil, Send

HEAD_LIMIT = 8192  # bytes of request line and headers
BODY_LIMIT = 512  # bytes
_CHUNK_SIZE_LIMIT = 32  # bytes of the line that says how long a chunk is


def http(caller: Caller) -> Dialogue:
    """One request, one response."""
    request, headers = yield from _head()
    where = request
    if CHALLENGE_MARK not in request:
        where = yield from _body(headers)
    answer = caller.answer(where, _host(headers.get(b"host", b"")))
    body = answer + b"\r\n"  # whoever reads lines need not wait for the end of the connection
    head = (
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: text/plain\r\n"
        b"Cache-Control: no-store\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n"
        b"Connection: close\r\n"
        b"X-Proxywarden: " + answer + b"\r\n"
        b"\r\n"
    )
    yield Send(head if request.startswith(b"HEAD ") else head + body)


def _head() -> Generator[ReadUntil, bytes, tuple[bytes, dict[bytes, bytes]]]:
    """The request line, and headers by their names in small letters, the first of each name."""
    left = HEAD_LIMIT
    request, headers = b"", dict[bytes, bytes]()
    while left:
        line = yield ReadUntil(b"\n", left)
        left -= len(line)
        if not line.endswith(b"\n"):
            return b"", {}
        line = line.strip()
        if line and not request:
            request = line
        elif line:
            name, _, value = line.partition(b":")
            headers.setdefault(name.lower(), value.strip())
        elif request:  # an empty line before the request is passed over (RFC 9112 2.2)
            return request, headers
    return b"", {}


def _body(headers: dict[bytes, bytes]) -> Generator[ReadExactly | ReadUntil, bytes, bytes]:
    """The first bytes of the body; where a proxy chunked it, the first line of its first chunk."""
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        yield ReadUntil(b"\n", _CHUNK_SIZE_LIMIT)
        return (yield ReadUntil(b"\n", BODY_LIMIT))
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or len(length) > 9:
        return b""
    return (yield ReadExactly(min(int(length), BODY_LIMIT)))


def _host(value: bytes) -> str:
    """The name in a Host header, without port and brackets; what is not printable becomes a question mark."""
    host = value.rpartition(b":")[0] if value.rpartition(b":")[2].isdigit() else value
    text = host.strip(b"[]").decode("ascii", "replace")[:NAME_LIMIT]
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
