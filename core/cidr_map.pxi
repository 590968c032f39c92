# CidrMap. Included by cidr.pyx.

from array import array
from collections.abc import Mapping
from types import GenericAlias

from libc.stdlib cimport realloc


cdef int push_prefix(Lpm* lpm, size_t* room, const Span* span, size_t order) except -1:
    cdef Prefix* at
    if lpm.count == room[0]:
        room[0] = room[0] * 2 if room[0] else 64
        at = <Prefix*>realloc(lpm.prefixes, room[0] * sizeof(Prefix))
        if at == NULL:
            raise MemoryError
        lpm.prefixes = at
    lpm.prefixes[lpm.count].first = span.first
    lpm.prefixes[lpm.count].length = <uint8_t>span.length
    lpm.prefixes[lpm.count].order = <uint32_t>order
    lpm.count += 1
    return 0


cdef class CidrMap:
    # An index is that of the prefix among all, IPv4 before IPv6.
    cdef Lpm lpm4
    cdef Lpm lpm6
    cdef list kept

    MISSING = 0xFFFFFFFF

    @classmethod
    def __class_getitem__(cls, value):
        return GenericAlias(cls, value)

    def __cinit__(self, networks=()):
        cdef Span span
        cdef size_t room4 = 0
        cdef size_t room6 = 0
        cdef list given = []
        cdef int failed
        cdef uint32_t i
        lpm_start(&self.lpm4)
        lpm_start(&self.lpm6)
        for item, value in networks.items() if isinstance(networks, Mapping) else networks:
            read_span(item, &span)
            if span.length < 0:
                span.length = widest(span.family, span.first, span.last)
                if span.first | host_mask(span.family, span.length) != span.last:
                    raise ValueError(f"{shown(item)}: expected a network, got a range that is none")
            if span.family == 4:
                push_prefix(&self.lpm4, &room4, &span, len(given))
            else:
                push_prefix(&self.lpm6, &room6, &span, len(given))
            given.append(value)
            if len(given) >> 31:
                raise ValueError("expected fewer than 2**31 networks")
        with nogil:
            failed = lpm_build(&self.lpm4, 4) or lpm_build(&self.lpm6, 6)
        if failed:
            raise MemoryError
        self.kept = [given[self.lpm4.prefixes[i].order] for i in range(self.lpm4.count)]
        self.kept += [given[self.lpm6.prefixes[i].order] for i in range(self.lpm6.count)]

    def __dealloc__(self):
        lpm_free(&self.lpm4)
        lpm_free(&self.lpm6)

    cdef inline uint32_t find(self, int family, u128 address) noexcept nogil:
        cdef uint32_t found
        if family == 4:
            return lpm_find(&self.lpm4, 4, address)
        found = lpm_find(&self.lpm6, 6, address)
        return found if found == NONE else found + self.lpm4.count

    cdef object network(self, uint32_t index):
        if index < self.lpm4.count:
            return to_network(4, self.lpm4.prefixes[index].first, self.lpm4.prefixes[index].length)
        index -= self.lpm4.count
        return to_network(6, self.lpm6.prefixes[index].first, self.lpm6.prefixes[index].length)

    def __getitem__(self, address):
        cdef int family = 0
        cdef u128 value = 0
        cdef uint32_t found
        read_address(address, &family, &value)
        found = self.find(family, value)
        if found == NONE:
            raise KeyError(address)
        return self.kept[found]

    def get(self, address, default=None):
        cdef int family = 0
        cdef u128 value = 0
        cdef uint32_t found
        read_address(address, &family, &value)
        found = self.find(family, value)
        return default if found == NONE else self.kept[found]

    def __contains__(self, address):
        cdef int family = 0
        cdef u128 value = 0
        read_address(address, &family, &value)
        return self.find(family, value) != NONE

    def covering(self, address):
        cdef int family = 0
        cdef u128 value = 0
        cdef uint32_t base, found
        cdef list result = []
        read_address(address, &family, &value)
        base = 0 if family == 4 else self.lpm4.count
        found = self.find(family, value)
        while found != NONE:
            result.append((self.network(found), self.kept[found]))
            found = (self.lpm4 if family == 4 else self.lpm6).parents[found - base]
            if found != NONE:
                found += base
        result.reverse()
        return result

    def items(self):
        cdef uint32_t i
        return [(self.network(i), self.kept[i]) for i in range(<uint32_t>len(self.kept))]

    def __iter__(self):
        cdef uint32_t i
        for i in range(<uint32_t>len(self.kept)):
            yield self.network(i)

    def values(self):
        return self.kept.copy()

    def __len__(self):
        return len(self.kept)

    def __bool__(self):
        return len(self.kept) != 0

    def index_many(self, addresses, out=None):
        cdef Addresses source
        cdef Mixed mixed
        cdef Output target
        cdef loose32* at
        cdef uint32_t* six
        cdef size_t i, count
        cdef bint plain = isinstance(addresses, (list, tuple))
        if plain:
            mixed = Mixed(addresses)
            count = mixed.count
        else:
            source = Addresses(addresses)
            count = source.count
        if out is None:
            out = array("I", bytes(4 * count))
        target = Output(out, 4 * count)
        at = <loose32*>target.at
        if plain:
            answers = bytearray(4 * mixed.sixes)
            six = <uint32_t*>PyByteArray_AS_STRING(answers)
            trie4_many(&self.lpm4.trie, mixed.quads, count, at)
            rulers_many(&self.lpm6.edges, self.lpm6.rulers, self.lpm4.count, mixed.packed, mixed.sixes, six)
            for i in range(mixed.sixes):
                at[mixed.places[i]] = six[i]
            return target.result
        with nogil:
            if source.family == 4:
                trie4_many(&self.lpm4.trie, <const loose32*>source.view.buf, count, at)
            else:
                rulers_many(
                    &self.lpm6.edges, self.lpm6.rulers, self.lpm4.count,
                    <const uint8_t*>source.view.buf, count, at,
                )
        return target.result

    def __eq__(self, other):
        if not isinstance(other, CidrMap):
            return NotImplemented
        return self.items() == other.items()

    __hash__ = None

    def __repr__(self):
        return f"<CidrMap of {len(self)} networks>"

    def __reduce__(self):
        return CidrMap, (self.items(),)
