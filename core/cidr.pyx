"""Sets of networks and longest-prefix maps over IPv4 and IPv6, for single and for bulk questions.

The plain twin is tests/oracle/cidr.py; the public types are in cidr.pyi.
"""

import ipaddress
import sys
import zlib

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from core.cidr_build4 cimport Runs4, push_run, set4_build
from core.cidr_edges cimport (
    DIFFERENCE,
    EMPTY_EDGES,
    INTERSECTION,
    UNION,
    Edges,
    Operation,
    Pairs,
    edges_below,
    edges_build,
    edges_combine,
    edges_equal,
    edges_finish,
    edges_free,
    push_pair,
)
from core.cidr_lpm cimport NONE, Lpm, Prefix, Trie4, lpm_build, lpm_find, lpm_free, lpm_start
from core.cidr_set4 cimport (
    EMPTY4,
    Place4,
    Set4,
    empty_root,
    set4_combine,
    set4_equal,
    set4_free,
    set4_has,
    set4_meets,
    set4_next,
    set4_size,
    set4_sound,
)
from core.cidr_text cimport (
    FINE,
    HOST_BITS,
    LEADING_ZERO,
    LENGTH,
    MIXED,
    REVERSED,
    SYNTAX,
    ZONE,
    Fault,
    Span,
    close_span,
    host_mask,
    parse4,
    parse_address,
    parse_span,
    u128,
)

cdef extern from "cidr_lookup.h" nogil:
    ctypedef uint32_t loose32
    u128 load6(const unsigned char* packed) noexcept
    bint choose_wide(bint wanted) noexcept
    void set4_many(const Set4*, const loose32*, size_t, uint8_t*, int) noexcept
    void edges_many(const Edges*, const uint8_t*, size_t, uint8_t*, int) noexcept
    void trie4_many(const Trie4*, const loose32*, size_t, loose32*) noexcept
    void rulers_many(const Edges*, const uint32_t*, uint32_t, const uint8_t*, size_t, loose32*) noexcept

cdef extern from "Python.h":
    bint PyLong_CheckExact(object item)
    bint PyUnicode_CheckExact(object item)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    void* PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    object PyUnicode_FromObject(object text)
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) noexcept
    unsigned long long PyLong_AsUnsignedLongLong(object number) except? 0xFFFFFFFFFFFFFFFF
    object PyLong_FromUnsignedLongLong(unsigned long long value)


cdef struct Heap:
    # What was read and not yet built.
    Runs4 four
    Pairs six


cdef inline int heap_add(Heap* heap, const Span* span) except -1 nogil:
    cdef int failed
    if span.family == 4:
        failed = push_run(&heap.four, <uint32_t>span.first, <uint32_t>span.last)
    else:
        failed = push_pair(&heap.six, span.first, span.last)
    if failed:
        raise MemoryError
    return 0


cdef int heap_settle(Heap* heap, CidrSet result) except -1:
    """The heap is spent."""
    cdef int failed
    with nogil:
        failed = set4_build(&result.set4, &heap.four) or edges_build(&result.edges6, &heap.six)
    if failed:
        raise MemoryError
    return 0


cdef void heap_free(Heap* heap) noexcept:
    free(heap.four.at)
    free(heap.six.at)


include "cidr_read.pxi"
include "cidr_bulk.pxi"
include "cidr_file.pxi"
include "cidr_map.pxi"


def _restore(bytes packed):
    """Counterpart of CidrSet.__reduce__."""
    return from_block(packed, None)


