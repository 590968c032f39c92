"""HTTP GET and POST with an absolute URI (RFC 9112 3.2.2): ask an HTTP proxy to fetch the canary's page.

The answer is looked for in every line after a 2xx status, in the head as in the body: proxies differ in which
of them they leave alone.
"""

from __future__ import annotations

from scanner.protocols.conversation import Ask, Conversation, Granted, Send, answer, authority, http_request
from scanner.protocols.http_status import Head

# A web server that is no proxy any more says 404 here; for "/" it would show its own page, and leave doubt.
_NOWHERE = "/proxywarden"


def http_get(ask: Ask) -> Conversation:
    """The challenge is the path, so that no cache has the page."""
    return _forward(ask, http_request("GET", f"http://{authority(ask.aim)}/{ask.token.decode()}", ask))


def http_post(ask: Ask) -> Conversation:
    """The challenge is the body: some proxies forward only the one, some only the other."""
    return _forward(ask, http_request("POST", f"http://{authority(ask.aim)}{_NOWHERE}", ask, body=ask.token))


def _forward(ask: Ask, request: bytes) -> Conversation:
    yield Send(request)
    head = Head()
    if (refused := (yield from head.status())) is not None:
        return refused
    yield Granted(head.shown)
    return (yield from answer(ask))
