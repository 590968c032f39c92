"""A small world: two origins that say who came, and a lab with every kind of host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
import trio

from scanner.lab.internet import Internet
from scanner.lab.machine import Host
from scanner.lab.network import Network, serve
from scanner.lab.plan import POPULATION, plan
from scanner.model import CanaryTarget

PREFIX = IPv4Network("127.77.0.0/16")
PACE = 0.05


@dataclass
class World:
    internet: Internet
    plan: list[Host]
    network: Network
    peers: list[str] = field(default_factory=list)  # who came to an origin

    @property
    def canary(self) -> CanaryTarget:
        return self.internet.canaries[0]

    def host(self, kind: str) -> Host:
        return next(host for host in self.plan if host.kind.name == kind)

    async def ask(self, client: Callable[..., bytes], kind: str, *rest: Any) -> bytes:
        """Run a blocking client against a host of this kind, under a deadline."""
        host = self.host(kind)
        with trio.fail_after(30):
            return await in_thread(client, host.address, host.ports[0], *rest)


async def in_thread(client: Callable[..., bytes], *arguments: Any) -> bytes:
    return await trio.to_thread.run_sync(partial(client, *arguments), abandon_on_cancel=True)


async def _origin(peers: list[str], face: str, stream: trio.SocketStream) -> None:
    """Says who came, after one line or one request; as mail, a greeting first."""
    peer = stream.socket.getpeername()[0]
    peers.append(peer)
    with trio.move_on_after(30):
        try:
            if face == "mail":
                await stream.send_all(b"220 origin\r\n")
            data = await stream.receive_some(65536)
            body = b"peer=" + peer.encode() + b" said=" + data
            if face == "http":
                body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            await stream.send_all(body)
        except trio.BrokenResourceError:
            pass
    await stream.aclose()


@pytest.fixture
async def world(nursery: trio.Nursery) -> AsyncIterator[World]:
    peers: list[str] = []
    canaries = []
    for name, address in (("one", "127.0.0.1"), ("two", "127.0.0.2")):
        ports = {}
        for face in ("tcp", "mail", "http"):
            listener = await trio.open_tcp_listeners(0, host=address)
            ports[face] = listener[0].socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, partial(_origin, peers, face), listener)
        canaries.append(CanaryTarget(name, IPv4Address(address), name=f"{name}.test", **ports))
    internet = Internet(tuple(canaries), {"else.test": "127.0.0.3"}, PACE)
    planned = plan(len(POPULATION), 5, PREFIX)
    network: Network = await nursery.start(serve, planned, internet)
    yield World(internet, planned, network, peers)
    nursery.cancel_scope.cancel()
