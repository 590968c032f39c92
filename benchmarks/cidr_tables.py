"""Tables and questions for benchmarks/cidr.py, from a seed, in the shapes of a routing table and a
blocklist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Shares of prefix lengths in a full routing table of 2025 (IPv4: 59.6 % are /24).
LENGTHS4 = {
    24: 59.6,
    23: 9.6,
    22: 10.4,
    21: 5.2,
    20: 4.6,
    19: 3.0,
    18: 1.5,
    17: 1.0,
    16: 1.4,
    15: 0.3,
    14: 0.2,
    13: 0.1,
}
LENGTHS6 = {
    48: 46.0,
    32: 11.0,
    44: 9.0,
    40: 8.0,
    36: 5.0,
    46: 4.0,
    47: 4.0,
    45: 2.0,
    42: 2.0,
    33: 2.0,
    34: 1.0,
    29: 3.0,
}


@dataclass(frozen=True)
class Table:
    """Networks as first addresses (uint32, or uint64 upper halves) and prefix lengths; questions like the
    first.
    """

    name: str
    first: np.ndarray
    length: np.ndarray
    uniform: np.ndarray
    real: np.ndarray


def _lengths(rng, shares, count):
    kinds = np.array(list(shares))
    weights = np.array(list(shares.values()))
    return rng.choice(kinds, count, p=weights / weights.sum()).astype("uint8")


def _zipf(rng, size, count):
    """Indices below size, a few of them very often."""
    return (size ** rng.random(count)).astype("int64") - 1


def bgp4(count=1_000_000, questions=10_000_000, seed=4):
    """Allocations over about half of the space, and more specific prefixes within them."""
    rng = np.random.default_rng(seed)
    blocks, where = [], 1 << 24
    while where < 224 << 24:
        length = int(rng.choice([12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22], p=_shares(11)))
        size = 1 << (32 - length)
        where = (where + size - 1) & -size
        blocks.append((where, length))
        where += size + int(rng.choice([0, 256, 512, 1024, 4096], p=[0.2, 0.3, 0.2, 0.2, 0.1])) * int(
            rng.integers(1, 9)
        )
    starts = np.array([b[0] for b in blocks], "uint64")
    sizes = np.array([1 << (32 - b[1]) for b in blocks], "uint64")
    length = _lengths(rng, LENGTHS4, count)
    inside = starts[rng.choice(len(blocks), count, p=sizes / sizes.sum())]
    block = np.searchsorted(starts, inside, "right") - 1
    at = starts[block] + (rng.random(count) * sizes[block]).astype("uint64")
    first = (at >> (32 - length.astype("uint64")) << (32 - length.astype("uint64"))).astype("uint32")
    hits = rng.random(questions) < 0.8
    chosen = first[_zipf(rng, count, questions)] + rng.integers(0, 256, questions, dtype="uint32")
    uniform = rng.integers(0, 1 << 32, questions, dtype="uint32")
    other = rng.integers(0, 1 << 32, questions, dtype="uint32")
    return Table("bgp4", first, length, uniform, np.where(hits, chosen, other))


def _shares(count):
    weights = np.arange(1, count + 1, dtype=float) ** 1.5
    return weights / weights.sum()


def blocklist4(hosts=5_000_000, networks=50_000, questions=10_000_000, seed=5):
    """Hosts crowded into dynamic ranges, and some networks."""
    rng = np.random.default_rng(seed)
    ranges = rng.choice(1 << 19, 5000, replace=False).astype("uint32") << 13
    at = ranges[rng.integers(0, len(ranges), hosts)] + rng.integers(0, 1 << 13, hosts, dtype="uint32")
    size = rng.integers(20, 30, networks).astype("uint8")
    nets = rng.integers(0, 1 << 32, networks, dtype="uint32") >> (32 - size) << (32 - size)
    first = np.concatenate([at, nets.astype("uint32")])
    length = np.concatenate([np.full(hosts, 32, "uint8"), size])
    near = ranges[rng.integers(0, len(ranges), questions)] + rng.integers(0, 1 << 13, questions, dtype="uint32")
    uniform = rng.integers(0, 1 << 32, questions, dtype="uint32")
    kind = rng.random(questions)
    hit = at[rng.integers(0, hosts, questions)]
    return Table("bl4", first, length, uniform, np.where(kind < 0.8, hit, np.where(kind < 0.9, near, uniform)))


def bgp6(count=200_000, questions=4_000_000, seed=6):
    """Allocations under some eighty /16s, and more specific prefixes within them; upper halves only."""
    rng = np.random.default_rng(seed)
    tops = [
        0x2001,
        *range(0x2400, 0x2410),
        *range(0x2600, 0x2610),
        *range(0x2800, 0x2808),
        *range(0x2A00, 0x2A14),
    ]
    allocations = (rng.choice(np.array(tops, "uint64"), 24_000) << 48) | (
        rng.integers(0, 1 << 13, 24_000, "uint64") << 35
    )
    length = _lengths(rng, LENGTHS6, count)
    inside = allocations[_zipf(rng, len(allocations), count)] | rng.integers(0, 1 << 35, count, "uint64")
    spare = 64 - length.astype("uint64")
    first = inside >> spare << spare
    uniform = rng.integers(0, 1 << 64, questions, dtype="uint64")
    chosen = first[_zipf(rng, count, questions)] | rng.integers(0, 1 << 16, questions, dtype="uint64")
    other = allocations[rng.integers(0, len(allocations), questions)] | rng.integers(0, 1 << 35, questions, "uint64")
    return Table("bgp6", first, length, uniform, np.where(rng.random(questions) < 0.8, chosen, other))


def packed6(high):
    """Upper halves to 16-byte addresses in network order, with lower halves of 1."""
    out = np.zeros((len(high), 2), ">u8")
    out[:, 0] = high
    out[:, 1] = 1
    return out.tobytes()
