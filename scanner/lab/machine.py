"""A host of the lab: what was planned for it, and the host at run time that a behaviour is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import trio

from scanner.lab import socks
from scanner.lab.internet import Destination, Internet, NotAllowed, dial
from scanner.lab.link import Link

if TYPE_CHECKING:
    from scanner.lab.kinds import HostKind

HOP_PORT = 1080  # where the second host of a chain listens


class Repair(StrEnum):
    """What the owner makes of an open proxy."""

    GONE = "gone"  # the port is closed
    DENIES = "denies"
    ASKS = "asks"  # for a password


class Exit(StrEnum):
    """The address that a relay dials from."""

    OWN = "own"
    OTHER = "other"  # another lab address, as boxes with two uplinks do
    CHAINED = "chained"  # asks the next hop to dial
    CLIENT = "client"  # the client's: what a transparent proxy on our own path looks like


@dataclass(frozen=True, slots=True)
class Host:
    """An address of the lab as it was planned."""

    address: IPv4Address
    kind: HostKind
    ports: tuple[int, ...]
    exit: IPv4Address  # where its relayed conversations come from
    next_hop: IPv4Address | None = None  # of a chain: the second host, which serves nobody else
    previous_hop: IPv4Address | None = None
    repair: Repair | None = None  # None where there is nothing to repair


@dataclass(slots=True, eq=False)
class Machine:
    """A host at run time."""

    host: Host
    internet: Internet
    behaviour: Behaviour | None
    memory: bytes = b""  # of a box that replays
    talks: set[trio.CancelScope] = field(default_factory=set)

    async def pause(self, seconds: float) -> None:
        await trio.sleep(seconds * self.internet.pace)

    async def dial(self, link: Link, target: Destination, port: int) -> trio.SocketStream:
        """Dial as this host does. NotAllowed by its rules or the lab's; OSError where it can't be reached."""
        kind = self.host.kind
        if self.host.previous_hop is not None and link.peer != self.host.previous_hop:
            raise NotAllowed("serves only the first host of its chain")
        if not kind.allows(self.internet, target, port):
            raise NotAllowed("the host's own rules")
        if self.host.next_hop is not None:
            stream = await dial(self.host.address, self.host.next_hop, HOP_PORT)
            return await socks.ask_next_hop(stream, target, port)
        source = link.peer if kind.exit is Exit.CLIENT else self.host.exit
        return await dial(source, self.internet.resolve(target), port)


Behaviour = Callable[[Link, Machine], Awaitable[None]]
