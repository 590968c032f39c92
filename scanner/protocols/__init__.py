"""PROTOCOLS: a row for each protocol; names, configuration, choices, statistics and texts all come from it.

To add one: a file here with the conversation, a row below, transcripts in tests/protocols/transcripts/ with
at least one liar, and a host kind in scanner/lab/kinds.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scanner.model import Endpoint, Face
from scanner.protocols.conversation import Ask, Conversation
from scanner.protocols.forms import FORMS
from scanner.protocols.http_connect import http_connect
from scanner.protocols.http_forward import http_get, http_post
from scanner.protocols.smtp_relay import smtp_relay
from scanner.protocols.socks4 import socks4_connect, socks4a_connect
from scanner.protocols.socks5 import socks5_connect


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way of asking a machine to relay."""

    name: str  # at most 16 ASCII characters
    converse: Callable[[Ask], Conversation]
    help: str
    hosts: tuple[str, ...]  # how the aim may be written: ipv4, ipv6, name, domain, in the order to try
    faces: tuple[Face, ...]  # of the canary it can reach, in the order to try
    forms: tuple[str, ...] = ()  # of a mail relay, which is proven by receipt: how it is asked, in the order to try

    @property
    def list(self) -> str:
        """The list that its proofs are for."""
        return "rss" if self.forms else "ops"


_TUNNEL = (Face.TCP, Face.MAIL, Face.HTTP)
_ANY_HOST = ("ipv4", "name", "ipv6")

_ROWS = (
    Protocol("http-connect", http_connect, "HTTP proxy, CONNECT", _ANY_HOST, _TUNNEL),
    Protocol("http-get", http_get, "HTTP proxy, GET with an absolute URI", _ANY_HOST, (Face.HTTP,)),
    Protocol("http-post", http_post, "HTTP proxy, POST with an absolute URI", _ANY_HOST, (Face.HTTP,)),
    Protocol("socks4", socks4_connect, "SOCKS4, target by IPv4 address", ("ipv4",), _TUNNEL),
    Protocol("socks4a", socks4a_connect, "SOCKS4a, target by name", ("name", "ipv4"), _TUNNEL),
    Protocol("socks5", socks5_connect, "SOCKS5 without authentication", _ANY_HOST, _TUNNEL),
    Protocol("smtp-relay", smtp_relay, "mail relay, proven by receipt", ("domain",), (Face.MAIL,), tuple(FORMS)),
)

PROTOCOLS: dict[str, Protocol] = {row.name: row for row in _ROWS}
if len(PROTOCOLS) != len(_ROWS) or any(not row.name or len(row.name) > 16 for row in _ROWS):
    raise RuntimeError("protocol names must be unique and 1 to 16 characters")


def parse_endpoint(text: str) -> Endpoint:
    """`PROTOCOL:PORT` as a person writes it. ValueError says what was expected."""
    name, _, port = text.partition(":")
    if name not in PROTOCOLS:
        raise ValueError(f"{text!r}: unknown protocol {name!r}; known are {', '.join(PROTOCOLS)}")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f"{text!r}: expected PROTOCOL:PORT with a port from 1 to 65535")
    return Endpoint(name, int(port))
