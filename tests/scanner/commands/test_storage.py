"""How a command opens the store."""

from pathlib import Path

import pytest
import trio

from scanner.commands import Refusal
from scanner.commands.storage import HEARTBEAT, alive, opened, person


def test_alive():
    assert not alive({})
    assert alive({"daemon": ({"running": True}, 100.0)}, 100.0 + HEARTBEAT)
    assert not alive({"daemon": ({"running": True}, 100.0)}, 100.1 + HEARTBEAT)
    assert not alive({"daemon": ({"running": False}, 100.0)}, 100.0)
    assert not alive({"daemon": ({}, 100.0)}, 100.0)


def test_a_person_is_named(monkeypatch):
    monkeypatch.setenv("SUDO_USER", "ada")
    assert person() == "operator:ada"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    assert person() == "operator:4000000000"


async def test_a_directory_of_somebody_else(home, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", denied)  # as it is for everybody but root and the daemon
    with trio.fail_after(10), pytest.raises(Refusal, match=r"run this as root, or as the daemon's user$") as caught:
        async with opened():
            pass
    assert caught.value.code == 74


async def test_a_directory_that_can_not_be_made(home):
    (home / "data").write_text("a file")
    with trio.fail_after(10), pytest.raises(Refusal, match=r"data_dir .*: a file: expected a directory$") as caught:
        async with opened(create=True):
            pass
    assert caught.value.code == 74
