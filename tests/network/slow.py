"""A long and lossy way: a TUN device that gives each packet back later, or never. Many kernels lack sch_netem."""

from __future__ import annotations

import fcntl
import heapq
import os
import select
import struct
import threading
import time

from tests.network.namespace import Namespace
from tests.peers.programs import lacking

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001


class SlowWay:
    """Routes what goes to and comes from `network` through the device. delay: seconds, each way.

    loss: a share. Each n-th packet is lost, so that chance never takes all SYNs of one connection: that is filtered.
    """

    def __init__(self, router: Namespace, network: str, *, delay: float, loss: float) -> None:
        self.lost = self.passed = 0
        self._delay, self._each = delay, round(1 / loss)
        try:
            self._tun = router.do(_device, b"slow")
        except OSError as error:
            lacking(f"no TUN device: {error}")
        router.run(
            "ip link set slow up",
            "ip route add default dev slow table 77",
            "ip rule add iif slow lookup main pref 10",
            f"ip rule add to {network} lookup 77 pref 20",
            f"ip rule add from {network} lookup 77 pref 21",
        )
        self._end = os.eventfd(0)
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def close(self) -> None:
        os.eventfd_write(self._end, 1)
        self._thread.join()
        os.close(self._tun)
        os.close(self._end)

    def _carry(self) -> None:
        waiting: list[tuple[float, int, bytes]] = []
        while True:
            pause = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
            ready = select.select([self._tun, self._end], [], [], pause)[0]
            if self._end in ready:
                return
            if self._tun in ready:
                packet = os.read(self._tun, 65536)
                if (self.passed + self.lost) % self._each == self._each - 1:
                    self.lost += 1
                else:
                    self.passed += 1
                    heapq.heappush(waiting, (time.monotonic() + self._delay, self.passed, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                os.write(self._tun, heapq.heappop(waiting)[2])


def _device(name: bytes) -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name, _IFF_TUN_NO_PI))
    return tun
