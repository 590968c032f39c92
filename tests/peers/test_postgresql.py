"""The schema on a real PostgreSQL: the migrations run there, and come to what the metadata says."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from scanner.store import migrate
from scanner.store.schema import metadata
from tests.peers.programs import AS_ROOT, NOBODY, REQUIRED, environment, needed

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def server():
    """Its URL. It listens on a socket in its own folder alone, and PostgreSQL does not run as root."""
    if not REQUIRED:
        pytest.importorskip("psycopg", reason="psycopg is not installed")
    initdb, postgres = needed("initdb"), needed("postgres")
    with tempfile.TemporaryDirectory(prefix="peers-") as made:
        folder = Path(made)
        if AS_ROOT:
            os.chown(folder, NOBODY, NOBODY)
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if AS_ROOT else {}
        more = {**who, "env": environment(), "cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        words = ("--username", "peers", "--auth", "trust", "--encoding", "UTF8", "--no-sync", "-D", folder / "data")
        begun = subprocess.run([initdb, *words], check=False, text=True, **more)
        assert begun.returncode == 0, begun.stdout
        options = ("-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off")
        process = subprocess.Popen([postgres, *options], text=True, **more)
        try:
            for line in process.stdout:
                if "ready to accept connections" in line:
                    break
            else:
                pytest.fail("PostgreSQL does not start")
            yield f"postgresql+psycopg://peers@/postgres?host={folder}"
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture
def connection(server):
    """To a database of the test's own."""
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as one:
        one.execute(sa.text("CREATE DATABASE ours"))
    engine = sa.create_engine(server.replace("/postgres?", "/ours?"), poolclass=sa.NullPool)
    try:
        with engine.connect() as one:
            yield one
    finally:
        with admin.connect() as one:
            one.execute(sa.text("DROP DATABASE ours WITH (FORCE)"))


def migrated(connection, revision):
    """The work of migrate.upgrade(), which is SQLite's."""
    with connection.begin():
        command.upgrade(migrate.alembic_config(connection), revision)


def test_the_metadata_can_be_created(connection):
    with connection.begin():
        metadata.create_all(connection)
    with connection.begin():
        assert set(sa.inspect(connection).get_table_names()) == set(metadata.tables)


def test_the_migrations_come_to_the_metadata(connection):
    for number in range(1, int(migrate.REVISION) + 1):
        migrated(connection, f"{number:04}")
    with connection.begin():
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == migrate.REVISION
        assert compare_metadata(context, metadata) == []


def test_a_watch_survives_the_migration_that_gives_each_list_its_own(connection):
    migrated(connection, "0002")
    with connection.begin():
        connection.execute(sa.text("INSERT INTO watches VALUES ('192.0.2.1', 'ops', 1.5, '{}')"))
    migrated(connection, migrate.REVISION)
    with connection.begin():
        rows = connection.execute(sa.text("SELECT address, list, next_visit, body FROM watches")).fetchall()
        assert rows == [("192.0.2.1", "ops", 1.5, "{}")]
        connection.execute(sa.text("INSERT INTO watches VALUES ('192.0.2.1', 'rss', 2.5, '{}')"))


def test_partial_indexes_and_computed_columns_work(connection):
    migrated(connection, migrate.REVISION)
    running = sa.text(
        "INSERT INTO removals (id, address, target, requester, at, state, running)"
        " VALUES (:id, 'a', 'a', 'r', 0, 's', :running)"
    )
    with connection.begin():
        connection.execute(sa.text("INSERT INTO networks (id) VALUES ('192.0.2.0/24')"))
        connection.execute(
            sa.text(
                "INSERT INTO targets (address, network, reason, on_demand, due, pass_number)"
                " VALUES ('192.0.2.1', '192.0.2.0/24', 'rescan', false, 7.5, 1)"
            )
        )
        assert connection.execute(sa.text("SELECT ready_at FROM targets")).scalar() == 7.5
        for name, on in (("one", True), ("two", False), ("three", False)):
            connection.execute(running, {"id": name, "running": on})
        assert connection.execute(sa.text("SELECT control FROM removals WHERE id = 'one'")).scalar() is False
    with pytest.raises(sa.exc.IntegrityError), connection.begin():
        connection.execute(running, {"id": "four", "running": True})
