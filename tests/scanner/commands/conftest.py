"""The command as users run it: in this process where that is enough, in one of its own where it isn't."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio

from scanner.cli import run
from scanner.commands import config_file
from scanner.model import Decision, Event, EventKind
from scanner.store import open_store
from tests.scanner.store.make import listing

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Ended:
    """How a command ended. One line of `err` for each mistake, and never a traceback."""

    code: int
    out: str
    err: str

    @property
    def said(self):
        return self.err.splitlines()

    @property
    def lines(self):
        return self.out.splitlines()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A configuration of this test alone; nothing of the machine's has a say."""
    for name in list(os.environ):
        if name.startswith("PROXYWARDEN_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    file = tmp_path / "proxywarden.toml"
    file.write_text(f'data_dir = "{tmp_path / "data"}"\n', "utf-8")
    monkeypatch.setenv("PROXYWARDEN_CONFIG", str(file))
    config_file.set(None)  # a command line of a test before may have named one
    return tmp_path


@pytest.fixture
def url(home):
    return f"sqlite:///{home / 'data' / 'proxywarden.sqlite'}"


@pytest.fixture
def proxywarden(home, capsys):
    """Runs a command line in this process."""

    def run_it(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err, err
        return Ended(code, out, err)

    return run_it


@pytest.fixture
def process(home):
    """Runs a command line in a process of its own: `python -m scanner`."""

    def run_it(*arguments, stdin=b""):
        ended = subprocess.run(
            [sys.executable, "-m", "scanner", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            cwd=ROOT,
            timeout=100,
            check=False,
        )
        assert b"Traceback" not in ended.stderr, ended.stderr.decode()
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return run_it


@pytest.fixture
def given(home, url):
    """Does something with the store, before or after a command."""

    def do(work):
        (home / "data").mkdir(mode=0o700, exist_ok=True)

        async def main():
            with trio.fail_after(30):
                async with open_store(url) as store:
                    return await work(store)

        return trio.run(main)

    return do


@pytest.fixture
def configured(home):
    def write(text):
        file = home / "proxywarden.toml"
        file.write_text(
            f'data_dir = "{home / "data"}"\n[scope]\nallow = ["198.51.100.0/24", "2001:db8::/32"]\n'
            f'[publish.rbldnsd]\ndirectory = "{home / "zones"}"\ncheck = ""\n{text}'
        )

    write("")
    return write


@pytest.fixture
def holding(given):
    """A store with listings of some detectors."""

    async def put(addresses, detector, store):
        now = time.time()
        for address in addresses:
            made = listing(address, detector=detector, first_listed=now, last_confirmed=now, expires=now + 86400)
            await store.change(address, lambda _, made=made: Decision((Event(EventKind.LISTED, now, made),)), now)

    return lambda addresses, detector="socks5/1": given(partial(put, addresses, detector))
