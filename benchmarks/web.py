"""How long does a lookup take while 200 clients ask and the scan is busy, and what does the scan lose by it?

The daemon (a process), against the simulated network (another), on 127.0.0.0/8 alone; the clients are a third: each
keeps its connection and asks once a second, for another address each time. First the scan alone, then with the clients.

    python -m benchmarks.web [--clients 200] [--seconds 20] [--rate 20000] [--hosts 12000]
    python -m benchmarks.web --url http://127.0.0.1:8025 [--clients 200] [--seconds 20]     a server that is there

rate: scan.rate. At the product's own 500 a second the scan waits for its turn more than for a processor; the default
here lets it take all of the processor that it gets, which is the harder question.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

import trio

from benchmarks.pipeline import cpu
from benchmarks.removal import nominate
from scanner import log
from scanner.daemon import Daemon
from scanner.lab.control import LabProcess
from scanner.lab.demo import _second_canary, demo_settings
from scanner.lab.internet import Internet
from scanner.start import advertised, binds, calm_collector

PREFIX = IPv4Network("127.92.0.0/16")  # away from a demo or a test that runs meanwhile
_CLOSED = int(IPv4Address("127.140.0.1"))  # from here on nobody listens
_REUSED = 500  # requests on one connection; the server ends it after a thousand


async def client(host: str, port: int, number: int, end: float, took: list[float]) -> None:
    """Plain sockets, so that the server is measured and not the client."""
    while trio.current_time() < end:
        async with await trio.open_tcp_stream(host, port) as stream:
            for _ in range(_REUSED):
                if trio.current_time() >= end:
                    return
                address = f"127.92.{number // 250 % 40}.{number % 250}"
                began = time.perf_counter()
                await stream.send_all(f"GET /api/v1/lookup/{address} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                answer = b""
                while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
                    answer += await stream.receive_some(65536)
                took.append(time.perf_counter() - began)
                assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
                number += 7
                await trio.sleep(1)


async def load(url: str, clients: int, seconds: float) -> list[float]:
    """Seconds that each lookup took."""
    parts = urlsplit(url)
    took: list[float] = []
    end = trio.current_time() + seconds
    async with trio.open_nursery() as nursery:
        for number in range(clients):
            nursery.start_soon(client, parts.hostname or "", parts.port or 80, number * 37, end, took)
            await trio.sleep(1 / clients)
    return took


def said(took: list[float], seconds: float) -> str:
    took = sorted(took)
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    rate = len(took) / seconds
    return f"{len(took)}, {rate:.0f} a second: p50 {1e3 * p50:.1f}, p99 {1e3 * p99:.1f}, most {1e3 * took[-1]:.1f} ms"


async def measure(clients: int, seconds: float, rate: float, hosts: int) -> None:
    log.configure(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        settings = demo_settings(Path(folder))
        settings = settings.model_copy(
            update={
                "web": settings.web.model_copy(update={"listen": ("127.0.0.1:0",), "operator_listen": ()}),
                "scan": settings.scan.model_copy(update={"rate": rate, "hosts": 256}),
            }
        )
        internet = Internet(canaries=advertised(settings.canary, binds(settings.canary)), pace=0.1)
        async with LabProcess.start(600, 1, internet, PREFIX) as lab, trio.open_nursery() as nursery:
            await nursery.start(_second_canary, settings)
            daemon: Daemon = await nursery.start(Daemon(settings).run)
            calm_collector()  # as `proxywarden run` does
            assert daemon.web is not None
            host, port = daemon.web.servers[0].binds[0]
            await nominate(daemon, [host.address for host in lab.plan])
            await nominate(daemon, [IPv4Address(_CLOSED + number * 5) for number in range(hosts)])
            await trio.sleep(seconds / 2)  # the lab's hosts are through, and some of them listed
            alone = await visits(daemon, seconds)
            command = [sys.executable, "-m", "benchmarks.web", "--json", "--url", f"http://{host}:{port}"]
            command += ["--clients", str(clients), "--seconds", str(seconds)]
            process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
            await trio.sleep(2)  # its start
            busy = await visits(daemon, seconds - 1)
            assert process.stdout is not None
            took = json.loads(b"".join([piece async for piece in process.stdout]))
            await process.wait()
            left = (await daemon.store.figures(time.time()))["targets.due"]
            nursery.cancel_scope.cancel()
    for title, (done, connects, used) in (("scan alone", alone), ("with clients", busy)):
        print(f"{title:36} {done:.0f} visits, {connects:.0f} connects a second, {used:.2f} of a processor")
    kept = [f"{after / before:.0%}" for after, before in zip(busy, alone, strict=True) if before][:2]
    print(f"{'of visits, of connects are left':36} {', '.join(kept)}")
    print(f"{'lookups':36} {said(took, seconds)}")
    print(f"{'visits still waiting':36} {left:,}" + ("" if left else ": too few hosts, the figures mean nothing"))


async def visits(daemon: Daemon, seconds: float) -> tuple[float, float, float]:
    """A second: visits, connects, and seconds of CPU."""

    def now() -> tuple[float, float, float]:
        return daemon.pipeline.visits, float(daemon.connector.statistics()["connects"]), cpu()

    before, began = now(), time.monotonic()
    await trio.sleep(seconds)
    took = time.monotonic() - began
    visits_, connects, used = ((after - start) / took for after, start in zip(now(), before, strict=True))
    return visits_, connects, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=20_000.0)
    parser.add_argument("--hosts", type=int, default=12_000)
    parser.add_argument("--url", help="ask this server, and run no scan")
    parser.add_argument("--json", action="store_true", help="with --url: the seconds of each lookup")
    options = parser.parse_args()
    if options.url is None:
        trio.run(measure, options.clients, options.seconds, options.rate, options.hosts)
        return
    took = trio.run(load, options.url, options.clients, options.seconds)
    print(json.dumps(took) if options.json else said(took, options.seconds))


if __name__ == "__main__":
    main()
