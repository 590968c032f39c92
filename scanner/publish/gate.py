"""What must hold before additions to a list are published. Pure: numbers in, reasons out.

A trip holds the additions of its list back and keeps what was published; removals go on. The rules answer how lists
went wrong before: ORDB in 2008 listed the Internet, Spamhaus in 2020 and 2023 a misfire's finds.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Protocol

from core.cidr import CidrMap, CidrSet
from scanner.publish.image import text_of

_KEPT = 64  # of the counts by network, those that a restart remembers
# RFC 5782 section 5 wants both absent: clients take a list that has them for one that lists the world.
ABSENT = CidrSet(["127.0.0.1", "::ffff:127.0.0.1"])


class Limits(Protocol):
    """scanner.publish.settings.GateSection."""

    @property
    def growth_floor(self) -> int: ...
    @property
    def growth_share(self) -> float: ...
    @property
    def removal_floor(self) -> int: ...
    @property
    def removal_share(self) -> float: ...
    @property
    def share_floor(self) -> int: ...
    @property
    def network_share(self) -> float: ...
    @property
    def detector_share(self) -> float: ...
    @property
    def vantage_share(self) -> float: ...
    @property
    def prefix4(self) -> Mapping[str, int]: ...
    @property
    def prefix6(self) -> Mapping[str, int]: ...
    @property
    def max_entries(self) -> Mapping[str, int]: ...
    @property
    def max_addresses(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class Trip:
    """Why a list's additions are held. A person's `--accept` lets pass what is not `hard`. key: of publish.gate."""

    rule: str
    why: str
    hard: bool = False
    key: str = ""

    def __str__(self) -> str:
        by = f" (publish.gate.{self.key})" if self.key else ""
        return f"{self.rule}: {self.why}{by}; {_ADVICE.get(self.rule, _LOOK)}"


_LOOK = "look at what waits with `proxywarden publish`, then `proxywarden publish --accept`"
_STAYS_OUT = "it stays out, and so do all others until `proxywarden publish --accept`"
_ADVICE = {
    "absent": _STAYS_OUT,
    "prefix": _STAYS_OUT,
    "never_list": _STAYS_OUT,
    "entries": "set another limit or withdraw some: no `--accept` passes it",
    "coverage": "set another limit or withdraw some: no `--accept` passes it",
    "stale": "all others pass; so does this with a new proof, or `proxywarden publish --accept`",
}


@dataclass(slots=True)
class Tally:
    """Additions, counted by where they are and who found them."""

    added: int = 0
    networks: Counter[str] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    detectors: Counter[str] = field(default_factory=Counter)
    vantages: Counter[str] = field(default_factory=Counter)

    def add(self, item: bytes, detector: str, vantage: str, system: str | None, number: int = 1) -> None:
        """One addition, or with number = -1 one that was none. system: its autonomous system, where that is known."""
        self.added += number
        self.networks[network_of(item)] += number
        self.detectors[detector.partition("/")[0]] += number
        self.vantages[vantage] += number
        if system is not None:
            self.systems[system] += number

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.added + other.added, *(getattr(self, name) + getattr(other, name) for name in _COUNTERS))

    def state(self) -> dict[str, Any]:
        """Plain values to keep; of each counter what matters."""
        return {"added": self.added} | {name: dict(getattr(self, name).most_common(_KEPT)) for name in _COUNTERS}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Tally:
        return cls(state["added"], *(Counter(state[name]) for name in _COUNTERS))


_COUNTERS = ("networks", "systems", "detectors", "vantages")


@dataclass(slots=True)
class Cycle:
    """What was published of a list in the current cycle: a moment, the entries then, additions, removals."""

    began: float
    base: int
    released: Tally = field(default_factory=Tally)
    removed: int = 0  # those aside that somebody wanted gone


def network_of(item: bytes) -> str:
    """The /16, or the /32 of IPv6, that an entry counts for."""
    if len(item) <= 5:
        return f"{item[0]}.{item[1]}.0.0/16"
    return f"{IPv6Address(item[:4] + bytes(12))}/32"


def offence(list_: str, item: bytes, limits: Limits, never_list: CidrSet) -> Trip | None:
    """Why this entry must never be published, whatever a person says."""
    if touches(item, ABSENT):
        return Trip("absent", f"{text_of(item)} holds 127.0.0.1, which must stay unlisted (RFC 5782)", hard=True)
    if len(item) == 5 and item[4] < limits.prefix4.get(list_, 32):
        return Trip("prefix", f"{text_of(item)} is wider than /{limits.prefix4.get(list_, 32)}", True, "prefix4")
    if len(item) == 17 and item[16] < limits.prefix6.get(list_, 128):
        return Trip("prefix", f"{text_of(item)} is wider than /{limits.prefix6.get(list_, 128)}", True, "prefix6")
    if touches(item, never_list):
        return Trip("never_list", f"{text_of(item)} is on the never-list", hard=True)
    return None


def judge(
    list_: str, cycle: Cycle, waiting: Tally, *, entries: int, addresses: int, vantages: int, limits: Limits
) -> tuple[Trip, ...]:
    """The trips of a list as it would stand with the additions that wait.

    entries, addresses: then, the latter of IPv4. vantages: how many there are to find something from.
    """
    return tuple(_trips(list_, cycle, cycle.released + waiting, entries, addresses, vantages, limits))


def _trips(
    list_: str, cycle: Cycle, tally: Tally, entries: int, addresses: int, vantages: int, limits: Limits
) -> Iterator[Trip]:
    allowed, key = max((limits.growth_floor, "growth_floor"), (int(cycle.base * limits.growth_share), "growth_share"))
    if tally.added > allowed:
        why = f"{tally.added} additions to {cycle.base} entries, expected at most {allowed}; {_most(tally)}"
        yield Trip("growth", why, key=key)
    allowed, key = max(
        (limits.removal_floor, "removal_floor"), (int(cycle.base * limits.removal_share), "removal_share")
    )
    if cycle.removed > allowed:
        yield Trip("removals", f"{cycle.removed} of {cycle.base} entries went, expected at most {allowed}", key=key)
    most = limits.max_entries.get(list_, 0)
    if entries > most:
        yield Trip("entries", f"{entries} entries, expected at most {most}", True, f"max_entries.{list_}")
    most = limits.max_addresses.get(list_, 0)
    if addresses > most:
        yield Trip("coverage", f"{addresses} addresses, expected at most {most}", True, f"max_addresses.{list_}")
    if tally.added < limits.share_floor:
        return
    yield from _share("network", tally.networks, tally.added, limits.network_share, "network_share")
    yield from _share("system", tally.systems, tally.added, limits.network_share, "network_share")
    yield from _share("detector", tally.detectors, tally.added, limits.detector_share, "detector_share")
    if vantages > 1:  # else all of it is from one place, always
        yield from _share("vantage", tally.vantages, tally.added, limits.vantage_share, "vantage_share")


def _share(rule: str, counts: Counter[str], total: int, allowed: float, key: str) -> Iterator[Trip]:
    for name, number in counts.most_common(1):
        if number > allowed * total:
            why = f"{number} of {total} additions are of {name or 'none'}, expected at most {allowed:.0%}"
            yield Trip(rule, why, key=key)


def _most(tally: Tally) -> str:
    """What additions have in common, for whoever has to judge them."""
    parts = [counts.most_common(1)[0] for counts in (tally.detectors, tally.networks) if counts]
    return "most are of " + " and ".join(f"{name or 'none'} ({number})" for name, number in parts)


def soft_trip(items: Sequence[bytes]) -> tuple[Trip, ...]:
    """The trip of additions that stand on the soft never-list without a person's word."""
    if not items:
        return ()
    more = f" and {len(items) - 1} more" if len(items) > 1 else ""
    return (Trip("soft never-list", f"{text_of(items[0])}{more}, which only a person lists"),)


