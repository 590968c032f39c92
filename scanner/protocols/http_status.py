"""How an HTTP proxy's yes or no is read: the code of its status line alone decides."""

from __future__ import annotations

import re
from collections.abc import Generator

from scanner.model import Kind
from scanner.protocols.conversation import Outcome, ReadUntil, Step, cut, show

HEAD_LIMIT = 8192  # bytes of all heads together; every common server's own limit is 8 to 16 KiB

_STATUS = re.compile(rb"HTTP/[0-9](?:\.[0-9])?[ \t]+([0-9]{3})(?![0-9])")  # the reason phrase is optional
_MARK = b"HTTP/"
_AUTH = (401, 407)
_GATEWAY = (502, 503, 504)  # RFC 9110 15.6.3 to 15.6.5: what lies behind it did not answer

Reading = Generator[Step, bytes, Outcome | None]  # None: good so far


class Head:
    """The heads of a response, read line by line; a line ends in CRLF or in a bare LF."""

    def __init__(self) -> None:
        self.shown = ""  # the status line, for a detail
        self._line = b""  # as last read, at most LINE_LIMIT bytes
        self._empty = False  # whether that was an empty line
        self._begins = True  # whether the next read is the beginning of a line
        self._size = 0

    def status(self) -> Reading:
        """Read the final status line and any 1xx heads before it (RFC 9110 15.2). None where it is a 2xx."""
        while True:
            yield from self._read()
            while self._empty and self._size < HEAD_LIMIT:
                yield from self._read()
            match = _STATUS.match(self._line)
            if match is None:
                begun = self._line.lstrip(b"\r")[: len(_MARK)]
                if not self._line.endswith(b"\n") and _MARK.startswith(begun):
                    return cut(f"after {show(self._line)}" if self._line else "")
                return Outcome(Kind.WRONG_PROTOCOL, f"not an HTTP response: {show(self._line)}")
            self.shown = show(self._line)
            code = int(match[1])
            if code // 100 != 1:
                return _judge(code, self.shown)
            if (broken := (yield from self.rest())) is not None:
                return broken

    def rest(self) -> Reading:
        """Read the header lines up to the empty line. None where it came."""
        while self._size < HEAD_LIMIT:
            yield from self._read()
            if self._empty:
                return None
            if not self._line:
                return cut(f"within the head of {self.shown}")
        return Outcome(Kind.WRONG_PROTOCOL, f"a head of more than {HEAD_LIMIT} bytes: {self.shown}")

    def _read(self) -> Generator[Step, bytes, None]:
        line = yield ReadUntil(b"\n")
        self._empty = self._begins and line in (b"\r\n", b"\n")
        self._begins = line.endswith(b"\n")
        self._size += len(line)
        self._line = line


def _judge(code: int, shown: str) -> Outcome | None:
    if code // 100 == 2:
        return None
    if code in _AUTH:
        return Outcome(Kind.AUTH_REQUIRED, shown)
    if code in _GATEWAY:
        return Outcome(Kind.UNREACHABLE, f"says it could not reach the canary ({code})")
    return Outcome(Kind.DENIED, shown)
