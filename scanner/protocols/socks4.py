"""SOCKS4 and SOCKS4a: a request with an IPv4 address, or with a name that the proxy resolves.

The request is socksio's; the reply is judged from its raw bytes, because socksio refuses replies that are cut
and replies whose first byte is 4, and both are seen in the wild.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from socksio.socks4 import SOCKS4ARequest, SOCKS4Command, SOCKS4Request

from scanner.model import Kind
from scanner.protocols.conversation import (
    Ask,
    Conversation,
    Granted,
    Outcome,
    ReadExactly,
    Send,
    cut,
    show,
)
from scanner.protocols.smtp_relay import through

_REPLY = 8  # bytes; SOCKS4 protocol document (Ying-Da Lee)
_GRANTED = 90
_REPLIES = {91: "rejected or failed", 92: "wants identd", 93: "identd names another user"}
_IDENT = (92, 93)  # ways of asking who we are


def socks4_connect(ask: Ask) -> Conversation:
    """By address."""
    assert isinstance(ask.aim.host, IPv4Address)
    return _connect(ask, SOCKS4Request(SOCKS4Command.CONNECT, ask.aim.port, ask.aim.host.packed, _user(ask)).dumps())


def socks4a_connect(ask: Ask) -> Conversation:
    """By name, or by an address written as one: socksio's from_address would put its raw bytes there."""
    host = str(ask.aim.host).encode()
    return _connect(ask, SOCKS4ARequest(SOCKS4Command.CONNECT, ask.aim.port, host, _user(ask)).dumps())


def _user(ask: Ask) -> bytes:
    """Our name as the user id; some proxies refuse an empty one."""
    return ask.identity.name.encode()


def _connect(ask: Ask, request: bytes) -> Conversation:
    yield Send(request)
    head = yield ReadExactly(2)
    if len(head) < 2:
        return cut(f"after {show(head)}" if head else "")
    version, code = head
    if version == 5:
        return Outcome(Kind.WRONG_PROTOCOL, f"answers as SOCKS5: {show(head)}")
    if version not in (0, 4):  # 0 by the document, 4 as some write it
        return Outcome(Kind.WRONG_PROTOCOL, f"not a SOCKS4 reply: {show(head)}")
    if code != _GRANTED:
        kind = Kind.AUTH_REQUIRED if code in _IDENT else Kind.DENIED
        return Outcome(kind, f"SOCKS4 reply {code}: {_REPLIES.get(code, 'unknown')}")
    rest = yield ReadExactly(_REPLY - 2)
    if len(rest) < _REPLY - 2:
        return cut("within a reply that grants")
    yield Granted("SOCKS4 reply 90")
    return (yield from through(ask))
