"""core.sweep against what happens to a process: fork, signals, no free descriptor, exit, other threads."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "case",
    [
        "exit_with_a_sweep_at_work",
        "exit_at_once",
        "exit_by_exception",
        "exit_while_another_thread_closes_it",
        "fork",
        "a_child_keeps_the_sockets_open",
        "signals",
        "no_descriptors",
        "many_threads",
    ],
)
def test_alone(case):
    """Each in a process of its own, which must end by itself, well, and without a word."""
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.core.sweep_alone", case],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
