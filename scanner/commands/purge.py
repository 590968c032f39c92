"""purge: withdraw all that a misfiring detector listed, and the text to tell people so."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from scanner.commands import Refusal, print_json, say, settings
from scanner.commands.moments import moment
from scanner.listing import withdraw
from scanner.publish.events import iso
from scanner.publish.purge import named_by, notice

if TYPE_CHECKING:
    from scanner.model import Decision, Listing, Standing

_PAGE = 1000


async def purge(
    *,
    detector: str,
    since: str,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Withdraw every listing that a detector found or confirmed since a moment; print a notice to publish.

    Each goes as an event with the reason `purge`, and is off every output with the next release. It is listed again
    only for a new reason to look.

    Parameters
    ----------
    detector
        `socks5`, or with its version `socks5/1.0`.
    since
        2026-11-22, 2026-11-22T10:00:00Z, or so long ago: 90m, 12h, 3d.
    dry_run
        Only say what would go.
    json
        One JSON object: how many went, and the notice.

    """
    from scanner.commands.storage import opened

    if not detector.strip():
        raise Refusal("--detector: expected a name such as socks5")
    now = time.time()
    begin = moment(since, now)
    gone, known = 0, set()
    async with opened() as store:
        after = None
        while page := await store.listings(None, after, _PAGE):
            after = page[-1].key
            for listing in page:
                known.add(listing.detector)
                if not named_by(listing.detector, detector) or listing.last_confirmed < begin:
                    continue
                gone += 1
                if not dry_run:
                    try:
                        await store.change(listing.address, partial(_withdrawn, listing, now), now)
                    except ValueError:
                        gone -= 1  # it went together with its entry
    if not any(named_by(name, detector) for name in known):
        say(f"no listing is of {detector!r}: there are {', '.join(sorted(known)) or 'no listings'}")
    text = notice(settings().identity.name, detector, begin, now, gone)
    if json:
        print_json({"withdrawn": 0 if dry_run else gone, "matching": gone, "since": iso(begin), "notice": text})
    else:
        say(f"{gone} listings {'would be' if dry_run else 'were'} withdrawn")
        if gone:
            print(text)
    return 0


def _withdrawn(listing: Listing, at: float, standing: Standing) -> Decision:
    """Only this one of an address's listings, with the exits that go with it. ValueError: it is gone."""
    own = tuple(item for item in standing.listings if item.key == listing.key or item.address != listing.address)
    return withdraw(replace(standing, listings=own), list_=listing.list, address=listing.address, at=at, reason="purge")
