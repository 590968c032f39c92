"""Very many IPv6 networks as the lines of a blocklist zone, what those are cut to, and back.

The plain twin is tests/oracle/words.py; the public types are in words.pyi.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from core.cidr_text cimport FINE, Span, host_mask, parse6, parse_span, u128

cdef extern from "cidr_lookup.h" nogil:
    u128 load6(const unsigned char* packed) noexcept

cdef enum:
    TEXT = 39     # characters of an address at most
    ITEM = 17     # bytes of a network: address and length


cdef struct Items:
    unsigned char* at
    size_t count
    size_t room


cdef int push(Items* items, u128 address, int length) except -1 nogil:
    cdef unsigned char* grown
    cdef unsigned char* to
    cdef int i
    if items.count == items.room:
        items.room = items.room * 2 if items.room else 1024
        grown = <unsigned char*>realloc(items.at, items.room * ITEM)
        if grown == NULL:
            raise MemoryError
        items.at = grown
    to = items.at + items.count * ITEM
    for i in range(16):
        to[i] = <unsigned char>(address >> (120 - 8 * i))
    to[16] = length
    items.count += 1
    return 0


cdef tuple split(const Items* items):
    """Addresses and lengths."""
    cdef bytes addresses = PyBytes_FromStringAndSize(NULL, items.count * 16)
    cdef bytes lengths = PyBytes_FromStringAndSize(NULL, items.count)
    cdef char* to = PyBytes_AS_STRING(addresses)
    cdef char* length = PyBytes_AS_STRING(lengths)
    cdef size_t i
    for i in range(items.count):
        memcpy(to + 16 * i, items.at + ITEM * i, 16)
        length[i] = items.at[ITEM * i + 16]
    return addresses, lengths


cdef int check_sizes(bytes addresses, bytes lengths) except -1:
    if len(addresses) != 16 * len(lengths):
        raise ValueError(f"expected {16 * len(lengths)} bytes of addresses, got {len(addresses)}")
    if lengths and max(lengths) > 128:
        raise ValueError(f"expected lengths up to 128, got {max(lengths)}")
    return 0


cdef int put_address(unsigned char* to, const unsigned char* packed) noexcept nogil:
    """How many characters that is."""
    cdef const char* hexadecimal = b"0123456789abcdef"
    cdef unsigned int word
    cdef int i = 0, run = 0, begin = -1, length = 1, shift
    cdef unsigned char* start = to
    while i < 8:  # the longest run of zeros, the first of several
        run = 0
        while i + run < 8 and packed[2 * (i + run)] == 0 and packed[2 * (i + run) + 1] == 0:
            run += 1
        if run > length:
            begin, length = i, run
        i += run + 1
    i = 0
    while i < 8:
        if i == begin:
            to[0], to[1] = c":", c":"
            to += 2
            i += length
            continue
        if i and i != begin + length or (i and begin < 0):
            to[0] = c":"
            to += 1
        word = packed[2 * i] << 8 | packed[2 * i + 1]
        shift = 12
        while shift and not word >> shift:
            shift -= 4
        while shift >= 0:
            to[0] = hexadecimal[word >> shift & 15]
            to += 1
            shift -= 4
        i += 1
    return to - start


cdef inline int put_length(unsigned char* to, unsigned int length) noexcept nogil:
    cdef int digits = 1 + (length > 9) + (length > 99)
    cdef int i
    for i in range(digits - 1, -1, -1):
        to[i] = c"0" + length % 10
        length //= 10
    return digits


def write_lines(bytes addresses, bytes lengths, bytes before, bytes behind):
    cdef size_t ahead = len(before), after = len(behind), count = len(lengths), i
    cdef const unsigned char* address = addresses
    cdef const unsigned char* length = lengths
    cdef const unsigned char* head = before
    cdef const unsigned char* tail = behind
    cdef unsigned char* text
    cdef unsigned char* to
    check_sizes(addresses, lengths)
    text = to = <unsigned char*>malloc(count * (ahead + TEXT + 4 + after) + 1)
    if text == NULL:
        raise MemoryError
    with nogil:
        for i in range(count):
            memcpy(to, head, ahead)
            to += ahead
            to += put_address(to, address + 16 * i)
            to[0] = c"/"
            to += 1
            to += put_length(to, length[i])
            memcpy(to, tail, after)
            to += after
    try:
        return PyBytes_FromStringAndSize(<const char*>text, to - text)
    finally:
        free(text)


cdef int push_cut(Items* found, const unsigned char* text, int end, int colons, bint double) except -1 nogil:
    """What text[:end] reads as. colons: in it; double: whether a `::` is among them."""
    cdef unsigned char whole[TEXT + 2]
    cdef const unsigned char* p = whole
    cdef u128 address = 0
    cdef int size = end
    if text[end - 1] == c":" and (end < 2 or text[end - 2] != c":"):
        return 0  # refused
    memcpy(whole, text, end)
    if not double and colons < 7:
        whole[end] = whole[end + 1] = c":"
        size += 2
    if parse6(&p, whole + size, &address) == FINE and p == whole + size:
        push(found, address, 128 if double else 16 * (colons + 1))
    return 0


cdef int push_cuts(
    Items* found, const unsigned char* packed, int length, unsigned char* text, int* known
) except -1 nogil:
    """All of one network. text, known: of the one before, whose cuts are there, and then of this one."""
    cdef unsigned char own[TEXT + 1]
    cdef int size = put_address(own, packed), common = 0, end, colons = 0, cut
    cdef bint double = False
    cdef u128 address = load6(packed)
    while common < size and common < known[0] - 1 and own[common] == text[common]:
        common += 1
    for end in range(1, size):
        if own[end - 1] == c":":
            colons += 1
            double = double or (end > 1 and own[end - 2] == c":")
        if end > common:
            push_cut(found, own, end, colons, double)
    cut = length // 10
    while cut:
        if not address & host_mask(6, cut):
            push(found, address, cut)
        cut //= 10
    memcpy(text, own, size)
    known[0] = size
    return 0


cdef int compare(const void* one, const void* other) noexcept nogil:
    return memcmp(one, other, ITEM)


cdef void unique(Items* items) noexcept nogil:
    cdef size_t i, kept = 0
    if items.count:
        qsort(items.at, items.count, ITEM, compare)
    for i in range(items.count):
        if i == 0 or memcmp(items.at + ITEM * (kept - 1), items.at + ITEM * i, ITEM):
            memcpy(items.at + ITEM * kept, items.at + ITEM * i, ITEM)
            kept += 1
    items.count = kept


def cut_short(bytes addresses, bytes lengths):
    cdef Items found
    cdef unsigned char text[TEXT + 1]
    cdef int known = 0
    cdef size_t i, count = len(lengths)
    cdef const unsigned char* address = addresses
    cdef const uint8_t* length = lengths
    check_sizes(addresses, lengths)
    memset(&found, 0, sizeof(Items))
    try:
        with nogil:
            for i in range(count):
                push_cuts(&found, address + 16 * i, length[i], text, &known)
            unique(&found)
        return split(&found)
    finally:
        free(found.at)


def read_excluded(bytes text):
    cdef Items found
    cdef Span span
    cdef const unsigned char* start = text
    cdef const unsigned char* p = start
    cdef const unsigned char* end = start + len(text)
    cdef const unsigned char* newline
    memset(&found, 0, sizeof(Items))
    others = []
    try:
        while p != end:
            newline = <const unsigned char*>memchr(p, c"\n", end - p)
            if newline == NULL:
                raise ValueError("the last line is cut")
            if (
                p[0] == c"!" and memchr(p, c"/", newline - p) != NULL
                and parse_span(p + 1, newline, &span) == FINE and span.family == 6 and span.length >= 0
            ):
                push(&found, span.first, span.length)
            else:
                others.append(text[p - start:newline - start])
            p = newline + 1
        return (*split(&found), others)
    finally:
        free(found.at)
