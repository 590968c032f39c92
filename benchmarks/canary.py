"""How many answers a second does one core give, face by face, and what does a connection that waits cost?

    python -m benchmarks.canary [ANSWERS] [WAITING]

The canary runs in a process of its own on 127.0.0.1; CPU seconds are that process's, so a busy machine changes the
rate of answers a CPU second little.
"""

from __future__ import annotations

import multiprocessing
import resource
import socket
import sys
import time
from functools import partial
from ipaddress import ip_address
from multiprocessing.connection import Connection
from pathlib import Path

import trio

from scanner.canary import Bound, Limits, Tally, run_canary
from scanner.model import Endpoint
from scanner.proof import ANSWER_MARK, CanaryKey, Challenge

KEY = CanaryKey.from_master(b"m" * 32, "c1")
TOKEN = Challenge(b"v" * 16, ip_address("127.0.0.1"), Endpoint("socks5", 1080), b"n" * 16).token(KEY)
ASK = {
    "tcp": TOKEN + b"\r\n",
    "http": b"GET /" + TOKEN + b" HTTP/1.1\r\nHost: c.example\r\nUser-Agent: x\r\nConnection: close\r\n\r\n",
    "mail": b"EHLO " + TOKEN + b".scanner.example\r\nQUIT\r\n",
}
AT_ONCE = 32


def serve(pipe: Connection) -> None:
    """The canary; each word on the pipe is answered with its CPU seconds and its resident bytes."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            start = partial(run_canary, "c1", {1: KEY}, name="canary.example", tally=Tally())
            limits = Limits(connections=10**6, per_source=10**6, deadline=3600)
            place = [("127.0.0.1", 0)]
            pipe.send(await nursery.start(partial(start, tcp=place, mail=place, http=place, limits=limits)))
            while await trio.to_thread.run_sync(pipe.recv):
                usage = resource.getrusage(resource.RUSAGE_SELF)
                resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
                pipe.send((usage.ru_utime + usage.ru_stime, resident))
            nursery.cancel_scope.cancel()

    trio.run(main)


async def ask(place: tuple[str, int], request: bytes, count: int) -> None:
    for _ in range(count):
        async with await trio.open_tcp_stream(*place) as stream:
            await stream.send_all(request)
            said = b""
            while data := await stream.receive_some(4096):
                said += data
            if ANSWER_MARK not in said:
                raise RuntimeError(f"no answer in {said!r}")


async def flood(place: tuple[str, int], request: bytes, count: int) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(ask, place, request, count // AT_ONCE)


class Server:
    """A fresh one for each measurement: what an earlier one left in the allocator would blur it."""

    def __init__(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
        self.process.start()
        self.bound: Bound = self.pipe.recv()

    def usage(self) -> tuple[float, float]:
        """CPU seconds and resident KiB so far."""
        self.pipe.send(True)
        cpu, resident = self.pipe.recv()
        return cpu, resident / 1024

    def stop(self) -> None:
        self.pipe.send(False)
        self.process.join()


def answers_of(face: str, count: int) -> None:
    server = Server()
    place = getattr(server.bound, face)[0]
    trio.run(flood, place, ASK[face], AT_ONCE)  # warm
    start, cpu = time.monotonic(), server.usage()[0]
    trio.run(flood, place, ASK[face], count)
    elapsed, spent = time.monotonic() - start, server.usage()[0] - cpu
    print(f"{face:5} {count / spent:6.0f} answers a CPU second, {count / elapsed:6.0f} a second seen")
    server.stop()


def waiting_at(face: str, count: int) -> None:
    server = Server()
    place = getattr(server.bound, face)[0]
    before, rounds = server.usage()[1], []
    for _ in range(3):
        sockets = [socket.create_connection(place) for _ in range(count)]
        time.sleep(1)
        rounds.append(server.usage()[1] - before)
        for each in sockets:
            each.close()
        time.sleep(1)
    shown = ", ".join(f"{used / count:.1f}" for used in rounds)
    print(f"{face:5} {shown} KiB for each of {count} that wait, in three rounds")
    server.stop()


def main(answers: int = 6400, waiting: int = 4000) -> None:
    """Print two lines for each face."""
    for face in ASK:
        answers_of(face, answers)
    for face in ASK:
        waiting_at(face, waiting)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
