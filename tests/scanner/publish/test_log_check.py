"""Nobody damages a sealed log unseen, and what is wrong with it is one line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.publish.log import START, SealedLog, sealed
from scanner.publish.log_check import check
from tests.scanner.publish.source import AT
from tests.scanner.publish.test_log import events, filled


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A log of three files, and what its files say."""
    directory = tmp_path_factory.mktemp("log")
    log = filled(directory, 6, 1000)
    assert len(log.files()) == 3
    log._checkpoint(AT)
    return directory, {path: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def restored(whole):
    directory, contents = whole
    yield directory
    for path, data in contents.items():
        path.write_bytes(data)


def hash_of(directory, number):
    return next(
        item["hash"]
        for file in sorted(directory.glob("log-*"))
        for item in map(json.loads, file.read_text().splitlines())
        if item["number"] == number
    )


def test_a_whole_log_says_how_far_it_goes(whole):
    directory, _ = whole
    assert str(check(directory)) == f"whole: lines 1 to 6, hash {hash_of(directory, 6)}"
    assert check(directory, hash_of(directory, 4)).problem == ""
    assert "no line has the trusted hash" in check(directory, "0" * 63 + "1").problem


@given(st.data())
def test_any_byte_that_is_changed_is_found(whole, data):
    directory, contents = whole
    path = data.draw(st.sampled_from(sorted(path for path in contents if path.name.startswith("log-"))))
    place = data.draw(st.integers(0, len(contents[path]) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != contents[path][place]))
    path.write_bytes(contents[path][:place] + bytes((byte,)) + contents[path][place + 1 :])
    try:
        found = check(directory)
        before = contents[path][:place].count(b"\n")  # lines of this file that come before the change
        assert found.problem
        assert found.last == json.loads(contents[path].splitlines()[0])["number"] + before - 1
        assert "\n" not in str(found)
    finally:
        path.write_bytes(contents[path])


@given(st.data())
def test_any_cut_is_found(whole, data):
    directory, contents = whole
    path = data.draw(st.sampled_from(sorted(path for path in contents if path.name.startswith("log-"))))
    path.write_bytes(contents[path][: data.draw(st.integers(0, len(contents[path]) - 1))])
    try:
        assert check(directory).problem
    finally:
        path.write_bytes(contents[path])


def test_a_last_line_that_is_cut(restored):
    last = sorted(restored.glob("log-*"))[-1]
    last.write_bytes(last.read_bytes()[:-5])
    said = "the last line was cut short, as a crash leaves it, or is just being written; whole: lines 1 to 5"
    assert str(check(restored)) == f"{last.name}:2: {said}"


def test_a_changed_line(restored):
    second = sorted(restored.glob("log-*"))[1]
    second.write_bytes(second.read_bytes().replace(b"11.0.0.2", b"11.0.0.9"))
    assert str(check(restored)) == f"{second.name}:1: was changed: it does not fit its hash; whole: lines 1 to 2"


def test_a_file_that_is_gone_in_the_middle(restored):
    _, second, third = sorted(restored.glob("log-*"))
    second.unlink()
    assert str(check(restored)) == f"{third.name}:1: comes behind line 2: 3 to 4 are missing; whole: lines 1 to 2"


def test_what_was_deleted_behind_a_checkpoint(restored):
    first, second, _ = sorted(restored.glob("log-*"))
    first.unlink()
    deleted = "; lines 1 to 2 were deleted behind a checkpoint"
    assert str(check(restored)) == f"whole: lines 3 to 6, hash {hash_of(restored, 6)}{deleted}"
    assert str(check(second)) == f"whole: lines 3 to 4, hash {hash_of(restored, 4)}{deleted}"
    (restored / "checkpoints.jsonl").unlink()
    assert check(restored).problem == (
        f"{second.name}:1: begins with line 3, and no checkpoint vouches for what was before"
    )
    assert check(second, hash_of(restored, 4)).problem == ""  # whoever kept a hash needs no checkpoint


def test_a_last_file_that_is_gone(restored):
    sorted(restored.glob("log-*"))[-1].unlink()
    assert check(restored).problem == "ends with line 4, but there is a checkpoint of line 6"
    for file in restored.glob("log-*"):
        file.unlink()
    assert str(check(restored)) == "ends with line 0, but there is a checkpoint of line 6; whole: no line"


def rewrite(directory, number):
    """A whole new chain, as whoever has the disk can make one."""
    known = START
    for file in sorted(directory.glob("log-*")):
        lines = []
        for item in map(json.loads, file.read_text().splitlines()):
            event = item["event"] | ({"address": "9.9.9.9"} if item["number"] == number else {})
            line, known = sealed(item["number"], known, event)
            lines.append(line)
        file.write_text("".join(lines))


def test_a_chain_that_was_made_anew(restored):
    kept = hash_of(restored, 5)
    rewrite(restored, 3)
    assert "written anew" in check(restored).problem
    (restored / "checkpoints.jsonl").unlink()
    assert check(restored).problem == ""  # nobody else can know,
    assert "no line has the trusted hash" in check(restored, kept).problem  # but whoever kept a hash


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{}\n", "checkpoints.jsonl:1: is no checkpoint"),
        ('{"number": 99, "hash": "x"}\n', "ends with line 6, but there is a checkpoint of line 99"),
        ('{"number": 2, "hash": "x"}\n{"number": 2, "hash": "y"}\n', "another checkpoint of line 2 says another hash"),
    ],
)
def test_checkpoints_that_are_none(restored, line, said):
    (restored / "checkpoints.jsonl").write_text(line)
    assert said in check(restored).problem or "written anew" in check(restored).problem


@pytest.mark.parametrize("change", ["swap", "twice", "drop one"])
def test_the_order_is_part_of_what_was_said(tmp_path, change):
    SealedLog(tmp_path, 1 << 20).append(events(6), AT)
    (file,) = tmp_path.glob("log-*")
    lines = file.read_text().splitlines(keepends=True)
    if change == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif change == "twice":
        lines.insert(2, lines[1])
    else:
        del lines[2]
    file.write_text("".join(lines))
    assert check(tmp_path).problem


def test_where_there_is_no_log_that_is_said(tmp_path):
    with pytest.raises(ValueError, match="expected a file log-"):
        check(tmp_path)
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "none.jsonl")
