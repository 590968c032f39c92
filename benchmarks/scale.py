"""Does it find all open proxies among very many hosts and nothing else, and what does an endpoint cost?

    python -m benchmarks.scale [--hosts 20000] [--profile FILE]

20,000 hosts of 5 endpoints, 1 % of them open proxies and 2 % traps: visited as the pipeline visits them (sweep,
conversations, verdict), then by the whole daemon with its store and its controls; 20,000 filtered endpoints with 4,000
sockets; and a daemon with 1,000,000 scheduled targets. CPU is that of this process; the hosts are another. The bare
loop of socket, connect and close is benchmarks/bare.c, on the same endpoints in the same run. All on 127.0.0.0/8.
"""

from __future__ import annotations

import argparse
import cProfile
import ctypes
import logging
import multiprocessing
import os
import random
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address
from multiprocessing.connection import Connection
from pathlib import Path

import trio

from benchmarks.pipeline import cpu, resident
from benchmarks.store import fill
from benchmarks.sweep import bare, mute_port
from core.cidr import CidrSet
from scanner import log
from scanner.canary import Tally, run_canary
from scanner.canary.server import Limits
from scanner.daemon import Daemon
from scanner.examine import examine
from scanner.lab.internet import Internet
from scanner.lab.kinds import KINDS
from scanner.lab.machine import Host
from scanner.lab.network import serve
from scanner.model import CanaryTarget, Endpoint, Identity, Reason, State, Target, Vantage, Visit
from scanner.probe import Prober
from scanner.proof import CanaryKey
from scanner.settings import (
    CanarySection,
    ControlsSection,
    IdentitySection,
    ScanSection,
    ScopeSection,
    Settings,
    WebSection,
)
from scanner.start import calm_collector
from scanner.store import NominationIn, open_store
from scanner.sweep import Connector
from scanner.verdict import judge

CANARY = IPv4Address("127.92.255.1")
FIRST = IPv4Address("127.93.0.1")
PORTS = (3128, 1080, 8080, 8888, 4145)
ENDPOINTS = ("http-connect:3128", "socks5:1080", "http-connect:8080", "http-connect:8888", "socks4:4145")
OPEN = {"connect": 3128, "socks5": 1080, "http": 8080, "mixed": 8888, "socks4": 4145}
TRAPS = {"grants-page": 3128, "grants-vainly": 8888, "grants-echo": 1080, "echo": 8080, "http-403": 3128, "ssh": 1080,
         "reset": 4145, "web-welcome": 8080, "socks5-password": 1080, "rewrites": 3128}  # fmt: skip
AT_ONCE = 2000


def line(what: str, value: str, beside: str = "") -> None:
    print(f"{what:<58} {value:>14}   {beside}", flush=True)


def plan(hosts: int) -> tuple[list[IPv4Address], dict[IPv4Address, str], list[Host]]:
    """All addresses, the kinds of those where something listens, and these as the lab runs them."""
    rng = random.Random(1)
    addresses = [FIRST + n for n in range(hosts)]
    chosen = rng.sample(addresses, hosts * 3 // 100)
    many = hosts // 100
    kinds = {address: list(OPEN)[n % len(OPEN)] for n, address in enumerate(chosen[:many])}
    kinds |= {address: list(TRAPS)[n % len(TRAPS)] for n, address in enumerate(chosen[many:])}
    ports = OPEN | TRAPS
    return addresses, kinds, [Host(at, KINDS[kind], (ports[kind],), at) for at, kind in kinds.items()]


def lab(pipe: Connection, hosts: list[tuple[str, str, int]]) -> None:
    """Hosts that listen, until the other end of the pipe goes."""

    async def main() -> None:
        canary = CanaryTarget("main", CANARY, tcp=pipe.recv())
        made = [Host(IPv4Address(at), KINDS[kind], (port,), IPv4Address(at)) for at, kind, port in hosts]
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, made, Internet((canary,), pace=0.1))
            pipe.send(True)
            await trio.to_thread.run_sync(pipe.poll, None)
            nursery.cancel_scope.cancel()

    trio.run(main)


@asynccontextmanager
async def labelled(hosts: list[Host], tcp: int) -> AsyncIterator[None]:
    pipe, theirs = multiprocessing.Pipe()
    rows = [(str(host.address), host.kind.name, host.ports[0]) for host in hosts]
    process = multiprocessing.get_context("spawn").Process(target=lab, args=(theirs, rows), daemon=True)
    process.start()
    try:
        pipe.send(tcp)
        await trio.to_thread.run_sync(pipe.recv)
        yield
    finally:
        pipe.send(False)
        await trio.to_thread.run_sync(process.join)


