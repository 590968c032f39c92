"""SOCKS as lab hosts speak it: 4, 4a and 5, and every way of refusing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import trio

from scanner.lab.http import After
from scanner.lab.internet import Destination, NotAllowed, destination
from scanner.lab.link import Gone, Link, Rewrite, relay

if TYPE_CHECKING:
    from scanner.lab.machine import Machine

GRANTED4, REFUSED4, NO_IDENT4 = 90, 91, 92
OK, NOT_ALLOWED, UNREACHABLE, NO_COMMAND = 0, 2, 4, 7  # RFC 1928 section 6
NO_METHOD = 0xFF
BOUND4 = b"\x01" + bytes(6)  # 0.0.0.0:0


def reply4(code: int) -> bytes:
    return bytes([0, code]) + bytes(6)


def reply5(code: int, bound: bytes = BOUND4) -> bytes:
    return bytes([5, code, 0]) + bound


async def socks4(
    link: Link,
    machine: Machine,
    *,
    numeric: bool = True,
    names: bool = True,
    refusal: bytes | None = None,
    after: After | None = None,
    delay: float = 0.0,
) -> None:
    """numeric: takes SOCKS4 requests; names: takes SOCKS4a requests. refusal and after as in http()."""
    if await link.peek() != 4:
        return
    request = await link.exactly(8)
    await link.until(b"\0", 512)  # user id
    port, address = int.from_bytes(request[2:4]), request[4:8]
    by_name = address[:3] == b"\0\0\0" and address[3] != 0
    target: Destination = IPv4Address(address)
    if by_name and names:
        target = destination((await link.until(b"\0", 512))[:-1].decode("latin-1"))
    if refusal is not None:
        await link.send(refusal)
        return
    if request[1] != 1 or not (names if by_name else numeric):
        await link.send(reply4(REFUSED4))
        return
    if after is not None:
        await link.send(reply4(GRANTED4))
        await after(link, machine)
        return
    await machine.pause(delay)
    try:
        upstream = await machine.dial(link, target, port)
    except (NotAllowed, OSError):
        await link.send(reply4(REFUSED4))
        return
    async with upstream:
        await link.send(reply4(GRANTED4))
        await relay(link, upstream)


async def socks5(
    link: Link,
    machine: Machine,
    *,
    method: int = 0,
    bound: bytes = BOUND4,
    refusal: bytes | None = None,
    after: After | None = None,
    rewrite: Rewrite | None = None,
    delay: float = 0.0,
) -> None:
    """method: the one that it chooses of all. bound: the address type, address and port of a good reply."""
    if await link.peek() != 5:
        return
    greeting = await link.exactly(2)
    await link.exactly(greeting[1])
    await link.send(bytes([5, method]))
    if method == 2:  # RFC 1929: no password is right
        await link.exactly(2)
        await link.send(b"\x01\x01")
    if method != 0:
        return
    command, target, port = await _request(link)
    if refusal is not None:
        await link.send(refusal)
        return
    if command != 1:
        await link.send(reply5(NO_COMMAND))
        return
    if after is not None:
        await link.send(reply5(OK, bound))
        await after(link, machine)
        return
    await machine.pause(delay)
    try:
        upstream = await machine.dial(link, target, port)
    except (NotAllowed, OSError) as failure:
        await link.send(reply5(NOT_ALLOWED if isinstance(failure, NotAllowed) else UNREACHABLE))
        return
    async with upstream:
        await link.send(reply5(OK, bound))
        await relay(link, upstream, rewrite)


async def _request(link: Link) -> tuple[int, Destination, int]:
    _, command, _, kind = await link.exactly(4)
    target: Destination
    if kind == 1:
        target = IPv4Address(await link.exactly(4))
    elif kind == 4:
        address = IPv6Address(await link.exactly(16))
        target = address.ipv4_mapped or address
    elif kind == 3:
        target = destination((await link.exactly((await link.exactly(1))[0])).decode("latin-1"))
    else:
        raise Gone
    return command, target, int.from_bytes(await link.exactly(2))


async def ask_next_hop(stream: trio.SocketStream, target: Destination, port: int) -> trio.SocketStream:
    """Ask the SOCKS5 server at the other end to go on to the target. OSError where it won't."""
    try:
        if isinstance(target, str):
            address = bytes([3, len(target)]) + target.encode("latin-1")
        else:
            address = bytes([1 if target.version == 4 else 4]) + target.packed
        await stream.send_all(b"\x05\x01\x00")
        hop = Link(stream)
        await hop.exactly(2)
        await stream.send_all(b"\x05\x01\x00" + address + port.to_bytes(2))
        if (await hop.exactly(10))[1] != OK:
            raise ConnectionRefusedError("the next hop refused")
    except BaseException as failure:
        await trio.aclose_forcefully(stream)
        if isinstance(failure, Gone | trio.BrokenResourceError):
            raise ConnectionResetError("the next hop hung up") from failure
        raise
    return stream
