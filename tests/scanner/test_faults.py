"""The machine fails: disk, database file, ports, descriptors. Each is one clear line, nothing is lost, and it recovers.

The program as a process, driven from outside.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from scanner.lab.machine import Repair
from tests.scanner.live import CANARY, canary, command, free_port, lab, lab_host, until
from tests.scanner.program import ROOT, ends, log_of, program, written

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
OPEN = [lab_host(f"67.{n}", "connect", repair=Repair.DENIES) for n in range(1, 21)]
KNOWN, FRESH = OPEN[:10], OPEN[10:]


async def nominate(file, *hosts):
    """By the command, as a person does."""
    sample = file.parent / "sample"
    sample.write_bytes(b"Received: from [127.82.67.1]")
    addresses = [str(host.address) for host in hosts]
    return await command("--config", file, "nominate", *addresses, "--sample", sample)


async def listed(store, hosts):
    return {item.address for item in await store.listings("ops")} >= {str(host.address) for host in hosts}


def said(file, *words):
    """Error lines of the log that have these words."""
    lines = [line for line in log_of(file) if line["level"] in {"error", "critical"}]
    return [line for line in lines if all(word in str(line) for word in words)]


def only_lines(file):
    """No traceback anywhere in the log."""
    text = (file.parent / "log").read_text()
    assert "Traceback" not in text, text[-4000:]


# The disk


@contextmanager
def small_disk(folder, megabytes):
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """To the last byte; the file to delete."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with pytest.raises(OSError, match="No space left"):
                write_for_ever(file, size)
    return ballast


def write_for_ever(file, size):
    while True:
        file.write(b"\0" * size)


async def test_a_full_disk_is_said_and_all_goes_on_when_there_is_room(tmp_path):
    one = canary(tmp_path)
    with small_disk(tmp_path / "data", 16):
        file = written(tmp_path, one)
        async with lab(OPEN, one) as network, program(file) as (process, store):
            assert (await nominate(file, *KNOWN))[0] == 0
            await until(partial(listed, store, KNOWN))
            ballast = fill(tmp_path / "data")
            code, out, err = 0, "", ""
            refused = 0
            for host in FRESH:  # until the last free page of the file is used up
                code, out, err = await nominate(file, host)
                refused += code == 74
                if code == 74 and "full" in err:
                    break
            assert refused
            line = f"proxywarden: store {tmp_path}/data/proxywarden.sqlite: the disk is full (SQLITE_FULL)"
            assert err.splitlines() == ["0 nominated", line]
            assert out == ""
            await until(partial(quietly, lambda: said(file, "the disk is full") or said(file, "SQLITE")))
            assert process.returncode is None
            ballast.unlink()
            assert (await nominate(file, *FRESH))[0] == 0
            await until(partial(listed, store, OPEN), 120)
            network.repair(KNOWN[0].address)
            code, out, err = await command("--config", file, "remove", KNOWN[0].address)
            assert code == 0, err
            process.send_signal(signal.SIGTERM)
            assert await ends(process) == 0
            assert await store.verify() == []
            assert len((tmp_path / "events.jsonl").read_text().splitlines()) == len(await store.events())
        only_lines(file)


async def quietly(condition):
    return condition()


async def test_a_disk_that_is_full_from_the_start_is_one_line(tmp_path):
    with small_disk(tmp_path / "data", 1):
        file = written(tmp_path, canary(tmp_path))
        ballast = fill(tmp_path / "data")
        code, out, err = await command("--config", file, "run")
        assert (code, out) == (74, "")
        assert "the disk is full" in err or "No space left on device" in err
        assert len(err.splitlines()) == 1
        ballast.unlink()
    only_lines_of(err)


def only_lines_of(err):
    assert all(line.startswith("proxywarden: ") for line in err.splitlines()), err


# The file


async def made(tmp_path, one):
    """A store with listings; the daemon has ended."""
    file = written(tmp_path, one)
    async with lab(OPEN, one), program(file) as (process, store):
        await nominate(file, *KNOWN)
        await until(partial(listed, store, KNOWN))
        process.send_signal(signal.SIGTERM)
        assert await ends(process) == 0
    return file, tmp_path / "data" / "proxywarden.sqlite"


