"""Targets: an open proxy on an address of its own, which dials from where its test wants, in IPv4 and IPv6."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

import trio

from scanner.lab import socks
from scanner.lab.internet import Destination, NotAllowed
from scanner.lab.link import Gone, Link
from scanner.lab.mixed import mixed
from scanner.model import Address
from tests.network.namespace import Namespace

PORT = 1080
_IPV6_FREEBIND, _BIND_ADDRESS_NO_PORT = 78, 24  # linux/in6.h, linux/in.h
_LIFE = 60.0  # seconds of one connection


@dataclass(eq=False)
class Relay:
    """A proxy that speaks SOCKS and HTTP: what the lab's behaviours take for their machine.

    exits: addresses to dial from, in turn for each family; its own where there is none. client: dials from the
    client's, as a transparent proxy does. hop: the SOCKS5 server to go through. refuses: where it does not go.
    """

    address: Address
    exits: tuple[Address, ...] = ()
    hop: Address | None = None
    refuses: frozenset[Address] = frozenset()
    denies: bool = False
    client: bool = False
    port: int = PORT
    taken: int = 0  # connections
    _turns: dict[int, Iterator[Address]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for version in (4, 6):
            own = [exit_ for exit_ in self.exits or (self.address,) if exit_.version == version]
            self._turns[version] = itertools.cycle(own)

    async def pause(self, seconds: float) -> None:
        pass

    async def dial(self, link: Link, target: Destination, port: int) -> trio.SocketStream:
        """As a machine of the lab does. OSError where it can't be reached."""
        if self.denies or isinstance(target, str) or target in self.refuses:
            raise NotAllowed("the proxy's own rules")
        if self.hop is not None:
            stream = await _connect(None, self.hop, PORT)
            return await socks.ask_next_hop(stream, target, port)
        source = link.peer if self.client else next(self._turns[target.version], None)
        if source is None:
            raise OSError("no way out in this family")
        return await _connect(source, target, port, transparent=self.client)

    async def attend(self, stream: trio.SocketStream) -> None:
        """One connection."""
        self.taken += 1
        with trio.move_on_after(_LIFE), suppress(Gone, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                await mixed(_Link(stream), self)  # type: ignore[arg-type]
                with trio.move_on_after(1):
                    await stream.send_eof()
                    while await stream.receive_some(65536):
                        pass


class _Link(Link):
    """A client of either family."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        peer = ip_address(stream.socket.getpeername()[0])
        self.peer = peer  # type: ignore[assignment]
        self._buffer = bytearray()


@contextmanager
def serving(host: Namespace, *relays: Relay) -> Iterator[None]:
    """They take connections on a host until the block ends."""
    ready = threading.Event()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for relay in relays:
                sock = trio.socket.socket(_family(relay.address))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _anywhere(sock, relay.address)
                await sock.bind((str(relay.address), relay.port))
                sock.listen(128)
                nursery.start_soon(trio.serve_listeners, relay.attend, [trio.SocketListener(sock)])
            ready.set()

    server = host.serve(main)
    try:
        assert ready.wait(30), "the relays do not start"
        yield
    finally:
        server.stop()


async def _connect(source: Address | None, to: Address, port: int, *, transparent: bool = False) -> trio.SocketStream:
    sock = trio.socket.socket(_family(to))
    try:
        if source is not None:
            if transparent:
                sock.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
            _anywhere(sock, source)
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            await sock.bind((str(source), 0))
        await sock.connect((str(to), port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


def _anywhere(sock: trio.socket.SocketType, address: Address) -> None:
    """Of a whole network that is routed to lo IPv6 lets nobody bind an address without this."""
    if address.version == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
