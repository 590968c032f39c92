"""lab: the simulated network as a command; what it simulates is tested in tests/scanner/lab."""

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

ROOT = Path(__file__).parents[3]


def test_the_truth_is_a_json_line_for_each_host_and_the_same_for_the_same_seed(proxywarden):
    first = proxywarden("lab", "--hosts", "30", "--seed", "4", "--list")
    assert (first.code, first.err) == (0, "")
    rows = [json.loads(line) for line in first.lines]
    assert len(rows) == 30
    assert {"address", "kind", "open", "verdict", "endpoints", "exits"} <= rows[0].keys()
    assert proxywarden("lab", "--hosts", "30", "--seed", "4", "--list").out == first.out
    assert proxywarden("lab", "--hosts", "30", "--seed", "5", "--list").out != first.out


@pytest.mark.parametrize("hosts", ["0", "-3", "100000000"])
def test_a_network_that_cannot_be_is_one_line(hosts, proxywarden):
    ended = proxywarden("lab", "--hosts", hosts, "--list")
    assert (ended.code, ended.out, len(ended.said)) == (2, "", 1)
    assert "hosts" in ended.err


async def test_it_runs_until_it_is_interrupted(home):
    start = partial(
        trio.run_process,
        [sys.executable, "-m", "scanner", "lab", "--hosts", "5"],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:  # a lab that outlived its test would answer for the others'
            process = await nursery.start(start)
            said = await process.stderr.receive_some()
            assert said.startswith(b"lab: 5 hosts from 127.1.0.1 to ")
            process.send_signal(signal.SIGINT)
            rest = b"".join([piece async for piece in process.stderr])
            assert await process.wait() == 130
    assert b"Traceback" not in said + rest
