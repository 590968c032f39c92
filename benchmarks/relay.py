"""What does a conversation with a mail relay cost, and how many letters a second find their visit, killed in between?

The daemon as a process of its own, and a process that is every mail relay on 127.94.0.0/16 at once; all on 127.0.0.0/8.

    python -m benchmarks.relay [RELAYS]

All relays are visited while they hold what they took. Then the letters of one half come at once, the daemon is killed
(SIGKILL) in the middle of them and started again; the relays bring again what was not taken, as mail servers do. The
letters of the other half are put into the store while no daemon runs: how fast they then find their visits is the
rate without the work of receiving them. CPU is that of the daemon's processes, store, canary and controls included.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from ipaddress import IPv4Address
from multiprocessing.synchronize import Event
from pathlib import Path

import trio

from scanner.receipt import Delivery
from scanner.secret import open_secret
from scanner.store import NominationIn, open_store

ROOT = Path(__file__).parent.parent
FIRST = IPv4Address("127.94.0.1")
CANARY = "127.95.0.25"
DOMAIN = "mail.canary.test"
TIMEOUT = 25.0  # seconds of each part
DELIVERING = 64  # at once; a canary takes more, one process of relays does not
AGAIN = 0.2  # seconds until a letter that was not taken is brought again
_LETTER = re.compile(rb"RCPT TO:<([a-z2-7]{32})@")


async def _relay(
    stream: trio.SocketStream, queue: trio.MemorySendChannel[tuple[str, bytes, bytes]], last: IPv4Address
) -> None:
    """Take a letter at whichever address we are asked; the queue gets those of addresses below last."""
    heard, letter = b"", b""
    if not IPv4Address(stream.socket.getpeername()[0]).is_loopback:  # it listens on every address of this machine
        await stream.aclose()
        return
    with suppress(trio.BrokenResourceError):
        async with stream:
            await stream.send_all(b"220 mail.test ESMTP\r\n")
            while data := await stream.receive_some(65536):
                heard += data
                while b"\n" in heard:
                    line, _, heard = heard.partition(b"\n")
                    if found := _LETTER.match(line):
                        letter = found[1]
                    if line.startswith(b"DATA"):
                        await stream.send_all(b"354 Go on\r\n")
                        while b"\r\n.\r\n" not in heard:
                            heard += await stream.receive_some(65536)
                        text, _, heard = heard.partition(b"\r\n.\r\n")
                        here = stream.socket.getsockname()[0]
                        if IPv4Address(here) < last:
                            await queue.send((here, letter, text))
                    await stream.send_all(b"221 Bye\r\n" if line.startswith(b"QUIT") else b"250 Ok\r\n")


async def _deliver(queue: trio.MemoryReceiveChannel[tuple[str, bytes, bytes]], port: int) -> None:
    """One letter after the other, each until the canary has it."""
    async for source, letter, text in queue:
        while True:
            with suppress(OSError, trio.BrokenResourceError), trio.move_on_after(5):
                async with await trio.open_tcp_stream(CANARY, port, local_address=source) as canary:
                    lines = (b"EHLO out.test", b"MAIL FROM:<x@y.test>", b"RCPT TO:<%b@y.test>" % letter, b"DATA")
                    said = await canary.receive_some(4096)
                    for line in (*lines, text + b"\r\n."):
                        await canary.send_all(line + b"\r\n")
                        said = await canary.receive_some(4096)
                    if said.startswith(b"250"):
                        break
            await trio.sleep(AGAIN)


def relays(port: int, canary: int, last: IPv4Address, ready: Event, go: Event) -> None:
    """The process that is all relays. go: they may deliver."""

    async def main() -> None:
        put, get = trio.open_memory_channel[tuple[str, bytes, bytes]](100_000)
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(port, host="0.0.0.0", backlog=1024)
            nursery.start_soon(trio.serve_listeners, lambda stream: _relay(stream, put, last), listeners)
            ready.set()
            while not go.is_set():
                await trio.sleep(0.01)
            for _ in range(DELIVERING):
                nursery.start_soon(_deliver, get.clone(), canary)

    trio.run(main)


class Daemon:
    """`proxywarden run`, started and killed again. cpu: seconds of all that ended."""

    def __init__(self, folder: Path, smtp: int, mail: int) -> None:
        self.cpu = 0.0
        self.store = folder / "data" / "proxywarden.sqlite"
        self._file = folder / "proxywarden.toml"
        self._log = folder / "log"
        (folder / "data").mkdir(mode=0o700)
        self._file.write_text(
            f"""
