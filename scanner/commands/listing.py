"""listing add, withdraw, show: the operator's own hand on the lists."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from scanner.commands import Refusal, config_file, print_json, say, settings
from scanner.commands.display import list_table, listing_json
from scanner.listing import DAY, Rules, add_by_hand
from scanner.listing import withdraw as end_listings
from scanner.model import parse_address
from scanner.publish.events import iso, public

if TYPE_CHECKING:
    from scanner.model import Decision, Event, Listing, Standing

Flag = Annotated[bool, Parameter(negative="")]
List = Literal["ops", "rss", "dul", "rbl"]
_PAGE = 1000


async def add(
    address: str,
    /,
    *,
    list_: Annotated[List, Parameter(name="--list")] = "rbl",
    reason: str,
    days: float | None = None,
    json: Flag = False,
) -> int:
    """List an address or a network by hand.

    Parameters
    ----------
    address
        IPv4 or IPv6 address, or a CIDR.
    list_
        The list. The operator's own is rbl; what stands on another by hand is of the type manual there.
    reason
        Why, for everybody to read.
    days
        Until it ends; lists.rbl.expiry_days where not given.
    json
        The event, as one JSON object.

    """
    from scanner.scope import load_scope

    where = network(address)
    config = settings()
    length = config.lists.rbl.expiry_days if days is None else days
    if not 0 < length <= 3650:
        raise Refusal(f"--days {length:g}: expected more than 0, at most 3650")
    if not reason.strip():
        raise Refusal("--reason: expected why it is listed")
    file = config_file.get()
    rules = Rules(never_list=load_scope(config, file.parent if file else None).never_list)
    now = time.time()
    decide = partial(
        add_by_hand, list_=list_, address=where, reason=reason.strip(), at=now, expiry=length * DAY, rules=rules
    )
    return await _change(where, decide, now, as_json=json)


async def withdraw(
    address: str,
    /,
    *,
    list_: Annotated[List | None, Parameter(name="--list")] = None,
    reason: str = "operator",
    json: Flag = False,
) -> int:
    """End the listings of an address or a network by hand.

    Parameters
    ----------
    address
        IPv4 or IPv6 address, or a CIDR.
    list_
        Only on this list.
    reason
        Why, for the event.
    json
        The events, one JSON object a line.

    """
    where = network(address)
    now = time.time()
    decide = partial(end_listings, list_=list_, address=where, at=now, reason=reason.strip() or "operator")
    return await _change(where, decide, now, as_json=json, create=False)


async def show(
    address: str | None = None,
    /,
    *,
    list_: Annotated[List | None, Parameter(name="--list")] = None,
    json: Flag = False,
) -> int:
    """Show what is listed: everything, one list, or what covers an address or a network.

    Parameters
    ----------
    address
        IPv4 or IPv6 address, or a CIDR.
    list_
        Only this list.
    json
        One JSON object a line for each listing.

    """
    from scanner.commands.storage import opened

    where = None if address is None else network(address)
    shown = 0
    async with opened() as store:
        if where is not None:
            found = await store.lookup(ip_network(where))
            shown += _print([item for item in found if list_ in (None, item.list)], as_json=json)
        else:
            after = None
            while page := await store.listings(list_, after, _PAGE):
                after = page[-1].key
                shown += _print(page, as_json=json, head=not shown)
    if not shown:
        say("nothing is listed" if where is None else f"{where} is not listed")
    return 0


async def _change(
    where: str, decide: Callable[[Standing], Decision], now: float, *, as_json: bool, create: bool = True
) -> int:
    from scanner.commands.storage import opened

    async with opened(create=create) as store:
        try:
            events = await store.change(where, decide, now)
        except ValueError as error:
            text = str(error)
            raise Refusal(text if where in text else f"{where} is {text}") from None
    for event in events:
        _show_event(event, as_json=as_json)
    if any(event.kind.ends and event.listing.entry and event.listing.address == where for event in events):
        say("an exit is listed again when its entry leads there again: scope.never_list keeps it off for good")
    return 0


def _show_event(event: Event, *, as_json: bool) -> None:
    if as_json:
        print_json(public(event))
        return
    listing = event.listing
    until = "" if event.kind.ends else f" until {iso(listing.expires)}"
    print(f"{event.kind}: {listing.address} on {listing.list} ({listing.type}){until}")


def _print(listings: list[Listing], *, as_json: bool, head: bool = True) -> int:
    if as_json:
        for listing in listings:
            print_json(listing_json(listing))
    elif listings:
        print("\n".join(list_table(listings, head=head)))
    return len(listings)


def network(text: str) -> str:
    """An address or a CIDR, as the store writes it."""
    try:
        if "/" not in text:
            return str(parse_address(text))
        found = ip_network(text.strip())
    except ValueError as error:
        raise Refusal(f"{text!r}: expected an address, or a CIDR without host bits ({error})") from None
    return str(found.network_address) if found.num_addresses == 1 else str(found)
