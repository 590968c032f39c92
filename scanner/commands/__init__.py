"""The commands, a file for each family; here is what they share: the configuration, refusals, and output."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scanner.model import Address
    from scanner.settings import Settings

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

config_file: ContextVar[Path | None] = ContextVar("config_file", default=None)


class Refusal(Exception):
    """Why a command does not do what it was told: one line that names what was wrong and what was expected."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


def settings() -> Settings:
    """The configuration that the command line named."""
    from scanner.config import load

    return load(config_file.get())


def address(text: str) -> Address:
    """An address as the command line gives it."""
    from scanner.model import parse_address

    try:
        return parse_address(text)
    except ValueError as error:
        raise Refusal(str(error)) from None


def print_json(value: dict[str, Any]) -> None:
    """One object, one line, on stdout, at once: a reader may wait for it."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line for people, on stderr; where nobody reads that any more, the work and its exit code go on without."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        drop(2)


def drop(stream: int) -> None:
    """What waits to be written there goes nowhere: the interpreter would try once more at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream)
    os.close(nowhere)


def full(error: BaseException) -> bool:
    """Whether there was no room for what was to be written."""
    return isinstance(error, OSError) and error.errno in _FULL


def translated(error: BaseException) -> Refusal | None:
    """The refusal that an error of a lower layer amounts to, or None where it is a bug."""
    from scanner.config import ConfigError
    from scanner.secret import SecretError

    if isinstance(error, ConfigError | SecretError):
        return Refusal(str(error))
    store = sys.modules.get("scanner.store")
    if store is not None and isinstance(error, store.StoreError):
        return Refusal(str(error), 74)  # EX_IOERR
    if isinstance(error, OSError) and full(error):
        return Refusal(f"{error.filename or 'output'}: {error.strerror}", 74)
    return None
