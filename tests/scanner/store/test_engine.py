from __future__ import annotations

import os
import resource
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from subprocess import run
from threading import Event, get_ident

import pytest
import trio
import trio.testing

from scanner.store import NominationIn, Store, StoreError, database_path, open_store
from scanner.store.engine import BATCH
from tests.scanner.store.make import AT, ENTRY, address, lists, record


async def test_accepted_means_on_disk(store: Store) -> None:
    """synchronous=FULL (2): the WAL is synced before a commit returns."""
    settings = ["synchronous", "journal_mode", "foreign_keys"]
    found = [store._writer._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in settings]
    assert found == [2, "wal", 1]


@asynccontextmanager
async def held_up(store: Store) -> AsyncIterator[None]:
    """The writer works on one job alone, and what is queued meanwhile waits for the end of this."""
    began, hold = Event(), Event()

    def work(_: sqlite3.Connection) -> None:
        began.set()
        hold.wait(30)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store._writer.run, work)
        assert await trio.to_thread.run_sync(began.wait, 30)
        try:
            yield
        finally:
            hold.set()


async def test_what_waits_together_is_committed_together(store: Store) -> None:
    before = store.commits

    async def one(number: int) -> None:
        await store.nominate([NominationIn(address(number), b"x")], AT)

    async with trio.open_nursery() as nursery, held_up(store):
        for number in range(BATCH + 1):
            nursery.start_soon(one, number)
        await trio.testing.wait_all_tasks_blocked()
    assert (await store.figures(AT))["nominations"] == BATCH + 1
    assert store.commits - before == 3, "what held it up, as many as fit, and the rest"


async def test_one_job_that_fails_fails_alone(store: Store) -> None:
    """In one transaction with others: the writer is held up until all of them are queued."""
    results: dict[int, object] = {}
    before = store.commits

    async def one(number: int) -> None:
        def work(connection: sqlite3.Connection) -> int:
            connection.execute("INSERT INTO status (name, value, at) VALUES (?, '{}', 0)", (f"n{number}",))
            if number == 3:
                raise KeyError(number)
            if number == 4:
                connection.execute("INSERT INTO nowhere VALUES (1)")
            return number

        try:
            results[number] = await store._writer.run(work)
        except (KeyError, StoreError) as error:
            results[number] = error

    async with trio.open_nursery() as nursery, held_up(store):
        for number in range(8):
            nursery.start_soon(one, number)
        await trio.testing.wait_all_tasks_blocked()
    assert store.commits == before + 2
    assert sorted(await store.status()) == [f"n{n}" for n in (0, 1, 2, 5, 6, 7)]
    assert isinstance(results[3], KeyError)
    assert "no such table: nowhere" in str(results[4])
    assert results[7] == 7


async def test_cancelled_in_mid_write_is_still_whole(store: Store) -> None:
    """Once queued a job is carried through, and its result is not lost."""
    got: list[object] = []

    async def conclude(scope: trio.CancelScope) -> None:
        with scope:
            got.append(await store.conclude(record(), lists(), lease=None))

    async with trio.open_nursery() as nursery, held_up(store):
        scope = trio.CancelScope()
        nursery.start_soon(conclude, scope)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
    assert got == [tuple(await store.events())]
    assert len(await store.visits(ENTRY)) == 1


