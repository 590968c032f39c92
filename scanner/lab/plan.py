"""plan(): who lives where in the lab, from a seed."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from scanner.lab.internet import LabError
from scanner.lab.kinds import KINDS, HostKind
from scanner.lab.machine import Exit, Host, Repair
from scanner.lab.mail import RELAYS
from scanner.lab.rules import lowest_port

PREFIX = IPv4Network("127.1.0.0/16")
PER_NETWORK = 40  # hosts in each /24
POPULATION = KINDS | RELAYS

_LAB = IPv4Network("127.0.0.0/8")
_OURS = IPv4Network("127.0.0.0/24")  # where canaries and servers listen
_COUPLED = ("chained", "hop")  # planned in pairs


def plan(hosts: int, seed: int, prefix: IPv4Network = PREFIX, lowest: int | None = None) -> list[Host]:
    """As many hosts, in order of address; the same for the same arguments.

    Every kind is there once at least where there are hosts enough. prefix: where the addresses begin; more
    hosts than fit go on upward. lowest: the first port that may be listened on, by default this process's.
    """
    rng = random.Random(seed)  # noqa: S311 - the same lab each time is the point
    addresses = _addresses(hosts, prefix)
    kinds = _population(hosts, rng)
    floor = lowest_port() if lowest is None else lowest
    planned = [
        Host(address, kind, _ports(kind, floor, rng), address, repair=_repair(kind, rng))
        for address, kind in zip(addresses, kinds, strict=True)
    ]
    return _exits(planned, rng)


def _addresses(hosts: int, prefix: IPv4Network) -> list[IPv4Address]:
    if hosts < 1:
        raise LabError(f"{hosts} hosts: expected 1 or more")
    networks = -(-hosts // PER_NETWORK)
    first = int(prefix.network_address) >> 8 << 8
    last = first + (networks - 1) * 256 + 255
    span = range(first, last + 1)
    if first not in range(int(_OURS[-1]) + 1, int(_LAB[-1])) or last > int(_LAB[-1]):
        raise LabError(f"{hosts} hosts from {prefix} on do not fit between 127.0.1.0 and 127.255.255.255")
    # Spread evenly over each network: neighbours, but not next to each other.
    places = [base + 1 + place * 254 // PER_NETWORK for base in span[::256] for place in range(PER_NETWORK)]
    return [IPv4Address(place) for place in places[:hosts]]


def _population(hosts: int, rng: random.Random) -> list[HostKind]:
    single = [kind for name, kind in POPULATION.items() if name not in _COUPLED]
    shares = [kind.share for kind in single]
    pairs = round(hosts * KINDS["chained"].share / 100)
    if hosts >= len(POPULATION):
        pairs = max(1, pairs)
        kinds = list(single)
    else:
        kinds = []
    kinds += [KINDS[name] for name in _COUPLED] * pairs
    kinds += rng.choices(single, shares, k=hosts - len(kinds))
    rng.shuffle(kinds)
    return kinds


def _ports(kind: HostKind, floor: int, rng: random.Random) -> tuple[int, ...]:
    if not kind.listens:
        return ()
    # A port that we may not listen on moves up by ten thousand: such a host answers where nobody looks.
    weights = {port if port >= floor else port + 10000: weight for port, weight in kind.ports.items()}
    usable = {port: weight for port, weight in weights.items() if port in kind.ports} or weights
    ports: set[int] = set()
    while len(ports) < kind.ports_each:
        ports.update(rng.choices(list(usable), list(usable.values())))
    return tuple(sorted(ports))


def _repair(kind: HostKind, rng: random.Random) -> Repair | None:
    return rng.choice(list(Repair)) if kind.relays else None


def _exits(planned: list[Host], rng: random.Random) -> list[Host]:
    """Give each relay the address that it dials from, and each chain its second host."""
    empty = [host.address for host in planned if not host.kind.listens] or [planned[-1].address]
    hops = iter([host.address for host in planned if host.kind.name == "hop"])
    before: dict[IPv4Address, IPv4Address] = {}
    linked = []
    for host in planned:
        if host.kind.exit is Exit.OTHER:
            linked.append(replace(host, exit=rng.choice(empty)))
        elif host.kind.exit is Exit.CHAINED:
            hop = next(hops)
            before[hop] = host.address
            linked.append(replace(host, exit=hop, next_hop=hop))
        else:
            linked.append(host)
    return [replace(host, previous_hop=before.get(host.address)) for host in linked]
