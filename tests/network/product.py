"""The product as its users have it: a configuration file, the command line, the daemon and a second canary."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanner.model import Address
from tests.network.internet import CANARY, CANARY6, MAIN, MAIN6, NETWORKS, OTHER, OTHER6, SECOND, Internet
from tests.network.relays import PORT

ROOT = Path(__file__).parents[2]
FACES = "tcp = 443, mail = 25, http = 80"
NAME = "canary.test"  # of the first canary, for the daemon and nobody else
_ALONE = "mount --bind {hosts} /etc/hosts && mount --bind {resolv} /etc/resolv.conf && exec {python} -m scanner run"
_PATIENCE = 90.0  # seconds for whatever must happen


@dataclass
class Product:
    """In the scanner's namespace, with its files in `folder`."""

    net: Internet
    folder: Path
    secret: Path

    def configure(self, *, only_second: bool = False, faces: str = FACES, more: str = "", **scan: object) -> None:
        """Write the configuration. only_second: no canary in this process. scan: other values for [scan]."""
        values = {
            "endpoints": [f"socks5:{PORT}", f"http-connect:{PORT}"],
            "connect_timeout": 4.0,
            "conversation_timeout": 10.0,
            "per_network_rate": 1000.0,
        } | scan
        main = f'{{id = "main", address = "{CANARY}", address6 = "{CANARY6}", name = "{NAME}", {faces}}},'
        here = "[]" if only_second else f'["{CANARY}:PORT", "[{CANARY6}]:PORT"]'
        allow = ", ".join(f'"{network}"' for network in NETWORKS)
        # TOML's lists and numbers are JSON's.
        lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
        (self.folder / "proxywarden.toml").write_text(f"""
data_dir = "{self.folder}"
secret_file = "{self.secret}"
[[vantage]]
name = "main"
source = "{MAIN}"
source6 = "{MAIN6}"
[[vantage]]
name = "second"
source = "{SECOND}"
[canary]
listen = {here.replace("PORT", "443")}
mail_listen = {here.replace("PORT", "25")}
http_listen = {here.replace("PORT", "80")}
targets = [{"" if only_second else main}
  {{id = "other", address = "{OTHER}", address6 = "{OTHER6}", {faces}}},
]
[scope]
never_scan = ["never.txt"]
never_list = []
allow = [{allow}]
[scan]
{lines}
learn_order = false
[web]
listen = ["127.0.0.1:8025"]
operator_listen = []
[publish]
events = "{self.folder / "events.jsonl"}"
{more}
""")
        never = self.folder / "never.txt"
        never.touch()

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PROXYWARDEN_")}
        return clean | {"PROXYWARDEN_CONFIG": str(self.folder / "proxywarden.toml")}

    def command(self, *words: object, code: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run one to its end. code: the exit code that it must have."""
        done = self.net.scanner.do(
            subprocess.run,
            [sys.executable, "-m", "scanner", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
            env=self.environment(),
            cwd=ROOT,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def check(self, addresses: Iterable[Address], *words: object) -> dict[str, dict[str, Any]]:
        """What `check --json` says of each."""
        lines = self.command("check", "--json", *words, *addresses).stdout.splitlines()
        return {answer["address"]: answer for answer in map(json.loads, lines)}

    def resolve(self, names: Mapping[str, Address]) -> None:
        """From here on the daemon's names are these."""
        lines = [f"{address} {name}\n" for name, address in names.items()]
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(lines))

    def second_canary(self) -> None:
        """A stand-alone one in the far network, under the secret of this one."""
        keys, config = self.folder / "other.key", self.folder / "other.toml"
        self.command("canary", "--export", "other", "--key-file", keys, code=0)
        places = {face: f'["{OTHER}:{port}", "[{OTHER6}]:{port}"]' for face, port in _FACES.items()}
        config.write_text("[canary]\n" + "\n".join(f"{face} = {where}" for face, where in places.items()))
        canary = [sys.executable, "-m", "scanner", "--config", str(config), "canary", "--key-file", str(keys)]
        with (self.folder / "other.log").open("wb") as log:
            self.net.far.start(*canary, stdout=log, stderr=log, env=self.environment(), cwd=ROOT)
        until(lambda: "listens on" in (self.folder / "other.log").read_text(), "the second canary does not start")

    def daemon(self) -> Daemon:
        """One whose names are those of `resolve`, and which has no name server to ask."""
        self.resolve({NAME: CANARY})
        (self.folder / "resolv.conf").touch()
        files = {"hosts": self.folder / "hosts", "resolv": self.folder / "resolv.conf", "python": sys.executable}
        words = ("unshare", "--mount", "sh", "-c", _ALONE.format(**files))
        with (self.folder / "daemon.log").open("wb") as log:
            process = self.net.scanner.start(*words, stdout=log, stderr=log, env=self.environment(), cwd=ROOT)
        daemon = Daemon(self, process)
        until(lambda: daemon.status().get("visits") is not None, "the daemon does not start")
        return daemon


