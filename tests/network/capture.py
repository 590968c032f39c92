"""Every packet that comes to a host from outside, by AF_PACKET: before any of its own rules could drop it."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections import defaultdict
from ipaddress import ip_address

from scanner.model import Address
from tests.network.namespace import Namespace

_EVERYTHING = 0x0003  # ETH_P_ALL
_IP = (0x0800, 0x86DD)  # ETH_P_IP, ETH_P_IPV6
_OUTGOING = 4  # PACKET_OUTGOING


class Capture:
    """Runs until the block ends. sizes: of the packets to each address, without the link's header."""

    def __init__(self, host: Namespace, interface: str = "wire") -> None:
        self.sizes: dict[Address, list[int]] = defaultdict(list)
        self._socket = host.do(socket.socket, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_EVERYTHING))
        self._socket.bind((interface, _EVERYTHING))
        self._end = os.eventfd(0)
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.eventfd_write(self._end, 1)
        self._thread.join()
        self._socket.close()
        os.close(self._end)

    def _read(self) -> None:
        # Whatever came before the end is read.
        while self._socket in select.select([self._socket, self._end], [], [])[0]:
            packet, (_, protocol, kind, *_rest) = self._socket.recvfrom(65536)
            if protocol in _IP and kind != _OUTGOING:
                to = packet[24:40] if packet[0] >> 4 == 6 else packet[16:20]
                self.sizes[ip_address(to)].append(len(packet))
