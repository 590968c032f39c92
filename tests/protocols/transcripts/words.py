"""A row of the table, and the words that both sides use in many of them."""

from __future__ import annotations

from dataclasses import dataclass

from scanner.model import Aim, Face, Kind
from scanner.protocols.exchange import Cause
from tests.protocols.player import Script, They, We, aim, token


@dataclass(frozen=True)
class Row:
    """A transcript, and what must come of it."""

    protocol: str
    name: str
    aim: Aim
    script: Script
    kind: Kind
    detail: str = ""  # in part
    ends: Cause | None = None  # what ends it; None where the conversation knows before
    proves: bool = False  # the answer verifies
    stranger: bool = False  # granted, and then someone else speaks

    def __str__(self) -> str:
        return f"{self.protocol}: {self.name}"

    @property
    def said(self) -> bytes:
        return b"".join(line.say for line in self.script if isinstance(line, They))

    @property
    def written(self) -> list[bytes]:
        return [line.say for line in self.script if isinstance(line, We)]


V4, V6, NAME = aim("ipv4", Face.TCP), aim("ipv6", Face.TCP), aim("name", Face.TCP)
CLOSED, SILENT, LIMIT = Cause.CLOSED, Cause.SILENT, Cause.LIMIT

# fmt: off
#          v4  CON     :8023       192.0.2.1           user id
SOCKS4 = b"\x04\x01" b"\x1f\x57" b"\xc0\x00\x02\x01" b"proxywarden\0"
#           v4  CON     :8023       0.0.0.x: by name    user id          name
SOCKS4A = b"\x04\x01" b"\x1f\x57" b"\x00\x00\x00\xff" b"proxywarden\0" b"canary.example\0"
#          v5  one method: 0, none
SOCKS5 = b"\x05\x01\x00"
#             v5  CON rsv IP4     192.0.2.1           :8023
SOCKS5_V4 = b"\x05\x01\x00\x01" b"\xc0\x00\x02\x01" b"\x1f\x57"
#             v5  CON rsv IP6     2001:db8::1                                   :8023
SOCKS5_V6 = b"\x05\x01\x00\x04" b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01" b"\x1f\x57"
#               v5  CON rsv NAM     14      name              :8023
SOCKS5_NAME = b"\x05\x01\x00\x03" b"\x0e" b"canary.example" b"\x1f\x57"
#              v0  yes     :0          0.0.0.0
SOCKS4_YES = b"\x00\x5a" b"\x00\x00" b"\x00\x00\x00\x00"
#               v5  method 0, none
SOCKS5_NONE = b"\x05\x00"
#              v5  ok  rsv IP4     0.0.0.0             :0
SOCKS5_YES = b"\x05\x00\x00\x01" b"\x00\x00\x00\x00" b"\x00\x00"
# fmt: on
CONNECT_YES = b"HTTP/1.1 200 Connection established\r\n\r\n"

UA = b"User-Agent: proxywarden (+http://scan.example/)\r\n"
REST = UA + b"Cache-Control: no-cache, no-store\r\nPragma: no-cache\r\nConnection: close\r\n"


def connect(host: bytes) -> tuple[We, We]:
    return We(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (host, host) + UA), We(b"\r\n")


def get(host: bytes) -> We:
    path = token("http-get")
    return We(b"GET http://%b/%b HTTP/1.1\r\nHost: %b\r\n" % (host, path, host) + REST + b"\r\n")


def post(host: bytes) -> We:
    body = token("http-post")
    head = b"POST http://%b/proxywarden HTTP/1.1\r\nHost: %b\r\n" % (host, host) + REST
    return We(head + b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def canary_get(protocol: str, host: bytes = b"192.0.2.1:80") -> We:
    return We(b"GET /%b HTTP/1.1\r\nHost: %b\r\n" % (token(protocol), host) + REST + b"\r\n")


def line(protocol: str) -> We:
    return We(token(protocol) + b" proxywarden http://scan.example/\r\n")


def ehlo(protocol: str) -> We:
    return We(b"EHLO " + token(protocol) + b".proxywarden\r\n")


QUIT = We(b"QUIT\r\n")
GREETING = They(b"220 canary.example ESMTP\r\n")


def at_port(request: bytes, face: Face) -> bytes:
    return request.replace(b"\x1f\x57", {Face.TCP: b"\x1f\x57", Face.MAIL: b"\0\x19", Face.HTTP: b"\0\x50"}[face])


def opening(protocol: str, face: Face) -> Script:
    """All that is said until the target has said yes to an IPv4 address (socks4a: to a name)."""
    port = {Face.TCP: b"8023", Face.MAIL: b"25", Face.HTTP: b"80"}[face]
    return {
        "socks4": (We(at_port(SOCKS4, face)), They(SOCKS4_YES)),
        "socks4a": (We(at_port(SOCKS4A, face)), They(SOCKS4_YES)),
        "socks5": (We(SOCKS5), They(SOCKS5_NONE), We(at_port(SOCKS5_V4, face)), They(SOCKS5_YES)),
        "http-connect": (*connect(b"192.0.2.1:" + port), They(CONNECT_YES)),
    }[protocol]
