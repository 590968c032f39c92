"""What lab hosts take for the internet: the canaries, a table of names, and the only function that dials."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import trio

from scanner.model import Address, CanaryTarget

Destination = Address | str  # an address, or a name to look up

# The whole world of the lab. Nothing is ever sent to an address that is not in here.
_WORLD = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_DIAL_TIMEOUT = 10.0  # seconds
_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; the socket module names it from 3.12 on

# Where no canary is described: one with every face on the usual ports.
USUAL_CANARY = CanaryTarget("canary", address=IPv4Address("127.0.0.1"), name="canary.test", tcp=443, mail=25, http=80)


class LabError(Exception):
    """The lab can't do what it was asked to; one line that says why."""


class NotAllowed(Exception):
    """The relay's own rules, or the lab's walls, forbid this destination."""


def destination(text: str) -> Destination:
    """A host as a client wrote it: a literal, bracketed or not, is an address, all else a name."""
    try:
        address = ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return text.lower().rstrip(".")
    return getattr(address, "ipv4_mapped", None) or address


@dataclass(frozen=True, slots=True)
class Internet:
    """pace: factor for every pause of a lab host; tests make slow hosts fast with it."""

    canaries: tuple[CanaryTarget, ...] = (USUAL_CANARY,)
    names: Mapping[str, str] = field(default_factory=dict)  # more names, each with its address
    pace: float = 1.0

    def resolve(self, target: Destination) -> Address:
        """OSError where the name is not in the table: no lab host asks a real resolver."""
        if not isinstance(target, str):
            return target
        for canary in self.canaries:
            if canary.name == target and (found := canary.address or canary.address6):
                return found
        if target in self.names:
            return ip_address(self.names[target])
        raise socket.gaierror(socket.EAI_NONAME, f"{target!r} is not in the lab's table of names")

    def as_json(self) -> dict[str, Any]:
        rows = [
            {f.name: _plain(value) for f in fields(c) if (value := getattr(c, f.name)) is not None}
            for c in self.canaries
        ]
        return {"canaries": rows, "names": dict(self.names), "pace": self.pace}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Internet:
        return cls(
            tuple(_canary(row) for row in data.get("canaries", ())) or (USUAL_CANARY,),
            data.get("names", {}),
            data.get("pace", 1.0),
        )


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int) else str(value)


def _canary(row: Mapping[str, Any]) -> CanaryTarget:
    own = dict(row)
    if "address" in own:
        own["address"] = IPv4Address(own["address"])
    if "address6" in own:
        own["address6"] = IPv6Address(own["address6"])
    return CanaryTarget(**own)


async def dial(source: IPv4Address, address: Address, port: int) -> trio.SocketStream:
    """Connect from the source address. IPv6 has ::1 alone, so that is where such conversations come from.

    NotAllowed outside of 127.0.0.0/8 and ::1; OSError where nobody answers.
    """
    if not any(address in network for network in _WORLD):
        raise NotAllowed(f"{address} is outside of the lab")
    sock = trio.socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
    try:
        if address.version == 4:
            # The kernel then picks the port at connect, by the whole four-tuple.
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            await sock.bind((str(source), 0))
        with trio.move_on_after(_DIAL_TIMEOUT) as scope:
            await sock.connect((str(address), port))
        if scope.cancelled_caught:
            raise TimeoutError(f"no answer from {address}:{port}")
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)
