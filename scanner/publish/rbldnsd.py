"""The zone files of rbldnsd: one for each list and family, replaced as a whole, cheap to write again after a change.

The rules of what stands in them answer what rbldnsd was measured to do; docs/publishing.md has them.
"""

from __future__ import annotations

import os
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from core import words
from core.cidr import CidrSet
from core.quads import write_lines
from scanner.publish.image import BLOCK_BITS, Image, Networks, Shelf, item_of, text_of
from scanner.publish.truncation import guards4, guards6, guards_of_singles, words_of
from scanner.publish.views import Heading, View
from scanner.publish.zone_text import Content

TEST4: Final = "127.0.0.2"
TEST6: Final = "::ffff:7f00:2"  # rbldnsd refuses the dotted form
PUBLIC: Final = 0o644  # mode of what other programs read and serve, whatever our umask
_TEXT_LIMIT = 200  # bytes of a TXT, with the longest address in it
_LONGEST_ADDRESS = 39
_VARIABLES = 9  # $1 to $9
_STAMP_LEAD = 60  # seconds: rbldnsd refuses a file from the future, and clocks differ
_LOOPBACK_BLOCKS = range(127 << 24 - BLOCK_BITS, 128 << 24 - BLOCK_BITS)  # of the test entries, and of a laboratory
_SINGLE = 32  # a list whose widest network is this holds single addresses only


@dataclass(frozen=True, slots=True)
class Zone:
    """What all files have in common."""

    view: View
    lookup: str  # the address of the lookup page, to which the address is added
    origin: str
    contact: str  # a mail address
    name_servers: tuple[str, ...] = ()
    ttl: int = 120
    expires_hours: Mapping[str, int] = field(default_factory=dict)
    prefix4: Mapping[str, int] = field(default_factory=dict)


Shelved = tuple[Heading, Shelf, str]  # with the A value


