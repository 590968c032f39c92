"""db upgrade, verify, purge: the store's upkeep."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from scanner.commands import Refusal, print_json, settings
from scanner.listing import DAY


async def upgrade() -> int:
    """Bring the store to this version's schema; makes it where there is none. Stop the daemon first."""
    from scanner.commands.storage import opened, there
    from scanner.store import database_path, open_store
    from scanner.store.migrate import REVISION, revision_of

    url = settings().store_url
    path = database_path(url)
    before = revision_of(path) if there(path) else None
    async with opened(create=True) if before is None else open_store(url):
        pass
    print(f"store {path}: schema {REVISION}" + ("" if before == REVISION else f" (was {before or 'none'})"))
    return 0


async def verify() -> int:
    """Replay all events and compare what they give with the listings; check the file as well.

    Exit code: 0 all is well, 1 not: a line on stdout for each difference.
    """
    from scanner.commands.storage import opened

    async with opened() as store:
        differences = await store.verify()
        figures = await store.figures(time.time())
    for line in differences:
        print(line)
    if differences:
        return 1
    print(f"events ({figures['events']}) and listings ({figures['listings']}) agree")
    return 0


async def purge(*, older_than: float | None = None, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Delete visits with their transcripts, and what else has ended and holds up no listing.

    Parameters
    ----------
    older_than
        Days; store.keep_transcripts_days where not given. At least 1.
    json
        One JSON object: rows deleted, by table.

    """
    from scanner.commands.storage import opened

    days = settings().store.keep_transcripts_days if older_than is None else older_than
    if not days >= 1:
        raise Refusal(f"--older-than {days:g}: expected at least 1 day")
    now = time.time()
    async with opened() as store:
        counts = await store.purge(now - days * DAY, now)
    if json:
        print_json(counts)
    else:
        print("deleted " + ", ".join(f"{number} {table}" for table, number in counts.items()))
    return 0
