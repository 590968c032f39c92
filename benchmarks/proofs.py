"""How many full SOCKS5 proofs a second does one core give, scanner and canary in one process, and what do they cost?

A proof: the sweep connects, the conversation asks for our canary, the canary hears the relay's connection, checks the
challenge and signs, the answer comes back and is verified. The relays are a process of their own. Run:

    python -m benchmarks.proofs [--proofs 4000] [--at-once 64] [--profile FILE]

CPU is that of scanner and canary alone, kernel included.
"""

from __future__ import annotations

import argparse
import cProfile
import logging
import multiprocessing
import os
import resource
import time
from functools import partial
from ipaddress import IPv4Address
from multiprocessing.connection import Connection

import trio

from core.cidr import CidrSet
from scanner import log
from scanner.canary import Tally, run_canary
from scanner.canary.server import Limits
from scanner.examine import examine
from scanner.lab.internet import Internet
from scanner.lab.kinds import KINDS
from scanner.lab.machine import Host
from scanner.lab.network import serve
from scanner.model import CanaryTarget, Endpoint, Identity, Kind, Reason, Target, Vantage, Visit
from scanner.probe import Prober
from scanner.proof import CanaryKey
from scanner.start import calm_collector
from scanner.sweep import Connector

CANARY = IPv4Address("127.91.255.1")
PORT = 1080
RELAYS = [IPv4Address("127.91.0.1") + n for n in range(256)]
WHO = Identity("benchmark", "http://127.0.0.1/")


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def relays(pipe: Connection) -> None:
    """Open SOCKS5 proxies that dial nowhere but to the canary; until the other end of the pipe goes."""

    async def main() -> None:
        canary = CanaryTarget("main", CANARY, tcp=pipe.recv())
        hosts = [Host(address, KINDS["socks5"], (PORT,), address) for address in RELAYS]
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, hosts, Internet((canary,)))
            pipe.send(True)
            await trio.to_thread.run_sync(pipe.poll, None)
            nursery.cancel_scope.cancel()

    trio.run(main)


async def prove(proofs: int, at_once: int, target: CanaryTarget, prober: Prober, connector: Connector) -> int:
    """Visits of one endpoint each, which is asked one question; how many were proven."""
    numbers = iter(range(proofs))
    proven = 0

    async def some() -> None:
        nonlocal proven
        for number in numbers:
            visit = Visit(
                os.urandom(16).hex(),
                Target(RELAYS[number % len(RELAYS)], Reason.RESCAN, 0.0),
                (Endpoint("socks5", PORT),),
                (Vantage("here"),),
                capabilities=False,
            )
            evidence = await examine(visit, connector, prober, [target])
            proven += [item.kind for item in evidence].count(Kind.RELAYED)

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(some)
    return proven


async def measure(options: argparse.Namespace, pipe: Connection, profile: cProfile.Profile | None) -> None:
    log.configure(logging.CRITICAL)
    calm_collector()  # as the daemon does
    key = CanaryKey.from_master(b"m" * 32, "main")
    tally = Tally()
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(
            partial(run_canary, "main", {1: key}, tcp=[(str(CANARY), 0)], limits=Limits(per_source=10_000),
                    tally=tally, name="canary.test")
        )  # fmt: skip
        target = CanaryTarget("main", CANARY, tcp=bound.tcp[0][1])
        pipe.send(target.tcp)
        await trio.to_thread.run_sync(pipe.recv)
        connector = Connector(never=CidrSet([]), rate=100_000, hosts=1000, timeout=4)
        await nursery.start(connector.run)
        prober = Prober(WHO, {"main": key}, reraise=True)
        await prove(200, options.at_once, target, prober, connector)  # warm
        if profile:
            profile.enable()
        began, used = time.monotonic(), cpu()
        proven = await prove(options.proofs, options.at_once, target, prober, connector)
        seconds, used = time.monotonic() - began, cpu() - used
        if profile:
            profile.disable()
        nursery.cancel_scope.cancel()
    assert proven == options.proofs, f"{proven} of {options.proofs} proven"
    each = f"{1e6 * used / proven:,.0f} µs each, {seconds:.1f} s in all"
    print(f"proofs, scanner and canary in one process {proven / used:8,.0f} a CPU second, {each}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proofs", type=int, default=4000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--profile", help="write cProfile's figures there")
    options = parser.parse_args()
    pipe, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=relays, args=(theirs,), daemon=True)
    process.start()
    profile = cProfile.Profile() if options.profile else None
    try:
        trio.run(measure, options, pipe, profile)
    finally:
        pipe.send(False)
        process.join()
    if profile:
        profile.dump_stats(options.profile)


if __name__ == "__main__":
    main()
