"""Remote controls: endpoints elsewhere that the operator knows to be open or closed, visited like everybody else.

Who answers for others on our own path, and dials from an address that we don't know as ours, makes all the world look
open, or closed; no endpoint in this process ever sees it. Where a known-closed one far away relays, it is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scanner.examine import examine
from scanner.model import Address, CanaryTarget, Endpoint, Kind, Reason, Target, Vantage, Visit
from scanner.probe import Prober
from scanner.settings import Settings
from scanner.sweep import Connector

# What a closed endpoint never gives. That it is out of order is no sign of anything: the path may be cut for a moment,
# and who answers for others answers for it all the same.
_TAKEN = frozenset({Kind.RELAYED, Kind.INTERCEPTED, Kind.PRETENDS})


@dataclass(frozen=True, slots=True)
class RemoteControl:
    """One of them. open: it relays to our canaries; else to nobody."""

    address: Address
    endpoint: Endpoint
    open: bool


def remotes_of(settings: Settings) -> tuple[RemoteControl, ...]:
    """As configured."""
    return tuple(
        RemoteControl(each.address, Endpoint(each.protocol, each.port), each.expect == "open")
        for each in settings.controls.remote
    )


async def wrong_with(
    remotes: Iterable[RemoteControl],
    prober: Prober,
    connector: Connector,
    vantage: Vantage,
    target: CanaryTarget,
    timeout: float,
) -> str:
    """What is wrong with the first that is not as it should be; empty where all are.

    timeout: seconds for a connection, and for a conversation.
    """
    for remote in remotes:
        visit = Visit(
            id=f"{0:032x}",
            target=Target(remote.address, Reason.OWN_NETWORK, 0.0),
            endpoints=(remote.endpoint,),
            vantages=(vantage,),
            connect_timeout=timeout,
        )
        kinds = [item.kind for item in await examine(visit, connector, prober, [target])]
        as_expected = Kind.RELAYED in kinds if remote.open else _TAKEN.isdisjoint(kinds)
        if not as_expected:
            given = min(kinds, key=list(Kind).index, default="no answer: it can't be asked for this canary")
            name = "known-open" if remote.open else "known-closed"
            return f"{name} remote control {remote.address} {remote.endpoint} gives {given}"
    return ""
