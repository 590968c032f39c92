"""Who reached the canary, and the one place where it signs. Pure.

A face is a generator that yields Deliver, and steps of protocols/conversation.py: Send, ReadExactly, ReadUntil and
StartTls. It ends when it has said all. Whatever it reads is hostile.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

from scanner.model import Address, Face
from scanner.proof import CHALLENGE_MARK, CanaryKey, Sighting, find_token, open_challenge
from scanner.protocols.conversation import ReadExactly, ReadUntil, Send, StartTls
from scanner.receipt import Delivery


@dataclass(frozen=True, slots=True)
class Deliver:
    """Keep a letter that arrived, for good: answered with nothing where that failed. Its moment is yet to be set."""

    delivery: Delivery
    key: CanaryKey


Dialogue = Generator[Send | ReadExactly | ReadUntil | Deliver | StartTls, bytes, None]


class Stranger(Exception):
    """Somebody who brings no challenge. Like one that is Forged (proof.py), it gets no answer."""


@dataclass(slots=True)
class Caller:
    """A connection to one face, as the canary's own host sees it."""

    canary: str
    keys: Mapping[int, CanaryKey]
    face: Face
    peer: Address
    peer_port: int
    port: int  # of ours, that it reached
    host: str  # our own name, for a greeting
    takes_letters: bool = False  # there is somebody to keep them
    offers_tls: bool = False
    answered: bool = False  # it brought a challenge or a letter of ours

    def answer(self, line: bytes, name: str = "") -> bytes:
        """The signed answer to the challenge in this line. Raises Stranger or Forged.

        name: that we were reached at, where the caller said one.
        """
        token = find_token(line, CHALLENGE_MARK)
        if token is None:
            raise Stranger
        key, _ = open_challenge(self.keys, token)
        sighting = Sighting(self.canary, self.face, self.peer, self.peer_port, self.port, name)
        self.answered = True
        return sighting.answer(key, token)
