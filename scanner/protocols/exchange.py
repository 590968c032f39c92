"""Exchange: the buffer that steps a conversation through what a target sends. Pure: probe.py and the tests
drive the very same one.

    exchange = Exchange(conversation, max_read)
    while not isinstance(step := exchange.next(), Outcome):
        if step is not None: write it, in a write of its own (a write that fails is no end: what the target
                             said before it closed can still be read)
        elif it is StartTls: exchange.secured(what was presented; nothing where the handshake failed)
        else:                exchange.feed(bytes that came), or exchange.ended(Cause.CLOSED) at EOF or RST
    at the deadline:         exchange.ended(Cause.SILENT), which returns the outcome

`.granted` and `.transcript` can be read at any time; `.outcome` is None until the conversation is over.
"""

from __future__ import annotations

from enum import StrEnum

from scanner.model import Kind
from scanner.protocols.conversation import (
    Conversation,
    Granted,
    Outcome,
    ReadExactly,
    ReadUntil,
    Send,
    StartTls,
    Step,
)

TRANSCRIPT_LIMIT = 4096  # bytes of both directions that are kept as evidence


class Cause(StrEnum):
    """What ended the target's side of a conversation, as a detail says it."""

    CLOSED = "hung up"  # FIN or RST
    SILENT = "silent"  # until the deadline
    LIMIT = "said too much"  # more than max_read, or than the limit of one read


_KINDS = {Cause.CLOSED: Kind.HUNG_UP, Cause.SILENT: Kind.SILENT, Cause.LIMIT: Kind.WRONG_PROTOCOL}


class Exchange:
    """One conversation and the bytes it has received; holds at most max_read of them."""

    def __init__(self, conversation: Conversation, max_read: int) -> None:
        self.outcome: Outcome | None = None  # never of kind None
        self.granted: Granted | None = None
        self._conversation = conversation
        self._room = max_read
        self._buffer = bytearray()
        self._cause: Cause | None = None
        self._log: list[tuple[str, bytearray]] = []
        self._logged = 0
        self._withheld = self._unasked = False  # what was to be written; what the latest read answers
        self._step: Step = next(conversation)

    def next(self) -> bytes | StartTls | Outcome | None:
        """Bytes to write, a handshake to make, None where the target must speak first, or the outcome."""
        while self.outcome is None:
            step = self._step
            if isinstance(step, Send):
                self._advance()
                if self._cause is None:
                    self._keep(">", step.data)
                    return step.data
                self._withheld = True
            elif isinstance(step, StartTls):
                if self._cause is None:
                    self._buffer.clear()
                    return step
                self._advance()
            elif isinstance(step, Granted):
                self.granted = step
                self._advance()
            else:
                size = self._measure(step)
                if size is None:
                    return None
                self._unasked = self._withheld
                piece = bytes(self._buffer[:size])
                del self._buffer[:size]
                self._advance(piece)
        return self.outcome

    def feed(self, data: bytes) -> None:
        """What came from the target; nothing means that it closed. What goes over max_read is dropped."""
        if not data:
            self._cause = self._cause or Cause.CLOSED
            return
        self._keep("<", data)
        self._buffer += data[: self._room]
        self._room -= min(len(data), self._room)
        if not self._room:
            self._cause = self._cause or Cause.LIMIT

    def secured(self, presented: bytes) -> None:
        """How the handshake went."""
        if presented:
            self._keep("*", presented + b"\n")
        self._advance(presented)

    def ended(self, cause: Cause) -> Outcome:
        """The target will say no more: the outcome of what it has said."""
        if self.outcome is None:
            self._cause = self._cause or cause
        while not isinstance(step := self.next(), Outcome):
            assert step is not None, "a read waits for a target that ended"
        return step

    @property
    def transcript(self) -> bytes:
        """Lines of ASCII: `> ` what we sent, `< ` what came (escaped as Python does), `* ` how it ended."""
        lines = [
            f"{mark} {line.decode('latin-1').encode('unicode_escape').decode()}"
            for mark, data in self._log
            for line in data.splitlines(keepends=True)
        ]
        if self._logged > TRANSCRIPT_LIMIT:
            lines.append(f"* {self._logged - TRANSCRIPT_LIMIT} bytes more")
        if self._cause is not None:
            lines.append(f"* {self._cause}")
        return "".join(f"{line}\n" for line in lines).encode()

    def _measure(self, step: ReadExactly | ReadUntil) -> int | None:
        """How many bytes of the buffer answer a read; None where it must wait for more."""
        have = len(self._buffer)
        if isinstance(step, ReadExactly):
            wanted = step.count
        else:
            wanted = step.limit
            at = self._buffer.find(step.separator, 0, step.limit)
            if at >= 0:
                return at + len(step.separator)
        if have >= wanted:
            return wanted
        return have if self._cause is not None else None

    def _advance(self, answer: bytes = b"") -> None:
        try:
            self._step = self._conversation.send(answer)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            if outcome.kind is None:
                cause = self._cause or Cause.LIMIT  # a read came back full, without what it looked for
                kind = Kind.PRETENDS if self.granted else _KINDS[cause]
                outcome = Outcome(kind, f"{cause} {outcome.detail}".strip())
            elif outcome.kind is Kind.ACCEPTED and self._unasked:
                outcome = Outcome(Kind.PRETENDS, f"{self._cause} before it was given the message")
            self.outcome = outcome

    def _keep(self, mark: str, data: bytes) -> None:
        room = TRANSCRIPT_LIMIT - self._logged
        self._logged += len(data)
        if room <= 0:
            return
        if not self._log or self._log[-1][0] != mark:
            self._log.append((mark, bytearray()))
        self._log[-1][1].extend(data[:room])