class ZoneFile:
    """One file. It is written anew as a whole: a million entries take some hundredths of a second."""

    def __init__(self, zone: Zone, list_: str, version: int) -> None:
        self.name = f"{list_}{version}.zone"
        self.list = list_
        self.version = version
        self._zone = zone
        self._widest = zone.prefix4.get(list_, _SINGLE)
        self._variables: dict[Heading, int] = {}

    def render(self, image: Image, now: float) -> Iterator[bytes]:
        """The whole file, piece by piece."""
        shelves = self._shelves(image)
        for heading, _, _ in shelves:
            if heading not in self._variables and not heading.note and len(self._variables) < _VARIABLES:
                self._variables[heading] = len(self._variables) + 1
        yield self._head(sum(self._entries(shelf) for _, shelf, _ in shelves), now)
        if self.version == 4:
            ranges = CidrSet([text_of(item) for _, shelf, _ in shelves for item in shelf.networks4.items])
            unguarded = ranges | CidrSet(text_of(item) for item, _ in self._tests())
            for listed in _blocks(shelves):
                beside = unguarded if listed[0][2][0] >> 24 == 127 else ranges  # as in a laboratory
                yield self._singles([(self._value(heading, value), some) for heading, value, some in listed], beside)
            yield self._networks4(shelves, ranges)
        else:
            yield self._networks6(shelves)

    def content(self, image: Image) -> Content:
        """What a reader of the file must find."""
        content, shelves = Content(), self._shelves(image)
        for listed in _blocks(shelves) if self.version == 4 else ():
            for _, value, addresses in listed:
                content.singles[value].extend(addresses)
        for _, value, items in self._placed(shelves):
            content.networks[value] += items
        for item, value in self._tests():
            if self.version == 4:
                content.singles[value].append(int.from_bytes(item, "big"))
            else:
                content.networks[value].append(item)
            content.last = _written(item)
        return content

    def _shelves(self, image: Image) -> list[Shelved]:
        """What this view publishes of the list."""
        return [
            (heading, shelf, value)
            for heading, shelf in image.of_list(self.list)
            if (value := self._zone.view.value(heading)) is not None
        ]

    def names(self, image: Image) -> range | None:
        """How many names `rbldnsd -d` may tell with an A record. None: networks that hold others, of which it tells
        the common part once or in pieces, and IPv6 networks that end within a nibble.

        A range: of IPv6 addresses, which it serves, it leaves out those with another line within their /124, such as
        2001:db8::1 and its own guard (measured with 1.0~20210120).
        """
        shelves = [shelf for _, shelf, _ in self._shelves(image)]
        networks = [sorted(self._of_family(shelf).items) for shelf in shelves]
        whole = sorted(set().union(*networks))
        if any(_holds(outer, inner) for outer, inner in pairwise(whole)):
            return None
        if self.version == 6:
            if any(item[16] % 4 for item in whole):
                return None
            named = {*whole, item_of(TEST6)}
            return range(len(named) - sum(item[16] == 128 for item in whole), len(named) + 1)
        covered = CidrSet(map(text_of, whole))
        singles = [block.addresses for shelf in shelves for block in shelf.blocks.values()]
        if covered and any(any(covered.contains_many(addresses)) for addresses in singles):
            return None
        names = sum(1 << -item[4] % 8 for items in networks for item in items)
        names += sum(map(len, singles)) + len(self._tests())
        return range(names, names + 1)

    def _entries(self, shelf: Shelf) -> int:
        return shelf.singles + len(shelf.networks4.items) if self.version == 4 else len(shelf.networks6.items)

    def _head(self, count: int, now: float) -> bytes:
        zone = self._zone
        hours = zone.expires_hours.get(self.list, 168)
        person = zone.contact.replace("@", ".", 1) or "hostmaster." + zone.origin
        made = datetime.fromtimestamp(int(now), UTC)
        lines = [
            f"# {self.list}{self.version}: generated {made:%Y-%m-%dT%H:%M:%SZ}, expires in {hours} h, {count} entries",
            f"# a dataset of its own: ZONE:{'ip4set' if self.version == 4 else 'ip6trie'}:{self.name}",
            f"$SOA 3600 {(*zone.name_servers, zone.origin)[0]} {person} 0 600 300 604800 {zone.ttl}",
        ]
        if zone.name_servers:
            lines.append(f"$NS 3600 {' '.join(zone.name_servers)}")
        lines.append(f"$TTL {zone.ttl}")
        stamp = datetime.fromtimestamp(int(now) - _STAMP_LEAD, UTC)
        lines.append(f"$TIMESTAMP {stamp:%Y:%m:%d:%H:%M:%S} +{hours}h")
        if self.version == 4:
            lines.append(f"$MAXRANGE4 {1 if self._widest == _SINGLE else f'/{self._widest}'}")
        lines += [f"${number} {self.text(heading)}" for heading, number in self._variables.items()]
        return ("\n".join(lines) + "\n").encode("ascii")

    def text(self, heading: Heading) -> str:
        """The TXT of an entry, up to the address that ends it."""
        room = _TEXT_LIMIT - _LONGEST_ADDRESS - len(f", see {self._zone.lookup}")
        return f"{heading.title[:room]}, see {self._zone.lookup}"

    def _value(self, heading: Heading, value: str) -> str:
        number = self._variables.get(heading)
        return f" :{value}:{f'${number}' if number else self.text(heading)}$\n"

    def _singles(self, listed: list[tuple[str, array[int]]], ranges: CidrSet) -> bytes:
        """The lines of one block's single addresses, and before them what guards them against being cut."""
        addresses = [some for _, some in listed]
        if self._widest == _SINGLE:
            guards = write_lines(guards_of_singles(addresses, ranges), b"!", b"\n")
        else:  # cut before the last octet they would be ranges
            items = [n.to_bytes(4, "big") for some in addresses for n in some]
            whole = ranges | CidrSet.from_arrays(array("I", (n for some in addresses for n in some)))
            guards = _excluded(guards4(items, whole, self._widest))
        return b"".join((guards, *(write_lines(some, b"", tail.encode("ascii")) for tail, some in listed)))

    def _networks4(self, shelves: list[Shelved], ranges: CidrSet) -> bytes:
        """The lines of the networks, and of the test entries, which stand last."""
        tests = [item for item, _ in self._tests()]
        items = [item for _, shelf, _ in shelves for item in shelf.networks4.items]
        # Single addresses that may keep a guard away: all, or without networks those near the test entries.
        beside = array("I")
        for _, shelf, _ in shelves:
            for key, block in shelf.blocks.items():
                if items or key in _LOOPBACK_BLOCKS:
                    beside.extend(block.addresses)
        listed = ranges | CidrSet.from_arrays(beside) | CidrSet(map(text_of, tests))
        return _excluded(guards4([*items, *tests], listed, self._widest)) + self._lines(shelves)

    def _networks6(self, shelves: list[Shelved]) -> bytes:
        """The same for IPv6, where single addresses are networks too."""
        items = [item for _, shelf, _ in shelves for item in shelf.networks6.items]
        items += [item for item, _ in self._tests()]
        guards = words.write_lines(*guards6(items, CidrSet(map(text_of, items))), b"!", b"\n")
        return guards + self._lines(shelves)

    def _lines(self, shelves: list[Shelved]) -> bytes:
        lines: list[bytes] = []
        for heading, value, items in self._placed(shelves):
            tail, ordered = self._value(heading, value), sorted(items)
            if self.version == 4:
                lines += [f"{text_of(item)}{tail}".encode("ascii") for item in ordered]
            else:
                lines.append(words.write_lines(*words_of(ordered), b"", tail.encode("ascii")))
        test = f"Test entry of {self.list}, see {self._zone.lookup}$\n"
        lines += [f"{_written(item)} :{value}:{test}".encode("ascii") for item, value in self._tests()]
        return b"".join(lines)

    def _placed(self, shelves: list[Shelved]) -> Iterator[tuple[Heading, str, set[bytes]]]:
        """What stands under which heading: of IPv6 each network once, since ip6trie refuses a second value for it."""
        seen: set[bytes] = set()
        for heading, shelf, value in shelves:
            items = self._of_family(shelf).items
            yield heading, value, items - seen
            if self.version == 6:
                seen |= items

    def _of_family(self, shelf: Shelf) -> Networks:
        return shelf.networks4 if self.version == 4 else shelf.networks6

    def _tests(self) -> list[tuple[bytes, str]]:
        """Test entries and their values: every value stands for itself (RFC 5782 section 5), the general one last."""
        values = self._zone.view.values_of(self.list) or (TEST4,)
        general = TEST4 if TEST4 in values else values[0]
        if self.version == 6:
            return [(item_of(TEST6), general)]
        return [*((item_of(value), value) for value in values if value != TEST4), (item_of(TEST4), general)]


