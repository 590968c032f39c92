"""What does a refused connect of core.sweep cost over a veth, beside the bare system calls?

Needs root: two network namespaces of its own, one in each of two threads. A few seconds.
"""

import ctypes
import math
import subprocess
import threading

from benchmarks import sweep as loopback
from core.sweep import REFUSED, Sweep

CLONE_NEWNET = 0x40000000
FIRST = 0xC6120100  # 198.18.1.0, of the peer's 198.18.0.0/16
COUNT = 8_000


def ip(command: str):
    subprocess.run(["ip", *command.split()], check=True)


def enter_namespace():
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise SystemExit("no network namespace may be made here")
    ip("link set lo up")


class Peer(threading.Thread):
    """The other end: all of 198.18.0.0/16 is its own, and no port of it is open."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ready, self.connected, self.routed = threading.Event(), threading.Event(), threading.Event()
        self.over = threading.Event()

    def run(self):
        enter_namespace()
        self.ready.set()
        self.connected.wait()
        ip("addr add 198.18.0.1/16 dev v1")
        ip("link set v1 up")
        ip("route add local 198.18.0.0/16 dev lo")
        ip("route add 198.19.0.1/32 dev v1")
        self.routed.set()
        self.over.wait()  # the namespace ends with the thread


def compare():
    peer = Peer()
    peer.start()
    peer.ready.wait()
    enter_namespace()
    ip("link add v0 type veth peer name v1")
    ip(f"link set v1 netns {peer.native_id}")
    ip("addr add 198.19.0.1/32 dev v0")
    ip("link set v0 up")
    peer.connected.set()
    peer.routed.wait()
    ip("route add 198.18.0.0/16 via 198.18.0.1 dev v0 onlink src 198.19.0.1")
    loopback.NETWORK = FIRST
    with Sweep(never=loopback.NOBODY, rate=math.inf) as sweep:
        for host in range(100):
            sweep.add(host, loopback.packed(FIRST + host), [7])
        assert {event.outcomes for event in loopback.run(sweep, 100)} == {bytes([REFUSED])}
    assert sweep.statistics()["refused"] == 100
    floor = loopback.bare()
    bare, few, many = loopback.least(
        lambda: floor.one_by_one(FIRST, 1, 7, COUNT),
        lambda: loopback.sweep_once(COUNT, [7]),
        lambda: loopback.sweep_once(COUNT // 4, [7] * 4),
    )
    peer.over.set()
    loopback.line("refused over a veth: bare socket, connect, close", f"{bare / COUNT * 1e6:.2f} us")
    for what, value in (("4 ports", many), ("1 port", few)):
        beside = f"{value / bare:.2f} x (1.3)"
        loopback.line(f"refused over a veth: sweep of {what} a host", f"{value / COUNT * 1e6:.2f} us", beside)


if __name__ == "__main__":
    thread = threading.Thread(target=compare)
    thread.start()
    thread.join()
