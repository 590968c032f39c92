"""Guards against a zone file that was cut short: what rbldnsd would read from the start of a line, excluded. Pure.

rbldnsd says of an incomplete last line that it ignores it, and lists what is there of it all the same (measured with
1.0~20210120): 198.51.100.2 for 198.51.100.23, and with IPv6 2001::/16 for 2001:db8::1. Excluded before, it is not.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from core import words
from core.cidr import CidrSet
from core.quads import cut_short
from scanner.publish.image import text_of

# An octet -> what its digits are when cut: 123 -> (1, 12).
_CUT_OCTETS = tuple(tuple(int(str(n)[:k]) for k in range(1, len(str(n)))) for n in range(256))


def guards_of_singles(listed: Sequence[array[int]], networks: CidrSet) -> array[int]:
    """What single IPv4 addresses become when cut within the last octet, and the list does not hold.

    Cut earlier they are ranges, which `$MAXRANGE4` refuses. listed: ascending, each; networks: the list's ranges.
    """
    whole = listed[0] if len(listed) == 1 else array("I", sorted(set(chain.from_iterable(listed))))
    guards = cut_short(whole)
    if not networks:
        return guards
    inside = networks.contains_many(guards)
    return array("I", (guard for guard, is_inside in zip(guards, inside, strict=True) if not is_inside))


def guards4(networks: Iterable[bytes], listed: CidrSet, widest: int) -> list[str]:
    """Exclusions for IPv4 entries with a length, which rbldnsd reads cut as addresses or as ranges up to /widest."""
    found: set[bytes] = set()
    wholes: set[bytes] = set()
    for item in networks:
        for length in range(-(-widest // 8) * 8, 40, 8):
            whole = item[: length // 8]
            if whole in wholes:
                continue
            wholes.add(whole)
            rest = bytes(4 - len(whole)) + bytes((length,))
            found.update(whole[:-1] + bytes((cut,)) + rest for cut in _CUT_OCTETS[whole[-1]])
            if length < 32:
                found.add(whole + rest)
    guards = sorted(found)
    firsts = array("I", (int.from_bytes(guard[:4], "big") for guard in guards))
    return [text_of(guard).removesuffix("/32") for guard in _outside(guards, firsts, listed)]


def guards6(entries: Iterable[bytes], listed: CidrSet) -> tuple[bytes, bytes]:
    """The same for IPv6 entries as written, with lengths; addresses and lengths as core.words has them."""
    firsts, lengths = words.cut_short(*words_of(sorted(entries)))
    if 1 not in listed.contains_many(firsts):
        return firsts, lengths
    guards = [firsts[16 * i : 16 * i + 16] + lengths[i : i + 1] for i in range(len(lengths))]
    return words_of(list(_outside(guards, firsts, listed)))


def words_of(items: Sequence[bytes]) -> tuple[bytes, bytes]:
    """IPv6 networks as core.words takes them: addresses, and lengths."""
    return b"".join([item[:16] for item in items]), bytes([item[16] for item in items])


def _outside(guards: Sequence[bytes], firsts: array[int] | bytes, listed: CidrSet) -> Iterator[bytes]:
    """Guards that the list does not hold whole. firsts: their first addresses, of which few are listed."""
    begin_listed = listed.contains_many(firsts)
    some = [text_of(guard) for guard, is_listed in zip(guards, begin_listed, strict=True) if is_listed]
    gaps = [int(first) for first, _ in (CidrSet(some) - listed).ranges()]
    for guard, is_listed in zip(guards, begin_listed, strict=True):
        first, bits = int.from_bytes(guard[:-1], "big"), 8 * (len(guard) - 1)
        place = bisect_left(gaps, first)
        if not is_listed or (place < len(gaps) and gaps[place] < first + (1 << bits - guard[-1])):
            yield guard