def _blocks(shelves: list[Shelved]) -> Iterator[list[tuple[Heading, str, array[int]]]]:
    """The single addresses of each /12 that has any, ascending."""
    found: defaultdict[int, list[tuple[Heading, str, array[int]]]] = defaultdict(list)
    for heading, shelf, value in shelves:
        for key, block in shelf.blocks.items():
            found[key].append((heading, value, block.addresses))
    for key in sorted(found):
        yield found[key]


def _excluded(guards: Sequence[str]) -> bytes:
    return "".join(f"!{guard}\n" for guard in guards).encode("ascii")


def _written(item: bytes) -> str:
    """IPv6 always with its length: rbldnsd takes words for a prefix otherwise."""
    return text_of(item) if len(item) <= 5 else words.write_lines(item[:16], item[16:], b"", b"").decode("ascii")


def _holds(outer: bytes, inner: bytes) -> bool:
    """Whether a network holds another one of its family."""
    first, second = (int.from_bytes(item[:-1], "big") for item in (outer, inner))
    return outer[-1] <= inner[-1] and first ^ second < 1 << 8 * (len(outer) - 1) - outer[-1]


def public_directory(path: Path) -> None:
    """Make it where it is missing, for others to read whatever our umask; one that is there stays as it is."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)


def write_beside(path: Path, pieces: Iterable[bytes]) -> Path:
    """Write a file beside its place; sync() and put_in_place() do the rest."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb", buffering=1 << 20) as file:
            os.fchmod(file.fileno(), PUBLIC)
            for piece in pieces:
                file.write(piece)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside


def sync(path: Path) -> None:
    """On disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(beside: Path, path: Path) -> None:
    """Replace a file by the one that was written beside it, at once and durably."""
    beside.replace(path)
    sync(path.parent)


def replace_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file whole or not at all."""
    beside = write_beside(path, pieces)
    try:
        sync(beside)
        put_in_place(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
