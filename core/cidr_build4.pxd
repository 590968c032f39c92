"""Building the IPv4 set of cidr_lookup.h from runs of addresses: sort them by their upper 16 bits, paint each
plane, encode it. Nothing is sorted or merged within a plane.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

from core.cidr_set4 cimport EMPTY4, Growing4, Plane, Set4, grow_finish, grow_plane, grow_start


cdef struct Run4:
    uint32_t first
    uint32_t last


cdef struct Runs4:
    # Grows by doubling.
    Run4* at
    size_t count
    size_t room


cdef inline int push_run(Runs4* runs, uint32_t first, uint32_t last) noexcept nogil:
    """-1: out of memory."""
    cdef size_t room
    cdef Run4* at
    if runs.count == runs.room:
        room = runs.room * 2 if runs.room else 64
        at = <Run4*>realloc(runs.at, room * sizeof(Run4))
        if at == NULL:
            return -1
        runs.at = at
        runs.room = room
    runs.at[runs.count].first = first
    runs.at[runs.count].last = last
    runs.count += 1
    return 0


cdef inline void paint_bits(uint64_t* words, uint32_t first, uint32_t last) noexcept nogil:
    """Set the bits of both ends and all between."""
    cdef uint32_t i = first >> 6
    cdef uint32_t j = last >> 6
    cdef uint64_t head = ~<uint64_t>0 << (first & 63)
    cdef uint64_t tail = ~<uint64_t>0 >> (63 - (last & 63))
    if i == j:
        words[i] |= head & tail
        return
    words[i] |= head
    words[j] |= tail
    for i in range(i + 1, j):
        words[i] = ~<uint64_t>0


cdef inline void paint_leaf(Plane* plane, uint32_t third, uint32_t first, uint32_t last) noexcept nogil:
    cdef uint64_t bit = <uint64_t>1 << (third & 63)
    if not plane.part[third >> 6] & bit:
        plane.part[third >> 6] |= bit
        memset(plane.leaves + 4 * third, 0, 32)
    paint_bits(plane.leaves + 4 * third, first, last)


cdef inline void paint(Plane* plane, uint32_t first, uint32_t last) noexcept nogil:
    """The run between two addresses, their lower 16 bits."""
    cdef uint32_t head = first >> 8
    cdef uint32_t tail = last >> 8
    if head == tail and (first | ~last) & 0xFF:
        paint_leaf(plane, head, first & 0xFF, last & 0xFF)
        return
    if first & 0xFF:
        paint_leaf(plane, head, first & 0xFF, 0xFF)
        head += 1
    if ~last & 0xFF:
        paint_leaf(plane, tail, 0, last & 0xFF)
        tail -= 1
    if head <= tail and tail < 256:
        paint_bits(plane.whole, head, tail)


cdef inline int cut_runs(Runs4* runs, int32_t* whole) noexcept nogil:
    """Into runs of one root entry each; whole entries are counted in whole. -1: out of memory."""
    cdef size_t given = runs.count
    cdef size_t kept = 0
    cdef size_t i
    cdef uint32_t first, last
    cdef int32_t head, tail
    for i in range(given):
        first = runs.at[i].first
        last = runs.at[i].last
        head = first >> 16
        tail = last >> 16
        if head == tail and (first | ~last) & 0xFFFF:
            runs.at[kept].first = first
            runs.at[kept].last = last
            kept += 1
            continue
        if first & 0xFFFF:
            runs.at[kept].first = first
            runs.at[kept].last = first | 0xFFFF
            kept += 1
            head += 1
        if (last + 1) & 0xFFFF:
            if push_run(runs, last & ~<uint32_t>0xFFFF, last) < 0:
                return -1
            tail -= 1
        if head <= tail:
            whole[head] += 1
            whole[tail + 1] -= 1
    for i in range(given, runs.count):
        runs.at[kept] = runs.at[i]
        kept += 1
    runs.count = kept
    return 0


cdef inline void sort_byte(Run4* at, size_t count, int shift, size_t* ends) noexcept nogil:
    """By one byte of first, in place (American flag sort); ends: where the runs of each value of it end."""
    cdef size_t[256] starts
    cdef size_t i
    cdef size_t total = 0
    cdef uint32_t byte, other
    cdef Run4 hand, found
    memset(ends, 0, 256 * sizeof(size_t))
    for i in range(count):
        ends[at[i].first >> shift & 0xFF] += 1
    for byte in range(256):
        starts[byte] = total
        total += ends[byte]
        ends[byte] = total
    for byte in range(256):
        while starts[byte] < ends[byte]:
            hand = at[starts[byte]]
            other = hand.first >> shift & 0xFF
            while other != byte:
                found = at[starts[other]]
                at[starts[other]] = hand
                starts[other] += 1
                hand = found
                other = hand.first >> shift & 0xFF
            at[starts[byte]] = hand
            starts[byte] += 1


cdef inline void sort_runs(Runs4* runs, size_t* ends) noexcept nogil:
    """By root entry, byte after byte: 256 places at a time stay in the cache; 65,536 take twice the time."""
    cdef size_t[256] outer
    cdef size_t start = 0
    cdef uint32_t byte, i
    sort_byte(runs.at, runs.count, 24, outer)
    for byte in range(256):
        sort_byte(runs.at + start, outer[byte] - start, 16, ends + byte * 256)
        for i in range(byte * 256, byte * 256 + 256):
            ends[i] += start
        start = outer[byte]


cdef inline int set4_build(Set4* result, Runs4* runs) noexcept nogil:
    """Spends the runs. -1: out of memory."""
    cdef Growing4 out
    cdef Plane plane
    cdef int32_t* whole
    cdef size_t* ends
    cdef size_t i = 0
    cdef int upper
    cdef int32_t depth = 0
    cdef int failed
    result[0] = EMPTY4
    if runs.count == 0:
        return 0
    whole = <int32_t*>calloc(65537, sizeof(int32_t))
    ends = <size_t*>malloc(65536 * sizeof(size_t))
    failed = grow_start(&out)
    if whole == NULL or ends == NULL or cut_runs(runs, whole) < 0:
        failed = -1
    if not failed:
        sort_runs(runs, ends)
        for upper in range(65536):
            depth += whole[upper]
            if depth:
                out.set.root[upper] = 1
                i = ends[upper]
            elif i < ends[upper]:
                memset(&plane, 0, 64)  # whole and part
                while i < ends[upper]:
                    paint(&plane, runs.at[i].first & 0xFFFF, runs.at[i].last & 0xFFFF)
                    i += 1
                failed = grow_plane(&out, upper, &plane)
                if failed:
                    break
    free(whole)
    free(ends)
    return grow_finish(&out, failed, result)
