"""Each kind of host does what its row says, as clients see it that know nothing of our protocols."""

from __future__ import annotations

import re
import socket
import struct
import time
from ipaddress import IPv4Address

import pytest

from scanner.lab import kinds
from scanner.lab.kinds import HTTP, KINDS, PROTOCOLS, HostKind
from scanner.lab.liars import filtered
from scanner.lab.rules import only_mail_port, only_names
from scanner.model import Face, Kind
from scanner.proof import CanaryKey, Sighting
from tests.scanner.lab.clients import CLIENTS, TIMEOUT, connect, exactly, say
from tests.scanner.lab.conftest import PACE, World, in_thread

OPEN = [(kind, protocol) for kind in KINDS.values() for protocol in kind.relays]

SOCKS4 = b"\x04\x01$TCP\x7f\0\0\1me\0"
SOCKS4A = b"\x04\x01$TCP\0\0\0\1me\0one.test\0"
METHODS = b"\5\1\0"
SOCKS5 = b"\5\1\0\1\x7f\0\0\1$TCP"
CONNECT = b"CONNECT 127.0.0.1:$tcp HTTP/1.1\r\nHost: x\r\n\r\n"
GET = b"GET http://127.0.0.1:$http/ HTTP/1.1\r\nHost: x\r\n\r\n"
HELLO = b"hello\r\n"
TUNNEL = rb"HTTP/1.1 200 Connection established\r\n\r\n"
GRANTED4, GRANTED5 = rb"\0\x5a\0{6}", rb"\x05\0\x05\0\0\x01\0{6}"
ANYTHING, NOTHING, RST = rb"(?s:.*)", rb"(<RST>)?", rb"<RST>"

