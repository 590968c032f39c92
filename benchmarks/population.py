"""The people and machines of the simulated week: who is nominated, what it is, what its owner does. No policy in here.

Shares follow what the lists have published (docs/policy.md's sources): most of what is nominated is nothing that we can
prove, half of the open proxies have another exit, and most owners repair without ever asking.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from scanner.model import Kind
from tests.scanner.world import DAY, ENDPOINTS, HOUR, START, Host

WEEK = 7 * DAY
_CLOSED = {
    Kind.REFUSED: 45,
    Kind.FILTERED: 15,
    Kind.DENIED: 15,
    Kind.WRONG_PROTOCOL: 15,
    Kind.PRETENDS: 7,
    Kind.SILENT: 3,
}
_REPAIRS = {Kind.REFUSED: 6, Kind.DENIED: 3, Kind.AUTH_REQUIRED: 2, Kind.FILTERED: 2}
_OPEN = 0.3  # of all that are nominated
_OTHER_EXIT, _ROTATES, _HIDES = 0.4, 0.07, 0.03  # of the open ones
_REPAIRED_DAILY = 0.09  # of the open ones, whoever does it and why
_ASKS, _ASKS_TOO_EARLY, _RETURNS = 0.45, 0.2, 0.1  # of those whose owner acts


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that happens outside of us. mode: what the host is from then on."""

    at: float
    address: str
    what: str  # nominated, changes, asks
    mode: Kind | None = None


def choose(rng: random.Random, shares: dict[Kind, int]) -> Kind:
    return rng.choices(list(shares), list(shares.values()))[0]


def moment(rng: random.Random) -> float:
    """Within the week, twice as often by day as by night."""
    while True:
        at = rng.uniform(0, WEEK)
        if 6 * HOUR <= at % DAY < 22 * HOUR or rng.random() < 0.5:
            return START + at


def population(count: int, rng: random.Random) -> tuple[dict[str, Host], list[Deed]]:
    """Hosts by address, and all that their owners and their victims do, in order."""
    hosts, deeds = {}, []
    for number in range(count):
        address = IPv4Address(0x0B000000 + number * 37)
        host = _host(address, rng)
        hosts[str(address)] = host
        deeds += _nominations(str(address), rng)
        if host.mode is Kind.RELAYED:
            deeds += _owner(str(address), min(deed.at for deed in deeds[-5:] if deed.address == str(address)), rng)
    return hosts, sorted(deeds, key=lambda deed: deed.at)


def _host(address: IPv4Address, rng: random.Random) -> Host:
    endpoint = rng.choice(ENDPOINTS)
    if rng.random() > _OPEN:
        return Host(address, choose(rng, _CLOSED), endpoint=endpoint)
    exits: tuple[IPv4Address, ...] = ()
    if rng.random() < _OTHER_EXIT:
        many = rng.randint(2, 6) if rng.random() < _ROTATES / _OTHER_EXIT else 1
        exits = tuple(IPv4Address(0x2D000000 + rng.randrange(1 << 22)) for _ in range(many))
    hides = frozenset({"c1"}) if rng.random() < _HIDES else frozenset()
    return Host(address, Kind.RELAYED, hides, exits, endpoint)


def _nominations(address: str, rng: random.Random) -> Iterator[Deed]:
    """Once to four times, the first at any time."""
    first = moment(rng)
    yield Deed(first, address, "nominated")
    for _ in range(rng.choices([0, 1, 3], [6, 3, 1])[0]):
        yield Deed(min(START + WEEK, first + rng.expovariate(1 / DAY)), address, "nominated")


def _owner(address: str, known: float, rng: random.Random) -> Iterator[Deed]:
    """What becomes of an open proxy once its mail is refused somewhere."""
    repaired = known + rng.expovariate(_REPAIRED_DAILY / DAY)
    if repaired > START + WEEK:
        return
    if rng.random() < _ASKS:
        if rng.random() < _ASKS_TOO_EARLY:
            yield Deed(max(known, repaired - rng.uniform(0.5, 6) * HOUR), address, "asks")
        yield Deed(repaired, address, "changes", choose(rng, _REPAIRS))
        yield Deed(repaired + rng.expovariate(1 / (20 * 60)), address, "asks")
    else:
        yield Deed(repaired, address, "changes", choose(rng, _REPAIRS))
    if rng.random() < _RETURNS:
        yield Deed(repaired + rng.uniform(0.2, 3) * DAY, address, "changes", Kind.RELAYED)
