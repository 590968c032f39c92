"""SMTP (RFC 5321): asks a mail server to pass on a letter to our own canary.

Accepted is all that a conversation can show; that it relays is shown by the letter's arrival (scanner/receipt.py).
Never authenticates. through() ends a tunnel: it reaches the canary, or sends it a letter.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from scanner.model import THROUGH, Kind
from scanner.protocols.conversation import (
    Ask,
    Conversation,
    Granted,
    Outcome,
    ReadUntil,
    Send,
    StartTls,
    Step,
    cut,
    hear,
    show,
)
from scanner.protocols.forms import FORMS

CHALLENGE_HEADER = "X-Proxywarden"
# RFC 4954 6: authentication required, refused, too weak, or only under encryption.
_AUTH = frozenset({530, 534, 535, 538})
_IMPLICIT_TLS = 465  # RFC 8314 3.3
# RFC 5321 4.2.4: knows the command not, or not yet. Who says so to EHLO and to HELO is no mail server.
_UNKNOWN = frozenset({500, 501, 502, 503, 504})
# As in "Must issue a STARTTLS command first" (RFC 3207 4), whose 530 is that of a login.
_WANTS_TLS = re.compile(rb"\b(?:(?:start)?tls|ssl|encrypt\w*)\b", re.I)
_REPLY = re.compile(rb"([2-5][0-9]{2})(?:([- ])[^\n]*)?\r?\n")


@dataclass(frozen=True, slots=True)
class _Reply:
    """The last line of a reply, and its code. code 0: the target ended it; 1: that is no reply."""

    code: int
    line: bytes
    starttls: bool = False  # one of its lines offers it

    @property
    def said(self) -> str:
        return show(self.line, 60)[:160]  # escapes make four of one


def smtp_relay(ask: Ask) -> Conversation:
    """One letter, in the form that the aim names."""
    form = FORMS[ask.aim.form]
    assert ask.target is not None
    assert isinstance(ask.aim.host, str)
    sender, recipient = form.written(ask.letter.decode(), ask.aim.host, ask.target)
    if ask.port == _IMPLICIT_TLS and not (yield StartTls()):
        return Outcome(Kind.HUNG_UP, "the TLS handshake failed")
    greeting = yield from _reply()
    if greeting.code != 220:
        return (yield from _ended(greeting, "greets", us=True))
    hello = yield from _said(f"EHLO {ask.identity.name}")
    clear = hello.starttls and ask.port != _IMPLICIT_TLS
    if clear and not ask.clear and (yield from _said("STARTTLS")).code == 220:
        # In TLS 1.3 our handshake is over before theirs is: who fails it then goes without a word.
        if not (yield StartTls()) or not (hello := (yield from _said(f"EHLO {ask.identity.name}"))).line:
            return Outcome(Kind.TLS_FAILED, "the TLS handshake failed")
        clear = False
    if hello.code >= 500:  # a server from before 1995
        hello = yield from _said(f"HELO {ask.identity.name}")
    return (yield from _hand_in(ask, hello, sender, recipient, clear=clear))


def through(ask: Ask) -> Conversation:
    """What is said at the other end of a tunnel that was granted: all of mail to the canary, where the aim is that."""
    if ask.aim.form != THROUGH:
        return (yield from hear(ask))
    greeting = yield from _reply()
    if greeting.code != 220:
        return (yield from _ended(greeting, "greets"))
    # In the clear: whether a proxy lets mail pass is what is asked, and TLS would hide that from it.
    hello = yield from _said(f"EHLO {ask.identity.name}")
    domain = _domain(ask)
    return (yield from _hand_in(ask, hello, f"<relaytest@{domain}>", f"<{ask.letter.decode()}@{domain}>"))


def _hand_in(ask: Ask, hello: _Reply, sender: str, recipient: str, *, clear: bool = False) -> Conversation:
    """From the answer to EHLO to the message's end. clear: the server offers STARTTLS, and we go without."""
    for reply, command in ((hello, "HELO"), ("MAIL FROM:" + sender, "MAIL"), ("RCPT TO:" + recipient, "RCPT")):
        answer = reply if isinstance(reply, _Reply) else (yield from _said(reply))
        if not 200 <= answer.code < 300:
            us = command == "HELO" or (command == "MAIL" and _domain(ask) in sender)
            return (yield from _ended(answer, command, us=us, clear=clear))
    yield Granted(f"took the recipient as {ask.aim.form}")
    ready = yield from _said("DATA")
    if ready.code != 354:
        return (yield from _ended(ready, "DATA"))
    yield Send(_message(ask) + b".\r\n")
    taken = yield from _reply()
    if not 200 <= taken.code < 300:
        return (yield from _ended(taken, "the message"))
    yield Send(b"QUIT\r\n")
    return Outcome(Kind.ACCEPTED, f"{ask.aim.form}: {taken.said}")