data_dir = "{folder}/data"
[canary]
listen = ["{CANARY}:{free(CANARY)}"]
mail_listen = ["{CANARY}:{mail}"]
http_listen = []
targets = [{{id = "main", address = "{CANARY}", mail = {mail}, mail_domain = "{DOMAIN}"}}]
[scope]
never_scan = []
never_list = []
allow = ["127.0.0.0/8"]
[scan]
endpoints = []
rate = 20000
per_network_rate = 10000
hosts = 256
[lists.rss]
endpoints = ["smtp-relay:{smtp}"]
forms = ["plain"]
receipt_wait = 0.02
[web]
listen = []
operator_listen = []
"""
        )

    def start(self) -> None:
        command = [sys.executable, "-m", "scanner", "--config", str(self._file), "run"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def end(self, number: signal.Signals) -> None:
        if self.process.returncode is not None:
            return
        self.process.send_signal(number)
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu += usage.ru_utime + usage.ru_stime

    @property
    def cpu_now(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return self.cpu + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def count(self, query: str) -> int:
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=10)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {query}").fetchone()[0])

    def wait(self, query: str, number: int) -> float:
        """Seconds until there are so many. SystemExit with the log's end where that takes too long."""
        began = time.monotonic()
        while self.count(query) < number:
            if time.monotonic() > began + TIMEOUT or self.process.poll() is not None:
                raise SystemExit(f"{self.count(query)} of {number} {query}:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)
        return time.monotonic() - began


def free(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


LISTED = "events WHERE list = 'rss' AND kind = 'listed'"


def measure(number: int) -> list[tuple[str, str]]:
    """Rows of a table."""
    smtp, mail = free("0.0.0.0"), free(CANARY)
    ready, go = multiprocessing.Event(), multiprocessing.Event()
    servers = multiprocessing.Process(target=relays, args=(smtp, mail, FIRST + number // 2, ready, go), daemon=True)
    servers.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            daemon = Daemon(Path(folder), smtp, mail)
            return _rows(daemon, number, ready, go)
    finally:
        servers.kill()
        servers.join()


def _rows(daemon: Daemon, number: int, ready: Event, go: Event) -> list[tuple[str, str]]:
    half = number // 2
    trio.run(_nominate, daemon.store, [FIRST + offset for offset in range(2 * half)])
    ready.wait(10)
    daemon.start()
    try:
        daemon.wait("visits", 1)
        idle = daemon.cpu_now
        visiting = daemon.wait("visits", 2 * half)
        visits = daemon.cpu_now - idle
        accepted = daemon.count("evidence WHERE kind = 'accepted'")
        go.set()
        daemon.wait(LISTED, half // 3)
        daemon.end(signal.SIGKILL)
        kept, matched = daemon.count("deliveries"), daemon.count(LISTED)
        daemon.start()
        daemon.wait(LISTED, matched + 1)
        coming, used = daemon.count(LISTED), daemon.cpu_now
        arriving = daemon.wait(LISTED, half)
        used = (daemon.cpu_now - used) / (half - coming)
        daemon.end(signal.SIGTERM)
        trio.run(_put, daemon.store)
        daemon.start()
        daemon.wait(LISTED, half + 1)
        waiting, bare = 2 * half - daemon.count(LISTED), daemon.cpu_now
        matching = daemon.wait(LISTED, 2 * half)
        bare = (daemon.cpu_now - bare) / waiting
    finally:
        daemon.end(signal.SIGTERM)
    listed = daemon.count("(SELECT DISTINCT address FROM listings WHERE list = 'rss')")
    return [
        ("relays visited, letters accepted", f"{2 * half:,}, {accepted:,} in {visiting:.1f} s"),
        ("CPU of a conversation, all included", f"{1e3 * visits / (2 * half):.2f} ms"),
        ("when killed: letters kept, matched", f"{kept:,}, {matched:,} of {half:,}"),
        (
            "received and matched after it",
            f"{(half - coming) / arriving:.0f} a second, {1e3 * used:.2f} ms of CPU",
        ),
        ("matched alone", f"{waiting / matching:.0f} a second, {1e3 * bare:.2f} ms of CPU"),
        ("lost, listed twice", f"{2 * half - listed}, {daemon.count(LISTED) - listed}"),
    ]


async def _put(store: Path) -> None:
    """Deliveries of all letters that did not come, signed with the canary's key."""
    (key,) = open_secret(store.parent / "secret").canary_keys("main").values()
    async with open_store(f"sqlite:///{store}") as opened, trio.open_nursery() as nursery:
        query = "SELECT id, address FROM letters WHERE id NOT IN (SELECT id FROM deliveries)"
        for letter, address in await opened._read(lambda connection: connection.execute(query).fetchall()):
            signed = Delivery("main", letter, IPv4Address(address), 25, 25, time.time()).signed(key)
            nursery.start_soon(opened.deliver, letter, signed, time.time())


async def _nominate(store: Path, addresses: list[IPv4Address]) -> None:
    async with open_store(f"sqlite:///{store}") as opened:
        items = [NominationIn(address, sample=b"a spam", submitter="benchmark") for address in addresses]
        await opened.nominate(items, time.time())


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    began = time.monotonic()
    for name, value in measure(number):
        print(f"{name:38} {value}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    print(f"{'seconds of it all':38} {time.monotonic() - began:.0f} (of which {own:.1f} of CPU for looking)")


if __name__ == "__main__":
    main()