async def without_privileges(*arguments):
    """The program as one whom the modes of files hold off: root without the capability to ignore them."""
    prefix = []
    if os.geteuid() == 0:
        prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps=-all"]
        if shutil.which("setpriv") is None:
            pytest.skip("root needs setpriv to be held off by a file's mode")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROXYWARDEN_")}
    done = await trio.run_process(
        [*prefix, sys.executable, "-m", "scanner", *map(str, arguments)],
        capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT, env=clean,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("what", ["file", "directory"])
async def test_a_database_that_cannot_be_written_is_one_line(what, tmp_path):
    file, path = await made(tmp_path, canary(tmp_path))
    place = path if what == "file" else path.parent
    mode = place.stat().st_mode
    place.chmod(mode & ~0o222)
    try:
        for words in (["run"], ["nominate", str(KNOWN[0].address)]):
            code, out, err = await without_privileges("--config", file, *words)
            assert (code in {2, 74}, out) == (True, ""), err
            assert err.removeprefix("0 nominated\n").count("\n") == 1, err
            assert str(path.parent) in err
            assert "cannot be written" in err or "ermission denied" in err, err
    finally:
        place.chmod(mode)
    code, out, err = await command("--config", file, "db", "verify")
    assert code == 0, out + err


def flip(path, offset, count=64):
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(count)
        file.seek(offset)
        file.write(bytes(byte ^ 0xA5 for byte in old))


@pytest.mark.parametrize("where", ["header", "schema", "everywhere else"])
async def test_a_damaged_database_is_said_by_name_and_never_written_over(where, tmp_path):
    file, path = await made(tmp_path, canary(tmp_path))
    good = path.read_bytes()
    if where == "header":
        flip(path, 0)
    elif where == "schema":
        flip(path, 100)
    else:
        for offset in range(8192, len(good) - 64, 4096):
            flip(path, offset)
    for words in (["run"], ["db", "verify"], ["lookup", str(KNOWN[0].address)], ["status"]):
        code, out, err = await bounded("--config", file, *words)
        if where == "everywhere else" and words == ["db", "verify"] and code == 1:
            assert "damaged: " in out
            continue
        assert code == (3 if words[0] == "lookup" else 74), (words, code, out, err)
        assert len(err.splitlines()) == 1, err
        assert str(path) in err
        assert "damaged" in err or "not an SQLite database" in err, err
    path.write_bytes(good)
    code, out, err = await command("--config", file, "db", "verify")
    assert code == 0, out + err


async def bounded(*arguments):
    with trio.fail_after(60):
        return await command(*arguments)


async def test_a_torn_write_ahead_log_costs_at_most_its_tail(tmp_path):
    """Its checksums end it where it is damaged: what comes before holds together, and the daemon goes on from it."""
    one = canary(tmp_path)
    file = written(tmp_path, one)
    path = tmp_path / "data" / "proxywarden.sqlite"
    async with lab(OPEN, one):
        async with program(file) as (process, store):
            await nominate(file, *KNOWN)
            await until(partial(listed, store, KNOWN))
            process.send_signal(signal.SIGKILL)
            await process.wait()
            saved = {name: (path.parent / name).read_bytes() for name in (path.name, f"{path.name}-wal")}
        for name, data in saved.items():
            (path.parent / name).write_bytes(data)
        (path.parent / f"{path.name}-shm").unlink(missing_ok=True)
        log = path.parent / f"{path.name}-wal"
        flip(log, log.stat().st_size * 2 // 3)
        code, out, err = await command("--config", file, "db", "verify")
        assert code == 0, out + err
        async with program(file) as (process, store):
            await nominate(file, *OPEN)
            await until(partial(listed, store, OPEN))
            process.send_signal(signal.SIGTERM)
            assert await ends(process) == 0
            assert await store.verify() == []
    only_lines(file)


# Ports


def at(section, key, port):
    """An environment that puts a listener there."""
    place = f"{CANARY}:{port}"
    value = place if section == "controls" else f'["{place}"]'
    return {f"PROXYWARDEN_{section.upper()}__{key.upper()}": value}


@pytest.mark.parametrize(("section", "key"), [("canary", "listen"), ("canary", "mail_listen"), ("controls", "listen")])
async def test_a_port_that_is_taken_is_one_line_and_leaves_nothing_behind(section, key, tmp_path):
    file = written(tmp_path, canary(tmp_path))
    with socket.create_server((str(CANARY), 0)) as taken:
        port = taken.getsockname()[1]
        with trio.fail_after(60):
            code, out, err = await command("--config", file, "run", env=at(section, key, port))
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if not line.startswith("{")]
    assert line.startswith(f"proxywarden: {section}")
    assert f"listen on {CANARY} port {port}: Address already in use" in line
    async with program(file) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert await ends(process) == 0


@pytest.mark.parametrize("key", ["listen", "operator_listen"])
async def test_a_page_whose_port_is_taken_waits_for_it_and_the_lists_do_not(key, tmp_path):
    one = canary(tmp_path)
    file = written(tmp_path, one)
    with socket.create_server((str(CANARY), 0)) as taken:
        port = taken.getsockname()[1]
        async with lab(OPEN, one), program(file, **at("web", key, port)) as (process, store):
            await nominate(file, *KNOWN)
            await until(partial(listed, store, KNOWN))
            assert said(file, f"{CANARY}:{port}: Address already in use")
            taken.close()
            page = "/healthz" if key == "listen" else "/metrics"

            async def served():
                return await trio.to_thread.run_sync(fetch, port, page)

            assert b" 200 " in await until(served)
            process.send_signal(signal.SIGTERM)
            assert await ends(process) == 0
    only_lines(file)


# Descriptors


async def test_without_descriptors_it_goes_on_and_recovers(tmp_path):
    one = canary(tmp_path)
    port = free_port(CANARY)
    file = written(tmp_path, one, sockets=512)
    file.write_text(file.read_text().replace("[web]\nlisten = []", f'[web]\nlisten = ["{CANARY}:{port}"]'))
    async with lab(OPEN, one), program(file) as (process, store):
        assert (await nominate(file, *KNOWN))[0] == 0
        await until(partial(listed, store, KNOWN))
        before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (used + 1, before[1]))
        assert (await nominate(file, *FRESH))[0] == 0
        crowd = []
        for _ in range(8):
            with suppress(OSError):  # what has no descriptor for them closes them
                crowd.append(socket.create_connection((str(CANARY), port), timeout=5))
        await trio.sleep(3)
        assert process.returncode is None
        assert not {item.address for item in await store.listings()} - {str(host.address) for host in OPEN}
        assert await listed(store, KNOWN)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        for sock in crowd:
            sock.close()
        await until(partial(listed, store, OPEN), 120)

        async def served():
            return await trio.to_thread.run_sync(fetch, port)

        assert b" 200 " in await until(served)
        process.send_signal(signal.SIGTERM)
        assert await ends(process) == 0
        assert await store.verify() == []
    only_lines(file)


def fetch(port, page="/healthz"):
    """The answer's first bytes; nothing where nobody answers."""
    try:
        with socket.create_connection((str(CANARY), port), timeout=10) as sock:
            sock.sendall(f"GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return sock.recv(4096)
    except OSError:
        return b""


async def test_too_low_a_limit_of_descriptors_is_one_line(tmp_path):
    file = written(tmp_path, canary(tmp_path), sockets=4000)
    ended = await trio.run_process(
        ["sh", "-c", 'ulimit -n 1024; exec "$@"', "sh", sys.executable, "-m", "scanner", "--config", str(file), "run"],
        capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert ended.returncode == 2
    expected = "scan.sockets = 4000: expected at most 512 with a limit of 1024 open files\n"
    assert ended.stderr.decode() == f"proxywarden: {expected}"
