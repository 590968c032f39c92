"""export: one format of the published list, to stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from cyclopts import Parameter

from scanner.commands import Refusal, config_file, say, settings

Format = Literal["plain", "csv", "jsonl", "nft", "ipset", "postfix", "haproxy", "nginx", "rpz", "rbldnsd", "crowdsec"]
List = Literal["ops", "rss", "dul", "rbl"]


async def export(
    format_: Annotated[Format, Parameter(name="FORMAT")],
    /,
    *,
    list_: Annotated[tuple[List, ...], Parameter(name="--list", negative="")] = (),
    family: Literal[4, 6] = 4,
    view: str | None = None,
) -> int:
    """Write what is published in a format to stdout. What the gate holds back is not in it.

    Parameters
    ----------
    format_
        plain, csv, jsonl, nft, ipset, postfix, haproxy, nginx, rpz, rbldnsd or crowdsec.
    list_
        Only this list; may be repeated. rbldnsd's format has one list in a file: ops where none is named.
    family
        4 or 6, for rbldnsd's format.
    view
        A values for rbldnsd's format; publish.rbldnsd.view where not given.

    """
    from scanner.commands.storage import opened
    from scanner.publish.exports import Meta, render
    from scanner.publish.publisher import Publisher, zone_of
    from scanner.publish.views import LISTS, SHIPPED
    from scanner.scope import load_scope

    config = settings()
    lists: tuple[str, ...] = tuple(dict.fromkeys(list_)) or LISTS
    if format_ == "rbldnsd":
        lists = lists if list_ else ("ops",)
        if len(lists) != 1:
            raise Refusal("--list: expected one list: each needs a file of its own in rbldnsd's format")
    try:
        zone = zone_of(config, config.publish.rbldnsd.view if view is None else view)
    except KeyError:
        known = ", ".join(dict.fromkeys((*SHIPPED, *config.publish.views)))
        raise Refusal(f"--view {view!r}: expected one of {known}") from None
    file = config_file.get()
    scope = load_scope(config, file.parent if file else None)
    async with opened() as store:
        publisher = Publisher(config, scope, store, ())
        try:
            held = await publisher.preview()
        except (OSError, ValueError) as error:
            raise Refusal(str(error), 74) from None  # EX_IOERR
        now = time.time()
        name = f"{lists[0]}{family}" if format_ == "rbldnsd" else "proxywarden"
        made = publisher.vouched(lists[0], now) if format_ == "rbldnsd" else now
        meta = Meta(name, made, now + config.publish.exports.expires_hours * 3600, lists, zone.lookup)
        assert publisher.ledger is not None
        await _print(render(format_, publisher.ledger.published, lambda: publisher.listings(lists), meta, zone))
    for held_list in set(held) & set(lists):
        for trip in held[held_list]:
            say(f"proxywarden: {held_list}: additions are held: {trip}")
    return 0


async def _print(pieces: AsyncIterator[str]) -> None:
    async for piece in pieces:
        sys.stdout.write(piece)
    sys.stdout.flush()
