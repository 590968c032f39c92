"""Challenge and signed answer: how a conversation proves that it reached our canary. Pure.

The scanner sends a challenge under a MAC; the canary answers only what bears its own key's MAC, and signs
what it saw. An echo cannot make the answer, a replay has the wrong nonce, and no state is shared.
"""

from __future__ import annotations

import hmac
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NoReturn, final

from scanner.model import Address, Endpoint, Face

CHALLENGE_MARK = b"PW1-"
ANSWER_MARK = b"PWA1-"
TOKEN_LIMIT = 256  # bytes; both tokens fit into one line of every dress
NAME_LIMIT = 64  # characters of a sighting's name
CANARY_ID = re.compile(r"[A-Za-z0-9._-]{1,63}", re.ASCII)

_CHALLENGE = struct.Struct(">B16s16sH16s16s")  # key id, visit, entry address, entry port, protocol, nonce
_SEEN = struct.Struct(">16sHH")  # peer address, peer port, port it was reached at
_TAIL = re.compile(rb"[A-Za-z0-9_-]*")
_FACES = {Face.TCP: b"t", Face.HTTP: b"h", Face.MAIL: b"m"}
_MAC = sha256().digest_size


class Forged(Exception):
    """A token that does not bear the MAC or the signature it should."""


def extract(secret: bytes, salt: bytes = b"") -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869 2.2)."""
    return hmac.digest(salt or bytes(_MAC), secret, "sha256")


def expand(extracted: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869 2.3): `length` bytes, at most 8160."""
    key, block, counter = b"", b"", 1
    while len(key) < length:
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        key += block
        counter += 1
    return key[:length]


