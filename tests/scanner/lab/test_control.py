from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from ipaddress import IPv4Network

import pytest
import trio

from scanner.lab.control import LabProcess, main
from scanner.lab.internet import Internet, LabError
from scanner.lab.plan import POPULATION, plan
from scanner.lab.truth import as_json
from scanner.model import Kind
from tests.scanner.lab.clients import CLIENTS
from tests.scanner.lab.conftest import World, in_thread

ELSEWHERE = IPv4Network("127.79.0.0/16")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_lab_in_a_process_of_its_own(world: World) -> None:
    """The relay over there reaches the origin over here, by the names and ports it was told."""
    with trio.fail_after(30):
        async with LabProcess.start(len(POPULATION), 6, world.internet, ELSEWHERE) as lab:
            assert lab.plan == plan(len(POPULATION), 6, ELSEWHERE)
            assert lab.ready["hosts"] == len(POPULATION)
            host = next(host for host in lab.plan if host.kind.name == "socks5-names-only")
            request = (CLIENTS["socks5"], host.address, host.ports[0], "one.test", world.canary.tcp)
            assert b"peer=%b " % str(host.address).encode() in await in_thread(*request)
            await lab.repair(host.address)
            with suppress(ConnectionRefusedError):
                assert b"peer=" not in await in_thread(*request)
            await lab.reopen(host.address)
            assert b"peer=" in await in_thread(*request)
            closed = next(host for host in lab.plan if host.kind.name == "closed")
            with pytest.raises(LabError, match="no lab host that can be repaired"):
                await lab.repair(closed.address)
            pid = lab.pid
            assert alive(pid)
        assert not alive(pid)


async def test_a_lab_that_dies_is_an_error_and_not_a_wait() -> None:
    with trio.fail_after(30):
        async with LabProcess.start(10, 6, prefix=ELSEWHERE) as lab:
            lab._process.kill()
            await lab._process.wait()
            with pytest.raises(LabError, match="the lab has ended"):
                await lab.repair(lab.plan[0].address)


async def test_a_lab_that_does_not_come_up_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(30):
        async with LabProcess.start(70, 6, prefix=ELSEWHERE):
            with pytest.raises(LabError, match="the lab has ended, exit code 2"):
                async with LabProcess.start(70, 6, prefix=ELSEWHERE):
                    pass
    assert capfd.readouterr().err.startswith("lab: cannot listen on 127.79.0.")


async def test_the_list_is_the_truth_in_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    await main(200, 3, list_only=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [as_json(host, Internet()) for host in plan(200, 3)]
    for line in lines:
        assert line.keys() >= {"address", "kind", "open", "verdict", "endpoints", "exits", "repairable"}
        assert line["open"] == any(row["evidence"] == Kind.RELAYED for row in line["endpoints"])


def run(*arguments: str, say: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scanner.lab", "--prefix", str(ELSEWHERE), *arguments]
    return subprocess.run(command, input=say, capture_output=True, text=True, timeout=30, check=False)


def test_control_answers_each_line_and_ends_with_stdin() -> None:
    open_one = next(host.address for host in plan(70, 6, ELSEWHERE) if host.repair)
    said = [
        json.dumps({"do": "repair", "address": str(open_one)}),
        json.dumps({"do": "repair", "address": "127.0.0.1"}),
        json.dumps({"do": "dance", "address": str(open_one)}),
        "no json",
        "[]",
        "",
    ]
    done = run("--hosts", "70", "--seed", "6", "--control", say="\n".join(said) + "\n")
    ready, *answers = map(json.loads, done.stdout.splitlines())
    assert ready["ready"] is True
    assert ready["hosts"] == 70
    assert answers[0] == {"done": "repair", "address": str(open_one)}
    assert answers[1] == {"error": "127.0.0.1 is no lab host that can be repaired"}
    assert len(answers) == len(said)
    assert all(answer["error"].startswith("expected do (repair, ") for answer in answers[2:])
    assert (done.returncode, done.stderr) == (0, "")


def test_quit_and_an_endless_line() -> None:
    done = run("--hosts", "5", "--control", say='{"do": "quit"}\nnever read\n')
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    done = run("--hosts", "5", "--control", say="x" * 100_000)
    assert done.returncode == 2
    assert done.stderr == "lab: a line of more than 4096 bytes on the lab's control channel\n"


def test_what_is_impossible_is_one_line() -> None:
    done = run("--hosts", "0")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "lab: 0 hosts: expected 1 or more\n")
