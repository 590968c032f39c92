"""sd_notify, heard on a socket of our own."""

import os
import socket
import time

import pytest
import trio

from scanner.systemd import feed_watchdog, notify


@pytest.fixture
def manager(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def test_a_state_is_one_datagram(manager):
    notify("READY=1")
    assert manager.recv(100) == b"READY=1"


def test_reloading_says_when(manager):
    before = time.monotonic_ns() // 1000
    notify("RELOADING=1")
    first, second = manager.recv(100).decode().splitlines()
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_an_abstract_socket_begins_with_an_at_sign(monkeypatch):
    name = f"proxywarden-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify("STOPPING=1")
        assert sock.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("path", [None, "", "/nowhere/at/all"])
def test_without_systemd_nothing_happens(path, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if path is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify("READY=1")


def test_a_manager_that_does_not_read_does_not_hold_us_up(manager):
    for _ in range(1000):
        notify("WATCHDOG=1")


async def test_the_watchdog_is_fed_twice_in_each_interval(manager, monkeypatch, autojump_clock):
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with trio.move_on_after(21):
        await feed_watchdog()
    manager.setblocking(False)
    assert [manager.recv(100) for _ in range(5)] == [b"WATCHDOG=1"] * 5
    with pytest.raises(BlockingIOError):
        manager.recv(100)


@pytest.mark.parametrize("variables", [{}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}])
async def test_nobody_elses_watchdog_is_fed(variables, manager, monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with trio.fail_after(5):
        await feed_watchdog()
