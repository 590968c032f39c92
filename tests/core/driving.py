"""How the tests of the sweep run one from Trio."""

import os
import socket
from pathlib import Path

import trio

from core.cidr import CidrSet
from core.sweep import Finished, Opened

NOBODY = CidrSet([])
PATIENCE = 30  # seconds: of no meaning but that a test ends


def descriptors() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except OSError:  # the directory's own
            continue
    return found


def connections(ports: list[int]) -> list[str]:
    """Sockets of this process that were connected to one of the ports, or still try to connect to any."""
    found = []
    for number, what in descriptors().items():
        if not what.startswith("socket:"):
            continue
        with socket.socket(fileno=os.dup(number)) as copy:
            try:
                trying = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\2"  # SYN_SENT
                if trying or copy.getpeername()[1] in ports:
                    found.append(what)
            except OSError:  # a listener, or no TCP
                continue
    return found


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def threads() -> set[str]:
    return {entry.name for entry in Path("/proc/self/task").iterdir()}


def packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def text(number: int) -> str:
    return f"127.1.{number >> 8}.{number & 255}"


def go_on(sweep, event):
    if isinstance(event, Opened):
        os.close(event.fd)
    sweep.next(event.host)


def patiently(loopback):
    def react(sweep, event):
        loopback.hang_up(event.fd)
        sweep.next(event.host)

    return react


async def drive(sweep, hosts, react=go_on):
    """All that happens until so many hosts are finished; react() answers each Opened and Missed."""
    events = []
    with trio.fail_after(PATIENCE):
        while sum(isinstance(event, Finished) for event in events) < hosts:
            await trio.lowlevel.wait_readable(sweep.fileno())
            for event in sweep.take():
                events.append(event)
                if not isinstance(event, Finished):
                    react(sweep, event)
    return events


async def settled(sweep, **wanted):
    """Wait until statistics() say so."""
    with trio.fail_after(PATIENCE):
        while not wanted.items() <= sweep.statistics().items():
            await trio.sleep(0.005)
