"""The spool: kept means on disk, whatever happens next; bounded; the oldest first."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import structlog
import trio

from scanner.canary import spool as module
from scanner.canary.spool import open_spool

IDS = [f"{number:018x}" for number in range(10)]


@pytest.fixture(autouse=True)
def logs():
    with structlog.testing.capture_logs() as found:
        yield found


async def test_what_is_kept_is_there_after_a_kill_in_order(tmp_path):
    folder = tmp_path / "spool"
    spool = open_spool(folder, 10)
    assert folder.stat().st_mode & 0o777 == 0o700
    for number, letter in enumerate(IDS[3::-1]):
        assert await spool.keep(letter, b"letter " + letter.encode())
        assert (folder / letter).stat().st_mode & 0o777 == 0o600
        os.utime(folder / letter, (number, number))
    (folder / ".begun").write_bytes(b"half a let")
    (folder / "README").write_text("not ours")
    again = open_spool(folder, 10)  # nothing of the first was closed
    assert len(again) == 4
    assert [letter for letter, _, _ in await again.oldest(1000)] == IDS[3::-1]
    assert [moment for _, moment, _ in await again.oldest(1000)] == [0, 1, 2, 3]
    assert not (folder / ".begun").exists()
    await again.drop(IDS[2:4])
    assert [data for _, _, data in await open_spool(folder, 10).oldest(1000)] == [
        b"letter " + letter.encode() for letter in IDS[1::-1]
    ]
    assert (folder / "README").exists()


async def test_name_and_bytes_are_on_disk_before_it_says_so(tmp_path, monkeypatch):
    """What a power cut would leave: the steps, in this order."""
    steps = []
    fsync = os.fsync

    def noted(descriptor):
        steps.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    spool = open_spool(tmp_path / "spool", 10)
    monkeypatch.setattr(os, "fsync", noted)
    assert await spool.keep(IDS[0], b"x")
    draft, folder = steps
    assert draft.startswith(f"{tmp_path}/spool/.")
    assert folder == f"{tmp_path}/spool"


async def test_it_is_bounded_and_says_so_once(tmp_path, logs):
    spool = open_spool(tmp_path / "spool", 3)
    async with trio.open_nursery() as nursery:  # also where they come together
        for letter in IDS[:3]:
            nursery.start_soon(spool.keep, letter, b"x")
    for letter in IDS[3:6]:
        assert not await spool.keep(letter, b"x")
    assert await spool.keep(IDS[0], b"x"), "is there already"
    assert [line["error"] for line in logs] == ["full: 3 letters wait for the daemon"]
    await spool.drop(IDS[:1])
    assert await spool.keep(IDS[3], b"x")
    assert len(spool) == 3


async def test_a_disk_that_is_full_keeps_nothing_and_ends_nothing(tmp_path, monkeypatch, logs):
    spool = open_spool(tmp_path / "spool", 3)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", full)
        assert not await spool.keep(IDS[0], b"x")
    assert list((tmp_path / "spool").iterdir()) == []
    assert "No space left" in logs[0]["error"]
    assert await spool.keep(IDS[0], b"x")


async def test_a_batch_is_bounded_and_has_one_at_least(tmp_path):
    spool = open_spool(tmp_path / "spool", 10)
    for letter in IDS:
        await spool.keep(letter, b"x" * 99)
    assert len(await spool.oldest(300)) == 3
    assert len(await spool.oldest(10)) == 1


async def test_what_was_taken_away_by_hand_or_cannot_be_read_stops_nothing(tmp_path, logs):
    spool = open_spool(tmp_path / "spool", 10)
    for letter in IDS[:3]:
        await spool.keep(letter, b"x")
    (tmp_path / "spool" / IDS[0]).unlink()
    (tmp_path / "spool" / IDS[1]).unlink()
    (tmp_path / "spool" / IDS[1]).mkdir()
    assert [letter for letter, _, _ in await spool.oldest(1000)] == IDS[2:3]
    assert len(spool) == 2
    assert IDS[1] in logs[0]["error"]


async def test_it_waits_for_a_letter(tmp_path, autojump_clock):
    spool = open_spool(tmp_path / "spool", 10)
    with trio.move_on_after(60) as scope:
        await spool.wait()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(spool.keep, IDS[0], b"x"))
        await spool.wait()
    await spool.wait()
