"""One port for SOCKS4, SOCKS5 and HTTP: whoever speaks first says which."""

from __future__ import annotations

from scanner.lab import socks
from scanner.lab.http import CONNECT, FORWARD, After, http
from scanner.lab.link import Link
from scanner.lab.machine import Machine


async def mixed(link: Link, machine: Machine, *, after: After | None = None, delay: float = 0.0) -> None:
    """Open on every protocol; after (for CONNECT and SOCKS alone) and delay as in http()."""
    match await link.peek():
        case 4:
            await socks.socks4(link, machine, after=after, delay=delay)
        case 5:
            await socks.socks5(link, machine, after=after, delay=delay)
        case _:
            methods = CONNECT if after else CONNECT + FORWARD
            await http(link, machine, methods=methods, after=after, delay=delay)


async def refuse(link: Link, machine: Machine, *, code4: int, method: int, status: bytes) -> None:
    """Closed on every protocol, each in its own words.

    code4: SOCKS4 reply; method: SOCKS5 method, where 0 goes on to reply 2; status: HTTP response.
    """
    match await link.peek():
        case 4:
            await socks.socks4(link, machine, refusal=socks.reply4(code4))
        case 5:
            await socks.socks5(link, machine, method=method, refusal=socks.reply5(socks.NOT_ALLOWED))
        case _:
            await http(link, machine, refusal=status)
