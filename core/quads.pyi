"""Very many single IPv4 addresses as the lines of a blocklist zone, and back."""

from array import array

from _typeshed import ReadableBuffer

def write_lines(addresses: ReadableBuffer, before: bytes, behind: bytes) -> bytes:
    """BEFORE ADDRESS BEHIND, as one text, for each of n addresses: a contiguous buffer of uint32 (format I).

    TypeError: a buffer of another format.
    """

def read_lines(text: bytes) -> tuple[list[tuple[int, array[int]]], array[int], list[bytes]]:
    """What whole lines say: runs of `ADDRESS :VALUE:...` with the same value in 127.0.0.0/8, the addresses of
    `!ADDRESS`, and every other line as it is, without its newline.

    Addresses and values are plain dotted quads, each number without leading zeros.
    ValueError: the last line has no newline.
    """

def cut_short(addresses: ReadableBuffer) -> array[int]:
    """What ascending addresses become when digits of the last number are missing, as far as it is none of them:
    192.0.2.1 and 192.0.2.12 for 192.0.2.123. Ascending.

    ValueError: they do not ascend. TypeError: as write_lines().
    """

def common(one: ReadableBuffer, other: ReadableBuffer) -> array[int]:
    """The addresses that are in both, ascending, each once; fast where both ascend for long stretches.

    TypeError: as write_lines().
    """
