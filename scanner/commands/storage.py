"""How a command opens the store, beside a daemon that may be at work in it."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from scanner.commands import Refusal, settings
from scanner.store import Store, database_path, open_store

NOBODY = "no daemon is running: {} when one does; start it with `proxywarden run` or `systemctl start proxywarden`"
HEARTBEAT = 10.0  # seconds: a daemon that was not seen for longer is not running


@asynccontextmanager
async def opened(*, create: bool = False) -> AsyncIterator[Store]:
    """The configured store. Only `create` makes one that is not there, and none is migrated beside a daemon."""
    config = settings()
    path = database_path(config.store_url)
    missing = not there(path)
    if missing and not create:
        raise Refusal(f"store {path}: not there yet; `proxywarden run` makes it, or `proxywarden db upgrade`")
    if missing and path.parent == config.data_dir:
        try:
            config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise Refusal(f"data_dir {config.data_dir}: a file: expected a directory", 74) from None
        except OSError as error:
            raise Refusal(f"data_dir {config.data_dir}: {error.strerror}", 74) from None  # EX_IOERR
    async with open_store(config.store_url, migrate=missing) as store:
        yield store


def there(path: Path) -> bool:
    """Whether the store's file is there; Refusal where this user may not know."""
    try:
        return path.exists()
    except PermissionError:
        raise Refusal(f"store {path}: Permission denied: run this as root, or as the daemon's user", 74) from None


def alive(status: Mapping[str, tuple[dict[str, Any], float]], now: float | None = None) -> bool:
    """Whether the heartbeat in store.status() is that of a daemon that runs."""
    value, at = status.get("daemon", ({}, 0.0))
    return bool(value.get("running")) and (time.time() if now is None else now) - at <= HEARTBEAT


def person() -> str:
    """Who gives the command, for the record."""
    name = os.environ.get("SUDO_USER")
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = str(os.getuid())
    return f"operator:{name}"
