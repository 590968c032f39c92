"""What the lists, criteria and outcomes are called in front of people, and durations in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from scanner.appeal import AppealState
from scanner.model import RemovalState

LISTS = {
    "ops": "Open proxies (OPS)",
    "rss": "Open mail relays (RSS)",
    "dul": "Dynamic address ranges (DUL)",
    "rbl": "The operator's own list (RBL)",
}
TYPES = {
    "entry": "this address takes other people's connections and passes them on",
    "exit": "other people's connections leave from this address",
    "relay-output": "a mail relay hands strangers' mail over from this address",
    "manual": "listed by a person",
}
CRITERIA = {
    "open-proxy": (
        "An open proxy: a stranger's conversation through this address reached our test server, and the server's"
        " signed answer came back."
    ),
    "open-proxy-exit": (
        "The way out of an open proxy: our test server saw strangers' conversations through an open proxy come"
        " from this address."
    ),
    "open-relay": (
        "An open mail relay: a message of a stranger for a stranger, which it should have refused, was taken here and"
        " arrived at our own mail server."
    ),
    "open-relay-output": (
        "The output of an open mail relay: our mail server received a message from this address that another one"
        " should have refused."
    ),
    "operator": "Listed by the operator, by hand.",
}
STATES = {
    RemovalState.REQUESTED: ("Requested", "Your request is recorded. The retest starts in a moment."),
    RemovalState.RETESTING: ("Retesting", "We are connecting to the address, as a stranger would."),
    RemovalState.CONFIRMING: ("Closed once", "The first pass found it closed. A second pass makes sure."),
    RemovalState.DELISTED: ("Removed", "It is closed. The address is off the list."),
    RemovalState.STILL_OPEN: ("Still open", "It still relays for strangers, so it stays on the list."),
    RemovalState.TESTER_BLOCKED: (
        "Tester blocked",
        "It is closed to one of our testers and open to another, so it stays on the list. Blocking the tester is no"
        " repair: whoever abuses it is not blocked. Remove the block, close the proxy itself, and ask again.",
    ),
    RemovalState.INCONCLUSIVE: (
        "Can't tell",
        "We could neither get through it nor get a clear refusal, so nothing changes. A port that is closed, or a"
        " proxy that refuses strangers or asks for a password, is a clear sign. No answer at all is not.",
    ),
}
# In place of "still open", which is not known of the entry that is left.
PARTLY = (
    "Still listed",
    "The proxy or relay that was retested is off the list. Conversations through another one come out of this address"
    " as well, so it stays until that one is closed too.",
)
APPEALS = {
    AppealState.OPEN: ("Waiting for a person", "The operator reads it, within two days as a rule."),
    AppealState.RETESTING: ("Being retested", "The operator had it retested once more."),
    AppealState.REMOVED: ("Off the list", "Nothing is listed any more."),
    AppealState.WITHDRAWN: ("Listing withdrawn", "The operator ended the listing."),
    AppealState.DECLINED: ("Declined", "The operator looked at it, and the listing stays."),
}

PROBLEMS = {  # by the status of HTTP, where its own words tell a person nothing
    403: "Not allowed",
    408: "Too slow",
    409: "Not possible just now",
    413: "Too long",
    422: "Something in it is wrong",
    429: "Not yet",
    500: "Our mistake",
    503: "Out of order just now",
}

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
_MOMENTS = {"started", "latest", "at"}  # names of the heartbeat that hold seconds since the epoch


def moment(at: float) -> str:
    """2026-11-22 10:00 UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def dated(text: str) -> Markup:
    """For a page: a moment stays on one line."""
    return Markup(_MOMENT.sub(r'<span class="date">\g<0></span>', str(escape(text))))  # noqa: S704 - escaped


def clock(at: float) -> str:
    """10:00:05 UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def duration(seconds: float) -> str:
    """In the largest unit that says it in a round number: 30 days, 10 minutes, 90 seconds."""
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            return _many(seconds / unit, name)
    return _many(seconds, "second")


def wait(seconds: float) -> str:
    """How long until something, roughly: in 2 hours."""
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * unit:
            return _many(round(seconds / unit), name)
    return _many(max(1, round(seconds)), "second")


_FIGURE = re.compile(r"[a-z0-9_.]+")


def flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of a tree of plain values, as an operator reads them."""
    for name, value in tree.items():
        shown = name.replace("_", " ").replace(".", ", ") if _FIGURE.fullmatch(name) else name  # a path stays one
        words = f"{above}{shown}"
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{words}, ")
        elif name in _MOMENTS and isinstance(value, float):
            yield words, moment(value)
        elif isinstance(value, list | tuple):
            yield words, ", ".join(map(str, value)) or "none"
        else:
            yield words, "none" if value in ("", None, {}) else str(value)


def _many(count: float, name: str) -> str:
    return f"{count:g} {name}" + ("" if count == 1 else "s")
