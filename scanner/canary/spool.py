"""Letters on a canary's own disk until the daemon has them: 250 is said only when the file and its name are there.

A file for each letter, named by its id; one that was begun and not finished has a name that begins with a dot.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog
import trio

_NAME = re.compile(r"[0-9a-f]{18}")
_log = structlog.get_logger()


class Spool:
    """Holds at most so many letters; the oldest is handed over first. Made by open_spool()."""

    def __init__(self, folder: Path, most: int, names: Iterable[str]) -> None:
        self._came = trio.Event()
        self._folder = folder
        self._most = most
        self._names = dict.fromkeys(names)
        self._last: dict[str, None] = {}
        self._writing = 0
        self._trouble = ""

    def __len__(self) -> int:
        return len(self._names)

    async def keep(self, letter: str, signed: bytes) -> bool:
        """Whether it is on disk, where neither a kill nor a power cut takes it. What is there already is kept."""
        if letter in self._names:
            return True
        if len(self._names) + self._writing >= self._most:
            return self._failed(f"full: {self._most} letters wait for the daemon")
        self._writing += 1
        try:
            await trio.to_thread.run_sync(_write, self._folder, letter, signed)
        except OSError as error:
            return self._failed(f"{self._folder}: {error.strerror or error}")
        finally:
            self._writing -= 1
        self._names[letter] = None
        self._trouble = ""
        self._came.set()
        return True

    async def wait(self) -> None:
        """Until it holds a letter."""
        while not self._names:
            self._came = trio.Event()
            await self._came.wait()

    async def oldest(self, limit: int) -> list[tuple[str, float, bytes]]:
        """The letters that waited longest, of at most `limit` bytes together: id, moment it was kept, and the file."""
        names = [*(name for name in self._names if name not in self._last), *self._last]
        found, gone = await trio.to_thread.run_sync(_read, self._folder, names, limit)
        self._forget(gone)
        return found

    def put_last(self, letter: str) -> None:
        """It can't be handed over now, for a reason of its own: all others go first."""
        self._last.pop(letter, None)
        self._last[letter] = None

    async def drop(self, letters: Sequence[str]) -> None:
        """They need not be handed over any more. Where that is lost in a crash they are handed over again."""
        await trio.to_thread.run_sync(_remove, self._folder, letters)
        self._forget(letters)

    def _forget(self, letters: Sequence[str]) -> None:
        for letter in letters:
            self._names.pop(letter, None)
            self._last.pop(letter, None)

    def _failed(self, why: str) -> bool:
        """Said once for each trouble: a relay that comes again and again shall not fill the disk with it too."""
        if why != self._trouble:
            self._trouble = why
            _log.error("letter not kept", error=why)
        return False


def open_spool(folder: Path, most: int) -> Spool:
    """The spool in this directory, made where it is missing. OSError where that can't be."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sync(folder.parent)
    found = []
    for path in folder.iterdir():
        if path.name.startswith(".") and path.is_file():
            path.unlink()
        elif _NAME.fullmatch(path.name):
            found.append((path.stat().st_mtime_ns, path.name))
    return Spool(folder, most, (name for _, name in sorted(found)))


def _write(folder: Path, name: str, data: bytes) -> None:
    descriptor, draft = tempfile.mkstemp(dir=folder, prefix=".")  # O_EXCL, 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(draft).replace(folder / name)
    except BaseException:
        with suppress(OSError):
            Path(draft).unlink()
        raise
    _sync(folder)


def _read(folder: Path, names: Sequence[str], limit: int) -> tuple[list[tuple[str, float, bytes]], list[str]]:
    """What could be read, and what somebody took away by hand."""
    found: list[tuple[str, float, bytes]] = []
    gone = []
    for name in names:
        path = folder / name
        try:
            data, kept = path.read_bytes(), path.stat().st_mtime
        except FileNotFoundError:
            gone.append(name)
            continue
        except OSError as error:  # one bad block keeps no other letter here
            _log.error("letter not read", error=f"{path}: {error.strerror or error}")
            continue
        limit -= len(data) + 1
        if limit < 0 and found:
            break
        found.append((name, kept, data))
    return found, gone


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
