"""How soon does the list reach those who use it? Writing and checking zone files, event to answer, event lines.

python -m benchmarks.publish [--large] [--only files|rbldnsd|bind|events] prints one table. --large adds five million
listings; two minutes in all. rbldnsd and named count where they are on the PATH.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from array import array
from collections.abc import Awaitable, Callable
from pathlib import Path

import dns.message
import dns.query
import trio

from core.cidr import CidrSet
from scanner.config import load
from scanner.model import Event, EventKind, Listing
from scanner.publish.dns_update import DnsUpdate
from scanner.publish.events import EventLines
from scanner.publish.image import Image, text_of
from scanner.publish.ledger import Changes
from scanner.publish.names import Names
from scanner.publish.outputs import ZoneFiles, outputs_of
from scanner.publish.publisher import Publisher
from scanner.publish.views import LISTS, Heading
from scanner.scope import Scope
from scanner.settings import Settings

AT = time.time()
NONE = CidrSet([])
ZONE = "bl.example"


def row(name: str, value: str, note: str = "") -> None:
    print(f"{name:<52} {value:>14}  {note}", flush=True)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def listing(address: str) -> Listing:
    return Listing("ops", address, "entry", "open-proxy", "nomination", "socks5/1", "here", AT, AT, AT + 86400)


class Source:
    """A store of many listings that costs nothing to read."""

    def __init__(self, count: int) -> None:
        rng = random.Random(7)
        self.numbers = array("I", sorted({rng.randrange(16 << 24, 126 << 24) for _ in range(count)}))
        self.history: list[Event] = []

    def happen(self, kind: EventKind, address: str) -> None:
        cursor = str(len(self.history) + 1)
        self.history.append(Event(kind, time.time(), listing(address), cursor.zfill(32), cursor))

    async def events(self, after: str | None = None, limit: int = 1000) -> list[Event]:
        start = int(after or 0)
        return self.history[start : start + limit]

    async def last_cursor(self) -> str | None:
        return self.history[-1].cursor if self.history else None

    async def entries(self, after: tuple[str, str, str] | None = None, limit: int = 50_000) -> list[tuple[str, ...]]:
        start = 0 if after is None else self._seen
        self._seen = start + limit
        some = self.numbers[start : start + limit]
        return [("ops", text_of(n.to_bytes(4, "big")), "entry", "socks5/1", "", "here") for n in some]

    async def listings(self, *_: object) -> list[Listing]:
        return []

    async def set_status(self, *_: object) -> None:
        pass

    async def status(self) -> dict[str, tuple[dict[str, object], float]]:
        return {}


def settings_of(home: Path, text: str) -> Settings:
    file = home / "proxywarden.toml"
    limits = "growth_floor = 100000000\nshare_floor = 100000000\n"
    limits += "max_entries = {ops = 100000000}\nmax_addresses = {ops = 100000000}\n"
    file.write_text(f'data_dir = "{home}"\n[publish.gate]\n{limits}{text}')
    return load(file)


def publisher_of(settings: Settings, source: Source) -> Publisher:
    return Publisher(settings, Scope(NONE, NONE, NONE, NONE), source, outputs_of(settings))  # type: ignore[arg-type]


def cpu() -> float:
    """Seconds of CPU, of this process and of the servers it asked to read a file."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def peak() -> int:
    """Bytes resident at most, since it was last asked."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


async def whole_files(home: Path, count: int) -> None:
    """From the image in memory to a file in its place: rendered, written, read back, and shown to rbldnsd."""
    settings = settings_of(home, f'[publish.rbldnsd]\ndirectory = "{home / "zones"}"\n')
    source = Source(count)
    publisher = publisher_of(settings, source)
    publisher.ledger = await publisher.load({})
    publisher.ledger.held = Image()
    image = publisher.ledger.published
    (output,) = publisher.outputs.values()
    assert isinstance(output, ZoneFiles)
    before = resident()
    image.fill(Heading("ops", "entry", "socks"), source.numbers)
    held = resident() - before
    peak()
    start, used = time.perf_counter(), cpu()
    await output.update(publisher, Changes(), whole=True)
    took, used = time.perf_counter() - start, cpu() - used
    size = (home / "zones" / "ops4.zone").stat().st_size
    checker = "rbldnsd -d too" if shutil.which("rbldnsd") else "our reader only"
    row(
        f"{count:,} listings written and validated", f"{took:.2f} s", f"{size >> 20} MB; {used:.2f} s of CPU; {checker}"
    )
    row("  memory for each, image", f"{held / count:.0f} bytes", f"{(peak() - before) / count:.0f} at the peak")
    image.put(Heading("ops", "entry", "socks"), bytes((11, 1, 1, 1)))
    start, used = time.perf_counter(), cpu()
    await output.update(publisher, Changes(items={("ops", bytes((11, 1, 1, 1)))}), whole=False)
    took, used = time.perf_counter() - start, cpu() - used
    row("  rewritten and read back after one change", f"{1000 * took:.0f} ms", f"{1000 * used:.0f} ms of CPU")


def answer(port: int, name: str) -> bool:
    question = dns.message.make_query(f"{name}.{ZONE}", "A")
    try:
        return bool(dns.query.udp(question, "127.0.0.1", timeout=2, port=port).answer)
    except dns.exception.Timeout:
        return False


async def until(port: int, name: str, there: bool) -> None:
    while await trio.to_thread.run_sync(answer, port, name) != there:
        await trio.sleep(0.002)


async def event_to_answer(home: Path, count: int) -> None:
    """A daemon's publisher, a real rbldnsd, and a resolver that asks until it sees."""
    if not shutil.which("rbldnsd"):
        row("event to answer, rbldnsd", "-", "peer absent: rbldnsd")
        return
    home.chmod(0o755)
    zones, pid = home / "zones", home / "pid"
    zones.mkdir(exist_ok=True)
    settings = settings_of(home, f'[publish.rbldnsd]\ndirectory = "{zones}"\npid_file = "{pid}"\n')
    source = Source(count)
    publisher = publisher_of(settings, source)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    pid.write_text(str(os.getpid()))  # until the server is there
    await publisher.release()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = ["rbldnsd", "-n", "-f", "-a", *user, "-b", f"127.0.0.1/{port}", "-c", "60s", "-w", str(zones)]
    command.append(f"{ZONE}:ip4set:ops4.zone")
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    pid.write_text(str(server.pid))
    try:
        with trio.fail_after(120):
            await until(port, "2.0.0.127", there=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publisher.run)
                times = await five_of_each(source, publisher, port, pause=2.2)
                nursery.cancel_scope.cancel()
    finally:
        server.terminate()
        server.wait(20)
    tell("rbldnsd", count, times)


