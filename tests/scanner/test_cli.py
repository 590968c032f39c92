"""The command line: every command is there and explains itself; what an error becomes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scanner import commands
from scanner.cli import run
from scanner.version import __version__

COMMANDS = [
    "check",
    "run",
    "lookup",
    "visits",
    "status",
    "nominate",
    "remove",
    "listing add",
    "listing withdraw",
    "listing show",
    "optout add",
    "optout remove",
    "optout show",
    "appeals show",
    "appeals retest",
    "appeals withdraw",
    "appeals decline",
    "operator add",
    "operator remove",
    "operator show",
    "publish",
    "export",
    "purge",
    "shutdown-plan",
    "canary",
    "lab",
    "demo",
    "log verify",
    "config check",
    "config show",
    "db upgrade",
    "db verify",
    "db purge",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_options(capsys, command):
    assert run([*command.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith(f"Usage: proxywarden {command}")
    assert any(line.strip().endswith(".") for line in lines[1:4]), out
    blocks = [line.strip("│ ") for line in lines if line.startswith("│")]
    for block in blocks:  # an option's line has its text behind it, or on the next one
        assert len(block.split()) > 1 or not block.startswith("--"), block


@pytest.mark.parametrize("group", ["", "listing", "optout", "appeals", "operator", "log", "config", "db"])
def test_every_command_has_its_line_in_the_list(capsys, group):
    assert run([*group.split(), "--help"]) == 0
    out = capsys.readouterr().out
    names = {name.removeprefix(group).split()[0] for name in COMMANDS if name.startswith(group)}
    for name in names:
        said = [line.strip("│ ").split()[1:] for line in out.splitlines() if line.strip("│ ").split()[:1] == [name]]
        assert any(said), name


@pytest.mark.parametrize("command", ["check", "lookup", "nominate", "remove", "publish", "log verify", "db verify"])
def test_a_command_says_what_its_exit_codes_mean(capsys, command):
    assert run([*command.split(), "--help"]) == 0
    assert "Exit code: 0 " in " ".join(capsys.readouterr().out.split())


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["frobnicate"], "frobnicate"),
        (["lookup"], "ADDRESS"),
        (["lookup", "8.8.8.1", "8.8.8.2"], "8.8.8.2"),
        (["lookup", "--frobnicate", "8.8.8.1"], "--frobnicate"),
        (["lookup", "8.8.8.1", "--json=maybe"], "maybe"),
        (["visits", "8.8.8.1", "--limit", "x"], "--limit"),
        (["config", "frobnicate"], "frobnicate"),
        (["--config"], "--config"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, expected):
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("proxywarden: ")
    assert expected in err


def raising(error):
    async def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (commands.Refusal("it is not so"), 2, "proxywarden: it is not so\n"),
        (commands.Refusal("it is not so", 3), 3, "proxywarden: it is not so\n"),
        (ExceptionGroup("", [commands.Refusal("it is not so", 3)]), 3, "proxywarden: it is not so\n"),
    ],
)
def test_what_an_error_becomes(capsys, monkeypatch, error, code, said):
    monkeypatch.setattr("scanner.commands.optout.parsed", lambda _: (_ for _ in ()).throw(error))
    assert run(["optout", "remove", "8.8.8.1"]) == code
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), ExceptionGroup("", [KeyError("x"), commands.Refusal("y")])])
def test_a_bug_is_70_and_shows_itself(capsys, monkeypatch, error):
    monkeypatch.setattr("scanner.commands.optout.parsed", lambda _: (_ for _ in ()).throw(error))
    assert run(["optout", "remove", "8.8.8.1"]) == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" in err
    assert err.endswith("proxywarden: internal error: please report the lines above\n")


def test_the_module_is_the_command():
    ended = subprocess.run(
        [sys.executable, "-m", "scanner", "--version"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{__version__}\n", "")


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("error", [BrokenPipeError(), ExceptionGroup("", [BrokenPipeError(), BrokenPipeError()])])
def test_a_reader_that_goes_away_from_several_tasks_is_no_error(capsys, monkeypatch, error):
    """As in `proxywarden check 8.8.8.1 8.8.8.2 | head -1`."""
    monkeypatch.setattr("scanner.cli.drop", lambda stream: None)
    monkeypatch.setattr("scanner.commands.optout.parsed", lambda _: (_ for _ in ()).throw(error))
    assert run(["optout", "remove", "8.8.8.1"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", ["config show --json", "--help", "--version"])
def test_a_full_disk_is_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        ended = in_a_shell(arguments, stdout=full)
    assert (ended.returncode, ended.stderr) == (74, "proxywarden: output: No space left on device\n")


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("frobnicate 2>&-", 2, "", ""),  # nothing on stdout instead
        ("--version 1>&-", 0, "", ""),
        ("nominate --file - <&-", 2, "", "proxywarden: --file -: standard input is closed\n"),
        ("nominate 8.8.8.1 --sample - <&-", 2, "", "proxywarden: --sample -: standard input is closed\n"),
        ("frobnicate <&- 1>&- 2>&-", 2, "", ""),
    ],
)
def test_a_closed_stream_is_no_bug(line, code, out, err):
    ended = in_a_shell(line)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, out, err)


@pytest.mark.parametrize(
    ("arguments", "code"), [("lookup nonsense", 2), ("frobnicate", 2), ("shutdown-plan --zone a..b", 2)]
)
def test_the_exit_code_stands_where_nobody_reads_what_is_said(arguments, code):
    """As in `proxywarden check A 2>&1 | true`: 1 would mean that it is open."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "scanner", *arguments.split()]
        assert subprocess.run(command, stderr=writer, cwd=ROOT, timeout=60, check=False).returncode == code
    finally:
        os.close(writer)


def in_a_shell(line, stdout=subprocess.PIPE):
    command = f"exec '{sys.executable}' -m scanner {line}"
    return subprocess.run(
        ["sh", "-c", command], stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", [("config", "show", "--json"), ("--help",), ("check", "--help")])
def test_a_reader_that_goes_away_is_no_error(arguments):
    """As in `proxywarden config show | head -1`."""
    with subprocess.Popen(
        [sys.executable, "-m", "scanner", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""
