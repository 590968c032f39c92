"""KINDS: a row for each kind of host: what it does, how common it is, where it listens, what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from scanner.lab import liars, services, socks
from scanner.lab.http import CONNECT, FORBIDDEN, FORWARD, PASSWORD_WANTED, After, http
from scanner.lab.machine import HOP_PORT, Behaviour, Exit, Repair
from scanner.lab.mixed import mixed, refuse
from scanner.lab.rules import (
    ANY_PORTS,
    HTTP_PORTS,
    PATIENCE_PORTS,
    SOCKS_PORTS,
    WEB_PORTS,
    Allows,
    Ports,
    anything,
    not_first_canary,
    only_mail_port,
    only_names,
    only_tcp_port,
)
from scanner.lab.socks import reply4, reply5, socks4, socks5
from scanner.model import Kind

HTTP = ("http-connect", "http-get", "http-post")
SOCKS = ("socks4", "socks4a", "socks5")
RELAY = "smtp-relay"
_OLD, _NEW = SOCKS[:2], SOCKS[2:]
PROTOCOLS = HTTP + SOCKS
Truth = dict[str, Kind]  # protocol -> the evidence to expect
Repairs = Mapping[Repair, tuple[Behaviour | None, Kind]]


def on(protocols: tuple[str, ...], kind: Kind) -> Truth:
    return dict.fromkeys(protocols, kind)


@dataclass(frozen=True, slots=True)
class HostKind:
    """relays: protocols that it relays where `allows` lets it; evidence: what all the others show."""

    name: str
    share: float  # of the population, in percent or so: only the proportions count
    behaviour: Behaviour | None  # None: nothing listens
    ports: Ports = field(default_factory=dict)
    evidence: Truth = field(default_factory=dict)
    relays: tuple[str, ...] = ()
    allows: Allows = anything
    exit: Exit = Exit.OWN
    later: Kind | None = None  # evidence from the second conversation on, where it is another
    ports_each: int = 1
    filtered: bool = False  # SYNs to its ports get no answer
    repairs: Repairs = field(default_factory=lambda: REPAIRED)

    @property
    def listens(self) -> bool:
        return self.behaviour is not None or self.filtered


# What servers say to those who speak something else.
_HTTP = on(HTTP, Kind.DENIED) | on(SOCKS, Kind.WRONG_PROTOCOL)
_SOCKS = on(PROTOCOLS, Kind.HUNG_UP)
_NO_SOCKS4 = _SOCKS | on(_OLD, Kind.DENIED)
_LIES = on(HTTP, Kind.PRETENDS)
_STRANGER = on(PROTOCOLS, Kind.WRONG_PROTOCOL)
# Our own bytes read as a reply: SOCKS4 code 1, and SOCKS5 method 1.
_ECHO = _STRANGER | on(_OLD, Kind.DENIED) | on(_NEW, Kind.AUTH_REQUIRED)

REPAIRED: Repairs = {
    Repair.GONE: (None, Kind.REFUSED),
    Repair.DENIES: (partial(refuse, code4=socks.REFUSED4, method=0, status=FORBIDDEN), Kind.DENIED),
    Repair.ASKS: (
        partial(refuse, code4=socks.NO_IDENT4, method=2, status=PASSWORD_WANTED),
        Kind.AUTH_REQUIRED,
    ),
}
"""What becomes of an open proxy, whichever protocol it spoke, and what that shows."""


def _connect(
    name: str, share: float, allows: Allows = anything, comes_out: Exit = Exit.OWN, **options: Any
) -> HostKind:
    """An HTTP proxy that relays CONNECT and nothing else; options are http()'s."""
    behaviour = partial(http, **{"methods": CONNECT, **options})
    return HostKind(name, share, behaviour, HTTP_PORTS, _HTTP, ("http-connect",), allows, comes_out)


def _socks5(name: str, share: float, allows: Allows = anything, comes_out: Exit = Exit.OWN, **options: Any) -> HostKind:
    """A SOCKS5 proxy; options are socks5()'s."""
    behaviour = partial(socks5, **options)
    return HostKind(name, share, behaviour, SOCKS_PORTS, _SOCKS | on(_NEW, Kind.DENIED), ("socks5",), allows, comes_out)


def _service(name: str, share: float, behaviour: Behaviour, ports: Ports, kind: Kind) -> HostKind:
    """Something that shows the same to everybody."""
    return HostKind(name, share, behaviour, ports, on(PROTOCOLS, kind))


