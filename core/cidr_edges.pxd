"""A set of addresses as its sorted edges: it holds from each even edge up to the next odd one, not included.

A set that reaches the top of IPv6 has no last edge. Set algebra is one merge of two such lists.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcmp

from core.cidr_text cimport u128

cdef extern from "cidr_lookup.h" nogil:
    ctypedef struct Edges:
        u128* at
        uint64_t* high
        uint32_t* root
        uint32_t count
        uint32_t drop

    u128* empty_at
    const Edges EMPTY_EDGES
    uint32_t edges_below(const Edges* edges, u128 address) noexcept

cdef enum:
    FEW_EDGES = 256  # up to here the search is cheaper than 256 KB of root


cdef struct Pair:
    u128 first
    u128 last


cdef struct Pairs:
    # Grows by doubling.
    Pair* at
    size_t count
    size_t room


cdef enum Operation:
    UNION
    INTERSECTION
    DIFFERENCE


cdef inline int push_pair(Pairs* pairs, u128 first, u128 last) noexcept nogil:
    """-1: out of memory."""
    cdef size_t room
    cdef Pair* at
    if pairs.count == pairs.room:
        room = pairs.room * 2 if pairs.room else 64
        at = <Pair*>realloc(pairs.at, room * sizeof(Pair))
        if at == NULL:
            return -1
        pairs.at = at
        pairs.room = room
    pairs.at[pairs.count].first = first
    pairs.at[pairs.count].last = last
    pairs.count += 1
    return 0


cdef inline int compare_pairs(const void* a, const void* b) noexcept nogil:
    cdef u128 x = (<const Pair*>a).first
    cdef u128 y = (<const Pair*>b).first
    return (x > y) - (x < y)


cdef inline int edges_build(Edges* edges, Pairs* pairs) noexcept nogil:
    """Sort, merge what overlaps or touches. -1: out of memory."""
    cdef size_t i
    cdef size_t count = 0
    cdef bint sorted_already = True
    cdef u128 first, last
    cdef u128* at
    edges[0] = EMPTY_EDGES
    if pairs.count == 0:
        return 0
    for i in range(1, pairs.count):
        if pairs.at[i].first < pairs.at[i - 1].first:
            sorted_already = False
            break
    if not sorted_already:
        qsort(pairs.at, pairs.count, sizeof(Pair), compare_pairs)
    at = <u128*>malloc((2 * pairs.count + 1) * sizeof(u128))
    if at == NULL:
        return -1
    first = pairs.at[0].first
    last = pairs.at[0].last
    for i in range(1, pairs.count):
        if last + <u128>1 == 0:
            break
        if pairs.at[i].first <= last + <u128>1:
            if pairs.at[i].last > last:
                last = pairs.at[i].last
            continue
        at[count] = first
        at[count + 1] = last + <u128>1
        count += 2
        first = pairs.at[i].first
        last = pairs.at[i].last
    at[count] = first
    count += 1
    if last + <u128>1 != 0:
        at[count] = last + <u128>1
        count += 1
    return edges_finish(edges, at, count)


cdef inline void edges_free(Edges* self) noexcept nogil:
    if self.at != empty_at:
        free(self.at)
        free(self.high)
        free(self.root)
    self[0] = EMPTY_EDGES


cdef inline int edges_finish(Edges* edges, u128* at, size_t count) noexcept nogil:
    """Takes over at, which has room for one more; makes high and root of it. -1: out of memory."""
    cdef size_t i
    cdef uint32_t upper = 0
    cdef uint32_t entries
    cdef void* trimmed
    edges[0] = EMPTY_EDGES
    if count == 0 or count >> 32:
        free(at)
        return -1 if count else 0
    at[count] = ~<u128>0
    trimmed = realloc(at, (count + 1) * sizeof(u128))
    edges.at = at if trimmed == NULL else <u128*>trimmed
    edges.count = <uint32_t>count
    edges.drop = 16 if count <= FEW_EDGES or edges.at[count - 1] >> 112 == 0 else 0
    entries = <uint32_t>65536 >> edges.drop
    edges.root = <uint32_t*>malloc((entries + 1) * sizeof(uint32_t))
    edges.high = <uint64_t*>malloc((count + 1) * sizeof(uint64_t))
    if edges.root == NULL or edges.high == NULL:
        edges_free(edges)
        return -1
    for i in range(count + 1):
        edges.high[i] = <uint64_t>(edges.at[i] >> 64)
    for i in range(count):
        while upper < entries and upper <= <uint32_t>(edges.at[i] >> 112) >> edges.drop:
            edges.root[upper] = <uint32_t>i
            upper += 1
    while upper <= entries:
        edges.root[upper] = <uint32_t>count
        upper += 1
    return 0


cdef inline int edges_combine(Edges* out, const Edges* a, const Edges* b, Operation operation) noexcept nogil:
    """-1: out of memory."""
    cdef size_t i = 0
    cdef size_t j = 0
    cdef bint inside = False
    cdef bint in_a, in_b, now
    cdef u128 x
    cdef size_t count = 0
    cdef u128* at = <u128*>malloc((<size_t>a.count + b.count + 1) * sizeof(u128))
    out[0] = EMPTY_EDGES
    if at == NULL:
        return -1
    while i < a.count or j < b.count:
        x = a.at[i] if j == b.count or (i < a.count and a.at[i] <= b.at[j]) else b.at[j]
        if i < a.count and a.at[i] == x:
            i += 1
        if j < b.count and b.at[j] == x:
            j += 1
        in_a = i & 1
        in_b = j & 1
        if operation == UNION:
            now = in_a or in_b
        elif operation == INTERSECTION:
            now = in_a and in_b
        else:
            now = in_a and not in_b
        if now != inside:
            at[count] = x
            count += 1
            inside = now
    return edges_finish(out, at, count)


cdef inline bint edges_equal(const Edges* a, const Edges* b) noexcept nogil:
    return a.count == b.count and memcmp(a.at, b.at, a.count * sizeof(u128)) == 0
