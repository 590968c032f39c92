"""The plain face: a line with a challenge, a line with the answer."""

from __future__ import annotations

import re

from scanner.canary.caller import Caller, Dialogue, Stranger
from scanner.proof import CHALLENGE_MARK
from scanner.protocols.conversation import ReadUntil, Send

LINE_LIMIT = 512  # bytes
# Blanks, and what a telnet negotiates (RFC 854): of its options some are printable, as LINEMODE is '"'.
_NOT_WORDS = re.compile(rb"(?:\xff\xfa.*?\xff\xf0|\xff[\xfb-\xfe].|[^!-~])*", re.S)


def tcp(caller: Caller) -> Dialogue:
    """One line each way.

    A challenge amid other words may be the path of a page that somebody fetches for others (GET /PW1-... HTTP/1.1):
    whoever made him could have him listed as an exit, for which there must be one answer over plain TCP.
    """
    line = yield ReadUntil(b"\n", LINE_LIMIT)
    words = _NOT_WORDS.match(line)
    if not line.startswith(CHALLENGE_MARK, words.end() if words else 0):
        raise Stranger
    yield Send(caller.answer(line) + b"\r\n")