def floor_of(hosts: int) -> float:
    """Seconds of CPU of the bare loop for one endpoint, the least of three."""
    floor = bare()
    closed = [port + 10_000 for port in PORTS]  # nobody listens there on any of them
    times = []
    for _ in range(3):
        used = cpu()
        done = sum(floor.one_by_one(int(FIRST), 1, port, hosts) for port in closed)
        times.append((cpu() - used) / done)
    return min(times)


def verify(kinds: dict[IPv4Address, str], found: set[IPv4Address]) -> None:
    """All, and nothing else."""
    expected = {address for address, kind in kinds.items() if kind in OPEN}
    assert found == expected, f"missed {len(expected - found)}, found {len(found - expected)} that are not open"


async def visits(hosts: int, floor: float, profile: cProfile.Profile | None) -> None:
    """Sweep, conversations and verdict of each host, without a store."""
    addresses, kinds, listening = plan(hosts)
    key = CanaryKey.from_master(b"m" * 32, "main")
    endpoints = tuple(Endpoint(name, int(port)) for name, port in (text.split(":") for text in ENDPOINTS))
    found: set[IPv4Address] = set()
    async with trio.open_nursery() as nursery:
        start = partial(run_canary, "main", {1: key}, tcp=[(str(CANARY), 0)], limits=Limits(per_source=10_000))
        bound = await nursery.start(partial(start, tally=Tally(), name="canary.test"))
        target = CanaryTarget("main", CANARY, tcp=bound.tcp[0][1])
        async with labelled(listening, bound.tcp[0][1]):
            connector = Connector(never=CidrSet([]), rate=1e6, hosts=AT_ONCE, timeout=4)
            await nursery.start(connector.run)
            prober = Prober(Identity("benchmark", "http://127.0.0.1/"), {"main": key}, timeout=5, reraise=True)
            rest = iter(addresses)

            async def some() -> None:
                for address in rest:
                    visit = Visit(
                        os.urandom(16).hex(),
                        Target(address, Reason.NOMINATION, 0.0),
                        endpoints,
                        (Vantage("here"),),
                        capabilities=False,
                    )
                    evidence = await examine(visit, connector, prober, [target])
                    if judge(visit, evidence).state is State.OPEN:
                        found.add(address)

            began, used = time.monotonic(), cpu()
            if profile:
                profile.enable()
            async with trio.open_nursery() as crowd:
                for _ in range(AT_ONCE):
                    crowd.start_soon(some)
            if profile:
                profile.disable()
            seconds, used = time.monotonic() - began, cpu() - used
        nursery.cancel_scope.cancel()
    verify(kinds, found)
    each = used / hosts / len(PORTS)
    line(f"visits of {hosts:,} hosts: open found, all others not", f"{len(found)}", f"{seconds:.1f} s")
    line("  CPU of an endpoint", f"{each * 1e6:.1f} us", f"{each / floor:.2f} x bare (2.5)")


def settings(folder: Path) -> Settings:
    anywhere = (f"{CANARY}:0",)
    return Settings(
        data_dir=folder,
        identity=IdentitySection(name="benchmark", url="http://127.0.0.1/"),
        canary=CanarySection(listen=anywhere, mail_listen=(), http_listen=()),
        scope=ScopeSection(never_scan=(), never_list=(), allow=("127.0.0.0/8",)),
        scan=ScanSection(
            rate=1e6, per_network_rate=1e6, connect_timeout=4, conversation_timeout=5, endpoints=ENDPOINTS,
            hosts=AT_ONCE, learn_order=False,
        ),
        controls=ControlsSection(listen="127.92.255.2:0"),
        web=WebSection(listen=(), operator_listen=()),
    )  # fmt: skip


async def daemon_of(hosts: int, floor: float, folder: Path, profile: cProfile.Profile | None) -> None:
    """The same by the daemon: nominated, leased, visited, held against the controls, and on disk."""
    addresses, kinds, listening = plan(hosts)
    seen = 0

    def heard(record: object, events: object) -> None:
        nonlocal seen
        seen += 1

    async with trio.open_nursery() as nursery:
        daemon: Daemon = await nursery.start(Daemon(settings(folder), heard=heard).run)
        async with labelled(listening, daemon.controls._targets[0].tcp or 0):
            items = [NominationIn(address, sample=b"a spam", submitter="benchmark") for address in addresses]
            await daemon.store.nominate(items, time.time())
            began, used = time.monotonic(), cpu()
            if profile:
                profile.enable()
            with trio.fail_after(300):
                while seen < hosts:
                    await trio.sleep(0.05)
            if profile:
                profile.disable()
            seconds, used = time.monotonic() - began, cpu() - used
            listed = {IPv4Address(item.address) for item in await daemon.store.listings("ops", None, 100_000)}
            commits = daemon.store.commits
            daemon.grace = 1
            daemon.stop()
    verify(kinds, listed)
    each = used / hosts / len(PORTS)
    line(
        f"daemon, {hosts:,} hosts: listed, all others not", f"{len(listed)}", f"{seconds:.1f} s, {commits} transactions"
    )
    line("  CPU of an endpoint, all included", f"{each * 1e6:.1f} us", f"{each / floor:.2f} x bare")


