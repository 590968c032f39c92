"""SOCKS5 (RFC 1928) without authentication, towards an IPv4 address, an IPv6 address or a name.

The requests are socksio's; the replies are judged from their raw bytes, because socksio refuses replies that
are cut and codes it does not know, and both are seen in the wild. What a reply says of the bound address is
no evidence of anything: zeros, inner addresses and nonsense are usual.
"""

from __future__ import annotations

from collections.abc import Generator

from socksio import socks5

from scanner.model import Kind
from scanner.protocols.conversation import (
    Ask,
    Conversation,
    Granted,
    Outcome,
    ReadExactly,
    Send,
    Step,
    cut,
    show,
)
from scanner.protocols.smtp_relay import through

_NO_AUTHENTICATION = 0
_METHODS = {1: "GSSAPI", 2: "user and password", 0xFF: "none that we offer"}
_SUCCEEDED = 0
_REPLIES = {  # RFC 1928 6
    1: "general failure",
    2: "not allowed by ruleset",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}
_COULD_NOT_REACH = (3, 4, 5, 6)  # it went there, and no canary answered: a firewall before it, not a repair
_NAME = 3
_ADDRESS_BYTES = {1: 4, 4: 16}


def socks5_connect(ask: Ask) -> Conversation:
    """Offers no authentication and nothing else: other methods would ask for somebody's secret."""
    yield Send(socks5.SOCKS5AuthMethodsRequest([socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED]).dumps())
    choice = yield ReadExactly(2)
    if (broken := _not_socks5(choice)) is not None:
        return broken
    method = choice[1]
    if method != _NO_AUTHENTICATION:
        # Whatever it chose, also a method unknown or never offered: it speaks SOCKS5 and lets nobody in so.
        return Outcome(Kind.AUTH_REQUIRED, f"SOCKS5 method {method}: {_METHODS.get(method, 'unknown')}")

    yield Send(
        socks5.SOCKS5CommandRequest.from_address(
            socks5.SOCKS5Command.CONNECT, (str(ask.aim.host), ask.aim.port)
        ).dumps()
    )
    reply = yield ReadExactly(2)
    if (broken := _not_socks5(reply)) is not None:
        return broken
    code = reply[1]
    if code != _SUCCEEDED:  # judged at once: error replies of 2, 3 and 4 bytes are common
        said = _REPLIES.get(code, "unknown")
        if code in _COULD_NOT_REACH:
            return Outcome(Kind.UNREACHABLE, f"says it could not reach the canary ({said})")
        return Outcome(Kind.DENIED, f"SOCKS5 reply {code}: {said}")
    if not (yield from _bound_address()):
        return cut("within a reply that grants")
    yield Granted("SOCKS5 reply 0")
    return (yield from through(ask))


def _not_socks5(head: bytes) -> Outcome | None:
    """What the first two bytes of a reply say against SOCKS5, or that there are not two."""
    if len(head) < 2:
        return cut(f"after {show(head)}" if head else "")
    if head[0] == 5:
        return None
    if head[0] in (0, 4) and 90 <= head[1] <= 93:
        return Outcome(Kind.WRONG_PROTOCOL, f"answers as SOCKS4: {show(head)}")
    return Outcome(Kind.WRONG_PROTOCOL, f"not a SOCKS5 reply: {show(head)}")


def _bound_address() -> Generator[Step, bytes, bool]:
    """Read the rest of a reply, to the byte, and tell whether it was whole."""
    head = yield ReadExactly(2)  # reserved, address type
    if len(head) < 2:
        return False
    kind = head[1]
    if kind == _NAME:
        length = yield ReadExactly(1)
        if not length:
            return False
        size = length[0]
    elif kind in _ADDRESS_BYTES:
        size = _ADDRESS_BYTES[kind]
    else:
        return True  # its length is unknowable; hear() passes over what is left of it
    rest = yield ReadExactly(size + 2)  # and the port
    return len(rest) == size + 2
