"""lookup and visits: what is known of an address."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from scanner.commands import Refusal, print_json, say, settings
from scanner.commands import address as parsed
from scanner.commands.display import listing_json, listing_lines, printable, visit_json, visit_lines
from scanner.model import Address
from scanner.publish.events import iso

if TYPE_CHECKING:
    from scanner.store import RemovalRefused

NOT_LISTED, LISTED, UNKNOWN = 0, 1, 3
Flag = Annotated[bool, Parameter(negative="")]
_EVERY = 1 << 31


async def lookup(
    address: str,
    /,
    *,
    server: str | None = None,
    zone: str | None = None,
    dns: str | None = None,
    json: Flag = False,
) -> int:
    """Say what the store, a server or a zone says about an address.

    Exit code: 0 not listed, 1 listed, 3 can't tell.

    Parameters
    ----------
    address
        IPv4 or IPv6 address.
    server
        Web address of a Proxywarden to ask instead of the store, such as https://dnsbl.example.net.
    zone
        Name of a DNS blocklist to ask instead of the store, such as ops.dnsbl.example.net; needs --dns.
    dns
        ADDRESS:PORT of the name server to ask about --zone. No other is asked.
    json
        One JSON object.

    """
    wanted = parsed(address)
    if server is not None and (zone is not None or dns is not None):
        raise Refusal("--server and --zone exclude each other")
    if (zone is None) != (dns is None):
        raise Refusal("--zone NAME and --dns ADDRESS:PORT belong together: a zone is asked at the server that you name")
    if server is not None:
        answer = await _ask_server(wanted, server)
    elif zone is not None and dns is not None:
        answer = await _ask_zone(wanted, zone, dns)
    else:
        answer = await _ask_store(wanted)
    if json:
        print_json(answer)
    else:
        _show(wanted, answer)
    return LISTED if answer["listed"] else NOT_LISTED


async def visits(
    address: str, /, *, limit: Annotated[int, Parameter(show_default=False)] = _EVERY, json: Flag = False
) -> int:
    """Show every visit to an address: when, why, from where, and what was sent. It answers a complaint.

    The latest comes first. Lines of a conversation begin with `>` for what we sent and `<` for what came back.

    Parameters
    ----------
    address
        IPv4 or IPv6 address.
    limit
        Show only this many.
    json
        One JSON object a line for each visit.

    """
    from scanner.commands.storage import opened

    wanted = parsed(address)
    if limit < 1:
        raise Refusal(f"--limit {limit}: expected at least 1")
    async with opened() as store:
        found = await store.visits(wanted, limit)
    for number, visit in enumerate(found):
        if json:
            print_json(visit_json(visit))
        else:
            print(("\n" if number else "") + "\n".join(visit_lines(visit)))
    if not found:
        say(f"no visit to {wanted} is on record")
    return 0


async def _ask_store(address: Address) -> dict[str, Any]:
    """What the API answers, and what only the operator sees."""
    from scanner.commands.storage import opened
    from scanner.pipeline import removal_rule
    from scanner.store import StoreError
    from scanner.web.view import shown

    try:
        async with opened() as store:
            dossier = await store.dossier(address, time.time(), not_before=removal_rule(settings()))
    except (StoreError, Refusal) as error:
        raise Refusal(str(error), UNKNOWN) from None
    return {
        "address": str(address),
        "listed": bool(dossier.listings),
        "listings": [listing_json(item.listing) | item.advised for item in shown(dossier)],
        "opted_out": dossier.excluded is not None,
        "removal": _removal(dossier.refused),
    }


def _removal(refused: RemovalRefused | None) -> dict[str, Any]:
    if refused is None:
        return {"possible": True, "not_before": None, "why": ""}
    why = {
        "not_listed": "nothing that a retest could refute is listed",
        "running": f"request {refused.running} is running",
        "excluded": "opted out of being probed: `proxywarden optout remove` ends that",
        "too_soon": "the last request was only just now",
        "relisted": "listed again within a year: its retest has to wait",
    }
    return {
        "possible": False,
        "not_before": iso(refused.not_before),
        "why": why.get(refused.reason, refused.reason),
    }


async def _ask_server(address: Address, server: str) -> dict[str, Any]:
    from scanner.commands.remote import base_of
    from scanner.fetch import FetchError, get_json

    base = base_of(server)
    try:
        answer = await get_json(f"{base}/api/v1/lookup/{address}")
    except FetchError as error:
        raise Refusal(printable(str(error)), UNKNOWN) from None
    listings = answer.get("listings")
    if (
        not isinstance(answer.get("listed"), bool)
        or not isinstance(listings, list)
        or not all(isinstance(item, dict) for item in listings)
    ):
        raise Refusal(f"{server}: the answer is not that of a Proxywarden", UNKNOWN)
    return answer


async def _ask_zone(address: Address, zone: str, dns: str) -> dict[str, Any]:
    from scanner.dnsbl import DnsblError, ask, query_name
    from scanner.fields import parse_host_port

    try:
        name_server = parse_host_port(dns)
    except ValueError as error:
        raise Refusal(f"--dns {dns!r}: {error}") from None
    try:
        query_name(address, zone)
    except DnsblError as error:
        raise Refusal(f"--{error}") from None
    try:
        answer = await ask(address, zone, name_server)
    except DnsblError as error:
        raise Refusal(str(error), UNKNOWN) from None
    return {
        "address": str(address),
        "listed": answer.listed,
        "zone": zone,
        "values": list(answer.values),
        "texts": list(answer.texts),
    }


def _show(address: Address, answer: dict[str, Any]) -> None:
    print(f"{address} is {'listed' if answer['listed'] else 'not listed'}")
    for listing in answer.get("listings", ()):
        print("\n".join(listing_lines(listing)))
    if answer.get("opted_out"):
        print("  opted out of being probed")
    if answer.get("values"):
        print(f"  {answer['zone']}: {', '.join(answer['values'])}")
    for text in answer.get("texts", ()):
        print(f"  {printable(text)}")