async def filtered(count: int = 20_000, sockets: int = 4_000) -> None:
    """Endpoints that answer nothing, five of a host, as visits; all the time as many wait as there are sockets."""
    port, keep = mute_port()
    hosts = count // len(PORTS)
    floor, fds = bare(), (ctypes.c_int * sockets)()
    used = cpu()
    begun = sum(floor.all_at_once(int(FIRST) + first, port, sockets, fds) for first in range(0, count, sockets))
    bare_each = (cpu() - used) / begun
    async with trio.open_nursery() as nursery:
        connector = Connector(never=CidrSet([]), rate=1e6, sockets=sockets, hosts=sockets, timeout=1)
        await nursery.start(connector.run)
        prober = Prober(Identity("benchmark", "http://127.0.0.1/"), {})
        rest = iter(range(hosts))
        ports = [port, *(mute_port_beside(keep) for _ in PORTS[1:])]
        endpoints = tuple(Endpoint("socks5", each) for each in ports)

        async def some() -> None:
            for number in rest:
                target = Target(FIRST + number, Reason.NOMINATION, 0.0)
                visit = Visit(os.urandom(16).hex(), target, endpoints, (Vantage("here"),))
                assert judge(visit, await examine(visit, connector, prober, [])).state is State.FILTERED

        used = cpu()
        async with trio.open_nursery() as crowd:
            for _ in range(sockets):
                crowd.start_soon(some)
        used = (cpu() - used) / count
        nursery.cancel_scope.cancel()
    for each in keep:
        each.close()
    line(f"filtered: {count:,} endpoints, {sockets:,} sockets, CPU of one", f"{used * 1e6:.1f} us",
         f"{used / bare_each:.2f} x bare, {bare_each * 1e6:.1f} us (3)")  # fmt: skip


def mute_port_beside(keep: list[socket.socket]) -> int:
    """One more; what keeps it mute is kept."""
    port, sockets = mute_port()
    keep += sockets
    return port


async def scheduled(count: int, folder: Path) -> None:
    """A daemon with so many targets, while they are leased and given back and the status page is read."""
    path = folder / "proxywarden.sqlite"
    async with open_store(f"sqlite:///{path}"):
        pass
    # In another process, whose memory is not the daemon's.
    child = multiprocessing.get_context("spawn").Process(target=fill, args=(path, count, random.Random(1)))
    child.start()
    await trio.to_thread.run_sync(child.join)
    before = resident()
    config = settings(folder)
    config = config.model_copy(update={"scan": config.scan.model_copy(update={"hosts": 1})})
    async with trio.open_nursery() as nursery:
        daemon: Daemon = await nursery.start(Daemon(config).run)
        daemon.scheduler.hosts = 0
        most, figures = 0.0, {"targets": 0}
        with trio.move_on_after(10):
            while True:
                now = time.time()
                await daemon.store.schedule(Target(CANARY + 1, Reason.RESCAN, now + 1e6))
                for leased in await daemon.store.lease("benchmark", now, 60.0, 256):
                    await daemon.store.give_back(leased.target.address, now + 1e6, lease=leased)
                figures = await daemon.store.figures(now)
                await daemon.store.history(now, 30)
                most = max(most, resident())
        daemon.grace = 1
        daemon.stop()
    line(f"daemon with {figures['targets']:,} scheduled targets", f"{most:.0f} MiB", f"(150); before {before:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=20_000)
    parser.add_argument("--targets", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["visits", "daemon", "filtered", "scheduled"])
    parser.add_argument("--profile", help="write cProfile's figures there")
    options = parser.parse_args()
    log.configure(logging.CRITICAL)
    calm_collector()  # as the daemon does
    profile = cProfile.Profile() if options.profile else None
    wanted = {options.only} if options.only else {"visits", "daemon", "filtered", "scheduled"}
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder, "one"), Path(folder, "two")
        one.mkdir()
        two.mkdir()
        if "scheduled" in wanted:  # first: what others leave in the allocator would count
            trio.run(scheduled, options.targets, two)
        floor = floor_of(options.hosts)
        line("bare socket, connect, close of a closed endpoint", f"{floor * 1e6:.1f} us")
        if "visits" in wanted:
            trio.run(visits, options.hosts, floor, profile)
        if "daemon" in wanted:
            trio.run(daemon_of, options.hosts, floor, one, profile)
        if "filtered" in wanted:
            trio.run(filtered)
    if profile:
        profile.dump_stats(options.profile)


if __name__ == "__main__":
    main()
