"""Hold one conversation and say what it showed: the only socket I/O of conversations, with their one deadline.

protocols/ says, this does. The answer that comes back is verified here, on the connection that asked for it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog
import trio

from scanner.agenda import Question
from scanner.mailroom import Mailroom
from scanner.model import Address, Endpoint, Evidence, Identity, Kind, Opening, Visit
from scanner.proof import CanaryKey, Challenge, Forged, Proof
from scanner.protocols import PROTOCOLS
from scanner.protocols.conversation import Ask, Conversation, Outcome, StartTls, hear
from scanner.protocols.exchange import Cause, Exchange
from scanner.receipt import ID, Letter, Receipt
from scanner.tls import secure

DIRECT = "direct"  # no relay at all: we reach the canary ourselves
_CONVERSATIONS: dict[str, Callable[[Ask], Conversation]] = {
    DIRECT: hear,
    **{name: protocol.converse for name, protocol in PROTOCOLS.items()},
}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_IN_THE_CLEAR = "STARTTLS failed, in the clear: "
_log = structlog.get_logger()


class Wire(Protocol):
    """A connection as a conversation needs it: trio's socket, or a script in the tests. OSError: it broke."""

    def recv(self, size: int, /) -> Awaitable[bytes]: ...

    def send(self, data: bytes, /) -> Awaitable[int]: ...


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a conversation is about, and what its answer is verified with."""

    ask: Ask
    key: CanaryKey
    challenge: Challenge
    at: float


@dataclass(slots=True)
class Prober:
    """What every conversation needs. egress: our own addresses as canaries see them; it grows as they are learned.

    mail_timeout: for a conversation with a mail server, of which many make strangers wait on purpose. receipt_wait:
    until the letter that it took counts as not arrived for now.
    """

    identity: Identity
    keys: Mapping[str, CanaryKey]  # by canary
    egress: set[Address] = field(default_factory=set)
    timeout: float = 15.0  # seconds, for the whole conversation
    max_read: int = 16384  # bytes, likewise
    mail_timeout: float = 30.0
    receipt_wait: float = 5.0
    mailroom: Mailroom = field(default_factory=Mailroom)
    bugs: int = 0
    reraise: bool = False  # tests: a bug of ours is an error there

    async def converse(
        self, visit: Visit, vantage: str, question: Question, opening: Opening, timeout: float | None = None
    ) -> Evidence:
        """Ask one question on an open connection, and close it."""
        aim, at = question.aim, time.time()
        key = self.keys[aim.canary]
        challenge = Challenge(bytes.fromhex(visit.id), visit.address, question.endpoint, os.urandom(16))
        ask = Ask(aim, challenge.token(key), self.identity, clear=question.clear)
        if not aim.form:
            return await self._hold(visit, vantage, question, opening, _Asked(ask, key, challenge, at), timeout)
        known = (id_ for endpoint, way, id_ in visit.letters if (endpoint, way) == (question.endpoint, aim))
        letter = Letter(next(known, None) or os.urandom(ID), visit.address, question.endpoint)
        ask = replace(ask, target=visit.address, port=question.endpoint.port, letter=letter.short(key), at=at)
        with self.mailroom.expecting(letter.id.hex()) as expected:
            asked = _Asked(ask, key, challenge, at)
            evidence = await self._hold(visit, vantage, question, opening, asked, timeout or self.mail_timeout)
            if PROTOCOLS[question.endpoint.protocol].forms:  # through a proxy nothing can come later
                evidence = replace(evidence, letter=letter.id.hex())
            if evidence.kind is not Kind.ACCEPTED:
                return evidence
            return self._arrived(evidence, key, letter, await expected.within(self.receipt_wait))

    async def _hold(
        self,
        visit: Visit,
        vantage: str,
        question: Question,
        opening: Opening,
        asked: _Asked,
        timeout: float | None,
    ) -> Evidence:
        """The conversation itself."""
        started = trio.current_time()
        endpoint = question.endpoint
        kind, detail = Kind.SILENT, "our own error"
        proof: Proof | None = None
        exchange: Exchange | None = None
        with trio.socket.from_stdlib_socket(_socket(opening.fd, visit.address)) as wire:
            try:
                exchange = Exchange(_CONVERSATIONS[endpoint.protocol](asked.ask), self.max_read)
                outcome = await carry(wire, exchange, timeout or self.timeout)
                if outcome.kind is Kind.RELAYED:
                    kind, detail, proof = self._verified(visit, asked, outcome)
                elif outcome.kind is not None:
                    kind, detail = outcome.kind, outcome.detail
            except Exception:
                # The one place where a bug in a conversation ends: counted, logged, and never a listing.
                if self.reraise:
                    raise
                self.bugs += 1
                heard = exchange.transcript.decode() if exchange else ""
                _log.exception("conversation failed", endpoint=str(endpoint), transcript=heard)
        return Evidence(
            endpoint=endpoint,
            kind=kind,
            detail=(_IN_THE_CLEAR * question.clear + detail)[:200],
            vantage=vantage,
            aim=question.aim,
            proof=proof,
            elapsed=trio.current_time() - started,
            at=asked.at,
            transcript=exchange.transcript if exchange else b"",
        )

    def _arrived(self, evidence: Evidence, key: CanaryKey, letter: Letter, signed: bytes | None) -> Evidence:
        """What a letter shows that was accepted, and has arrived or not."""
        if signed is None:
            return evidence
        try:
            receipt = Receipt(key, letter, signed)
        except Forged:
            return evidence
        if intercepted(receipt.exit, letter.address, self.egress):
            detail = f"the canary saw our own address {receipt.exit}"
            return replace(evidence, kind=Kind.INTERCEPTED, detail=detail)
        detail = f"letter arrived at canary {key.canary} from {receipt.exit}; {evidence.detail}{receipt.under}"
        return replace(evidence, kind=Kind.RELAYED, detail=detail[:200], proof=receipt)

    def _verified(self, visit: Visit, asked: _Asked, outcome: Outcome) -> tuple[Kind, str, Proof | None]:
        key, face = asked.key, asked.ask.aim.face
        try:
            proof = Proof(key, asked.challenge, asked.ask.token, outcome.answer)
        except Forged as error:
            return Kind.PRETENDS, f"granted, but the answer is not our canary's ({error})", None
        if proof.sighting.face is not face:
            return Kind.PRETENDS, f"taken to the canary's {proof.sighting.face} face instead of {face}", None
        if intercepted(proof.exit, visit.address, self.egress):
            return Kind.INTERCEPTED, f"the canary saw our own address {proof.exit}", None
        return Kind.RELAYED, f"answer of canary {key.canary}, which saw {proof.exit}", proof


def intercepted(exit_: Address, entry: Address, egress: Collection[Address]) -> bool:
    """Whether an answer shows interception on our path: our own address as the exit of somebody else's relay."""
    return exit_ in egress and exit_ != entry


