"""A daemon with every output, killed in between: what is nominated is everywhere in seconds, what is closed nowhere."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import pytest
import trio

from scanner.config import load
from scanner.lab.machine import Repair
from scanner.model import EventKind, RemovalState
from scanner.publish.image import Image
from scanner.publish.log import SealedLog
from scanner.publish.log_check import check
from scanner.publish.publisher import zone_of
from scanner.publish.rbldnsd import ZoneFile, replace_file
from scanner.publish.views import LISTS
from scanner.publish.zone_text import read_zone
from scanner.store import open_store
from tests.peers.programs import needed
from tests.peers.rbldnsd import serving
from tests.peers.test_bind import SECRET as TSIG
from tests.peers.test_bind import ZONE, ZONE6, Primary, ask, name_of
from tests.scanner import forked
from tests.scanner.live import canary, lab, lab_host, nominate, until
from tests.scanner.program import written
from tests.scanner.publish.test_webhooks import SECRET, Endpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FIRST = [lab_host(f"67.{n}", "connect", repair=Repair.DENIES) for n in range(1, 5)]
LATER = [lab_host(f"67.{n}", "connect", repair=Repair.DENIES) for n in range(5, 25)]
CLOSED = FIRST[0].address
SECONDS = 60.0  # until everything is everywhere; the machine is not ours alone


def configured(home: Path, one, hook: str, primary: Primary | None) -> Path:
    update = ""
    if primary:
        update = f'[publish.dns_update]\nserver = "127.0.0.1:{primary.port}"\nzone = "{ZONE}"\nzone6 = "{ZONE6}"\n'
        update += f'key_name = "feed"\nkey_file = "{home}/key"\n'
    more = f"""
interval = 0.1
webhooks = [{{name = "hook", url = "{hook}", secret = "{SECRET}"}}]
[publish.rbldnsd]
directory = "{home}/zones"
pid_file = "{home / "pid" if primary else ""}"
[publish.exports]
directory = "{home}/exports"
formats = ["plain", "jsonl"]
interval = 0.1
{update}"""
    (home / "key").write_text(TSIG)
    (home / "data").mkdir(mode=0o700)
    return written(home, one, more=more)


@contextmanager
def rbldnsd_of(home: Path, file: Path):
    """A server of the files as they are before anything is listed."""
    zones = home / "zones"
    zones.mkdir()
    kinds = list(product(LISTS, ((4, "ip4set"), (6, "ip6trie"))))
    for list_, (version, _) in kinds:
        zone = ZoneFile(zone_of(load(file), "maps"), list_, version)
        replace_file(zones / zone.name, zone.render(Image(), time.time()))
    for path in (home, *home.parents[:2]):
        path.chmod(path.stat().st_mode & 0o7777 | 0o055)
    home.chmod(0o777)  # the server's user writes the pid file
    specs = [f"{ZONE}:{kind}:{list_}{version}.zone" for list_, (version, kind) in kinds]
    with serving(zones, specs, home / "pid") as server:
        server(ZONE, "SOA")  # it is up
        yield server


@dataclass
class World:
    """The outputs, as those see them who use them."""

    home: Path
    endpoint: Endpoint
    primary: Primary | None = None
    rbldnsd: object = None

    def events(self) -> list[dict]:
        """A line without its end is just being written."""
        file = self.home / "events.jsonl"
        lines = file.read_text().rpartition("\n")[0].splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    def sealed(self) -> list[dict]:
        return [event for _, event in SealedLog(self.home / "data" / "log", 1 << 20).read(0, 10_000)]

    def served(self) -> dict:
        """By output, how to ask whether an address is listed there."""
        found = {
            "zone file": lambda address: address in read_zone(self.home / "zones" / "ops4.zone").covered(),
            "plain": lambda address: f"\n{address}\n" in (self.home / "exports" / "ops.plain").read_text(),
            "jsonl": lambda address: f'"{address}"' in (self.home / "exports" / "ops.jsonl").read_text(),
        }
        if self.primary:
            found["BIND"] = lambda address: bool(ask(self.primary.port, name_of(str(address))))
            found["rbldnsd"] = lambda address: bool(self.rbldnsd(name_of(str(address)), "A").answer)
        return found

    def told(self) -> dict:
        """By output, the last that it says of an address."""
        return {"events file": self.events(), "sealed log": self.sealed(), "webhook": self.endpoint.events}

    async def everywhere(self, addresses, *, listed: bool, since: float) -> dict[str, float]:
        """Wait until every output says so; after how many seconds each did."""
        times: dict[str, float] = {}

        def look():
            for name, ask_ in self.served().items():
                if name not in times and all(ask_(address) == listed for address in addresses):
                    times[name] = time.time() - since
            for name, events in self.told().items():
                last = {event["address"]: event["kind"] for event in events}
                kinds = ("listed", "confirmed") if listed else ("delisted",)
                if name not in times and all(last.get(str(address)) in kinds for address in addresses):
                    times[name] = time.time() - since
            return len(times) == len(self.served()) + len(self.told())

        async def settled():
            with suppress(FileNotFoundError):  # nothing was published yet
                return await trio.to_thread.run_sync(look)

        try:
            await until(settled, SECONDS)
        except trio.TooSlowError:
            log = (self.home / "log").read_text()[-3000:]
            raise AssertionError(f"only {sorted(times)} say {listed=} after {SECONDS:g} s\n{log}") from None
        return times


@asynccontextmanager
async def daemon(file: Path):
    process = forked.start(file)
    try:
        yield process
    finally:
        process.kill()
        await trio.to_thread.run_sync(process.join)
        process.close()


@asynccontextmanager
async def world_of(home: Path, *, servers: bool):
    """The outputs' users, a lab, and the configuration of a daemon between them. Two of the first POSTs fail."""
    one, endpoint = canary(home), Endpoint(b"500 Not yet", b"204 No Content", None)
    async with AsyncExitStack() as stack, lab([*FIRST, *LATER], one) as network, trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, endpoint.serve, 0, host="127.0.0.1"))
        hook = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/hook"
        world = World(home, endpoint)
        if servers:
            world.primary = Primary(home / "bind")
            world.primary.start()
            stack.callback(world.primary.stop)
        file = configured(home, one, hook, world.primary)
        if servers:
            world.rbldnsd = stack.enter_context(rbldnsd_of(home, file))
        yield world, file, network
        nursery.cancel_scope.cancel()


