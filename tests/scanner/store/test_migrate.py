from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from scanner.store import StoreError, database_path, migrate, open_store
from scanner.store.engine import connect
from scanner.store.schema import metadata

ROOT = Path(__file__).parents[3]


def schema_of(path: Path) -> dict[str, str]:
    with closing(connect(path)) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
            " AND tbl_name <> 'alembic_version'"
        )
        return {name: " ".join(sql.split()) for name, sql in rows}


def test_migrated_from_empty_is_the_metadata(tmp_path: Path) -> None:
    """To the letter of the DDL, which sees what Alembic's comparison passes over."""
    migrated, created = tmp_path / "migrated.db", tmp_path / "created.db"
    assert migrate.upgrade(migrated) is True
    assert migrate.upgrade(migrated) is False
    engine = migrate.sqlite_engine(created)
    metadata.create_all(engine)
    assert schema_of(migrated) == schema_of(created)
    with migrate.sqlite_engine(migrated).begin() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []


def test_the_newest_version_is_the_one_that_is_required() -> None:
    script = ScriptDirectory.from_config(migrate.alembic_config(None))
    assert script.get_current_head() == migrate.REVISION


def test_every_table_and_index_compiles_for_postgresql() -> None:
    dialect = postgresql.dialect()
    for table in metadata.sorted_tables:
        text = str(CreateTable(table).compile(dialect=dialect))
        assert "ROWID" not in text
        assert "DATETIME" not in text
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))
    events = str(CreateTable(metadata.tables["events"]).compile(dialect=dialect))
    assert "seq BIGSERIAL NOT NULL" in events
    targets = str(CreateTable(metadata.tables["targets"]).compile(dialect=dialect))
    assert "GENERATED ALWAYS AS (coalesce(taken_until, due)) STORED" in targets
    partial = [str(CreateIndex(i).compile(dialect=dialect)) for i in metadata.tables["removals"].indexes if i.unique]
    assert partial == ["CREATE UNIQUE INDEX uq_removals_running ON removals (target) WHERE running"]


async def test_an_older_or_newer_schema_is_one_line(url: str) -> None:
    async with open_store(url):
        pass
    async with open_store(url, migrate=False):
        pass
    with closing(connect(database_path(url))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="written by another version of this program"):
        async with open_store(url):
            pass
    with pytest.raises(StoreError, match=r"schema is at 9999, this program needs .*: run `proxywarden db upgrade`"):
        async with open_store(url, migrate=False):
            pass
    database_path(url).unlink()
    database_path(url).touch()
    with pytest.raises(StoreError, match="schema is at nothing"):
        async with open_store(url, migrate=False):
            pass


def test_migration_is_quiet_and_leaves_logging_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    disabled = {name for name, item in logging.root.manager.loggerDict.items() if getattr(item, "disabled", False)}
    migrate.upgrade(tmp_path / "store.db")
    assert (list(logging.getLogger().handlers), logging.getLogger().level) == (handlers, level)
    assert disabled == {
        name for name, item in logging.root.manager.loggerDict.items() if getattr(item, "disabled", False)
    }
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_current_store_opens_without_sqlalchemy(url: str) -> None:
    """SQLAlchemy and Alembic take 0.4 s to import: `lookup` should not pay for them."""

    async def make() -> None:
        async with open_store(url):
            pass

    trio.run(make)
    code = (
        "import sys, trio\nfrom scanner.store import open_store\n"
        f"async def main():\n    async with open_store({url!r}) as store: await store.listings()\n"
        "trio.run(main)\nassert not {'sqlalchemy', 'alembic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


def test_migrations_travel_with_the_package(tmp_path: Path) -> None:
    """From a copy such as a wheel makes, in a directory with a percent sign, from another working directory."""
    site = tmp_path / "100% site"
    shutil.copytree(ROOT / "scanner", site / "scanner", ignore=shutil.ignore_patterns("__pycache__", "*.mako"))
    code = (
        "import sys, pathlib\nfrom scanner.store import migrate\n"
        "assert '100% site' in migrate.__file__\nmigrate.upgrade(pathlib.Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    path = tmp_path / "store.db"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=tmp_path, env=environment, timeout=60)
    assert migrate.revision_of(path) == migrate.REVISION


def test_processes_that_migrate_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    code = "import sys, pathlib\nfrom scanner.store import migrate\nmigrate.upgrade(pathlib.Path(sys.argv[1]))"
    children = [subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT) for _ in range(4)]
    assert [child.wait(60) for child in children] == [0, 0, 0, 0]
    assert migrate.revision_of(path) == migrate.REVISION
