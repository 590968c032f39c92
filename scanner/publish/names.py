"""Entries as names of an ordinary DNS zone: which names there are, and what each answers. Pure.

A wildcard answers only where nothing exists below (RFC 4592): with `*.51.198` and anything at all under 100.51.198, an
address of 198.51.100.0/24 has no answer any more. So every name that stands inside a range is given the wildcards
beside it, level by level, each with all that covers it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from scanner.publish.image import BLOCK_BITS, Image, Shelf
from scanner.publish.views import Heading

_STEP = {4: 8, 6: 4}  # bits of a label: an octet, a nibble
_WIDTH = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A name: the address where length is the whole width, else the wildcard below a prefix of whole labels."""

    version: int
    number: int  # the first address
    length: int

    def labels(self) -> str:
        """Relative to the zone."""
        step, width = _STEP[self.version], _WIDTH[self.version]
        count = self.length // step
        whole = self.number >> width - self.length
        parts = [whole >> step * place & (1 << step) - 1 for place in range(count)]
        texts = [str(part) if self.version == 4 else f"{part:x}" for part in parts]
        return ".".join(texts if self.length == width else ["*", *texts])


class Names:
    """The names of an image in one family; changes of the image show at once."""

    def __init__(self, image: Image, version: int, lists: tuple[str, ...]) -> None:
        self._image = image
        self._lists = lists
        self.version = version
        self._step = _STEP[version]
        self._width = _WIDTH[version]

    def content(self, node: Node) -> list[Heading]:
        """What the name answers; nothing where there must be no such name."""
        covering = self._covering(node.number, node.length)
        if node.length == self._width:
            # A lone address has a name only where it is an entry: elsewhere a wildcard answers for it.
            return covering if self._is_entry(node) else []
        if not covering or not (self._is_entry(node) or self._anything_below(node)):
            return []
        return covering

    def affected(self, item: bytes) -> Iterator[Node]:
        """Every name whose content may change when this entry comes or goes."""
        for number, length in self._whole_labels(item):
            yield from self._up(number, length)
            if length < self._width:
                for below_number, below_length in self._below(number, length):
                    yield from self._up(below_number, below_length, down_to=length)

    def all(self) -> Iterator[Node]:
        """Every name with content; some more than once."""
        for list_ in self._lists:
            for _, shelf in self._image.of_list(list_):
                for item in self._items(shelf):
                    for number, length in self._whole_labels(item):
                        for node in self._up(number, length):
                            if node.length == length or self.content(node):
                                yield node

    def _up(self, number: int, length: int, down_to: int = 0) -> Iterator[Node]:
        """The name and the wildcards of all labels above it, down to a length of prefix."""
        while length > 0 and length >= down_to:
            yield Node(self.version, number, length)
            length -= self._step
            number = number >> self._width - length << self._width - length if length > 0 else 0

    def _whole_labels(self, item: bytes) -> Iterator[tuple[int, int]]:
        """An entry as prefixes of whole labels: a /20 is sixteen /24."""
        if (len(item) > 5) != (self.version == 6):
            return
        length = 32 if len(item) == 4 else item[-1]
        number = int.from_bytes(item[: self._width // 8], "big")
        whole = -(-length // self._step) * self._step
        for part in range(1 << whole - length):
            yield number + (part << self._width - whole), whole

    def _covering(self, number: int, length: int) -> list[Heading]:
        """The headings of all entries that hold the whole prefix."""
        found = []
        for list_ in self._lists:
            for heading, shelf in self._image.of_list(list_):
                ranges = shelf.networks4.items if self.version == 4 else shelf.networks6.items
                lengths = range(length, 0, -1) if ranges else range(length, self._width - 1, -1)
                if any(self._has(shelf, number, short) for short in lengths):
                    found.append(heading)
        return found

    def _has(self, shelf: Shelf, number: int, length: int) -> bool:
        first = number >> self._width - length << self._width - length
        if self.version == 6:
            return first.to_bytes(16, "big") + bytes((length,)) in shelf.networks6.items
        packed = first.to_bytes(4, "big")
        if length == 32 and packed in shelf:
            return True
        return bool(shelf.networks4.items) and packed + bytes((length,)) in shelf.networks4.items

    def _is_entry(self, node: Node) -> bool:
        """Whether an entry, cut into whole labels, has exactly this name."""
        lengths = range(node.length, max(0, node.length - self._step), -1)
        return any(
            self._has(shelf, node.number, length)
            for list_ in self._lists
            for _, shelf in self._image.of_list(list_)
            for length in lengths
        )

    def _anything_below(self, node: Node) -> bool:
        return next(self._below(node.number, node.length), None) is not None

    def _below(self, number: int, length: int) -> Iterator[tuple[int, int]]:
        """Entries inside a prefix and narrower than it, in whole labels."""
        last = number | (1 << self._width - length) - 1
        for list_ in self._lists:
            for _, shelf in self._image.of_list(list_):
                if self.version == 4:
                    yield from _singles(shelf, number, last)
                for item in shelf.networks4.items if self.version == 4 else shelf.networks6.items:
                    first = int.from_bytes(item[:-1], "big")
                    if number <= first <= last and item[-1] > length:
                        yield from self._whole_labels(item)

    def _items(self, shelf: Shelf) -> Iterator[bytes]:
        return (item for item in shelf.items() if (len(item) > 5) == (self.version == 6))


def _singles(shelf: Shelf, first: int, last: int) -> Iterator[tuple[int, int]]:
    for key in range(first >> BLOCK_BITS, (last >> BLOCK_BITS) + 1):
        block = shelf.blocks.get(key)
        if block is not None:
            place = bisect_left(block.addresses, first)
            while place < len(block.addresses) and block.addresses[place] <= last:
                yield block.addresses[place], 32
                place += 1
