"""SQLite under Trio: one writer thread that commits in groups, a few readers, and errors as one clear line.

Trio tasks hand functions of a connection to the writer. What is queued together is committed together: one
fsync serves all of them, and each task goes on only when its own work is on disk.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar, cast

import outcome
import trio

from scanner.store.types import StoreError

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

BUSY_SECONDS = 10.0  # how long to wait for another process that writes
BATCH = 500  # jobs in one transaction, at most: bounds how long the first of them waits
READERS = 3

_MEANINGS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_BUSY": f"another process kept it locked for more than {BUSY_SECONDS:.0f} s",
    "SQLITE_LOCKED": "it is locked",
    "SQLITE_READONLY": "it cannot be written: check the owner and the mode of the file and its directory",
    "SQLITE_CANTOPEN": "it cannot be opened: check that the directory is there and may be written",
    "SQLITE_PERM": "permission denied",
    "SQLITE_CORRUPT": "the file is damaged: restore a backup",
    "SQLITE_NOTADB": "the file is not an SQLite database",
    "SQLITE_IOERR": "reading or writing failed",
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """What sqlite3 raises becomes StoreError, in words for the operator."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(path, error) from error
    except StoreError as error:
        if str(path) in str(error):
            raise
        raise StoreError(f"store {path}: {error}") from error.__cause__
    except Exception as error:
        original = getattr(error, "orig", None)  # SQLAlchemy's wrapper, during a migration
        if isinstance(original, sqlite3.Error):
            raise store_error(path, original) from error
        raise


def store_error(path: Path, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorname", None) or ""
    meaning = next((words for name, words in _MEANINGS.items() if code.startswith(name)), "")
    return StoreError(f"store {path}: {meaning} ({code})" if meaning else f"store {path}: {error}")


def connect(path: Path) -> sqlite3.Connection:
    """A connection that leaves transactions to us. Accepted means on disk: synchronous=FULL."""
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # KiB, of each of five connections. With 32 MB a daemon of a million targets takes 313 MB instead of 132
        # (benchmarks/scale.py); the kernel keeps the file's pages anyway.
        connection.execute("PRAGMA cache_size=-8000")
        connection.execute("PRAGMA journal_size_limit=67108864")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """The change to WAL does not wait for other processes by itself, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            if mode != "wal":
                raise StoreError(f"the file system does not let SQLite use WAL (journal mode {mode})")
            return


@dataclass(eq=False, slots=True)
class _Waiting:
    work: Job[Any]
    task: trio.lowlevel.Task
    result: outcome.Outcome[Any]


class Writer:
    """The one thread that writes. Made and closed by open_store."""

    def __init__(self, path: Path) -> None:
        self.commits = 0
        self._path = path
        self._connection = connect(path)
        self._token = trio.lowlevel.current_trio_token()
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._closed = False
        self._thread = Thread(target=self._serve, name="store writer", daemon=True)
        self._thread.start()

    async def run(self, work: Job[T]) -> T:
        """Run `work` in a transaction; returns when it is on disk.

        Once queued it is carried through: a cancellation in the meantime waits for the next checkpoint, so
        that Cancelled always means that nothing was done. Where `work` raises, only its own changes are undone.
        """
        if self._closed:
            raise StoreError(f"store {self._path}: closed")
        await trio.lowlevel.checkpoint_if_cancelled()
        waiting = _Waiting(work, trio.lowlevel.current_task(), _UNDONE)
        self._queue.put(waiting)
        return cast("T", await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED))

    def close(self) -> None:
        """Finish what is queued, then close. Blocks: for a thread."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = [first], False
            while len(batch) < BATCH and not last:
                try:
                    waiting = self._queue.get_nowait()
                except Empty:
                    break
                if waiting is None:
                    last = True
                else:
                    batch.append(waiting)
            self._commit(batch)
            try:
                self._token.run_sync_soon(_wake, batch)
            except trio.RunFinishedError:  # nobody is left to be told
                return
            if last:
                return

    def _commit(self, batch: list[_Waiting]) -> None:
        """All of a batch in one transaction, each job in a savepoint of its own."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for waiting in batch:
                waiting.result = self._attempt(waiting.work)
            connection.execute("COMMIT")
            self.commits += 1
        except BaseException as error:  # noqa: BLE001 - whatever it is, the waiting tasks must hear of it
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = store_error(self._path, error) if isinstance(error, sqlite3.Error) else error
            for waiting in batch:
                waiting.result = outcome.Error(_copy(failure))

    def _attempt(self, work: Job[Any]) -> outcome.Outcome[Any]:
        connection = self._connection
        connection.execute("SAVEPOINT job")
        try:
            result: outcome.Outcome[Any] = outcome.Value(work(connection))
        except BaseException as error:
            if not connection.in_transaction:  # SQLite gave up the whole of it: a full disk, a failing one
                raise
            connection.execute("ROLLBACK TO job")
            failure = store_error(self._path, error) if isinstance(error, sqlite3.Error) else error
            result = outcome.Error(failure)
        connection.execute("RELEASE job")
        return result


_UNDONE: outcome.Outcome[Any] = outcome.Error(RuntimeError("the writer did not get to it"))


def _copy(error: BaseException) -> BaseException:
    """An exception of its own for each task that waits: tracebacks grow on shared ones."""
    return StoreError(*error.args) if isinstance(error, StoreError) else error


def _wake(batch: list[_Waiting]) -> None:
    for waiting in batch:
        trio.lowlevel.reschedule(waiting.task, waiting.result)


class Readers:
    """A few connections that only read, each used by one thread at a time, and one for the loop's own thread."""

    def __init__(self, path: Path, count: int = READERS) -> None:
        self._path = path
        self._limiter = trio.CapacityLimiter(count)
        self._idle: deque[sqlite3.Connection] = deque()
        for _ in range(count):
            self._idle.append(self._connect())
        self._here = self._connect()
        self._here.execute("PRAGMA busy_timeout=0")

    async def run(self, work: Job[T]) -> T:
        """Run `work` on one snapshot of the database, in a thread."""
        return await trio.to_thread.run_sync(self._read, work, limiter=self._limiter)

    async def at_once(self, work: Job[T]) -> T:
        """The same without a thread, for a few look-ups by key and nothing more: others wait meanwhile.

        They cost 40 to 200 µs. The way to a thread and back costs 150, and while the loop is busy every statement
        there waits up to 5 ms for the interpreter's lock. Readers never wait for a writer in WAL mode; where the
        database is locked all the same (it is being recovered) it is a thread that waits.
        """
        try:
            return _on_snapshot(self._here, work)
        except sqlite3.Error:
            return await self.run(work)

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self._path)
        connection.execute("PRAGMA query_only=ON")
        return connection

    def _read(self, work: Job[T]) -> T:
        connection = self._idle.popleft()
        try:
            with translated(self._path):
                return _on_snapshot(connection, work)
        finally:
            self._idle.append(connection)

    def close(self) -> None:
        self._here.close()
        while self._idle:
            self._idle.popleft().close()


def _on_snapshot(connection: sqlite3.Connection, work: Job[T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        connection.execute("ROLLBACK")
