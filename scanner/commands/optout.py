"""optout add, remove, show: addresses whose holders do not want to be probed."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from scanner.commands import Refusal, print_json, say
from scanner.commands.display import columns, printable
from scanner.commands.listing import network as parsed
from scanner.publish.events import iso

Flag = Annotated[bool, Parameter(negative="")]


async def add(network: str, /, *, reason: str) -> int:
    """Stop probing an address or a network. What is listed there stays, and does not expire, until it is removed.

    Parameters
    ----------
    network
        IPv4 or IPv6 address, or a CIDR.
    reason
        Who asked, and how control of the network was shown.

    """
    from scanner.commands.storage import opened, person

    where = parsed(network)
    if not reason.strip():
        raise Refusal("--reason: expected who asked, and how control was shown")
    async with opened(create=True) as store:
        await store.exclude(where, reason.strip(), person(), time.time())
    print(f"{where} is opted out")
    return 0


async def remove(network: str, /) -> int:
    """Probe an address or a network again.

    Parameters
    ----------
    network
        As it was opted out.

    """
    from scanner.commands.storage import opened
    from scanner.listing import resume

    where = parsed(network)
    async with opened() as store:
        if not await store.unexclude(where, resume, time.time()):
            raise Refusal(f"{where} is not opted out: `proxywarden optout show` lists what is")
    print(f"{where} is not opted out any more")
    return 0


async def show(*, json: Flag = False) -> int:
    """Show what is opted out, with who asked.

    Parameters
    ----------
    json
        One JSON object a line for each network.

    """
    from scanner.commands.storage import opened

    async with opened() as store:
        found = await store.exclusions()
    if json:
        for item in found:
            print_json({"network": item.network, "reason": item.reason, "by": item.by, "at": iso(item.at)})
    elif found:
        rows = [("NETWORK", "SINCE", "BY", "REASON")]
        rows += [(item.network, str(iso(item.at)), printable(item.by), printable(item.reason)) for item in found]
        print("\n".join(columns(rows)))
    if not found:
        say("nothing is opted out")
    return 0
