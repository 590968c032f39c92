"""An address on several lists: each decides on its own part of what is known, by the same policy. Pure.

Open proxies (OPS) and mail relays (RSS) differ in how they are proven. An address can be both, and one visit sees to
both; nothing that is said of the one tells of the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network

from core.cidr import CidrSet
from scanner.model import (
    Address,
    Decision,
    Endpoint,
    Kind,
    Reason,
    RemovalState,
    Standing,
    Target,
    VisitRecord,
    Watch,
)
from scanner.protocols import PROTOCOLS
from scanner.rules import OPS, RSS, Rules
from scanner.verdict import judge

# Of two lists' words on a removal, the one that the owner is told.
_FIRST = (
    RemovalState.CONFIRMING,
    RemovalState.STILL_OPEN,
    RemovalState.TESTER_BLOCKED,
    RemovalState.INCONCLUSIVE,
    RemovalState.DELISTED,
)


def list_of(endpoint: Endpoint) -> str:
    """The list that a proof of this endpoint is for."""
    return PROTOCOLS[endpoint.protocol].list if endpoint.protocol in PROTOCOLS else OPS


def concerns_relays(standing: Standing, record: VisitRecord) -> bool:
    """Whether there is anything for RSS to decide."""
    return (
        standing.relay is not None
        or any(list_of(item.endpoint) == RSS for item in record.evidence)
        or any(listing.list == RSS for listing in standing.listings)
    )


def standing_on(standing: Standing, list_: str) -> Standing:
    """What one list knows of an address. What is listed by hand, or as a network, is with OPS."""
    on_rss = list_ == RSS
    return replace(
        standing,
        listings=tuple(listing for listing in standing.listings if (listing.list == RSS) == on_rss),
        watch=standing.relay if on_rss else standing.watch,
        ends=tuple(end for end in standing.ends if (end[0] == RSS) == on_rss),
    )


def seen_of(record: VisitRecord, list_: str) -> VisitRecord:
    """What a visit showed of one list's endpoints, judged by itself."""
    evidence = tuple(item for item in record.evidence if list_of(item.endpoint) == list_)
    proven = tuple(known for known in record.visit.proven if list_of(known.endpoint) == list_)
    if (evidence, proven) == (record.evidence, record.visit.proven):
        return record
    visit = replace(record.visit, proven=proven)
    return replace(record, visit=visit, evidence=evidence, verdict=judge(visit, evidence))


def together(proxy: Decision, relay: Decision) -> Decision:
    """Both lists' decisions as one."""
    steps = [decision.removal for decision in (proxy, relay) if decision.removal is not None]
    step = min(steps, key=lambda step: _FIRST.index(step.state), default=None)
    targets = [decision.next_target for decision in (proxy, relay) if decision.next_target is not None]
    again = [target for target in targets if target.removal is not None]
    return Decision(
        events=(*proxy.events, *relay.events),
        watch=proxy.watch,
        next_target=again[0] if again else min(targets, key=lambda target: target.due, default=None),
        removal=step,
        held=proxy.held or relay.held,
        barred=proxy.barred or relay.barred,
        relay=relay.watch,
    )


def unchanged(proxy: Watch | None, relay: Watch | None) -> Decision:
    """No event; these watches go on."""
    watches = [watch for watch in (proxy, relay) if watch is not None]
    target = min((Target(w.address, Reason.RESCAN, w.next_visit) for w in watches), key=lambda t: t.due, default=None)
    return Decision((), proxy, target, relay=relay)


def retry(standing: Standing, record: VisitRecord, rules: Rules) -> Target | None:
    """The visit that brings a letter again which the address asked to be brought later, some times and no more."""
    if record.visit.reason in (Reason.REMOVAL, Reason.RESCAN):
        return None  # the owner asks again, and a listing is rescanned anyway
    tries = {id_.hex(): count for _, _, id_, count in standing.deferred}
    letters = [item.letter for item in record.evidence if item.kind is Kind.DEFERRED and item.letter]
    if all(tries.get(letter, 0) + 1 >= rules.letter_tries for letter in letters):
        return None
    return replace(record.visit.target, due=record.ended + rules.rescan)


def near(ours: Iterable[Address], own_networks: Iterable[str], exchangers: Iterable[Address]) -> CidrSet:
    """Where a mail server has a reason to relay for us: our own networks, and the exchangers of our mail domain.

    ours: our addresses as canaries see them. A /24 or a /48 around each, and each declared network that holds one.
    """
    ours = list(ours)
    around = [str(ip_network((address, 24 if address.version == 4 else 48), strict=False)) for address in ours]
    declared = [network for network in own_networks if any(address in CidrSet([network]) for address in ours)]
    return CidrSet([*around, *declared, *map(str, exchangers)])
