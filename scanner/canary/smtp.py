"""The mail face: reaching port 25 is proven in the words of mail, by the answer to EHLO or HELO.

Where letters are kept it takes those that bear our short challenge, and no other mail: it relays nothing, and
nothing bounces to it (RFC 5321). It takes them under TLS too (RFC 3207), for relays that deliver no other way.
"""

from __future__ import annotations

from collections.abc import Generator

from scanner.canary.caller import Caller, Deliver, Dialogue, Stranger
from scanner.proof import CanaryKey, Forged
from scanner.protocols.conversation import ReadUntil, Send, StartTls
from scanner.protocols.smtp_relay import CHALLENGE_HEADER
from scanner.receipt import Delivery, find_letter

LINE_LIMIT = 512  # bytes, with CRLF (RFC 5321 4.5.3.1.4)
LINES = 64  # of one connection; a proxy that was asked to POST to us sends its headers first
SIZE = 32768  # bytes of a message; a letter has about 1500, and each relay adds to it
_TEXT_LINE = 2048  # bytes read at once; a longer line comes in pieces
_WORDS, _RECEIVED, _HEADERS = 256, 400, 12  # characters of what is kept of an argument and of a header; headers

_PRINTABLE = bytes(byte if 32 <= byte < 127 else ord("?") for byte in range(256))

_REPLIES = {
    b"NOOP": b"250 2.0.0 OK\r\n",
    b"RSET": b"250 2.0.0 OK\r\n",
    b"MAIL": b"554 5.7.1 No mail is accepted here\r\n",
    b"RCPT": b"554 5.7.1 No mail is accepted here\r\n",
    b"DATA": b"554 5.7.1 No mail is accepted here\r\n",
    b"VRFY": b"252 2.5.2 There are no mailboxes here\r\n",
}
_UNKNOWN = b"502 5.5.1 Not implemented: this host only answers EHLO\r\n"
_GREETINGS = (b"EHLO", b"HELO")
_TRANSACTION = (b"MAIL", b"RCPT", b"DATA", b"RSET")


def smtp(caller: Caller) -> Dialogue:
    """Greets, answers greetings that bring a challenge, takes letters, and waits for QUIT."""
    host = caller.host.encode()
    goodbye = Send(b"221 2.0.0 " + host + b" closes the connection\r\n")
    yield Send(b"220 " + host + b" ESMTP Proxywarden\r\n")
    post, secured = _Post(caller), b""
    for _ in range(LINES):
        line = yield ReadUntil(b"\n", LINE_LIMIT)
        if not line.endswith(b"\n"):
            return
        verb = line[:4].upper()
        if verb in _GREETINGS:
            try:
                greeting = host + b" " + caller.answer(line)
            except (Stranger, Forged) as error:
                if isinstance(error, Forged) or not caller.takes_letters:
                    yield goodbye
                    raise
                greeting = host
            post.helo = _clean(line[4:])
            # In the greeting's text: of extensions, filters drop those that they don't know.
            extensions = [b"SIZE %d" % SIZE, b"8BITMIME"] if caller.takes_letters else []
            extensions += [b"STARTTLS"] if caller.offers_tls and not secured else []
            words = [greeting, *extensions, b"PIPELINING"] if verb == b"EHLO" else [greeting]
            yield Send(b"".join(b"250-%b\r\n" % word for word in words[:-1]) + b"250 %b\r\n" % words[-1])
        elif verb == b"QUIT":
            yield goodbye
            return
        elif caller.offers_tls and not secured and line.strip().upper() == b"STARTTLS":
            yield Send(b"220 2.0.0 Ready for TLS\r\n")
            secured = yield StartTls()
            if not secured:
                return
            post = _Post(caller, secured.decode())  # what was said in the clear counts no more (RFC 3207 4.2)
        elif caller.takes_letters and verb in _TRANSACTION:
            if not (yield from post.says(verb, line)):
                return
        else:
            yield Send(_REPLIES.get(verb, _UNKNOWN))
    yield Send(b"421 4.7.0 " + host + b" closes the connection: too many commands\r\n")


