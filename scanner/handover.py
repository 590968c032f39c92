"""How a canary elsewhere hands its letters to the daemon: what is said over HTTP, and how it is sealed. Pure.

A POST carries deliveries that the canary signed, one a line, under a seal of its own key with the moment in it. The
daemon keeps each letter once, so that what is said again, by the canary or by somebody who listened, changes nothing.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence

from scanner.proof import CanaryKey, Forged, derive

PATH = "/canary/v1/letters"
HEADER = "Proxywarden-Canary"
SKEW = 300.0  # seconds that the two clocks may differ; a seal is worth nothing after it
BATCH = 192 * 1024  # bytes of one POST, which the listener bounds as all of them: scanner/web/edge.py
KEPT = 5 * 86400.0  # seconds that a canary keeps what it can't hand over: the store waits no longer than that

# Canary, key number, moment in seconds since the epoch, MAC.
_SEAL = re.compile(r"([A-Za-z0-9._-]{1,63}) ([0-9]{1,3}) ([0-9]{1,12}) ([0-9a-f]{64})", re.ASCII)


def seal(key: CanaryKey, body: bytes, at: float) -> str:
    """The value of HEADER."""
    moment = int(at)
    return f"{key.canary} {key.number} {moment} {_mac(key, body, moment).hex()}"


def unseal(keys: Mapping[str, Mapping[int, CanaryKey]], header: str, body: bytes, at: float) -> CanaryKey:
    """The key that sealed it, of all that are good, by canary and number. Raises Forged."""
    found = _SEAL.fullmatch(header)
    if found is None:
        raise Forged("header")
    canary, number, moment = found[1], int(found[2]), int(found[3])
    key = keys.get(canary, {}).get(number)
    if key is None or not hmac.compare_digest(_mac(key, body, moment).hex(), found[4]):
        raise Forged("mac")
    if abs(at - moment) > SKEW:
        raise Forged("clock")
    return key


def taken(key: CanaryKey, body: bytes, refused: Sequence[int]) -> str:
    """What the daemon answers: nothing is thrown away because some web server on the way said 200.

    refused: the numbers of the lines that this canary did not sign, from 0.
    """
    said = ",".join(map(str, refused)) + "\n"
    return hmac.digest(derive(key.secret, "taken"), said.encode() + body, "sha256").hex()


def _mac(key: CanaryKey, body: bytes, moment: int) -> bytes:
    head = f"{key.canary} {key.number} {moment}\n"
    return hmac.digest(derive(key.secret, "handover"), head.encode() + body, "sha256")
