"""What a zone file says, read by another way than it was written, and how that differs from what it must say."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from core import words
from core.cidr import CidrSet
from core.quads import common, read_lines
from scanner.publish.gate import ABSENT
from scanner.publish.image import item_of, text_of

_PIECE = 1 << 20  # bytes read at once
_ABSENT4 = array("I", [0x7F000001])


@dataclass(slots=True)
class Content:
    """Entries by A value, test entries among them: single IPv4 addresses in the file's order, and the others; what is
    excluded; the entry of the last line.
    """

    singles: defaultdict[str, array[int]] = field(default_factory=lambda: defaultdict(lambda: array("I")))
    networks: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    excluded_singles: array[int] = field(default_factory=lambda: array("I"))
    excluded4: set[bytes] = field(default_factory=set)
    excluded6: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    last: str = ""

    def covered(self) -> CidrSet:
        """What a server would list."""
        singles = array("I")
        for addresses in self.singles.values():
            singles.extend(addresses)
        return CidrSet.from_arrays(singles) | self.covered_by_networks()

    def covered_by_networks(self) -> CidrSet:
        return CidrSet(text_of(item) for items in self.networks.values() for item in items)

    def among(self, addresses: array[int], networks: CidrSet) -> set[int]:
        """Which of these IPv4 addresses a server would list. networks: covered_by_networks()."""
        inside = zip(addresses, networks.contains_many(addresses), strict=True)
        found = {address for address, is_inside in inside if is_inside} if networks else set()
        return found.union(*(common(addresses, listed) for listed in self.singles.values()))

    def excludes_a_network(self) -> bool:
        """Whether a network is listed and excluded."""
        networks = {item for items in self.networks.values() for item in items}
        firsts, lengths = self.excluded6
        begins = CidrSet.from_arrays(b"".join([item[:16] for item in networks if len(item) > 5]))
        places = [place for place, is_one in enumerate(begins.contains_many(bytes(firsts))) if is_one]
        excluded6 = {bytes(firsts[16 * i : 16 * i + 16] + lengths[i : i + 1]) for i in places}
        return not networks.isdisjoint(self.excluded4 | excluded6)

    def take(self, text: bytes) -> None:
        """Read whole lines. ValueError: one that we never write, or that rbldnsd would refuse."""
        runs, excluded, others = read_lines(text)
        for value, addresses in runs:
            self.singles[text_of(value.to_bytes(4, "big"))].extend(addresses)
        self.excluded_singles.extend(excluded)
        firsts, lengths, others = words.read_excluded(b"".join([line + b"\n" for line in others]))
        self.excluded6[0].extend(firsts)
        self.excluded6[1].extend(lengths)
        for line in others:
            self._take_other(line.decode("ascii"))
        begin = text.rfind(b"\n", 0, -1) + 1
        self.last = text[begin:].decode("ascii").partition(" :")[0]

    def _take_other(self, line: str) -> None:
        if line.startswith("!"):
            self.excluded4.add(_item(line, line[1:]))
        elif line and line[0] not in "#$":
            place, _, record = line.partition(" :")
            value, colon, _ = record.partition(":")
            if not colon or not value.startswith("127.") or len(_item(line, value)) != 4:
                raise ValueError(f"{line!r}: expected an entry with a value of 127.0.0.0/8")
            self.networks[value].append(_item(line, place))


def _item(line: str, text: str) -> bytes:
    try:
        return item_of(text)
    except (OSError, ValueError):
        raise ValueError(f"{line!r}: {text!r} is no address") from None


def read_zone(path: Path) -> Content:
    """What a file on disk would list. ValueError: damaged."""
    content = Content()
    with path.open("rb") as file:
        while data := file.read(_PIECE) + file.readline():
            content.take(data)
    return content


def differences(
    name: str, read: Content, expected: Content, asked: Sequence[IPv4Address | IPv6Address] = ()
) -> Iterator[str]:
    """What is wrong with a file: it must say what is expected of it, no more and no less, and exclude none of it.

    asked: addresses at random, to ask for one by one in case the comparison is wrong.
    """
    for value in sorted({*read.singles, *read.networks, *expected.singles, *expected.networks}):
        one, other = read.singles[value], expected.singles[value]
        if one != other or sorted(read.networks[value]) != sorted(expected.networks[value]):
            yield f"{name}: what was written reads as something else: {value}"
    if read.last != expected.last:
        yield f"{name}: the test entry does not stand last"
    served, meant = read.covered_by_networks(), expected.covered_by_networks()
    if read.among(read.excluded_singles, served) or read.excludes_a_network():
        yield f"{name}: excludes what it lists"
    if read.among(_ABSENT4, served) or not served.isdisjoint(ABSENT):
        yield f"{name}: would list 127.0.0.1"
    four = array("I", (int(address) for address in asked if address.version == 4))
    six = CidrSet(address for address in asked if address.version == 6) & served
    surplus = [IPv4Address(n) for n in read.among(four, served) - expected.among(four, meant)]
    for address in (*surplus, *(six - meant).cidrs()):
        yield f"{name}: would list {address}, which is not listed"
