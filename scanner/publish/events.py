"""Events as JSON lines: the public shape of an event, and a file or standard output that carries them.

The file is its own cursor: after a restart writing goes on behind its last whole line, so that no event is missing
and none stands twice. NAME.cursor beside it says the same, for when the file was moved away.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import trio

from scanner.model import Event

_BATCH = 2000  # events to a write and its fsync
_TAIL = 65536  # bytes read to find the last line; a line is under 2 KB


def iso(moment: float | None) -> str | None:
    """A moment as people and programs read it: 2026-11-22T10:00:00Z."""
    return None if moment is None else _iso(int(moment))


@lru_cache(4096)
def _iso(seconds: int) -> str:
    """What happens within a second is many events, and this half of their cost."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def public(event: Event) -> dict[str, Any]:
    """The one public shape of an event. There is no port in it."""
    listing = event.listing
    return {
        "cursor": event.cursor,
        "id": event.id,
        "at": iso(event.at),
        "kind": str(event.kind),
        "list": listing.list,
        "address": listing.address,
        "type": listing.type,
        "criterion": listing.criterion,
        "reason": event.reason or listing.reason,
        "detector": listing.detector,
        "vantage": listing.vantage,
        "first_listed": iso(listing.first_listed),
        "last_confirmed": iso(listing.last_confirmed),
        "expires": iso(listing.expires),
        "entry": listing.entry,
        "exits": list(listing.exits),
        "visit": listing.visit,
    }


class Source(Protocol):
    """What a publisher needs of the store."""

    async def events(self, after: str | None, limit: int) -> Sequence[Event]: ...


class EventLines:
    """Appends events to a file, or writes them to standard output (`-`), where nothing is resumed."""

    def __init__(self, path: str, *, rotate: int = 0, keep: int = 8) -> None:
        """rotate: bytes after which the file is renamed to PATH.1 and begun anew; keep: how many such there are."""
        self._rotate = rotate
        self._keep = keep
        self.cursor: str | None = None
        self._path = None if path == "-" else Path(path)
        self._resumed = self._path is None
        self._turn = trio.Lock()  # two writers at once would write the same events

    async def write_new(self, source: Source) -> int:
        """Write what has happened since the last time; how many events that was.

        OSError and ValueError: the file can't be written or is none of ours. Nothing is lost by trying again.
        """
        written = 0
        async with self._turn:
            if self._path is not None and not self._resumed:
                self.cursor = await trio.to_thread.run_sync(self._begin, self._path)
                self._resumed = True
            while events := await source.events(self.cursor, _BATCH):
                lines = "".join(json.dumps(public(event)) + "\n" for event in events)
                self._resumed = self._path is None  # a write that fails midway leaves a torn line
                await trio.to_thread.run_sync(self._append, lines, events[-1].cursor)
                self._resumed = True
                self.cursor = events[-1].cursor
                written += len(events)
            if written and self._path is not None:
                await trio.to_thread.run_sync(self._note, self._path, self.cursor)
        return written

    def _begin(self, path: Path) -> str | None:
        """Behind what to go on: the last line; where somebody moved the file away, the note beside it."""
        last = resume(path)
        if last is None and (note := _beside(path)).exists():
            last = note.read_text("utf-8").strip() or None
        if last is None and self._rotate:
            last = resume(_numbered(path, 1))
        return last

    def _note(self, path: Path, cursor: str | None) -> None:
        note = _beside(path)
        fresh = note.with_name(f"{note.name}.new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(f"{cursor}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(note)

    def _append(self, lines: str, cursor: str) -> None:
        if self._path is None:
            sys.stdout.write(lines)
            sys.stdout.flush()
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
            full = self._rotate and file.tell() >= self._rotate
        if full:
            self._note(self._path, cursor)
            for number in range(self._keep - 1, 0, -1):
                if (older := _numbered(self._path, number)).exists():
                    older.replace(_numbered(self._path, number + 1))
            self._path.replace(_numbered(self._path, 1))


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.cursor")


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def resume(path: Path) -> str | None:
    """The cursor of the last whole line; a line that a crash cut short is taken away."""
    if not path.exists():
        return None
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL)
        file.seek(start)
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            file.truncate(start + whole)
        lines = tail[:whole].splitlines()
    if not lines:
        return None
    try:
        return str(json.loads(lines[-1])["cursor"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: its last line is no event; move the file away to begin a new one") from None
