"""The vocabulary of a conversation, its contract, and hear(), by which each one ends.

A conversation is a generator. It yields steps: Send(data); ReadExactly(count) or ReadUntil(separator, limit),
answered with bytes; StartTls(), answered with what was presented; Granted(detail) once the target said yes. It returns
an Outcome. It does no I/O and never fails: whatever a target does is evidence.

A read answers with fewer bytes than asked only where the target ended it: it closed, went silent until the
deadline, or sent more than is read of any target. The conversation judges what it has; where that is not
enough it returns cut(), and Exchange, which knows what ended it, names the kind.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from scanner.model import Address, Aim, Face, Identity, Kind
from scanner.proof import ANSWER_MARK, TOKEN_LIMIT, find_token

LINE_LIMIT = 2048  # bytes of one line; the longest answer of the canary is under 300


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes, in a write of their own."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ReadExactly:
    """Answered with `count` bytes, fewer only where the target ended it."""

    count: int


@dataclass(frozen=True, slots=True)
class ReadUntil:
    """Answered with bytes up to and including the separator; without one where `limit` bytes hold none."""

    separator: bytes
    limit: int = LINE_LIMIT


@dataclass(frozen=True, slots=True)
class StartTls:
    """Speak TLS from here on: answered with what the target presented, with nothing where the handshake failed.

    What it had sent before is dropped: it would be plain text that passes for protected (CVE-2011-0411).
    """


@dataclass(frozen=True, slots=True)
class Granted:
    """The target said yes: from here on, whatever fails means that it only pretends."""

    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a conversation ended. kind None: whatever ended it decides. answer: still to be verified."""

    kind: Kind | None
    detail: str = ""
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a conversation is about: where the target is told to go, and the challenge to take there.

    The rest is for mail relays: the target's address and port, the short challenge, the moment in seconds since the
    epoch, and whether it goes without STARTTLS, which came to nothing before.
    """

    aim: Aim
    token: bytes
    identity: Identity
    target: Address | None = None
    port: int = 25
    letter: bytes = b""
    at: float = 0.0
    clear: bool = False


Step = Send | ReadExactly | ReadUntil | StartTls | Granted
Conversation = Generator[Step, bytes, Outcome]


def cut(detail: str = "") -> Outcome:
    """The target ended it before anything could be told."""
    return Outcome(None, detail)


def hear(ask: Ask) -> Conversation:
    """Take the challenge to the canary and hear its answer, in the dress of the face that was aimed at.

    Whatever else comes through the tunnel is passed over, as far as probe.py reads: the signature decides, so
    that a greeting, a stray page or a proxy's second header hides no relay.
    """
    if ask.aim.face is Face.MAIL:
        heard = b""
        while b"220" not in (line := (yield ReadUntil(b"\n"))):  # RFC 5321 4.2: the greeting
            if _last(line):
                return _pretends(heard or line)
            heard = heard or line
        yield Send(b"EHLO " + ask.token + b"." + ask.identity.name.encode() + b"\r\n")
    elif ask.aim.face is Face.HTTP:
        yield Send(http_request("GET", f"/{ask.token.decode()}", ask))
    else:
        yield Send(ask.token + b" " + f"{ask.identity.name} {ask.identity.url}".encode() + b"\r\n")
    return (yield from answer(ask))


def answer(ask: Ask) -> Conversation:
    """Read lines until one bears an answer."""
    heard = rest = b""
    while True:
        line = yield ReadUntil(b"\n")
        token = find_token(rest + line, ANSWER_MARK)
        if token is not None and not (rest + line).endswith(token):  # at the very end it may be cut
            if ask.aim.face is Face.MAIL:
                yield Send(b"QUIT\r\n")
            return Outcome(Kind.RELAYED, answer=token)
        heard = heard or line
        if _last(line):
            return _pretends(heard)
        rest = b"" if line.endswith(b"\n") else line[-TOKEN_LIMIT:]  # an answer may lie across the limit


def _last(line: bytes) -> bool:
    """Whether the target ended it in this line."""
    return not line.endswith(b"\n") and len(line) < LINE_LIMIT


def _pretends(heard: bytes) -> Outcome:
    return Outcome(Kind.PRETENDS, f"granted, then {show(heard)}" if heard else "granted, then nothing")


def http_request(method: str, path: str, ask: Ask, body: bytes = b"") -> bytes:
    """A request of ours to the canary's HTTP face: uncached, and saying who asks."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {authority(ask.aim)}",
        f"User-Agent: {ask.identity.name} (+{ask.identity.url})",
        "Cache-Control: no-cache, no-store",
        "Pragma: no-cache",
        "Connection: close",
    ]
    if body:
        lines += ["Content-Type: text/plain", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def authority(aim: Aim) -> str:
    """host:port as HTTP writes it; IPv6 literals need brackets (RFC 9110 7.2)."""
    if isinstance(aim.host, str) or aim.host.version == 4:
        return f"{aim.host}:{aim.port}"
    return f"[{aim.host}]:{aim.port}"


def show(data: bytes, limit: int = 40) -> str:
    """Bytes of a stranger as printable ASCII, short enough for a detail."""
    return repr(data[:limit].strip())[1:] + ("..." if len(data) > limit else "")