def _domain(ask: Ask) -> str:
    """Of sender and recipient: the canary's mail domain, or itself as an address literal (RFC 5321 4.1.3)."""
    host = ask.aim.host
    if isinstance(host, str):
        return host
    return f"[{host}]" if host.version == 4 else f"[IPv6:{host}]"


def _said(command: str) -> Generator[Step, bytes, _Reply]:
    """Say a command, hear its reply."""
    yield Send(command.encode() + b"\r\n")
    return (yield from _reply())


def _reply() -> Generator[Step, bytes, _Reply]:
    """A reply of one or more lines; where their codes differ the last counts (RFC 5321 4.2.1)."""
    starttls = False
    while True:
        line = yield ReadUntil(b"\n")
        found = _REPLY.fullmatch(line)
        starttls = starttls or line[4:].strip().upper() == b"STARTTLS"
        if found is None:
            return _Reply(1 if line.endswith(b"\n") else 0, line)
        if found[2] != b"-":
            return _Reply(int(found[1]), line, starttls)


def _ended(reply: _Reply, at: str, *, us: bool = False, clear: bool = False) -> Conversation:
    """What a reply means that ends the conversation.

    us: a refusal is meant for us, as a client or by our domain, and says nothing of others: a list of testers to turn
    away is a firewall, and no repair. Who refuses the form, refuses its recipient or a sender that is not ours.
    clear: so is one that asks for the TLS that it offers; under it anybody's mail may pass.
    """
    if reply.code == 0:
        return cut(f"at {at}" + (f" after {show(reply.line)}" if reply.line else ""))
    if reply.code == 1 or reply.code < 400:
        # Where it took the recipient before, it is a mail server that says something strange.
        granted = at in ("DATA", "the message")
        yield Send(b"QUIT\r\n")
        return Outcome(Kind.PRETENDS if granted else Kind.WRONG_PROTOCOL, f"{at}: {reply.said}")
    yield Send(b"QUIT\r\n")
    if reply.code < 500:
        return Outcome(Kind.DEFERRED, f"{at}: {reply.said}")
    if clear and _WANTS_TLS.search(reply.line):
        return Outcome(Kind.TURNED_AWAY, f"{at}: {reply.said}")
    kind = Kind.TURNED_AWAY if us else Kind.DENIED
    if reply.code in _UNKNOWN and at == "HELO":
        kind = Kind.WRONG_PROTOCOL
    return Outcome(Kind.AUTH_REQUIRED if reply.code in _AUTH else kind, f"{at}: {reply.said}")


def _message(ask: Ask) -> bytes:
    """The letter: says what it is, who sent it, why, and where to ask for removal. No line begins with a dot."""
    name, url, domain, target = ask.identity.name, ask.identity.url, _domain(ask), ask.target
    proxies = "proxy", "proxies", "sent through the proxy"
    servers = "server", "mail servers", "handed to the mail server"
    one, many, given = proxies if ask.aim.form == THROUGH else servers
    letter = ask.letter.decode()
    contact = f" or to {ask.identity.contact}" if ask.identity.contact else ""
    lines = (
        f"From: Proxywarden relay test <relaytest@{domain}>",
        f"To: <{letter}@{domain}>",
        f"Subject: Relay test of {target} by {name}",
        f"Date: {format_datetime(datetime.fromtimestamp(ask.at, UTC))}",
        f"Message-ID: <{letter}@{domain}>",
        "Auto-Submitted: auto-generated",
        f"{CHALLENGE_HEADER}: {ask.token.decode()}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        f"This is a test message of {name}, which looks for {many} that pass on",
        "the mail of strangers.",
        "",
        f"It was {given} at {target} from outside, because that address",
        "was reported as a source of abuse, is on our list, or its owner asked us to look.",
        f"It is addressed to ourselves: no user of that {one} gets it. If it arrives, the",
        f"{one} relays for everybody.",
        "",
        "How to close a relay, how to be removed from the list, and how to be left alone:",
        f"<{url}>{contact}.",
        "",
    )
    return "\r\n".join(lines).encode()
