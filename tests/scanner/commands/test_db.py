"""db: the store's upkeep."""

import json
import sqlite3
import stat
import time

import pytest

from tests.scanner.store import make


def test_upgrade_makes_a_store_that_nobody_else_reads(proxywarden, home):
    ended = proxywarden("db", "upgrade")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("(was none)\n")
    file = home / "data" / "proxywarden.sqlite"
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "was" not in proxywarden("db", "upgrade").out


def test_other_commands_do_not_migrate(proxywarden, home):
    """A daemon of the older version may be at work in it."""
    assert proxywarden("db", "upgrade").code == 0
    with sqlite3.connect(home / "data" / "proxywarden.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    for words in (["status"], ["nominate", "8.8.8.1"], ["db", "verify"]):
        ended = proxywarden(*words)
        assert (ended.code, ended.out) == (74, "")
        assert "run `proxywarden db upgrade`" in ended.said[0]


def test_verify(proxywarden, home):
    assert proxywarden("listing", "add", "8.8.8.1", "--reason", "x").code == 0
    ended = proxywarden("db", "verify")
    assert (ended.code, ended.out, ended.err) == (0, "events (1) and listings (1) agree\n", "")
    with sqlite3.connect(home / "data" / "proxywarden.sqlite") as connection:
        connection.execute("DELETE FROM listings")
    connection.close()
    ended = proxywarden("db", "verify")
    assert (ended.code, ended.err) == (1, "")
    assert ended.lines == ["listing rbl/8.8.8.1/manual is missing: its last event says that it stands"]


def test_purge(proxywarden, given):
    now = time.time()
    records = [make.record(make.target(), ended=now - days * make.DAY, pieces=make.evidence()) for days in (10, 100)]

    async def work(store):
        for record in records:
            await store.conclude(record, make.Decide(), lease=None)

    given(work)
    assert json.loads(proxywarden("db", "purge", "--json").out)["visits"] == 1
    assert "deleted" in proxywarden("db", "purge").out
    assert json.loads(proxywarden("db", "purge", "--older-than", "5", "--json").out)["visits"] == 1
    assert given(lambda store: store.visits(make.ENTRY)) == []


@pytest.mark.parametrize("days", ["0", "0.5", "-3", "nan", "x"])
def test_purge_said_wrongly(proxywarden, days):
    ended = proxywarden("db", "purge", "--older-than", days)
    assert (ended.code, ended.out, len(ended.said)) == (2, "", 1)
