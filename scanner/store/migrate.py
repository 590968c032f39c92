"""Brings a database file to this program's schema; SQLAlchemy and Alembic are imported only when it must."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from scanner.store.engine import BUSY_SECONDS, connect, translated
from scanner.store.types import StoreError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.engine import Engine

REVISION = "0006"  # the newest file in migrations/versions


def revision_of(path: Path) -> str | None:
    """The schema version of a database file; None for an empty one."""
    with translated(path), closing(connect(path)) as connection:
        return _revision(connection)


def upgrade(path: Path) -> bool:
    """Migrate to REVISION; False where the file is there already. Two processes may do it at once."""
    if revision_of(path) == REVISION:
        return False
    from alembic import command
    from alembic.util import CommandError

    with translated(path):
        engine = sqlite_engine(path)
        try:
            with engine.begin() as connection:
                command.upgrade(alembic_config(connection), REVISION)
        except CommandError as error:
            raise StoreError(f"store {path}: written by another version of this program ({error})") from None
        finally:
            engine.dispose()
    return True


def require(path: Path) -> None:
    """StoreError unless the file has exactly this program's schema."""
    found = revision_of(path)
    if found != REVISION:
        raise StoreError(
            f"store {path}: schema is at {found or 'nothing'}, this program needs {REVISION}:"
            " run `proxywarden db upgrade`"
        )


def alembic_config(connection: object) -> Config:
    """Alembic's settings, from no file: it touches neither logging nor the working directory."""
    from alembic.config import Config

    config = Config()
    migrations = str(Path(__file__).with_name("migrations"))
    config.set_main_option("script_location", migrations.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def sqlite_engine(path: Path) -> Engine:
    """An engine whose transactions write from the start, so that a second migration waits its turn."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    engine = create_engine("sqlite://", creator=lambda: connect(path), poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def _begin(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]

    return engine


def _revision(connection: sqlite3.Connection) -> str | None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" not in tables:
        if tables:
            raise StoreError("is a database of something else")
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


__all__ = ["BUSY_SECONDS", "REVISION", "alembic_config", "require", "revision_of", "sqlite_engine", "upgrade"]
