"""Events as JSON lines: their shape, and a file that is its own cursor."""

import json
import re

import pytest
import trio

from scanner.model import EventKind
from scanner.publish.events import EventLines, iso, public, resume
from tests.scanner.store.make import AT, ENTRY, event, listing, lists, record

KEYS = [
    "cursor",
    "id",
    "at",
    "kind",
    "list",
    "address",
    "type",
    "criterion",
    "reason",
    "detector",
    "vantage",
    "first_listed",
    "last_confirmed",
    "expires",
    "entry",
    "exits",
    "visit",
]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "events.jsonl"


@pytest.fixture
async def store(tmp_path):
    from scanner.store import open_store

    with trio.fail_after(30):
        async with open_store(f"sqlite:///{tmp_path}/store.db") as opened:
            yield opened


async def happen(store, count):
    """So many events."""
    for _ in range(count):
        decide = lists(listing(str(ENTRY)))
        if await store.listings():
            confirmed = event(EventKind.CONFIRMED, listing(str(ENTRY)))
            decide.decision = type(decide.decision)((confirmed,), decide.decision.watch, decide.decision.next_target)
        assert await store.conclude(record(), decide, lease=None)


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


async def cursors(store):
    return [item.cursor for item in await store.events()]


def test_an_event_has_exactly_the_public_keys_and_no_port():
    shown = public(event(EventKind.LISTED, listing("192.0.2.1", exits=("192.0.2.9",))))
    assert list(shown) == KEYS
    assert not re.search(r"port|1080|8080", json.dumps(shown))
    assert shown["exits"] == ["192.0.2.9"]
    assert shown["kind"] == "listed"
    assert shown["reason"] == "nomination"


def test_moments_are_utc_to_the_second():
    assert iso(1795341600.9) == "2026-11-22T10:00:00Z"
    assert iso(None) is None
    assert iso(AT).endswith("Z")


async def test_each_event_is_written_once_in_order(store, file):
    output = EventLines(str(file))
    assert await output.write_new(store) == 0
    await happen(store, 3)
    assert await output.write_new(store) == 3
    await happen(store, 2)
    assert await output.write_new(store) == 2
    assert [line["cursor"] for line in lines(file)] == await cursors(store)


async def test_two_writers_at_once_write_nothing_twice(store, file):
    output = EventLines(str(file))
    await happen(store, 5)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(output.write_new, store)
    assert [line["cursor"] for line in lines(file)] == await cursors(store)


async def test_after_a_restart_it_goes_on_behind_the_last_line(store, file):
    await happen(store, 2)
    await EventLines(str(file)).write_new(store)
    await happen(store, 2)
    assert await EventLines(str(file)).write_new(store) == 2
    assert [line["cursor"] for line in lines(file)] == await cursors(store)


@pytest.mark.parametrize("keep", [1, 40, -1])
async def test_a_line_that_a_crash_cut_short_is_written_again(keep, store, file):
    await happen(store, 3)
    await EventLines(str(file)).write_new(store)
    whole = file.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    file.write_bytes(whole[: -len(last)] + last[:keep])
    assert await EventLines(str(file)).write_new(store) == 1
    assert file.read_bytes() == whole


async def test_a_first_line_cut_short_is_no_event(store, file):
    file.write_bytes(b'{"cursor": "1", "id"')
    await happen(store, 1)
    assert await EventLines(str(file)).write_new(store) == 1
    assert len(lines(file)) == 1


async def test_a_write_that_failed_midway_leaves_no_torn_line(store, file, monkeypatch):
    output = EventLines(str(file))
    await happen(store, 1)
    await output.write_new(store)
    append = output._append

    def full(text, cursor):
        append(text[: len(text) // 2], cursor)
        raise OSError(28, "No space left on device")

    await happen(store, 4)
    monkeypatch.setattr(output, "_append", full)
    with pytest.raises(OSError, match="No space"):
        await output.write_new(store)
    monkeypatch.undo()
    await output.write_new(store)
    assert [line["cursor"] for line in lines(file)] == await cursors(store)


async def test_a_file_that_was_moved_away_begins_anew_with_what_is_new(store, file, tmp_path):
    output = EventLines(str(file))
    await happen(store, 2)
    await output.write_new(store)
    file.rename(tmp_path / "events.1")
    await happen(store, 1)
    await output.write_new(store)
    assert [line["cursor"] for line in lines(file)] == (await cursors(store))[2:]


async def _take_away(file, how):
    if how == "move":
        file.rename(file.with_name("events.jsonl-20261122"))
    elif how == "create":
        file.rename(file.with_name("events.jsonl.1"))
        file.touch()
    elif how == "copytruncate":
        file.with_name("events.jsonl.1").write_bytes(file.read_bytes())
        file.write_bytes(b"")
    else:
        file.unlink()


@pytest.mark.parametrize("how", ["move", "create", "copytruncate", "delete"])
@pytest.mark.parametrize("running", [True, False])
async def test_what_logrotate_takes_away_is_not_written_again(store, file, how, running):
    output = EventLines(str(file))
    await happen(store, 3)
    await output.write_new(store)
    for turn in range(2):
        await _take_away(file, how)
        if not running:
            output = EventLines(str(file))  # a restart finds no last line
            assert await output.write_new(store) == 0
        await happen(store, 2)
        await output.write_new(store)
        assert [line["cursor"] for line in lines(file)] == (await cursors(store))[3 + 2 * turn :]


@pytest.mark.parametrize("noted", [True, False])
async def test_our_own_rotation_is_gone_on_with_after_a_restart(store, file, noted):
    await happen(store, 3)
    await EventLines(str(file), rotate=1, keep=2).write_new(store)
    assert not file.exists()
    if not noted:
        file.with_name("events.jsonl.cursor").unlink()
    await happen(store, 1)
    await EventLines(str(file), rotate=1, keep=2).write_new(store)
    assert [line["cursor"] for line in lines(file.with_name("events.jsonl.1"))] == (await cursors(store))[3:]


async def test_without_file_and_note_everything_is_written(store, file):
    await happen(store, 3)
    await EventLines(str(file)).write_new(store)
    file.unlink()
    file.with_name("events.jsonl.cursor").unlink()
    assert await EventLines(str(file)).write_new(store) == 3


async def test_the_file_goes_before_a_note_that_is_older(store, file):
    """As after a crash between the two."""
    await happen(store, 1)
    await EventLines(str(file)).write_new(store)
    old = file.with_name("events.jsonl.cursor").read_bytes()
    await happen(store, 2)
    await EventLines(str(file)).write_new(store)
    file.with_name("events.jsonl.cursor").write_bytes(old)
    assert await EventLines(str(file)).write_new(store) == 0
    assert [line["cursor"] for line in lines(file)] == await cursors(store)


@pytest.mark.parametrize("foreign", ["hello\n", "[]\n", "{}\n", "null\n", "\n"])
async def test_a_file_that_is_none_of_ours_is_left_alone(foreign, store, file):
    file.write_text(foreign)
    await happen(store, 1)
    output = EventLines(str(file))
    with pytest.raises(ValueError, match="its last line is no event"):
        await output.write_new(store)
    assert file.read_text() == foreign
    file.unlink()
    assert await output.write_new(store) == 1


def test_nothing_to_resume(tmp_path):
    assert resume(tmp_path / "absent") is None
    (tmp_path / "empty").touch()
    assert resume(tmp_path / "empty") is None


async def test_standard_output_gets_the_same_lines(store, capsys):
    await happen(store, 2)
    assert await EventLines("-").write_new(store) == 2
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["cursor"] for line in said] == await cursors(store)