# kind -> what a client says, each in a write of its own, and all that comes back, as a pattern.
CLOSED: dict[str, list[tuple[tuple[bytes, ...], bytes]]] = {
    "ssh": [((METHODS,), rb"SSH-2.0-.*\r\n"), ((CONNECT,), rb"SSH-2.0-.*\r\nInvalid SSH .*\r\n" + NOTHING)],
    "smtp": [
        ((CONNECT,), rb"220 .*\r\n221 2.7.0 Error.*\r\n" + NOTHING),
        ((b"EHLO x\r\n",), rb"220 .*\r\n250 .*\r\n"),
    ],
    "telnet": [((b"root\r\n",), rb"\xff\xfd.*\r\n.*login: Password: ")],
    "mysql": [((METHODS,), rb"7\0\0\0\n8.0.36\0(?s:.{47})")],
    "tls": [((METHODS,), rb"\x15\x03\x01\0\x02\x02\x46")],
    "web": [
        ((GET,), rb"HTTP/1.1 404 (?s:.*)"),
        ((CONNECT,), rb"HTTP/1.1 404 (?s:.*)"),
        ((METHODS,), rb"HTTP/1.1 400 (?s:.*)"),
    ],
    "web-moved": [((GET,), rb"HTTP/1.1 302 Found\r\n(?s:.*)"), ((CONNECT,), rb"HTTP/1.1 302 (?s:.*)")],
    "web-welcome": [
        ((CONNECT, HELLO), rb"HTTP/1.1 200 OK\r\n(?s:.*)It works!(?s:.*)"),
        ((GET,), rb"HTTP/1.1 200 OK\r\n(?s:.*)"),
    ],
    "http-403": [((CONNECT,), rb"HTTP/1.1 403 (?s:.*)"), ((GET,), rb"HTTP/1.1 403 (?s:.*)")],
    "http-407": [((CONNECT,), rb"HTTP/1.1 407 (?s:.*)Proxy-Authenticate: Basic (?s:.*)")],
    "socks4-refused": [((SOCKS4,), rb"\0\x5b\0{6}"), ((SOCKS4A,), rb"\0\x5b\0{6}"), ((METHODS,), NOTHING)],
    "socks4-ident": [((SOCKS4,), rb"\0\x5c\0{6}")],
    "socks4-unknown-code": [((SOCKS4A,), rb"\0\x31\0{6}")],
    "socks5-password": [
        ((b"\x05\x02\0\x02",), rb"\x05\x02"),
        ((METHODS, b"\x01\x01a\x01b"), rb"\x05\x02\x01\x01" + NOTHING),
        ((SOCKS4,), NOTHING),
    ],
    "socks5-no-method": [((METHODS, SOCKS5), rb"\x05\xff" + NOTHING)],
    "socks5-refused": [((METHODS, SOCKS5), rb"\x05\0\x05\x02\0\x01\0{6}"), ((CONNECT,), NOTHING)],
    "socks5-lost": [((METHODS, SOCKS5), rb"\x05\0\x05\x04\0\x01\0{6}")],
    "socks5-unknown-code": [((METHODS, SOCKS5), rb"\x05\0\x05\x5b\0\x01\0{6}")],
    "socks5-reply-1": [((METHODS, SOCKS5), rb"\x05\0\x05")],
    "socks5-reply-2": [((METHODS, SOCKS5), rb"\x05\0\x05\x02")],
    "socks5-reply-3": [((METHODS, SOCKS5), rb"\x05\0\x05\x02\0")],
    "hop": [((METHODS, SOCKS5), rb"\x05\0\x05\x02\0\x01\0{6}")],
    "grants-silence": [((CONNECT, HELLO), TUNNEL)],
    "grants-page": [((CONNECT, HELLO), TUNNEL + rb"HTTP/1.1 200 OK\r\n(?s:.*)")],
    "grants-portal": [((CONNECT, HELLO), TUNNEL + rb"HTTP/1.1 302 Found\r\nLocation: http://portal(?s:.*)")],
    "grants-vainly": [((CONNECT, HELLO), TUNNEL), ((GET,), rb"HTTP/1.1 405 (?s:.*)")],
    "grants-echo": [((CONNECT, HELLO), TUNNEL + HELLO)],
    "echo": [((METHODS, SOCKS5), METHODS + re.escape(SOCKS5)), ((CONNECT,), re.escape(CONNECT))],
    "reset": [
        ((SOCKS4,), rb"\0\x5a\0" + RST),
        ((METHODS, SOCKS5), rb"\x05\0\x05\0\0\x01" + RST),
        ((CONNECT,), rb"HTTP/1.1 2" + RST),
    ],
    "socks4-says-5": [((SOCKS4,), rb"\x05\0\0\x01\0{6}"), ((METHODS,), NOTHING)],
    "socks5-says-4": [((METHODS, SOCKS5), rb"\0\x5b\0{6}" + NOTHING), ((SOCKS4,), NOTHING)],
    "intercepts": [((CONNECT, HELLO), TUNNEL + rb"peer=127.0.0.1 said=hello\r\n")],
    "rewrites": [((CONNECT, b"quiz VJ\r\n"), TUNNEL + rb"peer=[0-9.]+ said=QuiZ vj\r\n")],
}  # fmt: skip
for _kind in ("grants-silence", "grants-page", "grants-portal", "grants-vainly", "grants-echo"):
    _after = CLOSED[_kind][0][1].removeprefix(TUNNEL)
    CLOSED[_kind] += [
        ((METHODS, SOCKS5, HELLO), GRANTED5 + _after),
        ((SOCKS4, HELLO), GRANTED4 + _after),
        ((SOCKS4A, HELLO), GRANTED4 + _after),
    ]
# These never end by themselves; each has a test of its own below.
ENDLESS = {"mute", "radio", "endless", "grants-endless", "trickle"}
ROWS = [(kind, says, hears) for kind, rows in CLOSED.items() for says, hears in rows]


def filled(world: World, template: bytes) -> bytes:
    """With the ports of the first canary: as two bytes, or as text."""
    assert world.canary.tcp is not None
    tcp, http = world.canary.tcp, world.canary.http
    text = {b"$TCP": tcp.to_bytes(2), b"$tcp": b"%d" % tcp, b"$http": b"%d" % http}
    for mark, value in text.items():
        template = template.replace(mark, value)
    return template


def test_every_kind_has_a_test() -> None:
    nobody_there = {"closed", "filtered"}
    assert set(CLOSED) | {kind.name for kind, _ in OPEN} | ENDLESS | nobody_there == set(KINDS)


