"""Which address an abuse sample complains about: pure.

An ARF report (RFC 5965) names it. In a message only the Received lines at the top were written by servers of whoever
received it; the first address outside of private space there is the one that handed the message over. Everything
below may be the sender's invention.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message
from email.policy import Compat32

from core.cidr import CidrSet
from scanner.model import Address, parse_address
from scanner.special_use import SPECIAL_USE

SAMPLE_LIMIT = 128 * 1024  # bytes
_HOPS = 8  # Received lines that are looked at
_PARTS = 32
_HEADER = 2000  # characters of one that are read
_SPECIAL = CidrSet([network for network, _ in SPECIAL_USE])
_FROM = re.compile(r"^\s*from\b(.{0,600}?)\bby\b", re.DOTALL | re.IGNORECASE)
_LITERAL = re.compile(r"\[(?:IPv6:)?([0-9A-Fa-f:.]{2,45})\]")


class _Short(Compat32):
    """Headers cut short: email takes quadratic time for parameters, 10 s for a Content-Type of 128 KB."""

    def header_source_parse(self, sourcelines: Sequence[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(list(sourcelines))
        return name, value[:_HEADER]


_SHORT = _Short()


def reported_address(sample: bytes) -> Address | None:
    """None where the sample is no message, or names nobody."""
    try:
        return _reported(sample[:SAMPLE_LIMIT])
    except Exception:  # noqa: BLE001 - email raises many things at hostile headers, TypeError in its sorting among them
        return None


def _reported(sample: bytes) -> Address | None:
    if sample.lower().count(b"boundary") > _PARTS:  # one inside the other they take quadratic time as well
        return None
    message = message_from_bytes(sample, policy=_SHORT)
    if message.get_content_type() == "multipart/report":
        return _of_report(message)
    return _of_trace(message)


def _of_report(message: Message) -> Address | None:
    for number, part in enumerate(message.walk()):
        if number >= _PARTS:
            break
        if part.get_content_type() != "message/feedback-report":
            continue
        payload = part.get_payload()
        inner = (
            payload[0]
            if isinstance(payload, list) and payload
            else message_from_bytes(str(payload).encode(), policy=_SHORT)
        )
        if isinstance(inner, Message) and inner["Source-IP"]:
            return _address(str(inner["Source-IP"]))
        if isinstance(inner, Message):
            text = str(inner.get_payload())
            inner = message_from_bytes(text.encode("utf-8", "replace"), policy=_SHORT)
            if inner["Source-IP"]:
                return _address(str(inner["Source-IP"]))
    return None


def _of_trace(message: Message) -> Address | None:
    for line in (message.get_all("Received") or [])[:_HOPS]:
        found = _FROM.match(str(line))
        if found is None:
            return None
        literals = _LITERAL.findall(found.group(1))
        address = _address(literals[-1]) if literals else None
        if address is None:
            return None
        if address not in _SPECIAL:
            return address
    return None


def _address(text: str) -> Address | None:
    try:
        return parse_address(text[:64])
    except ValueError:
        return None