def no_conversation(
    endpoint: Endpoint, kind: Kind, vantage: str, question: Question | None = None, detail: str = ""
) -> Evidence:
    """Evidence of a connection that did not come about."""
    aim = question.aim if question else None
    return Evidence(endpoint, kind, detail, vantage=vantage, aim=aim, at=time.time())


def _socket(fd: int, address: Address) -> socket.socket:
    """The socket of an opening, each write of which is a segment of its own."""
    # Family, type and protocol are said, because asking the kernel for them is a system call each.
    opened = socket.socket(_FAMILIES[address.version], socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=fd)
    with suppress(OSError):
        # MikroTik wants the last CRLF of CONNECT apart.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


async def carry(wire: Wire, exchange: Exchange, timeout: float) -> Outcome:
    """Move the bytes until the conversation has its outcome; the deadline is an outcome too."""
    with trio.move_on_after(timeout):
        while not isinstance(step := exchange.next(), Outcome):
            try:
                if isinstance(step, StartTls):
                    wire = await secure(wire)
                    exchange.secured(wire.presented)
                elif step is None:
                    exchange.feed(await wire.recv(4096))
                else:
                    while step:
                        step = step[await wire.send(step) :]
            except OSError:
                if isinstance(step, StartTls):
                    exchange.secured(b"")
                elif step is None:
                    exchange.feed(b"")
                # A write that fails is no end: what the target said before it closed can still be read.
        return step
    return exchange.ended(Cause.SILENT)
