"""What is published, in memory: addresses under the heading that decides their records. About six bytes for a single
IPv4 address, a hundred for a network or an IPv6 address.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final

from core.cidr import CidrSet
from scanner.publish.views import Heading

# A block is what moves in memory when an address is added, and the unit of rendering: a /12, or at 5 million addresses
# spread over all of IPv4 some 1,200 of them.
BLOCK_BITS: Final = 20


class Block:
    """The single IPv4 addresses of a /12, ascending."""

    __slots__ = ("addresses",)

    def __init__(self) -> None:
        self.addresses = array("I")

    def add(self, address: int) -> bool:
        place = bisect_left(self.addresses, address)
        if place < len(self.addresses) and self.addresses[place] == address:
            return False
        self.addresses.insert(place, address)
        return True

    def discard(self, address: int) -> bool:
        place = bisect_left(self.addresses, address)
        if place == len(self.addresses) or self.addresses[place] != address:
            return False
        self.addresses.pop(place)
        return True

    def __contains__(self, address: int) -> bool:
        place = bisect_left(self.addresses, address)
        return place < len(self.addresses) and self.addresses[place] == address


class Networks:
    """Networks, and IPv6 addresses: the packed first address with a byte of prefix length behind it."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: set[bytes] = set()

    def add(self, item: bytes) -> bool:
        if item in self.items:
            return False
        self.items.add(item)
        return True

    def discard(self, item: bytes) -> bool:
        if item not in self.items:
            return False
        self.items.remove(item)
        return True


class Shelf:
    """All entries under one heading."""

    __slots__ = ("blocks", "networks4", "networks6", "singles")

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self.networks4 = Networks()
        self.networks6 = Networks()
        self.singles = 0

    def add(self, item: bytes) -> bool:
        if len(item) != 4:
            return (self.networks4 if len(item) == 5 else self.networks6).add(item)
        address = int.from_bytes(item, "big")
        block = self.blocks.get(address >> BLOCK_BITS)
        if block is None:
            block = self.blocks[address >> BLOCK_BITS] = Block()
        added = block.add(address)
        self.singles += added
        return added

    def fill(self, addresses: array[int]) -> None:
        """Add many single IPv4 addresses at once, none of which is there yet."""
        ordered = array("I", sorted(addresses))
        place = 0
        while place < len(ordered):
            key = ordered[place] >> BLOCK_BITS
            end = bisect_left(ordered, key + 1 << BLOCK_BITS, place)
            block = self.blocks.setdefault(key, Block())
            merged = sorted((*block.addresses, *ordered[place:end])) if block.addresses else ordered[place:end]
            block.addresses = array("I", merged)
            place = end
        self.singles += len(ordered)

    def discard(self, item: bytes) -> bool:
        if len(item) != 4:
            return (self.networks4 if len(item) == 5 else self.networks6).discard(item)
        address = int.from_bytes(item, "big")
        block = self.blocks.get(address >> BLOCK_BITS)
        if block is None or not block.discard(address):
            return False
        if not block.addresses:
            del self.blocks[address >> BLOCK_BITS]
        self.singles -= 1
        return True

    def __contains__(self, item: bytes) -> bool:
        if len(item) != 4:
            return item in (self.networks4 if len(item) == 5 else self.networks6).items
        address = int.from_bytes(item, "big")
        block = self.blocks.get(address >> BLOCK_BITS)
        return block is not None and address in block

    def __len__(self) -> int:
        return self.singles + len(self.networks4.items) + len(self.networks6.items)

    def items(self) -> Iterator[bytes]:
        """Every entry, ascending, IPv4 addresses before IPv4 networks before IPv6."""
        for key in sorted(self.blocks):
            for address in self.blocks[key].addresses:
                yield address.to_bytes(4, "big")
        yield from sorted(self.networks4.items)
        yield from sorted(self.networks6.items)


