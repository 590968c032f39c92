"""Plain twin of core.cidr: a set is a list of ranges of integers a family; ipaddress reads the text."""

from __future__ import annotations

import ipaddress
import itertools
import os
import re
import sys
from array import array
from collections.abc import Mapping
from pathlib import Path

TOP = {4: 2**32 - 1, 6: 2**128 - 1}
ADDRESS = {4: ipaddress.IPv4Address, 6: ipaddress.IPv6Address}
NETWORK = {4: ipaddress.IPv4Network, 6: ipaddress.IPv6Network}
INTERFACES = (ipaddress.IPv4Interface, ipaddress.IPv6Interface)


def _number(number):
    if not 0 <= number < 2**128:
        raise ValueError(f"{number!r}: expected an integer from 0 to 2**128-1")
    return (4 if number < 2**32 else 6), number


def _text_address(text, item, expected):
    quad = text.rpartition(":")[2]
    if "." in quad and re.search(r"(^|\.)0[0-9]", quad):
        raise ValueError(f"{item!r}: leading zero; expected plain decimal numbers")
    if "%" in text:
        raise ValueError(f"{item!r}: zone id; expected an address without '%'")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{item!r}: expected {expected}") from None
    return address.version, int(address)


def _address(item):
    """(family, number) of an address of any type."""
    if isinstance(item, str):
        return _text_address(item, item, "an address")
    if isinstance(item, int) and not isinstance(item, bool):
        return _number(item)
    if isinstance(item, bytes):
        if len(item) not in (4, 16):
            raise ValueError(f"{item!r}: expected 4 or 16 packed bytes, got {len(item)}")
        return (4 if len(item) == 4 else 6), int.from_bytes(item, "big")
    if isinstance(item, (ipaddress.IPv4Address, ipaddress.IPv6Address)) and not isinstance(item, INTERFACES):
        if getattr(item, "scope_id", None) is not None:
            raise ValueError(f"{item!r}: zone id; expected an address without '%'")
        return item.version, int(item)
    netaddr = sys.modules.get("netaddr")
    if netaddr and isinstance(item, netaddr.IPAddress):
        return item.version, int(item)
    raise TypeError(f"{item!r}: expected an address, got {type(item).__name__}")


def _text_span(text, item):
    expected = "an address, a network address/length or a range first-last"
    if "-" in text:
        first, last = (_text_address(part, item, expected) for part in text.split("-", 1))
        if first[0] != last[0]:
            raise ValueError(f"{item!r}: IPv4 and IPv6 in one range")
        if first[1] > last[1]:
            raise ValueError(f"{item!r}: the first address is above the last")
        return first[0], first[1], last[1], None
    head, slash, tail = text.partition("/")
    family, first = _text_address(head, item, expected)
    bits = 32 if family == 4 else 128
    if not slash:
        return family, first, first, bits
    if not re.fullmatch(r"0|[1-9][0-9]{0,2}", tail, re.ASCII) or int(tail) > bits:
        raise ValueError(f"{item!r}: expected a prefix length from 0 to {bits}, without leading zeros")
    return _prefix(family, first, int(tail), item)


def _prefix(family, first, length, item):
    mask = 2 ** ((32 if family == 4 else 128) - length) - 1
    if first & mask:
        net = NETWORK[family]((first & ~mask, length))
        raise ValueError(f"{item!r}: host bits set; expected {net}")
    return family, first, first | mask, length


