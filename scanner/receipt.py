"""The proof of a mail relay: a letter of ours that arrived at our own canary. Pure.

A letter's envelope recipient is a random id under a MAC; the canary takes mail for nobody else, and signs what it
saw of the delivery. It may come days after the conversation, on no connection of ours: the id finds its way back.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import b32decode, b32encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NoReturn, final

from scanner.model import Address, Endpoint, Face, parse_address
from scanner.proof import NAME_LIMIT, CanaryKey, Forged, Sighting, derive, open_challenge

ID = 9  # bytes of a letter's id
SHORT = 32  # characters of the short challenge: base32 (RFC 4648) of key number, id and MAC
SIGNED_LIMIT = 16384  # bytes of a signed delivery
_LATEST = 253402300799.0  # seconds since the epoch: the end of the year 9999, as far as a datetime goes
_MAC = 10  # bytes: 80 bits, and every guess is a connection to us
_WORD = re.compile(rb"[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message by which a mail server is asked to relay. id: 9 random bytes."""

    id: bytes
    address: Address
    endpoint: Endpoint

    def short(self, key: CanaryKey) -> bytes:
        """The local part that the canary takes mail for: SHORT characters, whose case tells nothing."""
        if len(self.id) != ID:
            raise ValueError(f"a letter's id has {ID} bytes")
        body = bytes([key.number]) + self.id
        return b32encode(body + _mac(key, body)).lower()


def find_letter(keys: Mapping[int, CanaryKey], recipient: bytes) -> tuple[CanaryKey, bytes]:
    """Key and id of the short challenge in a recipient, whatever a relay wrote around it. Raises Forged."""
    for word in _WORD.findall(recipient):
        if len(word) != SHORT:
            continue
        try:
            raw = b32decode(word, casefold=True)
        except ValueError:
            continue
        body, mac = raw[:-_MAC], raw[-_MAC:]
        key = keys.get(body[0])
        if key is not None and hmac.compare_digest(_mac(key, body), mac):
            return key, body[1:]
    raise Forged("letter")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the mail canary saw of a letter that arrived.

    letter: the id in hex. peer: who brought it, the output host. at: seconds since the epoch. received: the
    Received headers, the latest first; they are a stranger's, like helo and sender. challenge: the full token in
    the header, empty where it was lost. tls: version and cipher, empty where it came in the clear.
    """

    canary: str
    letter: str
    peer: Address
    peer_port: int
    port: int
    at: float
    helo: str = ""
    sender: str = ""
    challenge: str = ""
    received: tuple[str, ...] = ()
    tls: str = ""

    def signed(self, key: CanaryKey) -> bytes:
        """As it is kept and handed on: JSON under the canary's signature."""
        body = json.dumps({**asdict(self), "peer": str(self.peer)}, separators=(",", ":")).encode()
        return _signature(key, body) + b" " + body


def read_delivery(key: CanaryKey, signed: bytes) -> Delivery:
    """Raises Forged for what this canary did not sign."""
    signature, _, body = signed.partition(b" ")
    if len(signed) > SIGNED_LIMIT or not hmac.compare_digest(_signature(key, body), signature):
        raise Forged("signature")
    try:
        found = json.loads(body)
        delivery = Delivery(
            **{**found, "peer": parse_address(str(found["peer"])), "received": tuple(map(str, found["received"]))}
        )
    except (ValueError, TypeError, KeyError, RecursionError):  # a canary that was taken over signs what it likes
        raise Forged("delivery") from None
    texts = (delivery.letter, delivery.helo, delivery.sender, delivery.challenge, delivery.tls, *delivery.received)
    if not all(isinstance(text, str) and text.isascii() and text.isprintable() for text in texts):
        raise Forged("delivery")
    if not all(isinstance(port, int) and 0 <= port <= 65535 for port in (delivery.peer_port, delivery.port)):
        raise Forged("delivery")
    if not isinstance(delivery.at, int | float) or not 0 <= delivery.at <= _LATEST:
        raise Forged("delivery")
    if not re.fullmatch(f"[0-9a-f]{{{2 * ID}}}", delivery.letter):
        raise Forged("delivery")
    if delivery.canary != key.canary:  # a lost canary's key proves nothing about another
        raise Forged("canary")
    return delivery


@final
@dataclass(frozen=True, slots=True, init=False)
class Receipt:
    """Evidence that a letter arrived at the canary. The only way to make one is to verify a signed delivery.

    Raises Forged where it is not this canary's, is of another letter, or brings another conversation's challenge.
    """

    letter: Letter
    delivery: Delivery

    def __init__(self, key: CanaryKey, letter: Letter, signed: bytes) -> None:
        delivery = read_delivery(key, signed)
        if delivery.letter != letter.id.hex():
            raise Forged("letter")
        if delivery.challenge:
            _, challenge = open_challenge({key.number: key}, delivery.challenge.encode())
            if (challenge.address, challenge.endpoint) != (letter.address, letter.endpoint):
                raise Forged("challenge")
        object.__setattr__(self, "letter", letter)
        object.__setattr__(self, "delivery", delivery)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a receipt is made by verifying a delivery, not by copying or unpickling")

    @property
    def exit(self) -> Address:
        """The output host: who brought the letter to the canary."""
        return self.delivery.peer

    @property
    def nonce(self) -> bytes:
        return self.letter.id

    @property
    def under(self) -> str:
        """For the end of a sentence: what protected the letter on its way to the canary."""
        return f"; came under {self.delivery.tls}" if self.delivery.tls else ""

    @property
    def sighting(self) -> Sighting:
        """The delivery as any other sighting of the canary; its name is the HELO."""
        seen = self.delivery
        name = "".join(c if c.isascii() and c.isprintable() else "?" for c in seen.helo[:NAME_LIMIT])
        return Sighting(seen.canary, Face.MAIL, seen.peer, seen.peer_port, seen.port, name)


def _mac(key: CanaryKey, body: bytes) -> bytes:
    return hmac.digest(derive(key.secret, "letter"), body, "sha256")[:_MAC]


def _signature(key: CanaryKey, body: bytes) -> bytes:
    return hmac.digest(derive(key.secret, "delivery"), body, "sha256").hex().encode()
