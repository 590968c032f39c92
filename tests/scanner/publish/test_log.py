"""The sealed log: appended once, in files that go when they are old; test_log_check.py has who verifies it."""

import json

from scanner.publish.log import SealedLog
from scanner.publish.log_check import check
from tests.scanner.publish.source import AT, Memory

DAY = 86400.0


def events(count, store=None):
    store = store or Memory()
    return [store.list(f"11.0.{number // 200}.{number % 200}") for number in range(count)]


def filled(directory, count=12, rotate=2000):
    log = SealedLog(directory, rotate)
    for event in events(count):
        log.append([event], AT)
    return log


def test_it_verifies_and_reads_back_in_order(tmp_path):
    log = filled(tmp_path)
    assert check(tmp_path).problem == ""
    assert len(log.files()) > 2
    told = log.read(0, 100)
    assert [number for number, _ in told] == list(range(1, 13))
    assert [event["address"] for _, event in told] == [f"11.0.0.{n}" for n in range(12)]
    assert log.read(5, 3) == told[5:8]
    assert log.read(12, 3) == []


def test_reading_on_costs_the_same_wherever_it_is(tmp_path, monkeypatch):
    """A webhook asks each second; a file has 100,000 lines."""
    log = SealedLog(tmp_path, 1 << 30)
    log.append(events(1500), AT)
    parsed = []
    monkeypatch.setattr(json, "loads", lambda line, loads=json.loads: (parsed.append(line), loads(line))[1])
    for after in (0, 1, 2, 499, 750, 1001, 1497, 1499, 1500):
        parsed.clear()
        assert [number for number, _ in log.read(after, 3)] == list(range(after + 1, min(after + 4, 1501)))
        assert len(parsed) < 300


def test_what_is_there_is_not_said_again_also_after_a_restart(tmp_path):
    said = events(5)
    SealedLog(tmp_path, 1 << 20).append(said[:3], AT)
    again = SealedLog(tmp_path, 1 << 20)
    assert again.append(said, AT) == 2
    assert again.append(said, AT) == 0
    assert check(tmp_path).problem == ""


def test_a_line_that_a_crash_cut_is_taken_away(tmp_path):
    log = filled(tmp_path, 3, 1 << 20)
    file = log.files()[-1]
    file.write_bytes(file.read_bytes()[:-30])
    store = Memory()
    assert SealedLog(tmp_path, 1 << 20).append(events(4, store), AT) == 2
    assert check(tmp_path).problem == ""
    assert len(log.read(0, 10)) == 4


def test_old_files_can_go_behind_a_checkpoint(tmp_path):
    log = filled(tmp_path)
    log.files()[0].unlink()
    assert check(tmp_path).problem == ""


def test_the_number_goes_on_where_all_files_are_gone(tmp_path):
    log = SealedLog(tmp_path, 1)
    log.append(events(2), AT)
    for file in log.files():
        file.unlink()
    again = SealedLog(tmp_path, 1)
    again.append(events(3)[2:], AT)
    assert [number for number, _ in again.read(0, 9)] == [3]
    assert check(tmp_path).problem == ""


def test_a_checkpoint_each_day(tmp_path):
    log = SealedLog(tmp_path, 1 << 20)
    store = Memory()
    for day in (0, 0, 1, 1, 3):
        log.append([store.list(f"11.0.0.{len(store.history)}")], AT + day * DAY)
    assert len((tmp_path / "checkpoints.jsonl").read_text().splitlines()) == 3


def aged(directory):
    """Files of a line each, a day apart; the log, and the moment of the first one."""
    log, store, begin = SealedLog(directory, 1), Memory(), AT - AT % DAY
    for day in range(6):
        log.append([store.list(f"11.0.0.{day}")], begin + day * DAY)
    return log, begin


def test_old_files_go_as_far_as_everybody_has_them(tmp_path):
    log, begin = aged(tmp_path)
    assert log.purge(begin + DAY - 1, 6) == 0  # its day is not over
    assert log.purge(begin + 2 * DAY, 1) == 1  # the second was not taken
    assert log.purge(begin + 2 * DAY, 6) == 1
    found = check(tmp_path)
    assert (found.first, found.last, found.problem) == (3, 6, "")
    assert log.purge(begin + 99 * DAY, 6) == 3  # never the last one
    again = SealedLog(tmp_path, 1)
    again.append([Memory().list("12.0.0.1")], begin + 100 * DAY)
    assert [number for number, _ in again.read(0, 9)] == [6, 7]
    assert check(tmp_path).problem == ""


def test_no_file_goes_without_a_checkpoint_of_its_last_line(tmp_path):
    log, begin = aged(tmp_path)
    file = tmp_path / "checkpoints.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if json.loads(line)["number"] != 2))
    assert log.purge(begin + 99 * DAY, 6) == 1
    assert check(tmp_path).problem == ""


def test_a_crash_before_a_checkpoint_is_made_up_for(tmp_path):
    log = SealedLog(tmp_path, 1)
    store = Memory()
    log.append([store.list("11.0.0.1")], AT)
    whole = (tmp_path / "checkpoints.jsonl").read_bytes()
    log.append([store.list("11.0.0.2")], AT)
    for left, number in ((whole, 2), (whole + b'{"number":', 3)):
        (tmp_path / "checkpoints.jsonl").write_bytes(left)
        SealedLog(tmp_path, 1).append([store.list(f"11.0.1.{number}")], AT)
        lines = (tmp_path / "checkpoints.jsonl").read_text().splitlines()
        assert [json.loads(line)["number"] for line in lines] == [1, number, number + 1]
        assert check(tmp_path).problem == ""
