"""Moments as a command line gives them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from scanner.commands import Refusal

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def moment(text: str, now: float) -> float:
    """A date, a time, or so long ago, in seconds since the epoch. What names no zone is UTC.

    Nothing here is older than the epoch, so that whoever says so means everything.
    """
    ago = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    if ago:
        return max(0.0, now - int(ago[1]) * _UNITS[ago[2]])
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Refusal(
            f"{text!r}: expected a moment such as 2026-11-22T10:00:00Z, or so long ago as 12h or 3d"
        ) from None
    found = found.replace(tzinfo=found.tzinfo or UTC)
    if found.timestamp() > now:
        raise Refusal(f"{text!r}: expected a moment that is over")
    return max(0.0, found.timestamp())