async def test_cancelled_before_it_is_queued_does_nothing(store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.conclude(record(), lists(), lease=None)
    assert scope.cancelled_caught
    assert await store.events() == []


async def test_random_cancellations_leave_whole_visits(store: Store) -> None:
    async def one(number: int) -> None:
        with trio.move_on_after(number * 0.0004):
            at = address(number)
            await store.conclude(record(lists(at=at).decision.next_target), lists(at=at), lease=None)

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(one, number)
    figures = await store.figures(AT + 20)
    assert figures["listings"] == figures["events"] == figures["visits.day"] == figures["targets"]


async def test_a_full_disk_is_one_line_and_loses_nothing(store: Store) -> None:
    kept = await store.nominate([NominationIn(address(n), os.urandom(3000)) for n in range(20)], AT)
    pages = store._writer._connection.execute("PRAGMA page_count").fetchone()[0]
    store._writer._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    errors, accepted = [], []

    async def one(number: int) -> None:
        try:
            accepted.extend(await store.nominate([NominationIn(address(number), os.urandom(3000))], AT))
        except StoreError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for number in range(100, 140):
            nursery.start_soon(one, number)
    assert errors
    assert {str(error) for error in errors} == {f"store {store.path}: the disk is full (SQLITE_FULL)"}
    assert len(set(map(id, errors))) == len(errors)
    found = {item.id for item in await store.nominations(limit=1000)}
    assert found == {item.id for item in [*kept, *accepted]}

    store._writer._connection.execute("PRAGMA max_page_count = 1000000")
    again = await store.nominate([NominationIn(address(200), os.urandom(3000))], AT)
    assert again[0].id in {item.id for item in await store.nominations(limit=1000)}


_FILE_LIMIT = """
import sys, trio, os, signal, resource
from scanner.store import open_store, NominationIn, StoreError
from ipaddress import ip_address
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    accepted = []
    async with open_store(sys.argv[1]) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (800_000, 800_000))
        for n in range(1000):
            try:
                accepted += await store.nominate([NominationIn(ip_address(n), os.urandom(5000))], 0)
            except StoreError as error:
                print(error)
                break
    print(*(item.id for item in accepted))
trio.run(main)
"""


def test_a_write_that_fails_loses_nothing_that_was_accepted(url: str) -> None:
    """The kernel refuses to let the file grow, in the middle of a real write."""
    child = run([sys.executable, "-c", _FILE_LIMIT, url], capture_output=True, text=True, check=False, timeout=60)
    error, accepted = child.stdout.splitlines()
    assert error.startswith(f"store {database_path(url)}: ")
    assert child.returncode == 0, child.stderr

    async def check() -> None:
        async with open_store(url) as store:
            assert await store.verify() == []
            assert {item.id for item in await store.nominations(limit=10_000)} == set(accepted.split())
            assert len(accepted.split()) > 5

    trio.run(check)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


async def test_a_damaged_file_is_one_line(url: str) -> None:
    path = database_path(url)
    path.write_bytes(b"this is not a database, whatever its name says. " * 100)
    with pytest.raises(StoreError, match=r"^store .*store\.db: the file is not an SQLite database \(SQLITE_NOTADB\)$"):
        async with open_store(url):
            pass
    path.unlink()
    async with open_store(url) as store:
        await store.nominate([NominationIn(address(n), os.urandom(900)) for n in range(500)], AT)
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))
    with pytest.raises(StoreError, match=r"^store .*store\.db: the file is damaged: restore a backup \(SQLITE_CORRUPT"):
        async with open_store(url):
            pass
    path.write_bytes(whole[: len(whole) // 4 * 3] + os.urandom(len(whole) // 4))
    with trio.fail_after(30):
        async with open_store(url) as store:
            found = await store.verify()
    assert found
    assert all(line.startswith("damaged: ") for line in found)


async def test_readers_do_not_write(store: Store) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        await store._readers.run(lambda connection: connection.execute("DELETE FROM events"))


async def test_readers_see_one_moment(store: Store) -> None:
    """A reader's second statement sees what its first saw, whatever is committed between them."""
    token = trio.lowlevel.current_trio_token()

    def read(connection: sqlite3.Connection) -> tuple[int, int]:
        (first,) = connection.execute("SELECT count(*) FROM nominations").fetchone()
        trio.from_thread.run(store.nominate, [NominationIn(ENTRY, b"x")], AT, trio_token=token)
        (second,) = connection.execute("SELECT count(*) FROM nominations").fetchone()
        return first, second

    assert await store._readers.run(read) == (0, 0)
    assert len(await store.nominations()) == 1


async def test_a_writer_elsewhere_that_does_not_end(store: Store) -> None:
    """Another process holds the database: one line, and the next try succeeds."""
    other = sqlite3.connect(store.path, isolation_level=None)
    store._writer._connection.execute("PRAGMA busy_timeout = 100")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process kept it locked"):
        await store.nominate([NominationIn(ENTRY, b"x")], AT)
    assert await store.nominations() == []  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    assert len(await store.nominate([NominationIn(ENTRY, b"x")], AT)) == 1


async def test_what_is_read_at_once_is_read_by_a_thread_where_that_fails(store: Store) -> None:
    def asked(connection: sqlite3.Connection) -> tuple[int, int]:
        return connection.execute("SELECT 7").fetchone()[0], get_ident()

    readers = store._readers
    assert await readers.at_once(asked) == (7, get_ident())
    assert not readers._here.in_transaction
    readers._here.close()
    value, thread = await readers.at_once(asked)
    assert (value, thread == get_ident()) == (7, False)
    with pytest.raises(StoreError, match="no such table"):
        await readers.at_once(lambda connection: connection.execute("SELECT * FROM nowhere"))
