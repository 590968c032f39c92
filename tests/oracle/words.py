"""core.words, plainly: ipaddress writes and reads, and cuts are made digit by digit."""

import re
from ipaddress import IPv6Address, IPv6Network

_EXCLUDED = re.compile(rb"!([0-9A-Fa-f:.]+/\d{1,3})")


def _text(packed):
    """Dotted ends are for IPv4 alone."""
    words = [f"{packed[i] << 8 | packed[i + 1]:x}" for i in range(0, 16, 2)]
    runs = re.finditer(r"(?<![^:])0(?::0)+(?![^:])", ":".join(words))
    longest = max(runs, key=lambda run: (len(run[0]), -run.start()), default=None)
    if longest is None:
        return ":".join(words)
    before, behind = longest.string[: longest.start()].rstrip(":"), longest.string[longest.end() :].lstrip(":")
    return f"{before}::{behind}"


def _networks(addresses, lengths):
    if len(addresses) != 16 * len(lengths):
        raise ValueError(f"expected {16 * len(lengths)} bytes of addresses, got {len(addresses)}")
    if any(length > 128 for length in lengths):
        raise ValueError(f"expected lengths up to 128, got {max(lengths)}")
    return [(addresses[16 * i : 16 * i + 16], length) for i, length in enumerate(lengths)]


def write_lines(addresses, lengths, before, behind):
    networks = _networks(addresses, lengths)
    return b"".join(before + f"{_text(packed)}/{length}".encode() + behind for packed, length in networks)


def read_excluded(text):
    if text and not text.endswith(b"\n"):
        raise ValueError("the last line is cut")
    found, others = [], []
    for line in text.split(b"\n")[:-1]:
        excluded = _EXCLUDED.fullmatch(line)
        try:
            network = IPv6Network(excluded[1].decode()) if excluded else None
        except ValueError:
            network = None
        if network is None or (b"/0" in line and not line.endswith(b"/0")):
            others.append(line)
        else:
            found.append((network.network_address.packed, network.prefixlen))
    return b"".join(packed for packed, _ in found), bytes(length for _, length in found), others


def cut_short(addresses, lengths):
    found = set()
    for packed, length in _networks(addresses, lengths):
        text = _text(packed)
        for end in range(1, len(text)):
            cut = text[:end]
            if cut.endswith(":") and not cut.endswith("::"):
                continue
            if "::" in cut:
                found.add((IPv6Address(cut).packed, 128))
            else:
                words = cut.split(":")
                found.add((IPv6Address(":".join(words + ["0"] * (8 - len(words)))).packed, 16 * len(words)))
        for end in range(1, len(str(length))):
            cut = int(str(length)[:end])
            if not int.from_bytes(packed, "big") & (1 << 128 - cut) - 1:
                found.add((packed, cut))
    return b"".join(packed for packed, _ in sorted(found)), bytes(length for _, length in sorted(found))