async def closed_and_removed(world: World, network, store) -> dict[str, float]:
    """Its owner closes it and asks for removal; seconds from the event to each output."""
    network.repair(CLOSED)
    removal = await store.request_removal(CLOSED, str(CLOSED), time.time())

    async def delisted():
        return [event for event in await store.events() if event.kind is EventKind.DELISTED]

    (event,) = await until(delisted, 60)
    times = await world.everywhere([CLOSED], listed=False, since=event.at)
    assert (await store.removal(removal.id)).state is RemovalState.DELISTED
    return times


def killed(process) -> None:
    process.kill()
    process.join(10)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("servers", [False, True], ids=["files", "servers"])
async def test_from_the_event_to_whoever_asks(tmp_path, servers):
    if servers:
        needed("named")
        needed("rbldnsd")
    url = f"sqlite:///{tmp_path}/data/proxywarden.sqlite"
    async with world_of(tmp_path, servers=servers) as (world, file, network), open_store(url) as store:
        async with daemon(file) as process:
            began = time.time()
            await nominate(store, [host.address for host in FIRST], began)
            listed = await world.everywhere([host.address for host in FIRST], listed=True, since=began)
            delisted = await closed_and_removed(world, network, store)
            for what, times in (("nominated", listed), ("delisted", delisted)):
                print(f"seconds from {what} to", {name: round(value, 2) for name, value in times.items()})
            await nominate(store, [host.address for host in LATER[:10]], time.time())
            await until(lambda: count(store, 6), SECONDS)
            await trio.to_thread.run_sync(killed, process)  # amid the listings of the ten
        async with daemon(file) as process:
            await nominate(store, [host.address for host in LATER[10:]], time.time())
            standing = [host.address for host in (*FIRST[1:], *LATER)]
            await world.everywhere(standing, listed=True, since=time.time())
            await world.everywhere([CLOSED], listed=False, since=time.time())
            os.kill(process.pid, signal.SIGTERM)
            await trio.to_thread.run_sync(process.join)
            assert process.exitcode == 0, (tmp_path / "log").read_text()[-3000:]
        nothing_lost_and_nothing_twice(world, [event.id for event in await store.events(limit=10_000)])
    assert "Traceback" not in (tmp_path / "log").read_text()


async def count(store, number: int) -> bool:
    return len(await store.events()) > number


def nothing_lost_and_nothing_twice(world: World, happened: list[str]) -> None:
    assert [event["id"] for event in world.events()] == happened
    assert [event["id"] for event in world.sealed()] == happened
    assert check(world.home / "data" / "log").problem == ""
    taken = [event["id"] for event in world.endpoint.events]
    assert list(dict.fromkeys(taken)) == happened, "in order, however often"
    for before, after in pairwise(taken):  # what is told again is told in its order
        assert happened.index(after) <= happened.index(before) + 1
    assert world.endpoint.asked > 2