def test_names_are_unique_and_every_row_is_whole() -> None:
    assert len(KINDS) == len(kinds._ROWS)
    for kind in KINDS.values():
        missing = set(PROTOCOLS) - set(kind.relays) - set(kind.evidence)
        assert not kind.listens or not missing, f"{kind.name} says nothing about {missing}"
        assert kind.listens == bool(kind.ports)
        assert set(kind.relays) <= set(PROTOCOLS)
        assert Kind.RELAYED not in kind.evidence.values()


@pytest.mark.parametrize(("kind", "protocol"), OPEN, ids=lambda item: getattr(item, "name", item))
async def test_an_open_proxy_relays_from_its_exit(world: World, kind: HostKind, protocol: str) -> None:
    canary = world.internet.canaries[1]  # all but one relay go to both
    by_name = protocol == "socks4a" or kind.allows is only_names
    face = "mail" if kind.allows is only_mail_port else "http" if protocol in HTTP[1:] else "tcp"
    host = world.host(kind.name)
    to = canary.name if by_name else str(canary.address)
    said = await world.ask(CLIENTS[protocol], kind.name, to, getattr(canary, face))
    assert b"peer=%b said=" % str(host.exit).encode() in said
    assert world.peers == [str(host.exit)]


@pytest.mark.parametrize(("kind", "says", "hears"), ROWS, ids=[row[0] for row in ROWS])
async def test_a_closed_one_says_exactly_this(world: World, kind: str, says: tuple[bytes, ...], hears: bytes) -> None:
    host = world.host(kind)
    said = await in_thread(say, host.address, host.ports[0], *(filled(world, data) for data in says))
    wanted = hears if kind != "echo" else re.escape(b"".join(filled(world, data) for data in says))
    assert re.fullmatch(wanted, said), said
    if kind not in ("intercepts", "rewrites"):
        assert world.peers == []


@pytest.mark.parametrize(
    ("kind", "protocol", "to", "code"),
    [
        ("connect-tcp-port-only", "http-connect", ("127.0.0.1", "mail"), b" 403 "),
        ("connect-mail-port-only", "http-connect", ("127.0.0.1", "tcp"), b" 403 "),
        ("connect-names-only", "http-connect", ("127.0.0.1", "tcp"), b" 403 "),
        ("connect", "http-connect", ("nowhere.test", "tcp"), b" 502 "),
        ("http", "http-get", ("nowhere.test", "http"), b"502"),
        ("forward", "http-connect", ("127.0.0.1", "tcp"), b" 405 "),
        ("post", "http-get", ("127.0.0.1", "http"), b"405"),
        ("blocks-us", "http-connect", ("127.0.0.1", "tcp"), b" 403 "),
        ("blocks-us", "socks5", ("one.test", "tcp"), b"\5\2"),
        ("socks5-names-only", "socks5", ("127.0.0.1", "tcp"), b"\5\2"),
        ("socks5-mail-port-only", "socks5", ("127.0.0.1", "tcp"), b"\5\2"),
        ("socks5", "socks5", ("nowhere.test", "tcp"), b"\5\4"),
        ("socks4", "socks4a", ("one.test", "tcp"), b"\0\x5b"),
        ("socks4a", "socks4", ("127.0.0.1", "tcp"), b"\0\x5b"),
    ],
)
async def test_rules_refuse(world: World, kind: str, protocol: str, to: tuple[str, str], code: bytes) -> None:
    said = await world.ask(CLIENTS[protocol], kind, to[0], getattr(world.canary, to[1]))
    assert code in said
    assert world.peers == []


