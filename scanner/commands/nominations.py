"""Nominations as a file brings them: addresses or JSON objects, one a line. Pure; memory is bounded by a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from scanner.model import Address, parse_address

LINE_LIMIT = 1 << 20  # bytes; a sample is a message, and mail servers take about ten times that with attachments
COMMENT_LIMIT = 1000  # characters
_KEYS = frozenset({"address", "sample", "comment"})
_SHOWN = 80  # characters of a bad line


@dataclass(frozen=True, slots=True)
class Nominee:
    """A good line."""

    line: int
    address: Address
    sample: bytes | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no nomination, and what was expected."""

    line: int
    why: str


class NominationLines:
    """Cuts chunks of a file into lines and parses them. Lines that are blank or begin with `#` say nothing."""

    def __init__(self) -> None:
        self._line = 0
        self._rest = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[Nominee | BadLine]:
        """What the lines say that end in this chunk."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._take(line)
        self._rest = rest
        if len(rest) > LINE_LIMIT and not self._skipping:
            yield BadLine(self._line + 1, f"longer than {LINE_LIMIT} bytes")
            self._skipping = True
        if self._skipping:
            self._rest = b""

    def end(self) -> Iterator[Nominee | BadLine]:
        """What the last line says, where no line break ends it."""
        if self._rest or self._skipping:
            yield from self._take(self._rest)

    def _take(self, line: bytes) -> Iterator[Nominee | BadLine]:
        self._line += 1
        if self._skipping:
            self._skipping = False  # told when it grew too long
            return
        if len(line) > LINE_LIMIT:
            yield BadLine(self._line, f"longer than {LINE_LIMIT} bytes")
            return
        try:
            found = _parse(self._line, line)
        except ValueError as error:
            yield BadLine(self._line, str(error))
        else:
            if found is not None:
                yield found


def _parse(number: int, line: bytes) -> Nominee | None:
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{_cut(repr(line[:_SHOWN])[1:])}: expected UTF-8") from None
    if not text or text.startswith("#"):
        return None
    if text.startswith("{"):
        return _from_json(number, text)
    return Nominee(number, _address(text.partition("#")[0].strip()))


def _from_json(number: int, text: str) -> Nominee:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{_cut(repr(text))}: expected a JSON object") from None
    unknown = sorted(value.keys() - _KEYS)
    if unknown:
        raise ValueError(f"unknown key {_cut(repr(unknown[0]))}: expected address, and sample or comment")
    address, sample, comment = value.get("address"), value.get("sample"), value.get("comment")
    if not isinstance(address, str):
        raise ValueError("address: expected text")
    if not isinstance(sample, str | None):
        raise ValueError("sample: expected text")
    if not isinstance(comment, str | None):
        raise ValueError("comment: expected text")
    if comment and len(comment) > COMMENT_LIMIT:
        raise ValueError(f"comment: expected at most {COMMENT_LIMIT} characters")
    try:
        evidence = sample.encode() if sample else None
        (comment or "").encode()
    except UnicodeEncodeError:
        raise ValueError("sample or comment: half of a surrogate pair is no text") from None
    return Nominee(number, _address(address), evidence, comment or "")


def _address(text: str) -> Address:
    if len(text) > _SHOWN:
        raise ValueError(f"{_cut(repr(text))} is not an IPv4 or IPv6 address")
    return parse_address(text)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
