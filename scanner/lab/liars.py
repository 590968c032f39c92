"""Hosts that say yes and do no, or worse: each a trap for those who believe what a proxy says."""

from __future__ import annotations

from itertools import chain, repeat

import trio

from scanner.lab import socks
from scanner.lab.http import CONNECT, http
from scanner.lab.internet import dial
from scanner.lab.link import Link
from scanner.lab.machine import Machine
from scanner.lab.services import WELCOME

_PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://portal.test/login\r\nContent-Length: 0\r\n\r\n"
_DISCARD = 9  # a port that no lab host listens on


# What comes after a yes.


async def silence(link: Link, _: Machine) -> None:
    await link.drain()


async def page(link: Link, _: Machine) -> None:
    await link.send(WELCOME)


async def portal(link: Link, _: Machine) -> None:
    """A hotel's web server takes every conversation for one of its guests'."""
    with trio.move_on_after(0.5):
        await link.some()
    await link.send(_PORTAL)


async def vain(link: Link, machine: Machine) -> None:
    """The dial comes after the yes, and fails."""
    stream = await dial(machine.host.exit, machine.host.exit, _DISCARD)
    await stream.aclose()


async def echo(link: Link, _: Machine) -> None:
    while True:
        await link.send(await link.some())


async def endless(link: Link, machine: Machine) -> None:
    while True:
        await link.send(b"A" * 4096)
        await machine.pause(0.01)


async def remembered(link: Link, machine: Machine) -> None:
    await link.some()
    await link.send(machine.memory)
    await link.drain()


# Whole hosts.


async def replay(link: Link, machine: Machine) -> None:
    """Relays until an answer came back, then says that answer to everybody."""

    def remember(data: bytes) -> bytes:
        machine.memory += data
        return data

    if machine.memory:
        await http(link, machine, methods=CONNECT, after=remembered)
    else:
        await http(link, machine, methods=CONNECT, rewrite=remember)


async def trickle(link: Link, machine: Machine) -> None:
    """A status line that never ends, one byte a second."""
    await link.peek()
    for byte in chain(b"HTTP/1.1 ", repeat(0x20)):
        await link.send(bytes([byte]))
        await machine.pause(1.0)


async def reset(link: Link, machine: Machine) -> None:
    """RST in the middle of its reply."""
    first = await link.peek()
    if first == 4:
        await link.send(b"\0\x5a\0")
    elif first == 5:
        await link.exactly((await link.exactly(2))[1])
        await link.send(b"\5\0")
        await link.peek()
        await link.send(b"\5\0\0\1")
    else:
        await link.send(b"HTTP/1.1 2")
    await machine.pause(0.05)  # the reply should be read before the RST throws it away
    link.reset()


async def version5(link: Link, _: Machine) -> None:
    """A reply of SOCKS5 to SOCKS4; RFC 1928 asks for the method first."""
    if await link.peek() == 4:
        await link.send(socks.reply5(socks.OK))


async def version4(link: Link, _: Machine) -> None:
    """A reply of SOCKS4 to SOCKS5."""
    if await link.peek() == 5:
        await link.send(socks.reply4(socks.REFUSED4))


# By the letters alone one signed answer in 850 came through as it was, and was proof. An underscore has each one with
# an IPv4 exit: the ffff of its mapped address in base64.
_FILTER = bytes.maketrans(b"qQjJzZvV_", b"QqJjZzVv-")


def filtered(data: bytes) -> bytes:
    """A content filter that writes what it lets through; the headers still read well."""
    return data.translate(_FILTER)