async def test_the_separate_crlf_is_wanted(world: World) -> None:
    host = world.host("connect-separate-crlf")
    head, crlf = filled(world, CONNECT)[:-2], b"\r\n"
    assert await in_thread(say, host.address, host.ports[0], head + crlf) == b""
    assert (await in_thread(say, host.address, host.ports[0], head, crlf, HELLO)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("kind", "granted"),
    [
        ("connect-length-0", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("connect-bare-lf", b"HTTP/1.0 200\nProxy-agent: lab\n\n"),
    ],
)
async def test_odd_grants(world: World, kind: str, granted: bytes) -> None:
    host = world.host(kind)
    said = await in_thread(say, host.address, host.ports[0], filled(world, CONNECT), HELLO)
    assert said.startswith(granted + b"peer=")


@pytest.mark.parametrize(
    ("kind", "bound"),
    [
        ("socks5-bogus-bound", b"\1\xcb\0\x71\x09\x04\x38"),
        ("socks5-bound-name", b"\3\x09gate.test\x04\x38"),
        ("socks5-bound-ipv6", b"\4\x20\1\x0d\xb8" + bytes(11) + b"\x09\x04\x38"),
    ],
)
async def test_odd_bound_addresses(world: World, kind: str, bound: bytes) -> None:
    host = world.host(kind)
    said = await in_thread(say, host.address, host.ports[0], METHODS, filled(world, SOCKS5), HELLO)
    assert said.startswith(b"\5\0\5\0\0" + bound + b"peer=")


async def test_a_header_comes_byte_by_byte(world: World) -> None:
    def segments(address: object, port: int) -> int:
        """How many came, of a header of 39 bytes; what recv() gives at once depends on when we get to it."""
        with connect(address, port) as sock:
            sock.sendall(filled(world, CONNECT))
            exactly(sock, len(b"HTTP/1.1 200 Connection established\r\n\r\n"))
            return int(struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 156), 152)[0])

    # The first ten go out as they are said; what follows may be put together while no acknowledgement has come.
    assert await world.ask(segments, "connect-drip") >= 10  # type: ignore[arg-type, operator]


async def test_replay_relays_once_and_then_repeats_it(world: World) -> None:
    to = (str(world.canary.address), world.canary.tcp)
    first = await world.ask(CLIENTS["http-connect"], "replay", *to)
    assert first.endswith(b"said=hello\r\n")
    host = world.host("replay")
    again = await in_thread(say, host.address, host.ports[0], filled(world, CONNECT), b"another\r\n")
    assert again.endswith(b"\r\n\r\n" + first)
    assert len(world.peers) == 1


async def test_slow_takes_its_time(world: World) -> None:
    started = time.monotonic()
    await world.ask(CLIENTS["socks5"], "slow", str(world.canary.address), world.canary.tcp)
    assert time.monotonic() - started >= 8 * PACE


def _for_a_while(address: object, port: int, data: bytes, count: int) -> bytes:
    """The first bytes of a talk that has no end; b"" where none is wanted, and none came for half a second."""
    with connect(address, port, TIMEOUT if count else 0.5) as sock:
        sock.sendall(data)
        try:
            return exactly(sock, count or 1)
        except TimeoutError:
            return b""


@pytest.mark.parametrize(
    ("kind", "says", "begins"),
    [
        ("mute", CONNECT, b""),
        ("radio", CONNECT, b"ICY 200 OK\r\n"),
        ("endless", METHODS, b"A" * 100_000),
        ("grants-endless", CONNECT, b"HTTP/1.1 200 Connection established\r\n\r\n" + b"A" * 100_000),
        ("trickle", METHODS, b"HTTP/1.1   "),
    ],
)
async def test_endless_ones(world: World, kind: str, says: bytes, begins: bytes) -> None:
    assert await world.ask(_for_a_while, kind, filled(world, says), len(begins)) == begins


async def test_closed_answers_rst_and_filtered_nothing(world: World) -> None:
    with pytest.raises(ConnectionRefusedError):
        await in_thread(connect, world.host("closed").address, 1080)
    filtered = world.host("filtered")
    assert len(filtered.ports) == 2
    for port in filtered.ports:
        with pytest.raises(TimeoutError):
            await in_thread(connect, filtered.address, port, 1.5)
    other = next(port for port in (1080, 8080, 3128) if port not in filtered.ports)
    with pytest.raises(ConnectionRefusedError):
        await in_thread(connect, filtered.address, other)


def test_no_signed_answer_passes_the_filter_unharmed():
    key, exit_ = CanaryKey.from_master(b"m" * 32, "main"), IPv4Address("127.93.27.69")
    for port in range(1, 10_000):  # 27 have none of the letters
        answer = Sighting("main", Face.TCP, exit_, port, 46295).answer(key, b"token")
        assert filtered(answer) != answer
