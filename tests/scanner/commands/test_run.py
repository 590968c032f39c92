"""run: what a wrong start says. Its signals, crashes and reloads are in tests/scanner/test_daemon.py."""

import socket

import pytest

from tests.scanner.live import canary
from tests.scanner.program import written


@pytest.fixture
def file(home):
    return written(home, canary(home))


def test_a_wrong_setting_is_one_line(file, proxywarden):
    file.write_text(file.read_text().replace("rate = 20000", "rate = -1"))
    ended = proxywarden("--config", file, "run")
    assert (ended.code, ended.out, len(ended.said)) == (2, "", 1)
    assert "scan.rate = -1" in ended.err


def test_a_port_that_is_taken_is_one_line(file, proxywarden):
    at = next(line for line in file.read_text().splitlines() if line.startswith("listen = ["))
    host, _, port = at.partition('"')[2].rstrip('"]').rpartition(":")
    with socket.create_server((host, int(port))):
        ended = proxywarden("--config", file, "run")
    assert (ended.code, ended.out, len(ended.said)) == (2, "", 1)
    assert f"{host} port {port}" in ended.err


def test_a_data_directory_that_cannot_be_is_one_line(file, proxywarden, home):
    (home / "data").write_text("a file is in its place")
    ended = proxywarden("--config", file, "run")
    assert (ended.code, ended.out, len(ended.said)) == (2, "", 1)
    assert "data_dir" in ended.err


def test_a_store_that_is_none_is_one_line(file, proxywarden, home):
    (home / "data").mkdir()
    (home / "data" / "proxywarden.sqlite").write_text("no database " * 500)
    ended = proxywarden("--config", file, "run")
    assert (ended.code, ended.out, len(ended.said)) == (74, "", 1)
