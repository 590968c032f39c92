"""How long from a removal request to delisted and published, with an idle schedule and with 10,000 visits waiting?

The daemon with the product's own ten seconds between the two passes, against the simulated network in a process of its
own, on 127.0.0.0/8 alone. Requests go through the API; published is when the zone file has no such address any more.

    python -m benchmarks.removal [--requests 50] [--waiting 10000] [--rate 500] [--seed 1]

rate: scan.rate, connections a second; the default is the product's.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import httpx
import trio

from scanner import log
from scanner.daemon import Daemon
from scanner.lab.control import LabProcess
from scanner.lab.demo import Story, _second_canary, demo_settings
from scanner.lab.internet import Internet
from scanner.lab.truth import truth
from scanner.model import RemovalState
from scanner.settings import Settings
from scanner.start import advertised, binds
from scanner.store import NominationIn

PREFIX = IPv4Network("127.91.0.0/16")  # away from a demo or a test that runs meanwhile
_CLOSED = int(IPv4Address("127.120.0.1"))  # from here on nobody listens
_MOST = 240.0  # seconds for a phase


@dataclass
class Times:
    """Seconds since the epoch, by address."""

    requested: dict[str, float] = field(default_factory=dict)
    confirming: dict[str, float] = field(default_factory=dict)
    delisted: dict[str, float] = field(default_factory=dict)
    published: dict[str, float] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)  # outcomes that are none of these

    def rows(self) -> list[tuple[str, str]]:
        def spread(ends: dict[str, float], begins: dict[str, float]) -> str:
            took = sorted(ends[key] - begins[key] for key in ends if key in begins)
            if not took:
                return "none"
            at = [took[min(len(took) - 1, int(len(took) * share))] for share in (0.5, 0.9, 0.99)]
            return "p50 {:.1f}, p90 {:.1f}, p99 {:.1f}, most {:.1f} s".format(*at, took[-1])

        return [
            ("requests, delisted, published", f"{len(self.requested)}, {len(self.delisted)}, {len(self.published)}"),
            ("other outcomes", ", ".join(self.others.values()) or "none"),
            ("request to delisted", spread(self.delisted, self.requested)),
            ("request to published", spread(self.published, self.requested)),
            ("confirming pass to published", spread(self.published, self.confirming)),
        ]


def prepared(folder: Path, rate: float) -> Settings:
    settings = demo_settings(folder)
    publish = settings.publish.model_copy(
        update={
            "rbldnsd": settings.publish.rbldnsd.model_copy(update={"directory": str(folder / "zones"), "check": ""})
        }
    )
    return settings.model_copy(
        update={
            "web": settings.web.model_copy(update={"listen": ("127.0.0.1:0",), "operator_listen": ()}),
            "scan": settings.scan.model_copy(update={"rate": rate, "hosts": 512}),
            "publish": publish,
        }
    )


async def watch(zone: Path, wanted: Times) -> None:
    """When each address that asked left the zone file."""
    while True:
        await trio.sleep(0.05)
        try:
            text = await trio.to_thread.run_sync(zone.read_text)
        except OSError:
            continue
        now, listed = time.time(), set(text.split())
        for address in wanted.requested.keys() - wanted.published.keys():
            if address not in listed:
                wanted.published[address] = now


async def ask(daemon: Daemon, addresses: Sequence[str], zone: Path) -> Times:
    """Request the removal of each, and follow it to the zone file."""
    times, ids = Times(), {}
    assert daemon.web is not None
    host, port = daemon.web.servers[0].binds[0]
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client, trio.open_nursery() as nursery:
        for address in addresses:
            began = time.time()
            answer = await client.post("/api/v1/removals", json={"address": address})
            if answer.status_code != 202:
                times.others[address] = str(answer.status_code)
                continue
            times.requested[address] = began
            ids[address] = answer.json()["id"]
        nursery.start_soon(watch, zone, times)
        with trio.move_on_after(_MOST):
            while len(times.published) + len(times.others) < len(addresses):
                await trio.sleep(0.2)
                for address in ids.keys() - times.delisted.keys() - times.others.keys():
                    removal = await daemon.store.removal(ids[address])
                    assert removal is not None
                    for step in removal.steps:
                        if step.state is RemovalState.CONFIRMING:
                            times.confirming.setdefault(address, step.at)
                        elif step.state is RemovalState.DELISTED:
                            times.delisted[address] = step.at
                        elif step.state.final:
                            times.others[address] = str(step.state)
        nursery.cancel_scope.cancel()
    return times


async def measure(requests: int, waiting: int, rate: float, seed: int) -> None:
    log.configure(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        settings = prepared(Path(folder), rate)
        internet = Internet(canaries=advertised(settings.canary, binds(settings.canary)), pace=0.1)
        zone = Path(folder) / "zones" / "ops4.zone"
        async with LabProcess.start(requests * 24, seed, internet, PREFIX) as lab, trio.open_nursery() as nursery:
            story = Story(0, {}, {}, frozenset())
            await nursery.start(_second_canary, settings)
            daemon: Daemon = await nursery.start(Daemon(settings, heard=story.heard).run)
            open_ = [host for host in lab.plan if host.repair and truth(host, internet).open][
                : requests + requests // 5
            ]
            await nominate(daemon, [host.address for host in open_])
            with trio.move_on_after(_MOST):
                while len(story.listed) < len(open_) * 0.9:
                    await trio.sleep(0.1)
            listed = [host.address for host in open_ if str(host.address) in story.listed]
            await trio.sleep(2)  # for the zone file
            idle, busy = listed[: len(listed) // 6], listed[len(listed) // 6 :]
            await show("idle schedule", lab, daemon, idle, zone)
            await nominate(daemon, [IPv4Address(_CLOSED + number * 8) for number in range(waiting)])
            due = (await daemon.store.figures(time.time()))["targets.due"]
            before, began = daemon.pipeline.visits, time.monotonic()
            await show(f"{due:,} visits waiting, scan.rate {rate:g}", lab, daemon, busy, zone)
            left = (await daemon.store.figures(time.time()))["targets.due"]
            done = daemon.pipeline.visits - before
            print(f"{'visits meanwhile, still waiting':36} {done:,} in {time.monotonic() - began:.0f} s, {left:,}")
            daemon.stop()
            nursery.cancel_scope.cancel()


async def show(title: str, lab: LabProcess, daemon: Daemon, addresses: Sequence[IPv4Address], zone: Path) -> None:
    for address in addresses:
        await lab.repair(address)
    times = await ask(daemon, [str(address) for address in addresses], zone)
    print(f"-- {title}")
    for name, value in times.rows():
        print(f"{name:36} {value}", flush=True)


async def nominate(daemon: Daemon, addresses: Sequence[IPv4Address]) -> None:
    items = [NominationIn(address, sample=b"a spam", submitter="benchmark") for address in addresses]
    for at in range(0, len(items), 1000):
        await daemon.store.nominate(items[at : at + 1000], time.time())
    daemon.ring()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    trio.run(measure, options.requests, options.waiting, options.rate, options.seed)


if __name__ == "__main__":
    main()