async def five_of_each(
    source: Source, publisher: Publisher, port: int, *, pause: float
) -> dict[EventKind, list[float]]:
    """Seconds from an event to its answer. pause: seconds before each, so that each has a release of its own."""
    times: dict[EventKind, list[float]] = {EventKind.LISTED: [], EventKind.DELISTED: []}
    for turn in range(5):
        for kind, found in times.items():
            await trio.sleep(pause)
            start = time.perf_counter()
            source.happen(kind, f"11.7.7.{turn}")
            publisher.ring()
            await until(port, f"{turn}.7.7.11", kind is EventKind.LISTED)
            found.append(time.perf_counter() - start)
    return times


def tell(server: str, count: int, times: dict[EventKind, list[float]]) -> None:
    for kind, found in times.items():
        value = f"{1000 * sorted(found)[len(found) // 2]:.0f} ms"
        row(f"{kind} to answer, {server}, {count:,} entries", value, f"worst {1000 * max(found):.0f} ms")


async def event_to_bind(home: Path, count: int) -> None:
    """The same with BIND and dynamic DNS; the zone begins as a file, since that is how a primary has it."""
    if not shutil.which("named"):
        row("event to answer, BIND", "-", "peer absent: named")
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secret = base64.b64encode(os.urandom(32)).decode()
    (home / "key").write_text(secret)
    update = f'server = "127.0.0.1:{port}"\nzone = "{ZONE}"\nkey_name = "feed"\nkey_file = "{home / "key"}"\n'
    settings = settings_of(home, f"[publish.dns_update]\n{update}")
    source = Source(count)
    publisher = publisher_of(settings, source)
    (output,) = publisher.outputs.values()
    assert isinstance(output, DnsUpdate)
    publisher.ledger = await publisher.load({})
    await publisher.ledger.settle(source, time.time(), Changes())
    with (home / "bl.db").open("w") as file:
        file.write("$TTL 120\n@ SOA ns h 1 60 60 600 60\n@ NS ns\nns A 127.0.0.1\n")
        for name, records in output.all(Names(publisher.ledger.published, 4, LISTS)):
            file.writelines(
                f'{name} {kind} "{text}"\n' if kind == "TXT" else f"{name} A {text}\n" for kind, text in records
            )
        file.write(f'_proxywarden TXT "- {len(source.numbers)}"\n')
    (home / "dns_update.json").write_text(json.dumps({ZONE: 1}))  # as after a restart: nothing is to be transferred
    (home / "named.conf").write_text(
        f'key feed {{ algorithm hmac-sha256; secret "{secret}"; }};\n'
        f'options {{ directory "{home}"; listen-on port {port}'
        f' {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file none; session-keyfile "{home}/session.key";'
        f" recursion no;"
        f' notify no; dnssec-validation no; }};\ncontrols {{ }};\nzone "{ZONE}" {{ type primary; file "bl.db";'
        f" allow-update {{ key feed; }}; allow-transfer {{ key feed; }}; }};\n"
    )
    command = ["named", "-g", "-c", str(home / "named.conf"), "-n", "2"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with trio.fail_after(300):
            await until(port, "2.0.0.127", there=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publisher.run)
                while not publisher.states.get("dns_update", "").startswith("ok"):
                    await trio.sleep(0.2)
                times = await five_of_each(source, publisher, port, pause=1.5)
                nursery.cancel_scope.cancel()
    finally:
        server.terminate()
        server.wait(60)
    tell("BIND", count, times)


async def event_lines(home: Path) -> None:
    source = Source(1)
    for number in range(30_000):
        source.happen(EventKind.LISTED, f"11.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    lines = EventLines(str(home / "events.jsonl"))
    start, used = time.perf_counter(), cpu()
    await lines.write_new(source)
    took, used = time.perf_counter() - start, cpu() - used
    row("events into the JSON lines file", f"{30_000 / took:,.0f} /s", f"{1e6 * used / 30_000:.0f} us of CPU each")
    publisher = publisher_of(settings_of(home, ""), source)
    start, used = time.perf_counter(), cpu()
    publisher.log.append(source.history, time.time())
    took, used = time.perf_counter() - start, cpu() - used
    row("events into the sealed log", f"{30_000 / took:,.0f} /s", f"{1e6 * used / 30_000:.0f} us of CPU each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", choices=["files", "rbldnsd", "bind", "events"])
    chosen = parser.parse_args()
    row("load of the machine (other work on it)", f"{os.getloadavg()[0]:.1f}", f"{os.cpu_count()} cores")
    parts: list[tuple[str, Callable[..., Awaitable[None]], tuple[int, ...]]] = [
        ("files", whole_files, (1_000_000,)),
        *([("files", whole_files, (5_000_000,))] if chosen.large else []),
        ("rbldnsd", event_to_answer, (1_000_000,)),
        ("bind", event_to_bind, (1_000_000,)),
        ("events", event_lines, ()),
    ]
    for name, part, numbers in parts:
        if chosen.only in (None, name):
            with tempfile.TemporaryDirectory() as home:
                trio.run(part, Path(home), *numbers)


if __name__ == "__main__":
    main()
