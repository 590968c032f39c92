"""The log of what was published, sealed: each line carries the hash of the one before, so that nobody can change what
was said without everybody seeing it. Checkpoints let old files be deleted and the rest still be verified.

hash = SHA-256 of `PREVIOUS NUMBER EVENT`, with EVENT as JSON with sorted keys and no spaces.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final

from scanner.model import Event
from scanner.publish.events import iso, public

START: Final = "0" * 64
CHECKPOINTS: Final = "checkpoints.jsonl"
_DAY = 86400.0
_TAIL = 65536  # bytes read to find the last line; a line is under 2 KB
_NUMBER = re.compile(rb'\{"number":(\d+),')


class SealedLog:
    """One writer appends; readers need nothing but the files. OSError: it can't; ValueError: it is damaged."""

    def __init__(self, directory: Path, rotate: int) -> None:
        """rotate: bytes after which a new file begins."""
        self.directory = directory
        self.number = 0  # of the last line
        self.hash = START
        self._rotate = rotate
        self._ids: set[str] | None = None  # of the last two files: what a repeated release would say again
        self._day = -1
        self._vouched = 0  # the last line that has a checkpoint

    def append(self, events: Iterable[Event], at: float) -> int:
        """Append the events that are not there yet; on disk when this returns. How many those were."""
        if self._ids is None:
            self._open()
        assert self._ids is not None
        file, size, lines, new = self._current(), 0, [], 0
        if self.number > self._vouched and not file.exists():
            self._checkpoint(at)  # the file before it is full, and a crash came before its checkpoint
        number, last = self.number, self.hash
        for event in events:
            if event.id in self._ids:
                continue
            number += 1
            line, last = sealed(number, last, public(event))
            lines.append(line)
            size += len(line)
            self._ids.add(event.id)
            new += 1
        if lines:
            ids, self._ids = self._ids, None  # a write that fails midway leaves a torn line
            with file.open("ab") as opened:
                opened.write("".join(lines).encode())
                opened.flush()
                os.fsync(opened.fileno())
            self.number, self.hash, self._ids = number, last, ids
        full = new and file.stat().st_size >= self._rotate
        if self.number and (full or at // _DAY != self._day):
            self._checkpoint(at)
        return new

    def reopen(self) -> None:
        """Another process may have written: look again before the next append."""
        self._ids = None

    def read(self, after: int, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Numbers and events behind a number, ascending."""
        found: list[tuple[int, dict[str, Any]]] = []
        files = self.files()
        begin = max((i for i, file in enumerate(files) if _first(file) <= after + 1), default=0)
        for file in files[begin:]:
            with file.open("rb") as opened:
                _go_behind(opened, after)
                for line in opened:
                    if not line.endswith(b"\n"):
                        break  # it is just being written
                    item = json.loads(line)
                    if item["number"] > after:
                        found.append((item["number"], item["event"]))
                        if len(found) == limit:
                            return found
        return found

    def files(self) -> list[Path]:
        return files_of(self.directory)

    def purge(self, before: float, taken: int) -> int:
        """Delete whole files at the beginning that a checkpoint of before that moment vouches for; how many those were.

        taken: the last line that every reader has. The last file stays, and so does every checkpoint.
        """
        days = {item["number"]: item["day"] for item in _lines(self.directory / CHECKPOINTS)}
        deleted = 0
        for file, following in pairwise(self.files()):
            last = _first(following) - 1
            if last > taken or last not in days or (days[last] + 1) * _DAY > before:
                break
            file.unlink()
            deleted += 1
        return deleted

    def _open(self) -> None:
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._ids, self.number, self.hash = set(), 0, START
        files = self.files()
        for file in files[-2:]:
            _cut_torn_line(file)
            for item in _lines(file):
                self._ids.add(item["event"]["id"])
                self.number, self.hash = item["number"], item["hash"]
        if (self.directory / CHECKPOINTS).exists():
            _cut_torn_line(self.directory / CHECKPOINTS)
        for known in _lines(self.directory / CHECKPOINTS):
            self._day, self._vouched = int(known["day"]), int(known["number"])
            if known["number"] > self.number:
                self.number, self.hash = known["number"], known["hash"]

    def _current(self) -> Path:
        files = self.files()
        if files and files[-1].stat().st_size < self._rotate:
            return files[-1]
        return self.directory / f"log-{self.number + 1:012}.jsonl"

    def _checkpoint(self, at: float) -> None:
        self._day, self._vouched = int(at // _DAY), self.number
        line = {"number": self.number, "hash": self.hash, "at": iso(at), "day": self._day}
        with (self.directory / CHECKPOINTS).open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def sealed(number: int, previous: str, event: Mapping[str, Any]) -> tuple[str, str]:
    """The line of an event, and its hash."""
    text = json.dumps(event, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(f"{previous} {number} {text}".encode()).hexdigest()
    return f'{{"number":{number},"previous":"{previous}","event":{text},"hash":"{digest}"}}\n', digest


def files_of(directory: Path) -> list[Path]:
    return sorted(directory.glob("log-*.jsonl"))


def _first(file: Path) -> int:
    return int(file.stem.removeprefix("log-"))


def _go_behind(file: BinaryIO, number: int) -> None:
    """Go to a line that is at most a few before the one behind that number: a file has many thousands of them."""
    low, high = 0, file.seek(0, os.SEEK_END)  # a line that begins at low, or the first one, has to be passed by
    while high - low > _TAIL:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        found = _NUMBER.match(file.readline(_TAIL))
        if found and int(found[1]) <= number:
            low = middle
        else:
            high = middle
    file.seek(low)
    if low:
        file.readline()


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    if not file.exists():
        return
    with file.open("rb") as opened:
        for number, line in enumerate(opened, 1):
            try:
                yield dict(json.loads(line))
            except ValueError:
                raise ValueError(f"{file}:{number}: is no line of the log") from None


def _cut_torn_line(file: Path) -> None:
    """Take away what a crash left of a line."""
    with file.open("r+b") as opened:
        size = opened.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL)
        opened.seek(start)
        tail = opened.read()
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            opened.truncate(start + whole)
