"""`proxywarden run` as a process of its own, with a configuration for the lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from scanner.store import open_store
from tests.scanner.live import PORT, until

ROOT = Path(__file__).parents[2]


def written(folder, one, web="", more="", **scan):
    """A configuration as a file; what `one` is told to targets, and bound, by the daemon.

    more: lines of [publish], and then other tables. scan: other values for [scan].
    """
    target = one.target
    keys = {"rate": 20000, "per_network_rate": 10000, "connect_timeout": 1.0, "conversation_timeout": 20.0, **scan}
    file = folder / "proxywarden.toml"
    file.write_text(
        f"""
data_dir = "{folder}/data"
[canary]
listen = ["{target.address}:{target.tcp}"]
mail_listen = ["{target.address}:{target.mail}"]
http_listen = ["{target.address}:{target.http}"]
[scope]
never_scan = []
never_list = []
allow = ["127.0.0.0/8"]
[scan]
endpoints = ["http-connect:{PORT}"]
{"".join(f"{key} = {json.dumps(value)}" + chr(10) for key, value in keys.items())}
[web]
listen = [{web}]
operator_listen = []
[publish]
events = "{folder}/events.jsonl"
{more}"""
    )
    return file


@asynccontextmanager
async def program(file, **environment):
    """`proxywarden run`, from the moment it is ready."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROXYWARDEN_")}
    arguments = [sys.executable, "-m", "scanner", "--config", str(file), "run"]
    with (file.parent / "log").open("ab") as log:
        process = await trio.lowlevel.open_process(
            arguments, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, env={**clean, **environment}
        )
    try:
        folder = file.parent / "data"
        folder.mkdir(mode=0o700, exist_ok=True)
        async with open_store(f"sqlite:///{folder}/proxywarden.sqlite") as store:

            async def alive():
                assert process.returncode is None, (file.parent / "log").read_text()
                value, _ = (await store.status()).get("daemon", ({}, 0))
                return value.get("running") and value["pid"] == process.pid

            await until(alive)
            yield process, store
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await process.stdout.aclose()


def log_of(file):
    """The lines that have been written to their end."""
    return [json.loads(line) for line in (file.parent / "log").read_text().split("\n")[:-1] if line.startswith("{")]


async def ends(process, within=60.0):
    with trio.fail_after(within):
        return await process.wait()