def derive(secret: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose, 32 bytes."""
    return expand(extract(secret), purpose.encode())


@dataclass(frozen=True, slots=True)
class CanaryKey:
    """What scanner and one canary share: enough to prove reaching this canary, useless for any other.

    canary: its id. number: 1 to 255, the key's id. secret: 32 bytes, derived from the master secret for this
    canary alone; no repr shows it.
    """

    canary: str
    number: int
    secret: bytes = field(repr=False)
    _challenge_key: bytes = field(init=False, repr=False, compare=False)
    _answer_key: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not CANARY_ID.fullmatch(self.canary):
            raise ValueError(f"{self.canary!r}: a canary's id is 1 to 63 letters, digits, '.', '-' or '_'")
        if not 1 <= self.number <= 255:
            raise ValueError(f"key number {self.number}: expected 1 to 255")
        if len(self.secret) != 32:
            raise ValueError(f"a canary key of {len(self.secret)} bytes: expected 32")
        object.__setattr__(self, "_challenge_key", derive(self.secret, "challenge"))
        object.__setattr__(self, "_answer_key", derive(self.secret, "answer"))

    @classmethod
    def from_master(cls, master: bytes, canary: str, number: int = 1) -> CanaryKey:
        return cls(canary, number, derive(master, f"proxywarden canary {number} {canary}"))

    def mac(self, message: bytes) -> bytes:
        return hmac.digest(self._challenge_key, message, "sha256")

    def sign(self, message: bytes) -> bytes:
        return hmac.digest(self._answer_key, message, "sha256")


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a conversation asks the canary to sign.

    visit: 16 bytes. nonce: 16 random bytes, never used twice.
    """

    visit: bytes
    address: Address
    endpoint: Endpoint
    nonce: bytes

    def __post_init__(self) -> None:
        # struct pads and cuts without a word, and would sign something else than was said.
        if len(self.visit) != 16 or len(self.nonce) != 16:
            raise ValueError("visit and nonce have 16 bytes each")
        if len(self.endpoint.protocol) > 16 or not self.endpoint.protocol.isascii():
            raise ValueError(f"{self.endpoint.protocol!r}: a protocol's name has at most 16 ASCII characters")

    def token(self, key: CanaryKey) -> bytes:
        """The challenge as it is sent: printable, no spaces, at most TOKEN_LIMIT bytes."""
        body = _CHALLENGE.pack(
            key.number,
            self.visit,
            _pack(self.address),
            self.endpoint.port,
            self.endpoint.protocol.encode().ljust(16, b"\0"),
            self.nonce,
        )
        return CHALLENGE_MARK + _encode(body + key.mac(body))


def open_challenge(keys: Mapping[int, CanaryKey], token: bytes) -> tuple[CanaryKey, Challenge]:
    """What the canary does first. Raises Forged for everything that no holder of our key wrote."""
    raw = _decode(token, CHALLENGE_MARK)
    if len(raw) != _CHALLENGE.size + _MAC:
        raise Forged("length")
    body, mac = raw[: _CHALLENGE.size], raw[_CHALLENGE.size :]
    number, visit, address, port, protocol, nonce = _CHALLENGE.unpack(body)
    key = keys.get(number)
    if key is None or not hmac.compare_digest(key.mac(body), mac):
        raise Forged("mac")
    try:
        endpoint = Endpoint(protocol.rstrip(b"\0").decode("ascii"), port)
    except UnicodeDecodeError:
        raise Forged("protocol") from None
    return key, Challenge(visit, _unpack(address), endpoint, nonce)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the canary saw of a conversation that reached it."""

    canary: str
    face: Face
    peer: Address
    peer_port: int
    port: int  # that it was reached at, as the canary's own host sees it
    name: str = ""  # that it was reached at, where the dress carries one (HTTP); at most 64 characters

    def _packed(self) -> bytes:
        canary, name = self.canary.encode(), self.name.encode("ascii", "replace")[:NAME_LIMIT]
        seen = _SEEN.pack(_pack(self.peer), self.peer_port, self.port)
        return _FACES[self.face] + seen + bytes([len(canary)]) + canary + bytes([len(name)]) + name

    def answer(self, key: CanaryKey, challenge: bytes) -> bytes:
        """The signed answer to a challenge token."""
        packed = self._packed()
        return ANSWER_MARK + _encode(packed + key.sign(challenge + b"\n" + packed))


@final
@dataclass(frozen=True, slots=True, init=False)
class Proof:
    """Evidence that a conversation reached the canary and that the answer came back through it.

    The only way to make one is to verify an answer. token: what was sent, the challenge under this key's MAC.
    Raises Forged where the answer does not verify, is not this canary's, or is to another challenge.
    """

    challenge: Challenge
    sighting: Sighting

    def __init__(self, key: CanaryKey, challenge: Challenge, token: bytes, answer: bytes) -> None:
        if not hmac.compare_digest(challenge.token(key), token):
            raise Forged("challenge")
        raw = _decode(answer, ANSWER_MARK)
        packed, signature = raw[:-_MAC], raw[-_MAC:]
        if not hmac.compare_digest(key.sign(token + b"\n" + packed), signature):
            raise Forged("signature")
        sighting = _sighting(packed)
        if sighting.canary != key.canary:  # a lost canary's key proves nothing about another
            raise Forged("canary")
        object.__setattr__(self, "challenge", challenge)
        object.__setattr__(self, "sighting", sighting)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a proof is made by verifying an answer, not by copying or unpickling")

    @property
    def nonce(self) -> bytes:
        return self.challenge.nonce

    @property
    def exit(self) -> Address:
        """The address that the canary saw the conversation come from."""
        return self.sighting.peer


def _sighting(packed: bytes) -> Sighting:
    """What _packed() packed. Raises Forged for all else: a canary that was taken over signs what it likes."""
    try:
        face = next(face for face, letter in _FACES.items() if letter == packed[:1])
        peer, peer_port, port = _SEEN.unpack_from(packed, 1)
        rest = packed[1 + _SEEN.size :]
        canary, rest = rest[1 : 1 + rest[0]].decode("ascii"), rest[1 + rest[0] :]
        name = rest[1 : 1 + rest[0]].decode("ascii")
    except (StopIteration, struct.error, IndexError, UnicodeDecodeError):
        raise Forged("sighting") from None
    sighting = Sighting(canary, face, _unpack(peer), peer_port, port, name)
    if sighting._packed() != packed or not name.isprintable():  # one spelling for each sighting
        raise Forged("sighting")
    return sighting


def find_token(data: bytes, mark: bytes) -> bytes | None:
    """The first token with this mark in a line, or None."""
    start = data.find(mark)
    if start < 0:
        return None
    tail = _TAIL.match(data, start + len(mark), start + TOKEN_LIMIT)
    return mark + tail[0] if tail else mark


def _encode(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


def _decode(token: bytes, mark: bytes) -> bytes:
    text = token.removeprefix(mark)
    if len(text) == len(token) or len(token) > TOKEN_LIMIT:
        raise Forged("mark")
    try:
        raw = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        raise Forged("encoding") from None
    if _encode(raw) != text:  # one spelling for each token
        raise Forged("encoding")
    return raw


def _pack(address: Address) -> bytes:
    if isinstance(address, IPv4Address):
        return b"\0" * 10 + b"\xff\xff" + address.packed
    return address.packed


def _unpack(packed: bytes) -> Address:
    address = ip_address(packed)
    assert isinstance(address, IPv6Address)
    return address.ipv4_mapped or address
