"""Secrets: made once, kept to ourselves, rotated, and given to one canary at a time."""

from __future__ import annotations

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scanner.proof import CanaryKey
from scanner.secret import SecretError, export_canary_keys, load_canary_keys, newest, open_secret

A, B = "aa" * 32, "bb" * 32


def private(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o600)
    return path


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_first_use_makes_a_private_file_and_later_uses_read_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    first = open_secret(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.fullmatch(r"1 [0-9a-f]{64}\n", path.read_text())
    assert open_secret(path) == first
    assert names(tmp_path) == ["secret"]  # no draft is left


def test_a_wide_umask_opens_nothing(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        open_secret(tmp_path / "secret")
        export_canary_keys(tmp_path / "keys", {1: CanaryKey.from_master(b"m" * 32, "c1")})
    finally:
        os.umask(old)
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o600, 0o600]


def test_every_secret_is_another(tmp_path: Path) -> None:
    assert open_secret(tmp_path / "one").keys != open_secret(tmp_path / "two").keys


def test_of_many_that_make_it_at_once_all_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(open_secret, [path] * 64))
    assert all(secret == made[0] for secret in made)
    assert names(tmp_path) == ["secret"]


def test_rotation_the_newest_number_signs_and_all_are_accepted(tmp_path: Path) -> None:
    path = private(tmp_path / "secret", f"# rotated in autumn\n9 {A}\n\n10 {B.upper()}  # the newest\n")
    keys = open_secret(path).canary_keys("c1")
    assert set(keys) == {9, 10}
    assert newest(keys).number == 10
    assert keys[9] == CanaryKey.from_master(bytes.fromhex(A), "c1", 9)


def test_no_key_of_one_canary_is_anothers(tmp_path: Path) -> None:
    secret = open_secret(private(tmp_path / "secret", f"1 {A}\n2 {A}\n"))
    keys = [*secret.canary_keys("c1").values(), *secret.canary_keys("c2").values()]
    assert len({key.secret for key in keys}) == 4


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_file_open_to_others_is_refused_in_one_line(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "secret", f"1 {A}\n")
    path.chmod(mode)
    with pytest.raises(SecretError) as refused:
        open_secret(path)
    assert str(refused.value) == f"{path}: open to others (mode {mode:04o}); expected 0600: chmod 600 {path}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no key; expected lines NUMBER HEX64"),
        ("# nothing\n", "holds no key; expected lines NUMBER HEX64"),
        (f"{A}\n", "line 1: expected NUMBER HEX64"),
        (f"1 {A} more\n", "line 1: expected NUMBER HEX64"),
        (f"0 {A}\n", "line 1: expected a key number from 1 to 255"),
        (f"1 {A}\n256 {A}\n", "line 2: expected a key number from 1 to 255"),
        (f"one {A}\n", "line 1: expected a key number from 1 to 255"),
        (f"-1 {A}\n", "line 1: expected a key number from 1 to 255"),
        (f"{'9' * 5000} {A}\n", "line 1: expected a key number from 1 to 255"),
        (f"{A} 1\n", "line 1: expected a key number from 1 to 255"),
        (f"1 {A}\n01 {B}\n", "line 2: key 1 is there twice"),
        (f"1 {A[:-1]}\n", "line 1: expected a key of 64 hexadecimal digits"),
        (f"1 {A[:-2]}\n", "line 1: expected a key of 64 hexadecimal digits"),
        (f"1 {A}00\n", "line 1: expected a key of 64 hexadecimal digits"),
        (f"1 {A[:-1]}g\n", "line 1: expected a key of 64 hexadecimal digits"),
        (b"1 " + b"\xff\0" * 32, "line 1: expected a key of 64 hexadecimal digits"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_shows_no_key(
    tmp_path: Path, text: str | bytes, complaint: str
) -> None:
    path = private(tmp_path / "secret", text)
    before = path.read_bytes()
    with pytest.raises(SecretError, match=re.escape(complaint)) as refused:
        open_secret(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)
    assert A[:8] not in str(refused.value)
    assert path.read_bytes() == before  # never made anew over what is there


def test_no_repr_shows_a_key(tmp_path: Path) -> None:
    secret = open_secret(private(tmp_path / "secret", f"1 {A}\n"))
    key = secret.canary_keys("c1")[1]
    for shown in (repr(secret), repr(key), repr(secret.canary_keys("c1"))):
        assert A[:8] not in shown
        assert key.secret.hex()[:8] not in shown
        assert repr(key.secret)[2:10] not in shown


def test_a_missing_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"secret: No such file or directory$"):
        open_secret(tmp_path / "nowhere" / "secret")


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(SecretError, match=r"(expected a regular file|Is a directory)$"):
            open_secret(path)


def test_a_canarys_keys_come_back_as_they_were_given(tmp_path: Path) -> None:
    keys = open_secret(private(tmp_path / "secret", f"1 {A}\n7 {B}\n")).canary_keys("tor.example_2")
    path = tmp_path / "canary.keys"
    private(path, "what was there\n").chmod(0o644)
    export_canary_keys(path, keys)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_canary_keys(path) == keys
    assert A not in path.read_text()  # the master secret stays at home
    assert names(tmp_path) == ["canary.keys", "secret"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no key; expected lines CANARY-ID NUMBER HEX64"),
        (f"1 {A}\n", "line 1: expected CANARY-ID NUMBER HEX64"),
        (f"a/b 1 {A}\n", "line 1: expected CANARY-ID NUMBER HEX64"),
        (f"c1 300 {A}\n", "line 1: expected a key number from 1 to 255"),
        (f"c1 1 {A}\nc2 2 {A}\n", "line 2: a key of 'c2'; expected keys of one canary only, 'c1'"),
        (f"c1 1 {A}\nc1 1 {A}\n", "line 2: key 1 is there twice"),
    ],
)
def test_a_wrong_key_file_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = private(tmp_path / "canary.keys", text)
    with pytest.raises(SecretError, match=re.escape(complaint)) as refused:
        load_canary_keys(path)
    assert A[:8] not in str(refused.value)


def test_a_key_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="No such file"):
        load_canary_keys(tmp_path / "canary.keys")
    assert names(tmp_path) == []


def test_export_to_where_nothing_can_be_written_is_one_line(tmp_path: Path) -> None:
    keys = {1: CanaryKey.from_master(b"m" * 32, "c1")}
    with pytest.raises(SecretError, match="Is a directory"):
        export_canary_keys(tmp_path, keys)
    assert names(tmp_path) == []
