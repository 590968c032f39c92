from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from pathlib import Path
from subprocess import run

import pytest
import trio
import trio.testing

from scanner.store import NominationIn, StoreError, database_path, open_store
from tests.scanner.store.make import AT, address


def test_store_urls() -> None:
    assert database_path("sqlite:////var/lib/a b/store.db") == Path("/var/lib/a b/store.db")
    assert database_path("sqlite:///store.db") == Path("store.db")
    for wrong in ("postgresql://host/db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "store.db", "sqlite:///a?b"):
        with pytest.raises(ValueError, match=r"expected sqlite:///PATH"):
            database_path(wrong)


async def test_closed(url: str) -> None:
    async with open_store(url) as store:
        pass
    with pytest.raises(StoreError, match="closed"):
        await store.nominate([], AT)


async def test_what_is_queued_at_the_end_is_finished(url: str) -> None:
    async with trio.open_nursery() as nursery, open_store(url) as store:
        for number in range(50):
            nursery.start_soon(store.nominate, [NominationIn(address(number), b"x")], AT)
        await trio.testing.wait_all_tasks_blocked()
    async with open_store(url) as store:
        assert (await store.figures(AT))["nominations"] == 50


async def test_the_file_is_nobody_elses(url: str) -> None:
    async with open_store(url):
        assert stat.S_IMODE(database_path(url).stat().st_mode) == 0o600


async def test_a_second_one_in_this_process_drops_no_lock_of_the_first(url: str) -> None:
    """POSIX locks go with the first descriptor of the file that the process closes, whoever opened it."""

    def locks() -> int:
        file = database_path(url).stat()
        found = Path("/proc/locks").read_text().split("\n")
        return sum(f":{file.st_ino} " in line and f" {os.getpid()} " in line for line in found)

    async with open_store(url) as store:
        await store.nominate([NominationIn(address(1), b"x")], AT)
        held = locks()
        assert held
        async with open_store(url):
            assert locks() >= held
        assert locks() == held


async def test_another_programs_database_is_left_alone(url: str) -> None:
    with sqlite3.connect(database_path(url)) as theirs:
        theirs.execute("CREATE TABLE other (x)")
    theirs.close()
    with pytest.raises(StoreError, match="is a database of something else"):
        async with open_store(url):
            pass


async def test_no_directory_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory"):
        async with open_store(f"sqlite:///{tmp_path}/nowhere/store.db"):
            pass
    with pytest.raises(StoreError, match="there is no such file"):
        async with open_store(f"sqlite:///{tmp_path}/store.db", migrate=False):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_cannot_be_written(url: str) -> None:
    """Root writes through any mode: for root the file is made immutable. test_faults.py does without."""
    async with open_store(url):
        pass
    path = database_path(url)
    off, on = ("+i", "-i") if os.getuid() == 0 else ("a-w", "u+w")
    command = ["chattr" if os.getuid() == 0 else "chmod"]
    if shutil.which(*command) is None or run([*command, off, str(path)], capture_output=True, check=False).returncode:
        pytest.skip("root, and the file system knows no immutable files")
    try:
        with pytest.raises(StoreError, match=r"^store .*store\.db: cannot be written$"):
            async with open_store(url):
                pass
    finally:
        run([*command, on, str(path)], check=True)
