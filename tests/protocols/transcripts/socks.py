"""SOCKS4, SOCKS4a and SOCKS5: everything that can be said before the yes, and the ways to say yes."""

from __future__ import annotations

from collections.abc import Iterator

from scanner.model import Aim, Face, Kind
from scanner.protocols.exchange import Cause
from tests.protocols.player import They, We, aim, signed
from tests.protocols.transcripts.words import (
    CLOSED,
    NAME,
    QUIT,
    SILENT,
    SOCKS4_YES,
    SOCKS5,
    SOCKS5_NAME,
    SOCKS5_NONE,
    SOCKS5_V4,
    SOCKS5_V6,
    SOCKS5_YES,
    V4,
    V6,
    Row,
    ehlo,
    line,
    opening,
)


def socks4_rows(protocol: str, request: bytes, to: Aim) -> Iterator[Row]:
    def row(name: str, said: bytes, kind: Kind, detail: str, ends: Cause | None = None) -> Row:
        return Row(protocol, name, to, (We(request), They(said)), kind, detail, ends)

    def relayed(name: str, yes: bytes) -> Row:
        script = (We(request), They(yes), line(protocol), They(signed(protocol, Face.TCP) + b"\r\n"))
        return Row(protocol, name, to, script, Kind.RELAYED, proves=True)

    # fmt: off
    #                                     v4  yes     :0          0.0.0.0
    yield relayed("reply of version 4", b"\x04\x5a" b"\x00\x00" b"\x00\x00\x00\x00")
    #                                      v0  yes     :65535      10.13.10.1
    yield relayed("bogus bound address", b"\x00\x5a" b"\xff\xff" b"\x0a\x0d\x0a\x01")
    # fmt: on
    yield row("refuses", b"\x00\x5b" + bytes(6), Kind.DENIED, "SOCKS4 reply 91: rejected or failed")
    yield row("refuses in 2 bytes", b"\x00\x5b", Kind.DENIED, "SOCKS4 reply 91")
    yield row("refuses in 3 bytes", b"\x00\x5b\x00", Kind.DENIED, "SOCKS4 reply 91")
    yield row("refuses in 10 bytes", b"\x00\x5b" + bytes(8), Kind.DENIED, "SOCKS4 reply 91")
    yield row("wants identd", b"\x00\x5c" + bytes(6), Kind.AUTH_REQUIRED, "SOCKS4 reply 92: wants identd")
    yield row("identd names another", b"\x00\x5d" + bytes(6), Kind.AUTH_REQUIRED, "SOCKS4 reply 93: identd")
    yield row("unknown code", b"\x00\x4d" + bytes(6), Kind.DENIED, "SOCKS4 reply 77: unknown")
    yield row("SOCKS5's code for success", b"\x00\x00" + bytes(6), Kind.DENIED, "SOCKS4 reply 0: unknown")
    yield row("answers as SOCKS5, no method", b"\x05\xff", Kind.WRONG_PROTOCOL, "answers as SOCKS5")
    yield row("answers as SOCKS5, success", SOCKS5_YES, Kind.WRONG_PROTOCOL, "answers as SOCKS5")
    yield row("answers as SOCKS5 with code 90", b"\x05\x5a" + bytes(6), Kind.WRONG_PROTOCOL, "answers as SOCKS5")
    yield row("a web server", b"HTTP/1.0 400 Bad\r\n\r\n", Kind.WRONG_PROTOCOL, "not a SOCKS4 reply: 'HT'")
    yield row("one byte and closes", b"\x00", Kind.HUNG_UP, "hung up after '\\x00'", CLOSED)
    yield row("one byte and silence", b"\x00", Kind.SILENT, "silent after '\\x00'", SILENT)
    yield row("a yes that is cut", SOCKS4_YES[:7], Kind.HUNG_UP, "hung up within a reply that grants", CLOSED)
    yield Row(protocol, "closes", to, (We(request),), Kind.HUNG_UP, "hung up", CLOSED)
    yield Row(protocol, "silence", to, (We(request),), Kind.SILENT, "silent", SILENT)