_FACES = {"listen": 443, "mail_listen": 25, "http_listen": 80}


@dataclass
class Daemon:
    """One that runs."""

    product: Product
    process: subprocess.Popen[bytes]

    def status(self) -> dict[str, Any]:
        """What its heartbeat said last, as `status` shows it; empty before the first."""
        assert self.process.poll() is None, self.log()
        rows = self.rows("SELECT value FROM status WHERE name = 'daemon'")
        status = json.loads(rows[0][0]) if rows else {}
        return status if status.get("pid") == self.process.pid else {}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """From its store; a process for each question would take a second."""
        try:
            with closing(sqlite3.connect(f"file:{self.product.folder}/proxywarden.sqlite?mode=ro", uri=True)) as store:
                return store.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []  # it is just being made

    def nominate(self, *addresses: Address, sample: bool = True) -> None:
        spam = self.product.folder / "spam.eml"
        spam.write_text("Received: from there\n")
        words = ("--sample", spam) if sample else ()
        self.product.command("nominate", *words, *addresses, code=0)

    def events(self, address: object = "") -> list[dict[str, Any]]:
        """Published so far, of one address or all. A line without its end is just being written."""
        path = self.product.folder / "events.jsonl"
        lines = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if not address or event["address"] == str(address)]

    def idle(self) -> tuple[Any, ...]:
        """Empty while it is at work; else what it has done, and when its heartbeat said so."""
        status = self.status()
        ((at,),) = self.rows("SELECT at FROM status WHERE name = 'daemon'")
        done = (status["controls"]["rounds"], status["visits"], status["void_visits"])
        told = len(self.events()) == self.rows("SELECT count(*) FROM events")[0][0]
        return (done, at) if told and not status["schedule"]["under_way"] else ()

    def states(self, address: Address) -> list[str]:
        """What each visit to it came to, the latest last."""
        return [state for (state,) in self.rows(f"SELECT state FROM visits WHERE address = '{address}' ORDER BY ended")]

    def time_passes(self, *addresses: Address) -> None:
        """Until the next visits to these are due."""
        chosen = f"address IN ({', '.join(repr(str(address)) for address in addresses)})"
        with closing(sqlite3.connect(self.product.folder / "proxywarden.sqlite", timeout=10)) as store, store:
            store.execute(f"UPDATE targets SET due = 1 WHERE {chosen} AND taken_until IS NULL")
            store.execute(f"UPDATE networks SET ready_at = 1 WHERE id IN (SELECT network FROM targets WHERE {chosen})")

    def log(self) -> str:
        return (self.product.folder / "daemon.log").read_text()

    def stop(self) -> None:
        """It must end well."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(_PATIENCE) == 0
        assert "Traceback" not in self.log(), self.log()


def until(condition: Callable[[], Any], otherwise: str, seconds: float = _PATIENCE) -> Any:
    """Wait for something to be so; what it is."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)
    return result
