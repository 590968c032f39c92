"""Listings, visits and columns, as people and as programs read them."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from scanner.model import Listing
from scanner.publish.events import iso

if TYPE_CHECKING:
    from scanner.store import StoredEvidence, StoredVisit


def printable(text: str) -> str:
    """The text on one line and harmless to a terminal, whoever wrote it."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in text
    )


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows as lines, aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def listing_json(listing: Listing) -> dict[str, Any]:
    """A listing as the operator sees it: more than the public API shows."""
    return {
        "list": listing.list,
        "address": listing.address,
        "type": listing.type,
        "criterion": listing.criterion,
        "reason": listing.reason,
        "detector": listing.detector,
        "vantage": listing.vantage,
        "first_listed": iso(listing.first_listed),
        "last_confirmed": iso(listing.last_confirmed),
        "expires": iso(listing.expires),
        "entry": listing.entry,
        "exits": list(listing.exits),
        "visit": listing.visit,
    }


def listing_lines(listing: dict[str, Any]) -> Iterator[str]:
    """The same for people, from what listing_json() or the API of a server gives; keys may be missing."""

    def of(key: str) -> str:
        return printable(str(listing.get(key) or ""))

    address = of("address")
    yield f"  {of('list')}: {of('criterion')} ({of('type')})" + (f", as part of {address}" if "/" in address else "")
    yield f"    since {of('first_listed')}, last confirmed {of('last_confirmed')}, until {of('expires')}"
    if of("reason"):
        where = f" from {of('vantage')}" if of("vantage") else ""
        yield f"    reason: {of('reason')}; found by {of('detector')}{where}"
    if of("entry"):
        yield f"    reached through {of('entry')}"
    exits = listing.get("exits")
    others = [str(item) for item in exits if item != address] if isinstance(exits, list) else []
    if others:
        yield f"    comes out at {printable(', '.join(others))}"
    for key in ("next_step", "how_to_fix"):
        yield from wrapped(of(key), "    ")


def wrapped(text: str, indent: str) -> list[str]:
    """As lines that fit the terminal, and that can be read on a wide one."""
    width = max(40, min(100, shutil.get_terminal_size().columns))
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def visit_json(visit: StoredVisit) -> dict[str, Any]:
    """A visit with everything that was sent and heard."""
    return {
        "id": visit.id,
        "address": str(visit.address),
        "reason": str(visit.reason),
        "removal": visit.removal,
        "started": iso(visit.started),
        "ended": iso(visit.ended),
        "vantages": list(visit.vantages),
        "verdict": str(visit.state),
        "why": visit.why,
        "mail": visit.mail,
        "exits": [str(item) for item in visit.exits],
        "endpoints": [_evidence_json(item) for item in visit.evidence],
    }


def visit_lines(visit: StoredVisit) -> Iterator[str]:
    """The same for people."""
    vantages = ", ".join(visit.vantages) or "nowhere"
    yield f"{iso(visit.started)}  visit {visit.id} to {visit.address}"
    yield f"  reason: {visit.reason}" + (f" ({visit.removal})" if visit.removal else "")
    yield f"  from {printable(vantages)}, until {iso(visit.ended)}"
    yield f"  {visit.state}: {printable(visit.why)}"
    for item in visit.evidence:
        heading = f"  {iso(item.at)}  {item.endpoint} from {printable(item.vantage)}: {item.kind}"
        yield heading + (f", {printable(item.detail)}" if item.detail else "")
        if item.aim is not None:
            yield f"    asked to reach {printable(str(item.aim))}"
        for line in _transcript(item).splitlines():
            yield f"    {printable(line)}"


def _evidence_json(item: StoredEvidence) -> dict[str, Any]:
    return {
        "protocol": item.endpoint.protocol,
        "port": item.endpoint.port,
        "evidence": str(item.kind),
        "detail": item.detail,
        "vantage": item.vantage,
        "aim": str(item.aim) if item.aim else None,
        "exit": str(item.sighting.peer) if item.sighting else None,
        "at": iso(item.at),
        "elapsed_ms": round(item.elapsed * 1000),
        "transcript": _transcript(item),
    }


def _transcript(item: StoredEvidence) -> str:
    """Lines of `> ` what we sent, `< ` what came back, `* ` how it ended; ASCII by the way it is written."""
    return item.transcript.decode("ascii", "backslashreplace")


def list_table(listings: Iterable[Listing], *, head: bool = True) -> Iterator[str]:
    """Listings as aligned lines, below a head."""
    rows = [("LIST", "ADDRESS", "TYPE", "CRITERION", "SINCE", "UNTIL", "REASON")] if head else []
    rows += [
        (
            item.list,
            item.address,
            item.type,
            item.criterion,
            str(iso(item.first_listed)),
            str(iso(item.expires)),
            printable(item.reason),
        )
        for item in listings
    ]
    return columns(rows)