def stale_trip(items: Sequence[bytes], hours: float) -> Trip:
    """The trip of additions that nobody let through while their proof was young. Others pass beside them."""
    more = f" and {len(items) - 1} more" if len(items) > 1 else ""
    return Trip("stale", f"{text_of(min(items))}{more}: last proven over {hours:g} hours ago", key="fresh_hours")


def random_addresses(number: int, rng: random.Random) -> Iterator[IPv4Address | IPv6Address]:
    """Half of them IPv4 of the unicast space, half IPv6 of 2000::/3."""
    for index in range(number):
        if index % 2:
            yield IPv6Address(1 << 125 | rng.getrandbits(125))
        else:
            yield IPv4Address(rng.randrange(1 << 24, 224 << 24))


def system_map(lines: Iterable[str]) -> CidrMap[str]:
    """`NETWORK NUMBER` a line, `#` comments. ValueError names the line."""
    found: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not words[1].upper().removeprefix("AS").isdigit():
            raise ValueError(f"line {number}: {line.strip()!r}: expected a network and the number of its system")
        found.append((words[0], "AS" + words[1].upper().removeprefix("AS")))
    return CidrMap(found)


def touches(item: bytes, networks: CidrSet) -> bool:
    """Whether an entry has anything in common with these. A set of one costs a thousand times what a question does."""
    text = text_of(item)
    return not CidrSet([text]).isdisjoint(networks) if "/" in text else text in networks
