"""Building the longest-prefix maps of cidr_lookup.h: prefixes are flattened to edges, each with the prefix
that rules from there on; IPv6 stays so, IPv4 becomes a trie.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memset

from core.cidr_edges cimport EMPTY_EDGES, Edges, edges_below, edges_finish, edges_free
from core.cidr_text cimport host_mask, u128

cdef extern from "cidr_lookup.h" nogil:
    ctypedef struct Slots:
        uint32_t starts
        uint32_t before

    ctypedef struct Trie4:
        uint32_t* root
        Slots* lines
        uint32_t* runs
        uint32_t line_count
        uint32_t run_count

    const uint32_t LINE
    uint32_t trie4_find(const Trie4* trie, uint32_t address) noexcept

cdef enum:
    NONE = 0xFFFFFFFF


cdef struct Prefix:
    u128 first
    uint32_t order      # of arrival
    uint8_t length


cdef struct Lpm:
    Prefix* prefixes    # sorted by first, then length; distinct
    uint32_t* parents   # the next shorter prefix that holds this one, or NONE
    uint32_t count
    Trie4 trie          # IPv4
    Edges edges         # IPv6
    uint32_t* rulers    # IPv6: for each edge the index of a prefix or NONE


cdef struct Flat:
    # Edges of the flattened prefixes; at most two for each prefix.
    u128* at
    uint32_t* rulers
    size_t count


cdef inline int compare_prefixes(const void* a, const void* b) noexcept nogil:
    cdef const Prefix* x = <const Prefix*>a
    cdef const Prefix* y = <const Prefix*>b
    if x.first != y.first:
        return 1 if x.first > y.first else -1
    if x.length != y.length:
        return x.length - y.length
    return (x.order > y.order) - (x.order < y.order)


cdef inline void lpm_start(Lpm* lpm) noexcept nogil:
    memset(lpm, 0, sizeof(Lpm))
    lpm.edges = EMPTY_EDGES


cdef inline void lpm_free(Lpm* lpm) noexcept nogil:
    free(lpm.prefixes)
    free(lpm.parents)
    free(lpm.trie.root)
    free(lpm.trie.lines)
    free(lpm.trie.runs)
    edges_free(&lpm.edges)
    free(lpm.rulers)
    lpm_start(lpm)


cdef inline void sort_prefixes(Lpm* lpm) noexcept nogil:
    """Of equal prefixes the last that arrived stays."""
    cdef uint32_t i
    cdef uint32_t kept = 0
    cdef Prefix* at = lpm.prefixes
    for i in range(1, lpm.count):
        if compare_prefixes(&at[i - 1], &at[i]) > 0:
            qsort(at, lpm.count, sizeof(Prefix), compare_prefixes)
            break
    for i in range(lpm.count):
        if kept and at[kept - 1].first == at[i].first and at[kept - 1].length == at[i].length:
            kept -= 1
        at[kept] = at[i]
        kept += 1
    lpm.count = kept


cdef inline void add_edge(Flat* flat, u128 at, uint32_t ruler) noexcept nogil:
    """From this address on the ruler is another."""
    if flat.count and flat.at[flat.count - 1] == at:
        flat.count -= 1
    if (flat.rulers[flat.count - 1] if flat.count else <uint32_t>NONE) == ruler:
        return
    flat.at[flat.count] = at
    flat.rulers[flat.count] = ruler
    flat.count += 1


cdef inline void flatten(Lpm* lpm, int family, Flat* flat) noexcept nogil:
    """One walk over the sorted prefixes; parents are the stack."""
    cdef uint32_t i
    cdef uint32_t top = NONE
    cdef u128 end
    for i in range(lpm.count + 1):
        while top != NONE:
            end = (lpm.prefixes[top].first | host_mask(family, lpm.prefixes[top].length)) + <u128>1
            if i < lpm.count and (end == 0 or lpm.prefixes[i].first < end):
                break
            top = lpm.parents[top]
            if end != 0:  # nothing comes after the top of IPv6
                add_edge(flat, end, top)
        if i < lpm.count:
            lpm.parents[i] = top
            top = i
            add_edge(flat, lpm.prefixes[i].first, i)


cdef inline int put_line(Trie4* trie, const uint32_t* slots, uint32_t* entry) noexcept nogil:
    """Append a line of 256 entries; entry: what leads to it. -1: out of memory."""
    cdef uint32_t i, bit
    cdef void* at
    cdef Slots* line
    if trie.line_count & (trie.line_count - 1) == 0:
        at = realloc(trie.lines, (trie.line_count * 2 or 1) * 8 * sizeof(Slots))
        if at == NULL:
            return -1
        trie.lines = <Slots*>at
    line = trie.lines + <size_t>trie.line_count * 8
    for i in range(256):
        bit = i & 31
        if bit == 0:
            line[i >> 5].starts = 0
            line[i >> 5].before = trie.run_count - 1
        if i and slots[i] == slots[i - 1]:
            continue
        line[i >> 5].starts |= <uint32_t>1 << bit
        if trie.run_count & (trie.run_count - 1) == 0:
            at = realloc(trie.runs, (trie.run_count * <size_t>2 or 1) * sizeof(uint32_t))
            if at == NULL:
                return -1
            trie.runs = <uint32_t*>at
        trie.runs[trie.run_count] = slots[i]
        trie.run_count += 1
    entry[0] = LINE | trie.line_count
    trie.line_count += 1
    return 0


cdef inline bint step(const Flat* flat, size_t* i, u128 at, u128 size, uint32_t* entry) noexcept nogil:
    """The entry from this address on; whether it is another before size addresses are over."""
    if i[0] < flat.count and flat.at[i[0]] == at:
        entry[0] = flat.rulers[i[0]] + 1
        i[0] += 1
    return i[0] < flat.count and flat.at[i[0]] < at + size


cdef inline int trie4_build(Trie4* trie, const Flat* flat) noexcept nogil:
    """-1: out of memory."""
    cdef uint32_t upper, third, last
    cdef uint32_t[256] line
    cdef uint32_t[256] leaf
    cdef uint32_t entry = 0
    cdef size_t i = 0
    cdef u128 at
    trie.root = <uint32_t*>calloc(65536, sizeof(uint32_t))
    if trie.root == NULL:
        return -1
    for upper in range(65536):
        at = <u128>upper << 16
        if not step(flat, &i, at, 65536, &entry):
            trie.root[upper] = entry
            continue
        for third in range(256):
            if not step(flat, &i, at + <u128>(third << 8), 256, &entry):
                line[third] = entry
                continue
            for last in range(256):
                step(flat, &i, at + <u128>(third << 8 | last), 1, &entry)
                leaf[last] = entry
            if put_line(trie, leaf, &line[third]) < 0:
                return -1
        if put_line(trie, line, &trie.root[upper]) < 0:
            return -1
    return 0


cdef inline int lpm_build(Lpm* lpm, int family) noexcept nogil:
    """From prefixes and count. -1: out of memory."""
    cdef Flat flat
    cdef int failed = -1
    memset(&flat, 0, sizeof(Flat))
    sort_prefixes(lpm)
    lpm.parents = <uint32_t*>malloc((<size_t>lpm.count + 1) * sizeof(uint32_t))
    flat.at = <u128*>malloc((2 * <size_t>lpm.count + 1) * sizeof(u128))
    flat.rulers = <uint32_t*>malloc((2 * <size_t>lpm.count + 1) * sizeof(uint32_t))
    if lpm.parents != NULL and flat.at != NULL and flat.rulers != NULL:
        flatten(lpm, family, &flat)
        if family == 4:
            failed = trie4_build(&lpm.trie, &flat)
        else:
            failed = edges_finish(&lpm.edges, flat.at, flat.count)
            flat.at = NULL
            lpm.rulers = flat.rulers
            flat.rulers = NULL
    free(flat.at)
    free(flat.rulers)
    return failed


cdef inline uint32_t lpm_find(const Lpm* lpm, int family, u128 address) noexcept nogil:
    """The index of the longest prefix that holds the address, or NONE."""
    cdef uint32_t below
    if family == 4:
        return trie4_find(&lpm.trie, <uint32_t>address) - 1
    below = edges_below(&lpm.edges, address)
    return lpm.rulers[below - 1] if below else <uint32_t>NONE
