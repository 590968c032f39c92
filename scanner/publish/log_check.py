"""Is a sealed log whole? Reads nothing but its files, so that anybody can ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanner.publish.log import CHECKPOINTS, START, files_of, sealed


@dataclass(frozen=True, slots=True)
class Found:
    """Lines first to last follow from one another, and the last has this hash. problem: why it is not more, a line."""

    first: int
    last: int
    hash: str
    problem: str = ""

    def __str__(self) -> str:
        extent = f"lines {self.first} to {self.last}" if self.last >= self.first else "no line"
        if self.problem:
            return f"{self.problem}; whole: {extent}"
        deleted = f"; lines 1 to {self.first - 1} were deleted behind a checkpoint" if self.first > 1 else ""
        return f"whole: {extent}, hash {self.hash}{deleted}"


def check(path: Path, trusted: str = "") -> Found:
    """Check a directory, or one file of it. trusted: a hash that somebody kept; a line must have it.

    OSError: it can't be read; ValueError: there is no log.
    """
    files = files_of(path) if path.is_dir() else [path]
    directory = path if path.is_dir() else path.parent
    if not files and not (directory / CHECKPOINTS).exists():
        raise ValueError(f"{path}: expected a file log-*.jsonl, or a directory of them")
    checkpoints, problem = _checkpoints(directory / CHECKPOINTS)
    chain = _Chain(checkpoints, trusted)
    if empty := [file.name for file in files[:-1] if not file.stat().st_size]:
        return chain.found(f"{empty[0]}: is empty")
    for where, line in _lines(files):
        if broken := chain.take(line):
            return chain.found(f"{where}: {broken}")
    last = max(checkpoints, default=0)
    if path.is_dir() and last > chain.number:
        problem = problem or f"ends with line {chain.number}, but there is a checkpoint of line {last}"
    if trusted and not chain.trusted_seen:
        problem = "no line has the trusted hash: it was rewritten, or does not go so far"
    return chain.found(problem)


class _Chain:
    """How far it is whole."""

    def __init__(self, checkpoints: dict[int, str], trusted: str) -> None:
        self.first = 1
        self.number = 0
        self.trusted_seen = False
        self._hash = START
        self._checkpoints = checkpoints
        self._trusted = trusted

    def found(self, problem: str) -> Found:
        return Found(self.first, self.number, self._hash, problem)

    def take(self, line: bytes) -> str:
        """The next line; what is wrong with it."""
        if not line.endswith(b"\n"):
            return "the last line was cut short, as a crash leaves it, or is just being written"
        try:
            item: dict[str, Any] = json.loads(line)
            number, previous, event = int(item["number"]), str(item["previous"]), dict(item["event"])
        except (ValueError, KeyError, TypeError):
            return "is no line of the log"
        if not self.number and number > 1 and (problem := self._begin(number, previous)):
            return problem
        if number > self.number + 1:
            missing = f"line {number - 1} is" if number == self.number + 2 else f"{self.number + 1} to {number - 1} are"
            return f"comes behind line {self.number}: {missing} missing"
        if number != self.number + 1 or previous != self._hash:
            return f"does not follow from line {self.number}"
        text, digest = sealed(number, previous, event)
        if line != text.encode():
            return "was changed: it does not fit its hash"
        if self._checkpoints.get(number, digest) != digest:
            return "is not what its checkpoint says: everything up to it was written anew"
        self.number, self._hash = number, digest
        self.trusted_seen = self.trusted_seen or digest == self._trusted
        return ""

    def _begin(self, number: int, previous: str) -> str:
        """Begin behind what was deleted, for which a checkpoint vouches, or the trusted hash, which may come later."""
        self.trusted_seen = previous == self._trusted
        if not self._trusted and self._checkpoints.get(number - 1) != previous:
            return f"begins with line {number}, and no checkpoint vouches for what was before"
        self.first, self.number, self._hash = number, number - 1, previous
        return ""


def _lines(files: list[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        with file.open("rb") as opened:
            for place, line in enumerate(opened, 1):
                yield f"{file.name}:{place}", line


def _checkpoints(file: Path) -> tuple[dict[int, str], str]:
    """Hashes by number, and what is wrong with the file."""
    found: dict[int, str] = {}
    for where, line in _lines([file] if file.exists() else []):
        try:
            item = json.loads(line)
            number, digest = int(item["number"]), str(item["hash"])
        except (ValueError, KeyError, TypeError):
            return found, f"{where}: is no checkpoint"
        if found.setdefault(number, digest) != digest:
            return found, f"{where}: another checkpoint of line {number} says another hash"
    return found, ""
