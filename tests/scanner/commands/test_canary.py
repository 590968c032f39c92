"""canary: stand-alone, with the keys of one canary alone."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from scanner.secret import load_canary_keys, open_secret
from tests.scanner.live import canary, command
from tests.scanner.program import written

ROOT = Path(__file__).parents[3]


@pytest.fixture
def one(tmp_path):
    return canary(tmp_path)


@pytest.fixture
def file(tmp_path, one):
    return written(tmp_path, one)


async def test_it_serves_with_exported_keys_until_sigterm(tmp_path, file, one):
    keys = tmp_path / "second.keys"
    (tmp_path / "data").mkdir(mode=0o700)
    code, out, err = await command("--config", file, "canary", "--export", "second", "--key-file", keys)
    assert (code, out) == (0, "")
    assert err == f"proxywarden: keys of canary second written to {keys}: carry them to its host\n"
    assert keys.stat().st_mode & 0o777 == 0o600
    assert load_canary_keys(keys) == open_secret(tmp_path / "data" / "secret").canary_keys("second")
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "scanner", "--config", str(file), "canary", "--key-file", str(keys)],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PROXYWARDEN_")},
    )
    with trio.fail_after(60):
        said = await process.stderr.receive_some()
        assert said.decode().startswith("proxywarden: canary second listens on 127.82.0.25 port ")
        stream = await trio.open_tcp_stream(str(one.target.address), one.target.mail)
        assert (await stream.receive_some()).startswith(b"220 ")
        await stream.aclose()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    await process.stderr.aclose()


async def test_it_tells_systemd_that_it_listens_runs_and_stops(tmp_path, file):
    (tmp_path / "data").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        more = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "scanner", "--config", str(file), "canary"],
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("PROXYWARDEN_")} | more,
        )
        try:
            assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
            process.send_signal(signal.SIGTERM)
            while manager.recv(100) != b"STOPPING=1":  # at once: what a full queue has no room for is lost
                pass
            with trio.fail_after(60):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--export", "second"], "--export ID needs --key-file"),
        (["--export", "no spaces", "--key-file", "k"], "a canary's id is"),
        (["--key-file", "absent"], "absent"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, proxywarden, home, monkeypatch):
    monkeypatch.chdir(home)
    (home / "data").mkdir()
    ended = proxywarden("--config", written(home, canary(home)), "canary", *arguments)
    assert (ended.code, ended.out, len(ended.said)) == (2, "", 1)
    assert said in ended.err
