"""The master secret, which every other key is derived from, and the key file a stand-alone canary is given.

The newest key signs, all are accepted: a line more brings in a new key, a line less takes out an old one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scanner.proof import CANARY_ID, CanaryKey

_BYTES = 32
_SIZE_LIMIT = 65536  # bytes; 255 keys take less than 36,000


class SecretError(Exception):
    """A file of secrets that can't be used; one line that names it, what is wrong and what was expected."""


@dataclass(frozen=True, slots=True)
class MasterSecret:
    """What only the scanner holds. keys: 32 bytes by number, 1 to 255; at least one; no repr shows them."""

    keys: Mapping[int, bytes] = field(repr=False)

    def canary_keys(self, canary: str) -> dict[int, CanaryKey]:
        """One canary's keys by number; ValueError where its id is none."""
        return {number: CanaryKey.from_master(key, canary, number) for number, key in self.keys.items()}


def newest(keys: Mapping[int, CanaryKey]) -> CanaryKey:
    """The key for new challenges."""
    return keys[max(keys)]


def open_secret(path: Path) -> MasterSecret:
    """The master secret in `path`, made on first use. Raises SecretError.

    Lines `NUMBER HEX64`. The file appears whole or not at all, and of two processes that make it one wins.
    """
    if not _exists(path):
        write_whole(path, f"1 {secrets.token_hex(_BYTES)}\n", replace=False)
    keys: dict[int, bytes] = {}
    for where, words in _lines(path):
        if len(words) != 2:
            raise SecretError(f"{where}: expected NUMBER HEX64")
        _add(keys, where, *words)
    if not keys:
        raise SecretError(f"{path}: holds no key; expected lines NUMBER HEX64")
    return MasterSecret(keys)


def export_canary_keys(path: Path, keys: Mapping[int, CanaryKey]) -> None:
    """Write one canary's keys for a host of its own, in place of what was there. Raises SecretError.

    Lines `CANARY-ID NUMBER HEX64`.
    """
    lines = (f"{key.canary} {number} {key.secret.hex()}\n" for number, key in sorted(keys.items()))
    write_whole(path, "".join(lines), replace=True)


def load_canary_keys(path: Path) -> dict[int, CanaryKey]:
    """What export_canary_keys wrote: the keys of one canary, by number. Raises SecretError."""
    canary = ""
    keys: dict[int, bytes] = {}
    for where, words in _lines(path):
        if len(words) != 3 or not CANARY_ID.fullmatch(words[0]):
            raise SecretError(f"{where}: expected CANARY-ID NUMBER HEX64")
        canary = canary or words[0]
        if words[0] != canary:
            raise SecretError(f"{where}: a key of {words[0]!r}; expected keys of one canary only, {canary!r}")
        _add(keys, where, *words[1:])
    if not keys:
        raise SecretError(f"{path}: holds no key; expected lines CANARY-ID NUMBER HEX64")
    return {number: CanaryKey(canary, number, key) for number, key in keys.items()}


def _add(keys: dict[int, bytes], where: str, number: str, digits: str) -> None:
    """Take up one key. What a message quotes is never the key."""
    if not (number.isascii() and number.isdigit() and len(number) <= 3 and 1 <= int(number) <= 255):
        raise SecretError(f"{where}: expected a key number from 1 to 255")
    if int(number) in keys:
        raise SecretError(f"{where}: key {int(number)} is there twice")
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(key) != _BYTES:
        raise SecretError(f"{where}: expected a key of {2 * _BYTES} hexadecimal digits")
    keys[int(number)] = key


def _exists(path: Path) -> bool:
    with _one_line(path):
        try:
            path.stat()
        except FileNotFoundError:
            return False
        return True


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Where and what: the words of each line that has any; `#` begins a comment."""
    with _one_line(path), open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SecretError(f"{path}: expected a regular file")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            raise SecretError(f"{path}: open to others (mode {mode}); expected 0600: chmod 600 {path}")
        text = file.read(_SIZE_LIMIT).decode("ascii", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            yield f"{path}, line {number}", words


def _without_waiting(path: str, flags: int) -> int:
    """Open it; a FIFO that nobody writes to would keep us for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def write_whole(path: Path, text: str, *, replace: bool) -> None:
    """The whole file or none, mode 0600, on disk when this returns. Raises SecretError.

    Not `replace`: a file that came meanwhile stays.
    """
    with _one_line(path):
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # O_EXCL, 0600
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            if replace:
                Path(draft).replace(path)
            else:
                with contextlib.suppress(FileExistsError):
                    os.link(draft, path)
        finally:
            Path(draft).unlink(missing_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror or error}") from None
