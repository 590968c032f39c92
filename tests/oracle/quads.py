"""core.quads, plainly: one regular expression for each kind of line."""

import re
from array import array
from ipaddress import IPv4Address
from itertools import pairwise

_QUAD = rb"((?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d))"
_LISTED = re.compile(_QUAD + rb" :" + _QUAD + rb":.*", re.DOTALL)
_EXCLUDED = re.compile(b"!" + _QUAD)


def write_lines(addresses, before, behind):
    return b"".join(before + str(IPv4Address(address)).encode() + behind for address in addresses)


def read_lines(text):
    if text and not text.endswith(b"\n"):
        raise ValueError("the last line is cut")
    runs, excluded, others = [], array("I"), []
    for line in text.split(b"\n")[:-1]:
        listed = _LISTED.fullmatch(line)
        if listed and listed[2].startswith(b"127."):
            value = _number(listed[2])
            if not runs or runs[-1][0] != value:
                runs.append((value, array("I")))
            runs[-1][1].append(_number(listed[1]))
        elif found := _EXCLUDED.fullmatch(line):
            excluded.append(_number(found[1]))
        else:
            others.append(line)
    return runs, excluded, others


def cut_short(addresses):
    if any(one >= other for one, other in pairwise(addresses)):
        raise ValueError("expected addresses that ascend")
    cut = {address & 0xFFFFFF00 | int(str(address & 255)[:end]) for address in addresses for end in (1, 2)}
    return array("I", sorted(cut - set(addresses)))


def common(one, other):
    return array("I", sorted(set(one) & set(other)))


def _number(quad):
    return int(IPv4Address(quad.decode()))