class _Post:
    """One transaction after the other: a sender, one letter of ours, its text."""

    def __init__(self, caller: Caller, tls: str = "") -> None:
        self.helo = ""
        self._tls = tls
        self._caller = caller
        self._sender: str | None = None
        self._letter: tuple[CanaryKey, bytes] | None = None

    def says(self, verb: bytes, line: bytes) -> Generator[Send | ReadUntil | Deliver, bytes, bool]:
        """Obey one command; whether the connection goes on."""
        if verb == b"DATA" and self._letter is not None:
            yield Send(b"354 End with a line that holds a dot alone\r\n")
            text = yield from _text()
            if text is None:
                return False
            yield Send((yield from self._delivered(text)))
        else:
            yield Send(self._reply(verb, line))
        return True

    def _reply(self, verb: bytes, line: bytes) -> bytes:
        if verb in (b"MAIL", b"RSET"):
            self._sender = _clean(line.partition(b":")[2]) if verb == b"MAIL" else None
            self._letter = None
            return b"250 2.0.0 OK\r\n"
        if verb == b"DATA" or self._sender is None:
            return b"503 5.5.1 Expected MAIL, then RCPT of a letter of ours\r\n"
        if self._letter is not None:
            return b"452 4.5.3 One letter at a time\r\n"
        try:
            self._letter = find_letter(self._caller.keys, line.partition(b":")[2])
        except Forged:
            return b"550 5.1.1 There is no such mailbox here\r\n"
        return b"250 2.1.5 OK\r\n"

    def _delivered(self, text: bytes) -> Generator[Deliver, bytes, bytes]:
        """Hand the letter over; what to say to it."""
        assert self._letter is not None
        assert self._sender is not None
        (key, id_), caller = self._letter, self._caller
        if len(text) > SIZE:
            return b"552 5.3.4 Too large for a letter of ours\r\n"
        headers = _headers(text)
        delivery = Delivery(
            canary=caller.canary,
            letter=id_.hex(),
            peer=caller.peer,
            peer_port=caller.peer_port,
            port=caller.port,
            at=0.0,
            helo=self.helo,
            sender=self._sender,
            challenge=next((value for name, value in headers if name == CHALLENGE_HEADER.lower()), ""),
            received=tuple(value[:_RECEIVED] for name, value in headers if name == "received")[:_HEADERS],
            tls=self._tls,
        )
        self._sender = self._letter = None
        if not (yield Deliver(delivery, key)):
            return b"451 4.3.0 It can't be kept just now: come again\r\n"
        caller.answered = True
        return b"250 2.0.0 Kept\r\n"


def _text() -> Generator[ReadUntil, bytes, bytes | None]:
    """A message up to its final dot, cut behind SIZE; None where the connection ended before."""
    text, begins = b"", True
    while True:
        line = yield ReadUntil(b"\n", _TEXT_LINE)
        if begins and line == b".\r\n":
            return text
        if not line.endswith(b"\n") and len(line) < _TEXT_LINE:
            return None
        begins = line.endswith(b"\n")
        if len(text) <= SIZE:
            text += line


def _headers(text: bytes) -> list[tuple[str, str]]:
    """Names in small letters, values unfolded."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if not line:
            break
        if line[:1] in b" \t" and found:
            name, value = found[-1]
            found[-1] = (name, f"{value} {_clean(line, _TEXT_LINE)}"[:_TEXT_LINE])
        else:
            name, _, value = _clean(line, _TEXT_LINE).partition(":")
            found.append((name.lower(), value.strip()))
    return found


def _clean(words: bytes, limit: int = _WORDS) -> str:
    """A stranger's words, fit to be kept: printable ASCII, of limited length."""
    return words.strip()[:limit].translate(_PRINTABLE).decode("ascii")
