"""What kind of server answered, by the names that the usual ones give themselves: one of our words, never their text.

A server can say what it likes, and that is no harm: the name decides which advice its owner reads first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum


class Software(StrEnum):
    """By the name that people know it under."""

    SQUID = "Squid"
    TINYPROXY = "Tinyproxy"
    PRIVOXY = "Privoxy"
    THREEPROXY = "3proxy"
    APACHE = "Apache httpd"
    MIKROTIK = "MikroTik"
    WINGATE = "WinGate, CCProxy and kin"
    DANTE = "Dante"
    POSTFIX = "Postfix"
    EXIM = "Exim"
    SENDMAIL = "sendmail"
    OPENSMTPD = "OpenSMTPD"
    EXCHANGE = "Exchange"


_NAMES = {
    "squid": Software.SQUID,
    "tinyproxy": Software.TINYPROXY,
    "privoxy": Software.PRIVOXY,
    "3proxy": Software.THREEPROXY,
    "apache": Software.APACHE,
    "mikrotik": Software.MIKROTIK,
    "wingate": Software.WINGATE,
    "ccproxy": Software.WINGATE,
    "danted": Software.DANTE,
    "sockd": Software.DANTE,
    "postfix": Software.POSTFIX,
    "exim": Software.EXIM,
    "sendmail": Software.SENDMAIL,
    "opensmtpd": Software.OPENSMTPD,
    "microsoft esmtp": Software.EXCHANGE,
    "microsoft exchange": Software.EXCHANGE,
}
_NAME = re.compile(r"(?<![a-z0-9])(?:" + "|".join(map(re.escape, _NAMES)) + r")(?![a-z0-9])")
# What a proxy says of itself goes before Server, which may be the web server's behind it; a telnet gateway's prompt
# and a mail server's greeting are the line itself.
_PLACES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:via|proxy-agent):(.{1,512})",
        r"(?:server|x-squid-error):(.{1,512})",
        r"(?:220[ -](.{1,512}))",
        r"((?:wingate|ccproxy telnet|ccproxy)>)",
    )
)
_LINES = 200  # of a transcript; none has more that a server of these kinds wrote
_RECEIVED = "< "


def software_of(transcripts: Iterable[bytes]) -> Software | None:
    """By the first transcript that names one; None where none does, or where it is none that we know."""
    return next(filter(None, map(_named, transcripts)), None)


def _named(transcript: bytes) -> Software | None:
    lines = [
        line[len(_RECEIVED) :].lower()
        for line in transcript.decode("latin-1").splitlines()[:_LINES]
        if line.startswith(_RECEIVED)
    ]
    for place in _PLACES:
        for line in lines:
            found = place.match(line)
            names = _NAME.findall(found[1]) if found else ()
            if names:
                return _NAMES[names[-1]]  # each proxy appends itself to Via: the last one is whom we spoke to
    return None
