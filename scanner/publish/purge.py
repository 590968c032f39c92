"""What a purge takes, and how people are told (RFC 6471 section 3.9). Pure."""

from __future__ import annotations

from scanner.publish.events import iso


def named_by(detector: str, wanted: str) -> bool:
    """Whether a listing's detector is the one that is meant: by its name, or by name and version."""
    return wanted in (detector, detector.partition("/")[0])


def notice(name: str, detector: str, since: float, now: float, count: int) -> str:
    """The text for the list's web page and for whoever reads it."""
    return f"""\
Notice of a correction to {name}, {iso(now)}

Our detector {detector!r} listed addresses wrongly between {iso(since)} and {iso(now)}. We have withdrawn all {count}
listings that it made or confirmed in that time, correct ones among them. Nobody needs to ask for removal. Resolvers
and copies of the list follow within their usual time.

If mail of yours was refused in that time because of this list, send it again. An address that is really open is listed
again only after new evidence.

What went wrong, and what keeps it from happening again: (please write it here.)
"""