def _web(name: str, share: float, behaviour: Behaviour, kind: Kind) -> HostKind:
    return HostKind(name, share, behaviour, WEB_PORTS, _HTTP | on(HTTP, kind))


def _refuses(name: str, share: float, protocols: tuple[str, ...], kind: Kind, behaviour: Behaviour) -> HostKind:
    """A proxy that is closed on these protocols in a way of its own."""
    ports, others = (HTTP_PORTS, _HTTP) if protocols[0] in HTTP else (SOCKS_PORTS, _SOCKS)
    return HostKind(name, share, behaviour, ports, others | on(protocols, kind))


def _grants(name: str, share: float, after: After, ports: Ports = ANY_PORTS) -> HostKind:
    """Grants CONNECT and every SOCKS, and then does this instead of relaying."""
    evidence = _HTTP | on(("http-connect", *SOCKS), Kind.PRETENDS)
    return HostKind(name, share, partial(mixed, after=after), ports, evidence)


_ROWS = (
    # Nobody there.
    HostKind("closed", 30, None),
    HostKind("filtered", 7, None, ANY_PORTS, on(PROTOCOLS, Kind.FILTERED), ports_each=2, filtered=True),
    # Ordinary services.
    _service("ssh", 5, services.ssh, {22: 5, 2222: 1, 1080: 0.2}, Kind.WRONG_PROTOCOL),
    HostKind("smtp", 4, services.smtp, {25: 5, 587: 1, 2525: 1}, _STRANGER | {RELAY: Kind.TURNED_AWAY}),
    _service("telnet", 1, services.telnet, {23: 3, 2323: 1, 999: 0.3}, Kind.WRONG_PROTOCOL),
    _service("mysql", 1.5, services.mysql, {3306: 3, 8888: 0.3}, Kind.WRONG_PROTOCOL),
    _service("tls", 3, services.tls, {443: 5, 8443: 2, 8081: 0.5}, Kind.WRONG_PROTOCOL),
    _service("radio", 0.5, services.radio, {8080: 1, 8888: 1}, Kind.WRONG_PROTOCOL),
    _service("mute", 0.3, services.mute, PATIENCE_PORTS, Kind.SILENT),
    _web("web", 5, services.not_found, Kind.DENIED),
    _web("web-moved", 1, services.moved, Kind.DENIED),
    _web("web-welcome", 2, services.welcome, Kind.PRETENDS),
    # Open proxies.
    HostKind("http", 5, http, HTTP_PORTS, _HTTP, HTTP),
    HostKind("forward", 2, partial(http, methods=FORWARD), HTTP_PORTS, _HTTP, HTTP[1:]),
    HostKind("post", 0.4, partial(http, methods=("POST",)), HTTP_PORTS, _HTTP, ("http-post",)),
    _connect("connect", 4),
    _connect("connect-length-0", 0.4, granted=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    _connect("connect-bare-lf", 0.3, granted=b"HTTP/1.0 200\nProxy-agent: lab\n\n"),
    _connect("connect-drip", 0.3, drip=True),
    _connect("connect-separate-crlf", 0.5, fussy=True),  # as MikroTik's
    _connect("connect-tcp-port-only", 0.7, only_tcp_port),
    _connect("connect-mail-port-only", 0.4, only_mail_port),
    _connect("connect-names-only", 0.5, only_names),
    _connect("connect-other-exit", 1.5, comes_out=Exit.OTHER),
    HostKind("socks4", 1.2, partial(socks4, names=False), SOCKS_PORTS, _NO_SOCKS4, ("socks4",)),
    HostKind("socks4a", 0.5, partial(socks4, numeric=False), SOCKS_PORTS, _NO_SOCKS4, ("socks4a",)),
    _socks5("socks5", 4),
    _socks5("socks5-other-exit", 1.5, comes_out=Exit.OTHER),
    _socks5("socks5-mail-port-only", 0.4, only_mail_port),
    _socks5("socks5-names-only", 0.3, only_names),
    _socks5("socks5-bogus-bound", 0.3, bound=b"\x01" + IPv4Address("203.0.113.9").packed + b"\x04\x38"),
    _socks5("socks5-bound-name", 0.3, bound=b"\x03\x09gate.test\x04\x38"),
    _socks5("socks5-bound-ipv6", 0.3, bound=b"\x04" + IPv6Address("2001:db8::9").packed + b"\x04\x38"),
    _socks5("chained", 0.5, comes_out=Exit.CHAINED),
    HostKind("mixed", 1.5, mixed, SOCKS_PORTS, relays=PROTOCOLS),
    HostKind("slow", 0.3, partial(mixed, delay=8.0), ANY_PORTS, relays=PROTOCOLS),
    HostKind("blocks-us", 0.5, mixed, SOCKS_PORTS, on(PROTOCOLS, Kind.DENIED), PROTOCOLS, not_first_canary),
    HostKind("replay", 0.4, liars.replay, HTTP_PORTS, _HTTP, ("http-connect",), later=Kind.PRETENDS),
    # Closed proxies.
    _refuses("http-403", 2, HTTP, Kind.DENIED, partial(http, refusal=FORBIDDEN)),
    _refuses("http-407", 2, HTTP, Kind.AUTH_REQUIRED, partial(http, refusal=PASSWORD_WANTED)),
    _refuses("socks4-refused", 0.5, _OLD, Kind.DENIED, partial(socks4, refusal=reply4(socks.REFUSED4))),
    _refuses("socks4-ident", 0.3, _OLD, Kind.AUTH_REQUIRED, partial(socks4, refusal=reply4(socks.NO_IDENT4))),
    _refuses("socks4-unknown-code", 0.2, _OLD, Kind.DENIED, partial(socks4, refusal=reply4(0x31))),
    _refuses("socks5-password", 1.5, _NEW, Kind.AUTH_REQUIRED, partial(socks5, method=2)),
    _refuses("socks5-no-method", 0.5, _NEW, Kind.AUTH_REQUIRED, partial(socks5, method=socks.NO_METHOD)),
    _refuses("socks5-refused", 0.7, _NEW, Kind.DENIED, partial(socks5, refusal=reply5(socks.NOT_ALLOWED))),
    _refuses("socks5-lost", 0.3, _NEW, Kind.UNREACHABLE, partial(socks5, refusal=reply5(socks.UNREACHABLE))),
    _refuses("socks5-unknown-code", 0.2, _NEW, Kind.DENIED, partial(socks5, refusal=reply5(0x5B))),
    _refuses("socks5-reply-1", 0.2, _NEW, Kind.HUNG_UP, partial(socks5, refusal=b"\5")),
    _refuses("socks5-reply-2", 0.2, _NEW, Kind.DENIED, partial(socks5, refusal=b"\5\2")),
    _refuses("socks5-reply-3", 0.2, _NEW, Kind.DENIED, partial(socks5, refusal=b"\5\2\0")),
    HostKind("hop", 0, socks5, {HOP_PORT: 1}, _SOCKS | on(_NEW, Kind.DENIED)),  # a chain's second host
    # Liars.
    _grants("grants-silence", 0.5, liars.silence, PATIENCE_PORTS),
    _grants("grants-page", 0.5, liars.page),
    _grants("grants-portal", 0.5, liars.portal),
    _grants("grants-vainly", 0.7, liars.vain),
    _grants("grants-echo", 0.4, liars.echo),
    _grants("grants-endless", 0.3, liars.endless),
    HostKind("echo", 0.4, liars.echo, ANY_PORTS, _ECHO),
    _service("endless", 0.3, liars.endless, ANY_PORTS, Kind.WRONG_PROTOCOL),
    HostKind("trickle", 0.2, liars.trickle, PATIENCE_PORTS, _STRANGER | on(HTTP, Kind.SILENT)),
    _service("reset", 0.4, liars.reset, ANY_PORTS, Kind.HUNG_UP),
    HostKind("rewrites", 0.4, partial(http, rewrite=liars.filtered), HTTP_PORTS, _HTTP | _LIES),
    HostKind("intercepts", 0.4, http, HTTP_PORTS, _HTTP | on(HTTP, Kind.INTERCEPTED), exit=Exit.CLIENT),
    HostKind("socks4-says-5", 0.2, liars.version5, SOCKS_PORTS, _SOCKS | on(_OLD, Kind.WRONG_PROTOCOL)),
    HostKind("socks5-says-4", 0.2, liars.version4, SOCKS_PORTS, _SOCKS | on(_NEW, Kind.WRONG_PROTOCOL)),
)

KINDS: dict[str, HostKind] = {row.name: row for row in _ROWS}