def _span(item):
    """(family, first, last, prefix length or None) of an item of any type."""
    if isinstance(item, str):
        return _text_span(item, item)
    if isinstance(item, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        if getattr(item.network_address, "scope_id", None) is not None:
            raise ValueError(f"{item!r}: zone id; expected an address without '%'")
        return _prefix(item.version, int(item.network_address), item.prefixlen, item)
    if isinstance(item, tuple):
        if len(item) != 2 or type(item[0]) is not int or item[1] not in (4, 6):
            raise TypeError(f"{item!r}: expected (int, 4) or (int, 6)")
        family, number = item[1], _number(item[0])[1]
        if number > TOP[family]:
            raise ValueError(f"{item!r}: expected an integer from 0 to 2**32-1")
        return family, number, number, 32 if family == 4 else 128
    netaddr = sys.modules.get("netaddr")
    if netaddr and isinstance(item, netaddr.IPNetwork):
        return _prefix(item.version, item.value, item.prefixlen, item)
    if netaddr and isinstance(item, netaddr.IPRange):
        return item.version, item.first, item.last, None
    if isinstance(item, INTERFACES):
        raise TypeError(f"{item!r}: expected an address or a network; take its .ip or its .network")
    family, number = _address(item)
    return family, number, number, 32 if family == 4 else 128


def _items(networks):
    netaddr = sys.modules.get("netaddr")
    if netaddr and isinstance(networks, netaddr.IPSet):
        return networks.iter_cidrs()
    refused = (str, bytes, ipaddress.IPv4Network, ipaddress.IPv6Network)
    if netaddr:
        refused += (netaddr.IPNetwork, netaddr.IPRange)
    if networks is None or isinstance(networks, refused):
        raise TypeError("expected an iterable of networks; put a single one in a list")
    return networks


def _merge(ranges):
    merged = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _outside(ranges, top):
    """The complement."""
    result, start = [], 0
    for first, last in ranges:
        if first > start:
            result.append((start, first - 1))
        start = last + 1
    return [*result, (start, top)] if start <= top else result


def _common(a, b):
    pairs = itertools.product(a, b)
    return _merge((max(p[0], q[0]), min(p[1], q[1])) for p, q in pairs if p[0] <= q[1] and q[0] <= p[1])


def _numbers(buffer, name="addresses"):
    """(family, numbers) of a buffer."""
    try:
        view = memoryview(buffer)
    except TypeError:
        raise TypeError(f"{name}: expected a buffer of uint32 or of 16-byte addresses") from None
    if view.itemsize == 4 and view.format.lstrip("@=<") in ("I", "L"):
        return 4, view.cast("B").cast("I").tolist()
    data = view.tobytes()
    if view.format in ("16s", "16x") or (view.itemsize == 1 and len(data) % 16 == 0):
        return 6, [int.from_bytes(data[i : i + 16], "big") for i in range(0, len(data), 16)]
    raise TypeError(f"{name}: expected a buffer of uint32 (format I) or of 16-byte addresses")


def _give(out, data):
    if out is None:
        return data
    view = memoryview(out).cast("B")
    if view.nbytes != len(data):
        raise ValueError(f"out: expected {len(data)} bytes, got {view.nbytes}")
    view[:] = data
    return out


class CidrSet:
    def __init__(self, networks=()):
        spans = [_span(item) for item in _items(networks)]
        self._ranges = {family: _merge((s[1], s[2]) for s in spans if s[0] == family) for family in (4, 6)}

    @classmethod
    def _of(cls, four, six):
        self = cls()
        self._ranges = {4: four, 6: six}
        return self

    @classmethod
    def from_file(cls, path):
        items = []
        for number, line in enumerate(Path(path).read_bytes().split(b"\n"), 1):
            item = line.partition(b"#")[0].strip(b" \t\r\v\f").decode("utf-8", "backslashreplace")
            if item:
                try:
                    _span(item)
                except ValueError as error:
                    raise ValueError(f"{os.fsdecode(path)}:{number}: {error}") from None
                items.append(item)
        return cls(items)

    @classmethod
    def from_arrays(cls, first, last=None, *, length=None):
        family, starts = _numbers(first, "first")
        if last is not None and length is not None:
            raise TypeError("last and length exclude each other")
        ends = starts
        if last is not None:
            other, ends = _numbers(last, "last")
            if other != family or len(ends) != len(starts):
                raise ValueError(f"last: expected {len(starts)} addresses of the type of first, got {len(ends)}")
            for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
                if start > end:
                    raise ValueError(f"item {i}: the first address is above the last")
        elif length is not None:
            lengths = list(memoryview(length).cast("B"))
            if len(lengths) != len(starts):
                raise ValueError(f"length: expected {len(starts)} bytes (format B), got {len(lengths)}")
            bits = 32 if family == 4 else 128
            ends = []
            for i, (start, size) in enumerate(zip(starts, lengths, strict=True)):
                if size > bits:
                    raise ValueError(f"item {i}: expected a prefix length from 0 to {bits}, got {size}")
                try:
                    ends.append(_prefix(family, start, size, start)[2])
                except ValueError as error:
                    raise ValueError(f"item {i}: {error}") from None
        merged = _merge(zip(starts, ends, strict=True))
        return cls._of(merged, []) if family == 4 else cls._of([], merged)

    def save(self, path):
        Path(path).write_text("".join(f"{a}-{b}\n" for a, b in self.ranges()) + "# end\n")

    @classmethod
    def open(cls, path):
        if not Path(path).read_bytes().endswith(b"# end\n"):
            raise ValueError(f"{os.fsdecode(path)}: expected a saved CidrSet")
        return cls.from_file(path)

    def _holds(self, family, number):
        return any(first <= number <= last for first, last in self._ranges[family])

    def __contains__(self, address):
        return self._holds(*_address(address))

    def contains_many(self, addresses, out=None, *, bits=False):
        if isinstance(addresses, (list, tuple)):
            answers = [address in self for address in addresses]
        else:
            family, numbers = _numbers(addresses)
            answers = [self._holds(family, number) for number in numbers]
        if bits:
            eights = [answers[i : i + 8] for i in range(0, len(answers), 8)]
            return _give(out, bytes(sum(one << i for i, one in enumerate(eight)) for eight in eights))
        return _give(out, bytes(answers))

    def __or__(self, other):
        if not isinstance(other, CidrSet):
            return NotImplemented
        return self._of(*(_merge(self._ranges[f] + other._ranges[f]) for f in (4, 6)))

    def __and__(self, other):
        if not isinstance(other, CidrSet):
            return NotImplemented
        return self._of(*(_common(self._ranges[f], other._ranges[f]) for f in (4, 6)))

    def __sub__(self, other):
        if not isinstance(other, CidrSet):
            return NotImplemented
        return self._of(*(_common(self._ranges[f], _outside(other._ranges[f], TOP[f])) for f in (4, 6)))

    def isdisjoint(self, other):
        if not isinstance(other, CidrSet):
            raise TypeError("expected a CidrSet")
        return not self & other

    def __eq__(self, other):
        return self._ranges == other._ranges if isinstance(other, CidrSet) else NotImplemented

    def __le__(self, other):
        return not self - other if isinstance(other, CidrSet) else NotImplemented

    def __ge__(self, other):
        return not other - self if isinstance(other, CidrSet) else NotImplemented

    def __lt__(self, other):
        return self != other and self <= other if isinstance(other, CidrSet) else NotImplemented

    def __gt__(self, other):
        return self != other and self >= other if isinstance(other, CidrSet) else NotImplemented

    def __hash__(self):
        return hash((*self._ranges[4], None, *self._ranges[6]))

    def __bool__(self):
        return bool(self._ranges[4] or self._ranges[6])

    @property
    def num_addresses(self):
        return sum(last - first + 1 for ranges in self._ranges.values() for first, last in ranges)

    def ranges(self):
        for family, ranges in self._ranges.items():
            for first, last in ranges:
                yield ADDRESS[family](first), ADDRESS[family](last)

    def cidrs(self):
        for first, last in self.ranges():
            yield from ipaddress.summarize_address_range(first, last)

    def __repr__(self):
        few = [str(net) for net in itertools.islice(self.cidrs(), 4)]
        if len(few) == 4:
            few[3] = "..."
        return f"CidrSet([{', '.join(few)}])" if few else "CidrSet()"


class CidrMap:
    MISSING = 0xFFFFFFFF

    def __init__(self, networks=()):
        found = {}
        for item, value in networks.items() if isinstance(networks, Mapping) else networks:
            family, first, last, length = _span(item)
            size = last - first + 1
            if length is None:
                if size & (size - 1) or first % size:
                    raise ValueError(f"{item!r}: expected a network, got a range that is none")
                length = (32 if family == 4 else 128) - (size.bit_length() - 1)
            found[family, first, length] = value
        self._items = [(NETWORK[f]((first, length)), found[f, first, length]) for f, first, length in sorted(found)]

    def _all(self, family, number):
        """Indices of the networks that hold the address, from the shortest."""
        address = ADDRESS[family](number)
        found = [i for i, (net, _) in enumerate(self._items) if net.version == family and address in net]
        return sorted(found, key=lambda i: self._items[i][0].prefixlen)

    def _index(self, family, number):
        return (self._all(family, number) or [self.MISSING])[-1]

    def __getitem__(self, address):
        index = self._index(*_address(address))
        if index == self.MISSING:
            raise KeyError(address)
        return self._items[index][1]

    def get(self, address, default=None):
        try:
            return self[address]
        except KeyError:
            return default

    def __contains__(self, address):
        return self._index(*_address(address)) != self.MISSING

    def covering(self, address):
        return [self._items[i] for i in self._all(*_address(address))]

    def items(self):
        return list(self._items)

    def __iter__(self):
        return (network for network, _ in self._items)

    def values(self):
        return [value for _, value in self._items]

    def __len__(self):
        return len(self._items)

    def index_many(self, addresses, out=None):
        if isinstance(addresses, (list, tuple)):
            indices = array("I", [self._index(*_address(address)) for address in addresses])
        else:
            family, numbers = _numbers(addresses)
            indices = array("I", [self._index(family, number) for number in numbers])
        return indices if out is None else _give(out, indices.tobytes())

    def __eq__(self, other):
        return self._items == other._items if isinstance(other, CidrMap) else NotImplemented

    __hash__ = None

    def __repr__(self):
        return f"<CidrMap of {len(self)} networks>"
