"""Logs go to stderr, as JSON lines where nobody watches."""

import json
import os
import subprocess
import sys

PROGRAM = """
import structlog, logging
from scanner.log import configure
configure(logging.WARNING)
log = structlog.get_logger()
log.info("nobody asked")
log.warning("a word", address="127.0.0.1")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("a bug")
print("data")
"""


def test_lines_are_json_on_stderr_and_data_alone_on_stdout():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "data\n"
    word, bug = map(json.loads, done.stderr.splitlines())
    assert (word["event"], word["level"], word["address"]) == ("a word", "warning", "127.0.0.1")
    assert word["timestamp"].endswith("Z")
    assert "ZeroDivisionError" in bug["exception"]


def test_where_nobody_reads_them_the_work_goes_on():
    """As of a daemon whose logger went away: it would end, and as if it had been asked to."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=writer, text=True, check=False
        )
    finally:
        os.close(writer)
    assert done.stdout == "data\n"
