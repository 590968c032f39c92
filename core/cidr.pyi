"""Sets of networks and longest-prefix maps over IPv4 and IPv6, for single and for bulk questions."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final, Generic, Protocol, TypeVar, final, overload

from _typeshed import ReadableBuffer, WriteableBuffer

class _Netaddr(Protocol):
    """IPAddress, IPNetwork or IPRange of netaddr, whose types are not shipped with it."""

    @property
    def version(self) -> int: ...

class _IPSet(Protocol):
    """IPSet of netaddr."""

    def iter_cidrs(self) -> Iterable[Any]: ...

_Address = str | int | bytes | IPv4Address | IPv6Address | _Netaddr
_Network = _Address | tuple[int, int] | IPv4Network | IPv6Network

_Value = TypeVar("_Value")
_Default = TypeVar("_Default")
_Out = TypeVar("_Out", bound=WriteableBuffer)

@final
class CidrSet:
    """An immutable set of IPv4 and IPv6 addresses, built from networks.

    An item is an address, a network or a range: text ("192.0.2.1", "192.0.2.0/24", "192.0.2.1-192.0.2.9"), an
    object of ipaddress or netaddr, 4 or 16 packed bytes, an int (below 2**32 it is IPv4) or (int, 4 | 6). An
    IPv4-mapped IPv6 address is IPv6. Strict: host bits, leading zeros, zone ids and ranges that run backwards
    are a ValueError that names the item and what was expected; an item of another type is a TypeError.

    Because it never changes, readers share it freely, without locks, also in threads without the GIL. The
    next one is made beside it: `new = old - removed | added`, then one assignment swaps it in. That copies
    what stays (some milliseconds for millions of networks) and works only on the /16s that a change touches.
    """

    def __init__(self, networks: Iterable[_Network] | _IPSet = ()) -> None: ...
    @staticmethod
    def from_file(path: str | os.PathLike[str]) -> CidrSet:
        """Read text: one item a line, '#' starts a comment, blank lines do not count.

        ValueError: "PATH:LINE: 'ITEM': what was expected"; a line above 256 KB. OSError: as open().
        """
    @staticmethod
    def from_arrays(
        first: ReadableBuffer, last: ReadableBuffer | None = None, *, length: ReadableBuffer | None = None
    ) -> CidrSet:
        """From n addresses (as contains_many takes), alone or with n last addresses or prefix lengths
        (uint8).

        ValueError: names the index of an item with host bits set or that runs backwards, or sizes that
        differ.
        """
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the binary form that open() maps; replaces the file atomically, durable on return."""
    @staticmethod
    def open(path: str | os.PathLike[str]) -> CidrSet:
        """Map a file that save() wrote: processes that open it share its pages.

        ValueError: not such a file, damaged (checksum, sizes, order), or of another version or byte order.
        """
    def __contains__(self, address: object) -> bool:
        """Whether the address is in the set.

        address: str, int, 4 or 16 packed bytes, IPv4Address, IPv6Address or netaddr.IPAddress.
        ValueError: text that is no address. TypeError: anything else.
        """
    @overload
    def contains_many(
        self, addresses: ReadableBuffer | Sequence[_Address], out: None = None, *, bits: bool = False
    ) -> bytes:
        """Ask about n addresses at once; buffers without the GIL.

        addresses: contiguous buffer of uint32 (format I, host order: IPv4), or of 16 bytes each in network
        order (IPv6: bytes, format 16s, or uint8 of shape (n, 16)), or a list or tuple of what `in` takes.
        out: writable contiguous buffer of n bytes, or (n + 7) // 8 with bits; it must not overlap addresses.
        Returns out, or new bytes: 1 or 0 for each address; with bits, address 8 * j + i is bit i of byte j.
        ValueError: out has another size, or text that is no address. TypeError: a buffer of another format.
        """
    @overload
    def contains_many(
        self, addresses: ReadableBuffer | Sequence[_Address], out: _Out, *, bits: bool = False
    ) -> _Out: ...
    def __or__(self, other: CidrSet) -> CidrSet: ...
    def __and__(self, other: CidrSet) -> CidrSet: ...
    def __sub__(self, other: CidrSet) -> CidrSet: ...
    def __le__(self, other: CidrSet) -> bool:
        """Whether other holds every address of this set."""
    def __lt__(self, other: CidrSet) -> bool: ...
    def __ge__(self, other: CidrSet) -> bool: ...
    def __gt__(self, other: CidrSet) -> bool: ...
    def isdisjoint(self, other: CidrSet) -> bool: ...
    def __eq__(self, other: object) -> bool:
        """Whether both hold the same addresses, however they were written."""
    def __hash__(self) -> int: ...
    def __bool__(self) -> bool: ...
    @property
    def num_addresses(self) -> int:
        """How many addresses of both families, exactly: up to 2**128 + 2**32."""
    def ranges(self) -> Iterator[tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address]]:
        """First and last address of each longest run, ascending, IPv4 before IPv6."""
    def cidrs(self) -> Iterator[IPv4Network | IPv6Network]:
        """The smallest list of networks that is this set, ascending, IPv4 before IPv6."""
    def __copy__(self) -> CidrSet: ...
    def __deepcopy__(self, memo: object) -> CidrSet: ...

@final
class CidrMap(Generic[_Value]):
    """An immutable map from networks to values of any type; of the networks that hold an address the longest
    wins.

    Networks are written as for CidrSet; a range must be exactly one network. Of equal ones the last stays.
    """

    MISSING: Final = 0xFFFFFFFF
    def __init__(self, networks: Mapping[Any, _Value] | Iterable[tuple[_Network, _Value]] = ()) -> None: ...
    def __getitem__(self, address: _Address) -> _Value:
        """The value of the longest network that holds the address. KeyError: none does."""
    @overload
    def get(self, address: _Address) -> _Value | None: ...
    @overload
    def get(self, address: _Address, default: _Default) -> _Value | _Default: ...
    def __contains__(self, address: object) -> bool: ...
    def covering(self, address: _Address) -> list[tuple[IPv4Network | IPv6Network, _Value]]:
        """All networks that hold the address, with their values, from the shortest to the longest."""
    def items(self) -> list[tuple[IPv4Network | IPv6Network, _Value]]:
        """Networks and values by first address, shorter networks first, IPv4 before IPv6."""
    def __iter__(self) -> Iterator[IPv4Network | IPv6Network]:
        """The networks alone, in the order of items()."""
    def values(self) -> list[_Value]:
        """The values alone, in the order of items()."""
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    @overload
    def index_many(self, addresses: ReadableBuffer | Sequence[_Address], out: None = None) -> Sequence[int]:
        """For each of n addresses (as CidrSet.contains_many takes) the index in items() of its longest
        network, or MISSING; buffers without the GIL.

        out: writable contiguous buffer of n uint32. Returns out, or a new array.array("I").
        """
    @overload
    def index_many(self, addresses: ReadableBuffer | Sequence[_Address], out: _Out) -> _Out: ...
    def __eq__(self, other: object) -> bool: ...