@cython.no_gc  # it is in no cycle, and its pages must not go before it: __dealloc__ and a Sweep's thread ask
cdef class CidrSet:
    def __cinit__(self, networks=()):
        cdef Heap heap
        cdef Span span
        self.set4 = EMPTY4
        self.edges6 = EMPTY_EDGES
        self.hashed = -1
        memset(&heap, 0, sizeof(Heap))
        try:
            for item in flat(networks):
                read_span(item, &span)
                heap_add(&heap, &span)
            heap_settle(&heap, self)
        finally:
            heap_free(&heap)

    def __dealloc__(self):
        if self.mapped is None:
            set4_free(&self.set4)
        edges_free(&self.edges6)

    @staticmethod
    def from_file(path):
        return read_file(path)

    @staticmethod
    def from_arrays(first, last=None, *, length=None):
        return read_arrays(first, last, length)

    @staticmethod
    def open(path):
        return open_file(path)

    def save(self, path):
        save_file(self, path)

    cdef bint has4(self, uint32_t address) noexcept nogil:
        return set4_has(&self.set4, address)

    cdef bint has6(self, uint64_t high, uint64_t low) noexcept nogil:
        return edges_below(&self.edges6, <u128>high << 64 | <u128>low) & 1

    def __contains__(self, address):
        cdef int family = 0
        cdef u128 value = 0
        cdef uint32_t quad
        if read_quad(address, &quad):
            return set4_has(&self.set4, quad)
        read_any_address(address, &family, &value)
        if family == 4:
            return set4_has(&self.set4, <uint32_t>value)
        return edges_below(&self.edges6, value) & 1

    def contains_many(self, addresses, out=None, *, bint bits=False):
        return contains_many(self, addresses, out, bits)

    def __or__(self, other):
        return combine(self, other, UNION)

    def __and__(self, other):
        return combine(self, other, INTERSECTION)

    def __sub__(self, other):
        return combine(self, other, DIFFERENCE)

    def isdisjoint(self, CidrSet other not None):
        return not meets(self, other, INTERSECTION)

    def __eq__(self, other):
        if not isinstance(other, CidrSet):
            return NotImplemented
        return set4_equal(&self.set4, &(<CidrSet>other).set4) and edges_equal(
            &self.edges6, &(<CidrSet>other).edges6
        )

    def __le__(self, other):
        if not isinstance(other, CidrSet):
            return NotImplemented
        return not meets(self, other, DIFFERENCE)

    def __ge__(self, other):
        if not isinstance(other, CidrSet):
            return NotImplemented
        return not meets(other, self, DIFFERENCE)

    def __lt__(self, other):
        if not isinstance(other, CidrSet):
            return NotImplemented
        return self != other and self <= other

    def __gt__(self, other):
        if not isinstance(other, CidrSet):
            return NotImplemented
        return self != other and self >= other

    def __hash__(self):
        if self.hashed == -1:
            self.hashed = hash(to_block(self))
        return self.hashed

    def __bool__(self):
        return self.set4.root != empty_root or self.edges6.count != 0

    @property
    def num_addresses(self):
        return set4_size(&self.set4) + edges_size(&self.edges6)

    def ranges(self):
        cdef Walk walk
        walk_start(&walk)
        while walk_on(self, &walk):
            yield to_address(walk.family, walk.first), to_address(walk.family, walk.last)

    def cidrs(self):
        cdef Walk walk
        cdef int length
        walk_start(&walk)
        while walk_on(self, &walk):
            while True:
                length = widest(walk.family, walk.first, walk.last)
                yield to_network(walk.family, walk.first, length)
                walk.first |= host_mask(walk.family, length)
                if walk.first == walk.last:
                    break
                walk.first += <u128>1

    def __repr__(self):
        few = [str(net) for net, _ in zip(self.cidrs(), range(4), strict=False)]
        if len(few) == 4:
            few[3] = "..."
        return f"CidrSet([{', '.join(few)}])" if few else "CidrSet()"

    def __reduce__(self):
        return _restore, (to_block(self),)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


cdef int widest(int family, u128 first, u128 last) noexcept nogil:
    """The shortest prefix length of a network that starts at first and ends at last or before."""
    cdef int length = 32 if family == 4 else 128
    cdef u128 mask
    while length > 0:
        mask = host_mask(family, length - 1)
        if first & mask or (first | mask) > last:
            break
        length -= 1
    return length


cdef struct Walk:
    # Over the longest runs of addresses, IPv4 first.
    int family
    u128 first
    u128 last
    uint64_t next4
    uint32_t next6


cdef void walk_start(Walk* walk) noexcept:
    memset(walk, 0, sizeof(Walk))


cdef bint walk_on(CidrSet over, Walk* walk) noexcept:
    """On to the next run; False when there is none."""
    cdef Edges* edges = &over.edges6
    if walk.next4 >> 32 == 0:
        walk.family = 4
        walk.first = set4_next(&over.set4, walk.next4, True)
        walk.next4 = set4_next(&over.set4, <uint64_t>walk.first, False)
        walk.last = walk.next4 - 1
        if walk.first >> 32 == 0:
            return True
    if walk.next6 >= edges.count:
        return False
    walk.family = 6
    walk.first = edges.at[walk.next6]
    walk.last = edges.at[walk.next6 + 1] - <u128>1 if walk.next6 + 1 < edges.count else ~<u128>0
    walk.next6 += 2
    return True


cdef object edges_size(const Edges* edges):
    """How many addresses."""
    cdef u128 total = 0
    cdef uint32_t i
    for i in range(0, edges.count, 2):
        total += (edges.at[i + 1] if i + 1 < edges.count else <u128>0) - edges.at[i]
    return 1 << 128 if total == 0 and edges.count else to_int(total)


cdef bint meets(CidrSet a, CidrSet b, Operation operation):
    """Whether the operation leaves anything."""
    cdef Edges six
    cdef int failed
    cdef bint found
    with nogil:
        failed = edges_combine(&six, &a.edges6, &b.edges6, operation)
        found = not failed and (six.count != 0 or set4_meets(&a.set4, &b.set4, operation))
        edges_free(&six)
    if failed:
        raise MemoryError
    return found


cdef object combine(object a, object b, Operation operation):
    cdef CidrSet x, y, result
    cdef int failed
    if not (isinstance(a, CidrSet) and isinstance(b, CidrSet)):
        return NotImplemented
    x = a
    y = b
    result = CidrSet.__new__(CidrSet)
    with nogil:
        failed = set4_combine(&result.set4, &x.set4, &y.set4, operation)
        failed = edges_combine(&result.edges6, &x.edges6, &y.edges6, operation) or failed
    if failed:
        raise MemoryError
    return result