class Image:
    """Entries by heading. An address may stand under one heading of each list and type."""

    def __init__(self) -> None:
        self.shelves: dict[Heading, Shelf] = {}
        self._by_type: dict[tuple[str, str], list[Heading]] = defaultdict(list)  # those without a note
        # The others by entry: operators have as many reasons as entries, too many headings to look through.
        self._noted: dict[tuple[str, str], dict[bytes, Heading]] = defaultdict(dict)

    def put(self, heading: Heading, item: bytes) -> bool:
        """Add or move an entry; True where anything about it is new."""
        shelf = self.shelves.get(heading)
        if shelf is None:
            shelf = self._shelf(heading)
        elif item in shelf:
            return False
        self.take(heading.list, heading.type, item)
        if heading.note:
            self._noted[heading.list, heading.type][item] = heading
        return shelf.add(item)

    def fill(self, heading: Heading, addresses: array[int]) -> None:
        """Add many single IPv4 addresses at once, none of which is there yet."""
        shelf = self.shelves.get(heading)
        (self._shelf(heading) if shelf is None else shelf).fill(addresses)
        if heading.note:
            items = (address.to_bytes(4, "big") for address in addresses)
            self._noted[heading.list, heading.type].update(dict.fromkeys(items, heading))

    def take(self, list_: str, type_: str, item: bytes) -> Heading | None:
        """Remove an entry; the heading it stood under, or None where there was none."""
        noted = self._noted[list_, type_].pop(item, None)
        if noted is not None:
            self.shelves[noted].discard(item)
            if not len(self.shelves[noted]):
                del self.shelves[noted]
            return noted
        for heading in self._by_type[list_, type_]:
            if self.shelves[heading].discard(item):
                return heading
        return None

    def find(self, list_: str, type_: str, item: bytes) -> Heading | None:
        """The heading that an entry stands under."""
        noted = self._noted[list_, type_].get(item)
        return noted or next((known for known in self._by_type[list_, type_] if item in self.shelves[known]), None)

    def of_list(self, list_: str) -> Iterator[tuple[Heading, Shelf]]:
        """The headings of a list with anything under them, in a fixed order."""
        for heading in sorted(self.shelves, key=lambda heading: (heading.type, heading.family, heading.note)):
            if heading.list == list_ and len(self.shelves[heading]):
                yield heading, self.shelves[heading]

    def move(self, list_: str, other: Image) -> None:
        """Give all entries of a list to another image."""
        for heading, shelf in list(self.of_list(list_)):
            known = other._by_type[list_, heading.type] or other._noted[list_, heading.type]
            if not known and not heading.note:
                other._adopt(heading, shelf)
            else:
                for item in shelf.items():
                    other.put(heading, item)
            del self.shelves[heading]
            if heading in (plain := self._by_type[list_, heading.type]):
                plain.remove(heading)
            self._noted.pop((list_, heading.type), None)

    def count(self, list_: str, version: int | None = None) -> int:
        """Entries of a list, of one family where asked."""
        total = 0
        for heading, shelf in self.shelves.items():
            if heading.list == list_:
                total += 0 if version == 6 else shelf.singles + len(shelf.networks4.items)
                total += 0 if version == 4 else len(shelf.networks6.items)
        return total

    def __len__(self) -> int:
        return sum(map(len, self.shelves.values()))

    def covered(self, list_: str) -> CidrSet:
        """Every address that the list covers."""
        singles, networks = array("I"), list[bytes]()
        for _, shelf in self.of_list(list_):
            for block in shelf.blocks.values():
                singles.extend(block.addresses)
            networks += (*shelf.networks4.items, *shelf.networks6.items)
        return CidrSet.from_arrays(singles) | CidrSet(map(text_of, networks))

    def addresses(self, list_: str) -> tuple[int, int]:
        """How much the list covers at most: IPv4 addresses, and /64 of IPv6."""
        four = six = 0
        for heading, shelf in self.shelves.items():
            if heading.list == list_:
                four += shelf.singles + sum(1 << 32 - item[4] for item in shelf.networks4.items)
                six += sum(1 << max(0, 64 - item[16]) for item in shelf.networks6.items)
        return four, six

    def _shelf(self, heading: Heading) -> Shelf:
        return self._adopt(heading, Shelf())

    def _adopt(self, heading: Heading, shelf: Shelf) -> Shelf:
        self.shelves[heading] = shelf
        known = self._by_type[heading.list, heading.type]
        if not heading.note and heading not in known:
            known.append(heading)
        return shelf


def item_of(text: str) -> bytes:
    """A store's address or CIDR as an item: four bytes for a single IPv4 address, else the length behind it."""
    address, slash, length = text.partition("/")
    six = ":" in address
    packed = inet_pton(AF_INET6 if six else AF_INET, address)
    if slash:
        return packed + bytes((int(length),))
    return packed + b"\x80" if six else packed


def text_of(item: bytes) -> str:
    """The store's text of an item."""
    if len(item) == 4:
        return inet_ntop(AF_INET, item)
    if len(item) == 5:
        return f"{inet_ntop(AF_INET, item[:4])}/{item[4]}"
    return inet_ntop(AF_INET6, item[:16]) + ("" if item[16] == 128 else f"/{item[16]}")
