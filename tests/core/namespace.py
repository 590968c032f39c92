"""A network namespace of the test's own, with peers behind a TUN device that answer as their address says.

Runs a function in a thread that alone has entered the namespace; what it starts stays inside. The peers are
192.0.2.N and 2001:db8::N, where N is a key of ANSWERS; all others are mute.
"""

import ctypes
import fcntl
import os
import selectors
import socket
import struct
import subprocess
import threading
from collections.abc import Callable

from tests.peers.programs import lacking, needed

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
SYN, RST_ACK, SYN_ACK, RST = 0x02, 0x14, 0x12, 0x04

# Last byte of the address -> what it answers a SYN with: TCP flags, or the code of "destination unreachable".
ANSWERS = {
    1: ("tcp", [RST_ACK]),
    2: ("tcp", [SYN_ACK]),
    3: ("tcp", [SYN_ACK, RST]),
    10: ("icmp", 0, 0),  # network unreachable; IPv6: no route
    11: ("icmp", 1, 3),  # host; IPv6: address
    12: ("icmp", 3, 4),  # port
    13: ("icmp", 13, 1),  # administratively prohibited
}


def in_namespace(run: Callable[[], None]):
    failure: list[BaseException] = []

    def enter():
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                lacking(f"no network namespace may be made here: {os.strerror(ctypes.get_errno())}")
            ip("link set lo up")
            run()
        except BaseException as error:  # noqa: BLE001  raised again below, pytest's skip included
            failure.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def ip(command: str):
    subprocess.run([needed("ip"), *command.split()], check=True, capture_output=True)


class Peers:
    """Answers SYNs until the block ends; to be used inside in_namespace()."""

    def __enter__(self):
        try:
            self._tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            lacking(f"no TUN device: {error}")
        fcntl.ioctl(self._tun, TUNSETIFF, struct.pack("16sH22x", b"peers", IFF_TUN_NO_PI))
        ip("addr add 192.0.2.254/24 dev peers")
        ip("addr add 2001:db8::fe/64 dev peers nodad")
        ip("link set peers up")
        # Last byte of the address and both ports of each. One that the kernel sends again comes from the same port.
        self.syns: set[tuple[int, bytes]] = set()
        self._end = os.eventfd(0)
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.eventfd_write(self._end, 1)
        self._thread.join()
        os.close(self._tun)
        os.close(self._end)

    def _answer(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self._tun, selectors.EVENT_READ)
            selector.register(self._end, selectors.EVENT_READ)
            while True:
                ready = [key.fd for key, _ in selector.select()]
                if self._end in ready:
                    return
                for answer in self._answers(os.read(self._tun, 65_536)):
                    os.write(self._tun, answer)

    def _answers(self, packet: bytes):
        v6 = packet[0] >> 4 == 6
        start, protocol = (40, packet[6]) if v6 else (20, packet[9])
        if protocol != socket.IPPROTO_TCP or packet[start + 13] != SYN:
            return
        source, peer = (packet[8:24], packet[24:40]) if v6 else (packet[12:16], packet[16:20])
        self.syns.add((peer[-1], packet[start : start + 4]))
        kind, *what = ANSWERS.get(peer[-1], ("mute",))
        if kind == "icmp":
            body = struct.pack("!BBHI", 1 if v6 else 3, what[v6], 0, 0) + packet[: start + 20]
            yield enclosed(socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP, peer, source, body, 2)
        elif kind == "tcp":
            here, there, sequence = struct.unpack("!HHI", packet[start : start + 8])
            for flags in what[0]:
                body = struct.pack("!HHIIBBHHH", there, here, flags == RST, sequence + 1, 0x50, flags, 1024, 0, 0)
                yield enclosed(socket.IPPROTO_TCP, peer, source, body, 16)


def enclosed(protocol: int, source: bytes, target: bytes, body: bytes, at: int) -> bytes:
    """In an IP header, with both checksums."""
    pseudo = source + target + struct.pack("!II", len(body), protocol)
    check = checksum(body if protocol == socket.IPPROTO_ICMP else pseudo + body)
    body = body[:at] + check + body[at + 2 :]
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + source + target + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + source + target
    return head[:10] + checksum(head) + head[12:] + body


def checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))  # all here are even
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
