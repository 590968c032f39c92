"""What does a connect of core.sweep cost, and does it keep its promises under load?

Prints one line a figure, each beside the floor or the promise that it is measured against. All of it
stays on 127.0.0.0/8. Half a minute: python -m benchmarks.sweep
"""

import ctypes
import math
import os
import platform
import random
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from core.cidr import CidrSet
from core.sweep import Finished, Sweep

NOBODY = CidrSet([])
NETWORK = 0x7F100000  # 127.16.0.0: addresses for many hosts
ROUNDS = 5  # of each, in turn, the least counted: the machine has other things to do


def packed(address: int) -> bytes:
    return address.to_bytes(4, "big")


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((each.split(": ")[1] for each in lines if each.startswith("model name")), platform.machine())


def line(what: str, value: str, beside: str = ""):
    print(f"{what:<58} {value:>14}   {beside}", flush=True)


def bare() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "bare.so")
        source = Path(__file__).with_name("bare.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        return ctypes.CDLL(str(library))


def on_loopback(backlog: int | None = None) -> socket.socket:
    """A port on all of 127.0.0.0/8: closed without a backlog, mute with one of 0, else open."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    found.bind(("", 0))
    if backlog is not None:
        found.listen(backlog)
    return found


def mute_port() -> tuple[int, list[socket.socket]]:
    listener = on_loopback(0)
    port = listener.getsockname()[1]
    return port, [listener, socket.create_connection(("127.0.0.1", port))]


def run(sweep: Sweep, hosts: int) -> list[Finished]:
    finished: list[Finished] = []
    while len(finished) < hosts:
        select.select([sweep], [], [], 30)
        for event in sweep.take():
            if isinstance(event, Finished):
                finished.append(event)
            else:
                os.close(event.fd)
                sweep.next(event.host)
    return finished


def cpu(job) -> float:
    began = time.process_time()
    job()
    return time.process_time() - began


def least(*jobs, rounds: int = ROUNDS) -> list[float]:
    """Seconds of CPU of each."""
    times = [[cpu(job) for job in jobs] for _ in range(rounds)]
    return [min(each) for each in zip(*times, strict=True)]


def sweep_once(hosts: int, ports: list[int], **options):
    with Sweep(never=options.pop("never", NOBODY), rate=math.inf, sockets=19_000, hosts=hosts, **options) as sweep:
        for host in range(hosts):
            sweep.add(host, packed(NETWORK + host), ports)
        run(sweep, hosts)


async def naive(count: int, port: int, together: int = 500):
    limit = trio.CapacityLimiter(together)

    async def one(address: str):
        async with limit:
            with trio.move_on_after(4):
                try:
                    stream = await trio.open_tcp_stream(address, port)
                except OSError:
                    return
                await stream.aclose()

    async with trio.open_nursery() as nursery:
        for host in range(count):
            nursery.start_soon(one, socket.inet_ntoa(packed(NETWORK + host)))


def refused(floor: ctypes.CDLL):
    with on_loopback() as closed:
        port = closed.getsockname()[1]
        bare_time, many, few, one = least(
            lambda: floor.one_by_one(NETWORK, 1, port, 16_000),
            lambda: sweep_once(4_000, [port] * 4),
            lambda: sweep_once(16_000, [port]),
            lambda: sweep_once(1, [port] * 16_000),
        )
        trio_time = cpu(lambda: trio.run(naive, 2_000, port)) / 2_000
    bare_time /= 16_000
    line("refused: bare socket, connect, close", f"{bare_time * 1e6:.2f} us")
    for what, value in ((" of 4 ports a host", many), (" of 1 port a host", few), (", all of one host", one)):
        line(
            f"refused: sweep{what}",
            f"{value / 16_000 * 1e6:.2f} us",
            f"{value / 16_000 / bare_time:.2f} x (1.3)",
        )
    line("refused: open_tcp_stream in Trio", f"{trio_time * 1e6:.0f} us", f"{trio_time / bare_time:.1f} x")


def filtered(floor: ctypes.CDLL):
    port, keep = mute_port()
    count = 15_000
    fds = (ctypes.c_int * count)()
    bare_time, swept = least(
        lambda: floor.all_at_once(NETWORK, port, count, fds), lambda: sweep_once(count, [port], timeout=0.5)
    )
    line("filtered: bare, 15,000 open together", f"{bare_time / count * 1e6:.2f} us")
    line("filtered: sweep, 15,000 waiting", f"{swept / count * 1e6:.2f} us", f"{swept / bare_time:.2f} x (1.6)")
    for one in keep:
        one.close()


def memory():
    """In a process that has done nothing else, or it would use again what others gave back."""
    code = "from benchmarks import sweep; sweep.memory_alone()"
    print(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout,
        end="",
    )


def memory_alone():
    port, keep = mute_port()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    with Sweep(never=NOBODY, rate=math.inf, sockets=19_000, hosts=15_001, timeout=60) as sweep:
        sweep.add(15_000, packed(NETWORK - 1), [port])
        before = resident()
        for host in range(15_000):
            sweep.add(host, packed(NETWORK + host), [port] * 20)
        while sweep.statistics()["sockets"] < 15_001:
            time.sleep(0.01)
        each = (resident() - before) / 15_000
    line("memory of a waiting connect, 20 ports a host", f"{each:.0f} bytes", "(512)")
    for one in keep:
        one.close()


async def lateness(seconds: float) -> list[float]:
    """How much later than asked a Trio task runs that wants to every millisecond."""
    late = []
    end = trio.current_time() + seconds
    while (now := trio.current_time()) < end:
        await trio.sleep(0.001)
        late.append(trio.current_time() - now - 0.001)
    return sorted(late)


async def stalls():
    port, keep = mute_port()
    idle = await lateness(3)
    with Sweep(never=NOBODY, rate=20_000, sockets=15_000, hosts=19_000, timeout=2) as sweep:
        waiting = 0

        async def drive():
            nonlocal waiting
            number = 0
            while True:
                while sweep.add(number, packed(NETWORK + number % 2**20), [port]):  # an address once a minute
                    number += 1
                    if number % 256 == 0:
                        await trio.sleep(0)
                await trio.lowlevel.wait_readable(sweep.fileno())
                while sweep.take():
                    await trio.sleep(0)
                waiting = max(waiting, sweep.statistics()["sockets"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drive)
            await trio.sleep(1.5)
            busy = await lateness(5)
            nursery.cancel_scope.cancel()
    for what, late in (("idle", idle), (f"{waiting:,} connects waiting", busy)):
        beside = f"max {late[-1] * 1e3:.2f} ms" + ("" if late is idle else " (p99.9 below 5 ms)")
        line(f"event loop late, p99.9: {what}", f"{late[int(len(late) * 0.999)] * 1e3:.2f} ms", beside)
    for one in keep:
        one.close()


def rates():
    with on_loopback() as closed:
        port = closed.getsockname()[1]
        for rate in (10, 100, 1_000, 10_000, 50_000):
            with Sweep(never=NOBODY, rate=rate, hosts=16) as sweep:
                for host in range(16):
                    sweep.add(host, packed(NETWORK + host), [port] * 20_000)
                held, burst = follow(sweep, rate)
            allowed = max(rate / 100, 1)
            line(
                f"rate {rate:,}/s held",
                f"{(held / rate - 1) * 100:+.2f} %",
                f"(2 %); most at once {burst:.0f} ({allowed:.0f})",
            )


def follow(sweep: Sweep, rate: float, seconds: float = 3.0) -> tuple[float, float]:
    """The rate between two connects, and the most that came above the even flow in any time."""
    points = []
    last = sweep.statistics()["connects"]
    end = time.monotonic() + seconds + 0.2
    while (now := time.monotonic()) < end:
        connects = sweep.statistics()["connects"]
        if connects != last:
            points.append((now, connects))
            last = connects
        time.sleep(0.0002)
    (first_time, first), (last_time, final) = points[0], points[-1]
    lowest, burst = math.inf, 0.0
    for now, connects in points:
        excess = connects - rate * now
        burst = max(burst, excess - lowest)
        lowest = min(lowest, excess)
    return (final - first) / (last_time - first_time), burst


def never_check():
    """The same connects with a set that knows nothing and with a large one; and the answer alone, in bulk."""
    generator = random.Random(1)
    crowd = CidrSet([f"127.{128 + n % 128}.{n >> 7 & 255}.{generator.randrange(256)}/32" for n in range(32_768)])
    crowd |= CidrSet([f"{generator.randrange(1, 127)}.{n >> 8 & 255}.{n & 255}.0/24" for n in range(65_536)])
    with on_loopback() as closed:
        ports = [closed.getsockname()[1]] * 4
        without, with_set = least(
            lambda: sweep_once(4_000, ports), lambda: sweep_once(4_000, ports, never=crowd), rounds=10
        )
    line(
        "a never-scan set of 98,304 networks: more a connect",
        f"{(with_set - without) / 16_000 * 1e9:+.0f} ns",
        f"of {without / 16_000 * 1e9:,.0f} (100)",
    )


def replacing():
    with on_loopback() as closed, Sweep(never=NOBODY, rate=math.inf) as sweep:
        for host in range(64):
            sweep.add(host, packed(NETWORK + host), [closed.getsockname()[1]] * 4_000)
        times = []
        for _ in range(200):
            began = time.perf_counter()
            sweep.never = NOBODY
            times.append(time.perf_counter() - began)
            time.sleep(0.002)
    middle, longest = statistics.median(times) * 1e6, max(times) * 1e6
    line("replacing the never-scan set at full speed", f"{middle:.0f} us", f"max {longest:.0f} us")


def all_ports():
    began = time.monotonic()
    with Sweep(never=NOBODY, rate=math.inf) as sweep:
        sweep.add(1, b"\x7f\0\0\1", range(1, 65_536))
        run(sweep, 1)
    line("65,535 ports of one host, unlimited", f"{time.monotonic() - began:.2f} s", "(4 s)")


def main():
    floor = bare()
    print(f"core.sweep on {processor()}, {os.cpu_count()} cores, Linux {platform.release()}, "
          f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"CPU of the whole process, the least of {ROUNDS} rounds; what is to be reached in brackets\n")
    refused(floor)
    filtered(floor)
    memory()
    trio.run(stalls)
    rates()
    never_check()
    replacing()
    all_ports()


if __name__ == "__main__":
    main()
