"""Ordinary services: what answers on a port and is no proxy."""

from __future__ import annotations

from scanner.lab.http import answer, error
from scanner.lab.link import Link
from scanner.lab.machine import Machine

_PAGE = "<html><title>Welcome</title><h1>It works!</h1>" + "<p>Nothing to see.</p>" * 20 + "</html>\n"
WELCOME = answer("200 OK", _PAGE)
_NOT_FOUND = error("404 Not Found")
_MOVED = answer("302 Found", "", "Location: http://portal.test/login")
_MYSQL = bytes.fromhex("0a") + b"8.0.36\0" + bytes.fromhex("2a000000") + b"x" * 8 + bytes(35)
_TLS_ALERT = bytes.fromhex("15030100020246")  # fatal, protocol_version


async def ssh(link: Link, _: Machine) -> None:
    await link.send(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    if not (await link.until(b"\n", 256)).startswith(b"SSH-"):
        await link.send(b"Invalid SSH identification string.\r\n")


async def smtp(link: Link, _: Machine) -> None:
    await link.send(b"220 mail.test ESMTP\r\n")
    while True:
        word = (await link.until(b"\n", 1024)).split(b" ")[0].strip().upper()
        if word in (b"CONNECT", b"GET", b"POST", b"PUT"):
            await link.send(b"221 2.7.0 Error: I can break rules, too. Goodbye.\r\n")  # as Postfix says
            return
        if word == b"QUIT":
            await link.send(b"221 2.0.0 Bye\r\n")
            return
        hello = word in (b"EHLO", b"HELO")
        await link.send(b"250 mail.test\r\n" if hello else b"554 5.7.1 Access denied\r\n")


async def telnet(link: Link, _: Machine) -> None:
    await link.send(b"\xff\xfd\x18\xff\xfd\x20\r\nrouter login: ")
    await link.until(b"\n", 1024)
    await link.send(b"Password: ")
    await link.drain()


async def mysql(link: Link, _: Machine) -> None:
    await link.send(len(_MYSQL).to_bytes(3, "little") + b"\0" + _MYSQL)
    await link.drain()


async def tls(link: Link, _: Machine) -> None:
    """What a TLS server says to those who speak no TLS."""
    await link.peek()
    await link.send(_TLS_ALERT)


async def _web(link: Link, response: bytes) -> None:
    if chr(await link.peek()).isalpha():
        await link.until(b"\r\n\r\n")
        await link.send(response)
    else:
        await link.send(error("400 Bad Request"))


async def not_found(link: Link, _: Machine) -> None:
    await _web(link, _NOT_FOUND)


async def moved(link: Link, _: Machine) -> None:
    await _web(link, _MOVED)


async def welcome(link: Link, _: Machine) -> None:
    """A server that answers everything, CONNECT too, with its page."""
    await _web(link, WELCOME)


async def radio(link: Link, machine: Machine) -> None:
    """Old streaming software: a greeting that looks like HTTP success."""
    await link.peek()
    await link.send(b"ICY 200 OK\r\nicy-name: lab radio\r\nicy-br: 128\r\n\r\n")
    while True:
        await link.send(b"\xff\xfb\x90\x64" * 64)
        await machine.pause(0.25)


async def mute(link: Link, _: Machine) -> None:
    await link.drain()
