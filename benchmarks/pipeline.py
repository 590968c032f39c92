"""What does an endpoint cost, and a proof, with the whole pipeline at work: sweep, conversations, controls, store?

The daemon against the simulated network in a process of its own, on 127.0.0.0/8 alone. Run:

    python -m benchmarks.pipeline [--hosts 2000] [--seed 1] [--profile FILE]

CPU is the daemon's alone, canaries included. Round trips are those of loopback, so that seconds say little and
microseconds of CPU say all; the slow hosts of the lab decide how long the round lasts.
"""

from __future__ import annotations

import argparse
import cProfile
import logging
import resource
import tempfile
import time
from ipaddress import IPv4Network
from pathlib import Path

import trio

from scanner import log
from scanner.daemon import Daemon
from scanner.lab.control import LabProcess
from scanner.lab.demo import Story, _second_canary, demo_settings
from scanner.lab.internet import Internet
from scanner.lab.truth import truth
from scanner.start import advertised, binds
from scanner.store import NominationIn

PREFIX = IPv4Network("127.90.0.0/16")  # away from a demo or a test that runs meanwhile
_TIMEOUT = 55.0  # seconds


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident() -> float:
    """MiB, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def measure(hosts: int, seed: int) -> list[tuple[str, str]]:
    """One round over all hosts: rows of a table."""
    log.configure(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        settings = demo_settings(Path(folder))
        settings = settings.model_copy(
            update={"web": settings.web.model_copy(update={"listen": (), "operator_listen": ()})}
        )
        internet = Internet(canaries=advertised(settings.canary, binds(settings.canary)), pace=0.1)
        async with LabProcess.start(hosts, seed, internet, PREFIX) as lab, trio.open_nursery() as nursery:
            story = Story(hosts, {host.address: truth(host, internet).open for host in lab.plan}, {}, frozenset())
            await nursery.start(_second_canary, settings)
            before = resident()
            daemon: Daemon = await nursery.start(Daemon(settings, heard=story.heard).run)
            idle, began, used = resident(), time.monotonic(), cpu()
            items = [NominationIn(host.address, sample=b"a spam", submitter="benchmark") for host in lab.plan]
            await daemon.store.nominate(items, time.time())
            half = most = 0.0
            with trio.move_on_after(_TIMEOUT):
                while len(story.visited) < hosts:
                    await trio.sleep(0.02)
                    most = max(most, resident())
                    if not half and len(story.visited) >= hosts * 0.9:
                        half = time.monotonic() - began
            seconds, used = time.monotonic() - began, cpu() - used
            sweep = daemon.connector.statistics()
            writes = daemon.store.commits
            daemon.stop()
            nursery.cancel_scope.cancel()
    return [
        ("hosts visited", f"{len(story.visited):,} of {hosts:,}"),
        ("false positives, negatives", f"{len(story.false_positives)}, {len(story.false_negatives)}"),
        ("seconds for nine tenths, for all", f"{half:.1f}, {seconds:.1f}"),
        ("endpoints, connects", f"{story.endpoints:,}, {sweep['connects']:,}"),
        ("conversations, proofs", f"{story.conversations:,}, {story.proofs:,}"),
        ("CPU seconds", f"{used:.2f}"),
        (
            "CPU of an endpoint, of a connect",
            f"{1e6 * used / story.endpoints:.0f}, {1e6 * used / sweep['connects']:.0f} µs",
        ),
        ("CPU of a conversation, all included", f"{1e6 * used / story.conversations:.0f} µs"),
        ("proofs a second of CPU", f"{story.proofs / used:.0f}"),
        ("transactions", f"{writes:,}"),
        ("memory idle, at most", f"{idle:.0f}, {most:.0f} MiB (before the daemon {before:.0f})"),
        ("memory of a host", f"{1024 * (most - idle) / hosts:.1f} KiB"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", help="write cProfile's figures there, and print the first of them")
    options = parser.parse_args()
    profile = cProfile.Profile() if options.profile else None
    if profile:
        profile.enable()
    rows = trio.run(measure, options.hosts, options.seed)
    if profile:
        profile.disable()
        profile.dump_stats(options.profile)
    for name, value in rows:
        print(f"{name:36} {value}")


if __name__ == "__main__":
    main()