def socks4a_rows() -> Iterator[Row]:
    # fmt: off
    #            v4  CON     :8023       0.0.0.x: by name    user id          an address as a name
    request = b"\x04\x01" b"\x1f\x57" b"\x00\x00\x00\xff" b"proxywarden\0" b"192.0.2.1\0"
    # fmt: on
    script = (We(request), They(SOCKS4_YES), line("socks4a"), They(signed("socks4a", Face.TCP) + b"\r\n"))
    yield Row("socks4a", "an address as a name", V4, script, Kind.RELAYED, proves=True)


def socks5_rows() -> Iterator[Row]:
    def method(name: str, said: bytes, kind: Kind, detail: str, ends: Cause | None = None) -> Row:
        return Row("socks5", name, V4, (We(SOCKS5), They(said)), kind, detail, ends)

    def reply(name: str, said: bytes, kind: Kind, detail: str, ends: Cause | None = None) -> Row:
        script = (We(SOCKS5), They(SOCKS5_NONE), We(SOCKS5_V4), They(said))
        return Row("socks5", name, V4, script, kind, detail, ends)

    def relayed(name: str, yes: bytes, request: bytes = SOCKS5_V4, to: Aim = V4) -> Row:
        answer = They(signed("socks5", to.face) + b"\r\n")
        script = (We(SOCKS5), They(SOCKS5_NONE), We(request), They(yes), line("socks5"), answer)
        return Row("socks5", name, to, script, Kind.RELAYED, proves=True)

    yield relayed("towards IPv6", SOCKS5_YES, SOCKS5_V6, V6)
    yield relayed("towards a name", SOCKS5_YES, SOCKS5_NAME, NAME)
    # fmt: off
    #                                      v5  ok  rsv IP4     127.0.0.1           :0
    yield relayed("bogus bound address", b"\x05\x00\x00\x01" b"\x7f\x00\x00\x01" b"\x00\x00")
    #                             v5  ok  rsv IP6     fe80::1                                   :1080
    yield relayed("bound IPv6", b"\x05\x00\x00\x04" b"\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01" b"\x04\x38")
    #                             v5  ok  rsv NAM     5       name     :1080
    yield relayed("bound name", b"\x05\x00\x00\x03" b"\x05" b"proxy" b"\x04\x38")
    #                                   v5  ok  rsv NAM     0       :0
    yield relayed("empty bound name", b"\x05\x00\x00\x03" b"\x00" b"\x00\x00")
    #                                     v5  ok  rsv NAM     255       name         :0
    yield relayed("longest bound name", b"\x05\x00\x00\x03" b"\xff" + b"n" * 255 + b"\x00\x00")
    #                                       v5  ok  rsv ?       zeros
    yield relayed("unknown address type", b"\x05\x00\x00\x00" b"\x00\x00\x00\x00\x00\x00")
    #                                    v5  ok  ?   IP4     0.0.0.0             :0
    yield relayed("reserved byte set", b"\x05\x00\xff\x01" b"\x00\x00\x00\x00" b"\x00\x00")
    # fmt: on

    mail = aim("ipv4", Face.MAIL)
    # an address of unknown type, glued to the mail greeting
    script = (*opening("socks5", Face.MAIL)[:-1], They(b"\x05\x00\x00\x00" + bytes(6) + b"220 canary\r\n"))
    answer = They(b"250 " + signed("socks5", Face.MAIL) + b"\r\n")
    yield Row(
        "socks5",
        "unknown address type, face mail",
        mail,
        (*script, ehlo("socks5"), answer, QUIT),
        Kind.RELAYED,
        proves=True,
    )

    yield method("no acceptable method", b"\x05\xff", Kind.AUTH_REQUIRED, "SOCKS5 method 255: none that we offer")
    yield method("user and password", b"\x05\x02", Kind.AUTH_REQUIRED, "SOCKS5 method 2: user and password")
    yield method("GSSAPI", b"\x05\x01", Kind.AUTH_REQUIRED, "SOCKS5 method 1: GSSAPI")
    yield method("unknown method", b"\x05\x80", Kind.AUTH_REQUIRED, "SOCKS5 method 128: unknown")
    yield method("answers as SOCKS4", b"\x00\x5b" + bytes(6), Kind.WRONG_PROTOCOL, "answers as SOCKS4")
    yield method("answers as SOCKS4, granted", b"\x04\x5a" + bytes(6), Kind.WRONG_PROTOCOL, "answers as SOCKS4")
    yield method("zeros", bytes(8), Kind.WRONG_PROTOCOL, "not a SOCKS5 reply")
    yield method("a web server", b"HTTP/1.0 400 Bad\r\n\r\n", Kind.WRONG_PROTOCOL, "not a SOCKS5 reply: 'HT'")
    yield method("one byte and closes", b"\x05", Kind.HUNG_UP, "hung up after '\\x05'", CLOSED)
    yield Row("socks5", "closes", V4, (We(SOCKS5),), Kind.HUNG_UP, "hung up", CLOSED)
    yield Row("socks5", "silence", V4, (We(SOCKS5),), Kind.SILENT, "silent", SILENT)

    script = (We(SOCKS5), They(SOCKS5_NONE), We(SOCKS5_V4))
    yield Row("socks5", "method accepted, then closes", V4, script, Kind.HUNG_UP, "hung up", CLOSED)
    yield Row("socks5", "method accepted, then silence", V4, script, Kind.SILENT, "silent", SILENT)
    #                                            v5  no  rsv IP4 0.0.0.0           :0
    yield reply(
        "method accepted, then refused",
        b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00",
        Kind.DENIED,
        "reply 2: not allowed",
    )
    yield reply("refused in 2 bytes", b"\x05\x02", Kind.DENIED, "SOCKS5 reply 2")
    yield reply("refused in 3 bytes", b"\x05\x01\x00", Kind.DENIED, "SOCKS5 reply 1: general failure")
    yield reply("refused in 10 bytes", b"\x05\x01\x00\x01" + bytes(6), Kind.DENIED, "SOCKS5 reply 1: general failure")
    yield reply("a reply of 1 byte", b"\x05", Kind.SILENT, "silent after '\\x05'", SILENT)
    yield reply("command not supported", b"\x05\x07\x00\x01" + bytes(6), Kind.DENIED, "reply 7: command not supported")
    yield reply("address type not supported", b"\x05\x08\x00\x01" + bytes(6), Kind.DENIED, "reply 8: address type")
    yield reply("unknown code", b"\x05\x09\x00\x01" + bytes(6), Kind.DENIED, "SOCKS5 reply 9: unknown")
    yield reply("unknown code 255", b"\x05\xff", Kind.DENIED, "SOCKS5 reply 255: unknown")
    for code, said in (
        (3, "network unreachable"),
        (4, "host unreachable"),
        (5, "connection refused"),
        (6, "TTL expired"),
    ):
        full = bytes([5, code, 0, 1]) + bytes(6)
        yield reply(said, full, Kind.UNREACHABLE, f"says it could not reach the canary ({said})")
    yield reply("SOCKS4's yes to a SOCKS5 request", SOCKS4_YES, Kind.WRONG_PROTOCOL, "answers as SOCKS4")
    yield reply("the method again", b"\x00\x00", Kind.WRONG_PROTOCOL, "not a SOCKS5 reply")
    for yes, name in (
        (SOCKS5_YES, "IPv4"),
        (b"\x05\x00\x00\x03\x05prox", "name"),
        (b"\x05\x00\x00\x04" + bytes(18), "IPv6"),
    ):
        yield reply(f"a yes with {name} that is cut", yes[:-1], Kind.HUNG_UP, "within a reply that grants", CLOSED)
