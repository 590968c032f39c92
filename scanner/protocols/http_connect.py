"""HTTP CONNECT (RFC 9110 9.3.6): asks an HTTP proxy for a tunnel."""

from __future__ import annotations

from scanner.protocols.conversation import Ask, Conversation, Granted, Send, authority
from scanner.protocols.http_status import Head
from scanner.protocols.smtp_relay import through


def http_connect(ask: Ask) -> Conversation:
    """Any 2xx grants, also with Content-Length: 0: RFC 9110 says so, and google/martian sends it."""
    host = authority(ask.aim)
    yield Send(
        f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {ask.identity.name} (+{ask.identity.url})\r\n".encode()
    )
    yield Send(b"\r\n")  # in a write of its own: MikroTik's proxy needs it (proxycheck's finding)
    head = Head()
    if (refused := (yield from head.status())) is not None:
        return refused
    if (broken := (yield from head.rest())) is not None:
        return broken
    yield Granted(head.shown)
    return (yield from through(ask))
