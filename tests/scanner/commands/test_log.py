"""log verify, on files alone."""

import json

import pytest

from scanner.cli import run
from tests.scanner.publish.test_log import filled


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("PROXYWARDEN_CONFIG", str(tmp_path / "there is none.toml"))  # it is not even looked for
    filled(tmp_path / "log", 6, 1200)
    return tmp_path / "log"


def test_a_whole_log(log, capsys):
    assert run(["log", "verify", str(log)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("whole: lines 1 to 6, hash ")
    assert run(["log", "verify", str(log), "--checkpoint", said.split()[-1]]) == 0
    assert run(["log", "verify", str(log), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["whole"], told["first"], told["last"], told["problem"]) == (True, 1, 6, None)


def test_one_that_is_not(log, capsys):
    file = min(log.glob("log-*"))
    file.write_bytes(file.read_bytes().replace(b"11.0.0.1", b"11.0.0.7"))
    assert run(["log", "verify", str(log)]) == 1
    assert capsys.readouterr().out == f"{file.name}:2: was changed: it does not fit its hash; whole: lines 1 to 1\n"
    assert run(["log", "verify", str(log), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["whole"] is False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["/nowhere"], "No such file"), ([""], "expected"), (["LOG", "--checkpoint", "abc"], "expected a SHA-256")],
)
def test_what_is_no_log(log, tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert run(["log", "verify", *(str(log) if word == "LOG" else word for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
