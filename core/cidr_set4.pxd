"""Combining and walking the IPv4 set of cidr_lookup.h. Each content has one form, byte for byte."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from core.cidr_edges cimport DIFFERENCE, INTERSECTION, UNION, Operation

cdef extern from "cidr_lookup.h" nogil:
    ctypedef struct Place4:
        uint32_t first
        uint8_t* before

    ctypedef struct Set4:
        uint32_t* root
        uint32_t* codes
        Place4* places
        uint64_t* leaves
        uint32_t lines
        uint32_t leaf_count

    uint32_t* empty_root
    const Set4 EMPTY4
    bint set4_has(const Set4* set, uint32_t address) noexcept
    uint32_t count_leaves(uint32_t codes) noexcept
    uint32_t leaf_word(const Set4* set, uint32_t word, uint32_t address) noexcept
    int ctz "__builtin_ctzll"(uint64_t word) noexcept
    int popcount "__builtin_popcountll"(uint64_t word) noexcept


cdef extern from "sys/mman.h" nogil:
    int madvise(void* at, size_t size, int advice)
    int MADV_HUGEPAGE

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void** at, size_t alignment, size_t size)

cdef extern from *:
    const size_t HUGE_PAGE "((size_t)2097152)"


cdef struct Growing4:
    Set4 set
    uint32_t line_room
    uint32_t leaf_room


cdef struct Plane:
    # The 65,536 addresses below a root entry, by their third byte.
    uint64_t[4] whole       # one bit for each value of it: all of its addresses are in
    uint64_t[4] part        # some are; whole goes first
    uint64_t[1024] leaves   # four words for each; they count where part says so


cdef inline void set4_free(Set4* self) noexcept nogil:
    if self.root != empty_root:
        free(self.root)
        free(self.codes)
        free(self.places)
        free(self.leaves)
    self[0] = EMPTY4


cdef inline int grow_start(Growing4* out) noexcept nogil:
    """With the two constant lines."""
    memset(out, 0, sizeof(Growing4))
    out.line_room = 64
    out.leaf_room = 64
    out.set.root = <uint32_t*>calloc(65536, sizeof(uint32_t))
    out.set.codes = <uint32_t*>malloc(out.line_room * 16 * sizeof(uint32_t))
    out.set.places = <Place4*>malloc(out.line_room * sizeof(Place4))
    out.set.leaves = <uint64_t*>malloc(out.leaf_room * 4 * sizeof(uint64_t))
    if out.set.root == NULL or out.set.codes == NULL or out.set.places == NULL or out.set.leaves == NULL:
        return -1
    memcpy(out.set.codes, EMPTY4.codes, 32 * sizeof(uint32_t))
    memcpy(out.set.places, EMPTY4.places, 2 * sizeof(Place4))
    out.set.lines = 2
    return 0


cdef inline int grow_room(Growing4* out) noexcept nogil:
    """For one line more with all its leaves, and the leaf behind the last that grow_finish() keeps."""
    cdef void* at
    if out.set.lines == out.line_room:
        out.line_room *= 2
        at = realloc(out.set.codes, out.line_room * 16 * sizeof(uint32_t))
        if at == NULL:
            return -1
        out.set.codes = <uint32_t*>at
        at = realloc(out.set.places, out.line_room * sizeof(Place4))
        if at == NULL:
            return -1
        out.set.places = <Place4*>at
    if out.set.leaf_count + 256 >= out.leaf_room:
        out.leaf_room = out.leaf_room * 2 + 256
        at = realloc(out.set.leaves, <size_t>out.leaf_room * 4 * sizeof(uint64_t))
        if at == NULL:
            return -1
        out.set.leaves = <uint64_t*>at
    return 0


cdef inline void* fit(void* at, size_t size) noexcept nogil:
    """Give back what is not needed. Large arrays get huge pages: 1.1 to 1.4 times the bulk rate at 9 MB."""
    cdef void* other = NULL
    cdef size_t whole = (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1)
    if size >= HUGE_PAGE // 2 and posix_memalign(&other, HUGE_PAGE, whole) == 0:
        madvise(other, whole, MADV_HUGEPAGE)  # only a wish: the kernel may have none
        memcpy(other, at, size)
        free(at)
        return other
    other = realloc(at, size)
    return at if other == NULL else other


cdef inline int grow_finish(Growing4* out, int failed, Set4* result) noexcept nogil:
    """-1: out of memory."""
    cdef bint empty = out.set.lines == 2
    cdef int i
    if empty and not failed:
        for i in range(65536):
            if out.set.root[i] != 0:
                empty = False
                break
    if failed or empty:
        set4_free(&out.set)
        result[0] = EMPTY4
        return failed
    out.set.codes = <uint32_t*>fit(out.set.codes, <size_t>out.set.lines * 64)
    out.set.places = <Place4*>fit(out.set.places, out.set.lines * sizeof(Place4))
    out.set.leaves = <uint64_t*>fit(out.set.leaves, (out.set.leaf_count + 1) * <size_t>32)
    result[0] = out.set
    return 0


cdef inline uint32_t spread(uint32_t bits) noexcept nogil:
    """16 bits to every second one of 32."""
    bits = (bits | bits << 8) & 0x00FF00FF
    bits = (bits | bits << 4) & 0x0F0F0F0F
    bits = (bits | bits << 2) & 0x33333333
    return (bits | bits << 1) & 0x55555555


cdef inline int grow_plane(Growing4* out, int upper, const Plane* plane) noexcept nogil:
    """The line of a plane, and its leaves. -1: out of memory."""
    cdef uint32_t word, whole, part, rest, third
    cdef uint32_t leaves = 0
    cdef uint32_t some = 0
    cdef uint32_t every = 0xFFFF
    cdef const uint64_t* leaf
    cdef uint32_t* line
    cdef Place4* place
    if grow_room(out) < 0:
        return -1
    line = out.set.codes + <size_t>out.set.lines * 16
    place = &out.set.places[out.set.lines]
    place.first = out.set.leaf_count
    for word in range(16):
        whole = plane.whole[word >> 2] >> (16 * (word & 3)) & 0xFFFF
        part = plane.part[word >> 2] >> (16 * (word & 3)) & 0xFFFF & ~whole
        place.before[word] = <uint8_t>leaves
        rest = part
        while rest:
            third = word * 16 + ctz(rest)
            leaf = plane.leaves + 4 * third
            if leaf[0] & leaf[1] & leaf[2] & leaf[3] == ~<uint64_t>0:
                part ^= rest & (0 - rest)
                whole |= rest & (0 - rest)
            else:
                memcpy(out.set.leaves + (<size_t>out.set.leaf_count + leaves) * 4, leaf, 32)
                leaves += 1
            rest &= rest - 1
        line[word] = spread(whole) | spread(part) << 1
        some |= whole | part
        every &= whole
    if some == 0:
        return 0
    if every == 0xFFFF:
        out.set.root[upper] = 1
        return 0
    out.set.root[upper] = out.set.lines
    out.set.lines += 1
    out.set.leaf_count += leaves
    return 0


cdef inline int grow_copy(Growing4* out, int upper, const Set4* source, uint32_t line) noexcept nogil:
    """A line of another set with its leaves. -1: out of memory."""
    cdef const Place4* place = &source.places[line]
    cdef uint32_t leaves
    if line < 2:
        out.set.root[upper] = line
        return 0
    if grow_room(out) < 0:
        return -1
    leaves = place.before[15] + count_leaves(source.codes[<size_t>line * 16 + 15])
    memcpy(out.set.codes + <size_t>out.set.lines * 16, source.codes + <size_t>line * 16, 64)
    memcpy(&out.set.places[out.set.lines], place, sizeof(Place4))
    memcpy(
        out.set.leaves + <size_t>out.set.leaf_count * 4,
        source.leaves + <size_t>place.first * 4,
        leaves * <size_t>32,
    )
    out.set.places[out.set.lines].first = out.set.leaf_count
    out.set.root[upper] = out.set.lines
    out.set.lines += 1
    out.set.leaf_count += leaves
    return 0


cdef inline void unfold(Plane* plane, const Set4* source, uint32_t line) noexcept nogil:
    """The leaves of a line, all of them."""
    cdef uint32_t i, code
    cdef const uint64_t* leaf = source.leaves
    if line > 1:
        leaf += <size_t>source.places[line].first * 4
    for i in range(256):
        code = source.codes[<size_t>line * 16 + (i >> 4)] >> ((i & 15) * 2) & 3
        if code == 2:
            memcpy(plane.leaves + 4 * i, leaf, 32)
            leaf += 4
        else:
            memset(plane.leaves + 4 * i, 0xFF if code else 0, 32)


cdef inline bint combine_planes(Plane* plane, const Plane* other, Operation operation) noexcept nogil:
    """The leaves, into plane; whether anything is left."""
    cdef int i
    cdef uint64_t some
    cdef uint64_t* leaf = plane.leaves
    for i in range(1024):
        if operation == UNION:
            leaf[i] |= other.leaves[i]
        elif operation == INTERSECTION:
            leaf[i] &= other.leaves[i]
        else:
            leaf[i] &= ~other.leaves[i]
    memset(plane, 0, 64)  # whole and part
    for i in range(256):
        some = leaf[0] | leaf[1] | leaf[2] | leaf[3]
        plane.part[i >> 6] |= <uint64_t>(some != 0) << (i & 63)
        leaf += 4
    return (plane.part[0] | plane.part[1] | plane.part[2] | plane.part[3]) != 0


cdef inline int which(uint32_t a, uint32_t b, Operation operation) noexcept nogil:
    """What two lines make: 0 none, 1 all, 2 the line of a, 3 the line of b, 4 both must be looked at."""
    if operation == DIFFERENCE:
        return 0 if a == 0 or b == 1 else 2 if b == 0 else 4
    if operation == UNION:
        return 1 if a == 1 or b == 1 else 2 if b == 0 else 3 if a == 0 else 4
    return 0 if a == 0 or b == 0 else 2 if b == 1 else 3 if a == 1 else 4


cdef inline int set4_combine(Set4* result, const Set4* a, const Set4* b, Operation operation) noexcept nogil:
    """What only one set has a say in is copied whole: a small change costs little more. -1: out of memory."""
    cdef Growing4 out
    cdef Plane left, right
    cdef int upper, how
    cdef int failed = grow_start(&out)
    for upper in range(65536):
        if failed:
            break
        how = which(a.root[upper], b.root[upper], operation)
        if how == 2:
            failed = grow_copy(&out, upper, a, a.root[upper])
        elif how == 3:
            failed = grow_copy(&out, upper, b, b.root[upper])
        elif how == 4:
            unfold(&left, a, a.root[upper])
            unfold(&right, b, b.root[upper])
            combine_planes(&left, &right, operation)
            failed = grow_plane(&out, upper, &left)
        else:
            out.set.root[upper] = how
    return grow_finish(&out, failed, result)


cdef inline bint set4_meets(const Set4* a, const Set4* b, Operation operation) noexcept nogil:
    """Whether a INTERSECTION b, or a DIFFERENCE b, holds any address."""
    cdef Plane left, right
    cdef int upper, how
    for upper in range(65536):
        how = which(a.root[upper], b.root[upper], operation)
        if how == 4:
            unfold(&left, a, a.root[upper])
            unfold(&right, b, b.root[upper])
            if combine_planes(&left, &right, operation):
                return True
        elif how == 3 or how == 1 or (how == 2 and a.root[upper] != 0):
            return True
    return False


cdef inline bint set4_equal(const Set4* a, const Set4* b) noexcept nogil:
    return (
        a.lines == b.lines
        and a.leaf_count == b.leaf_count
        and memcmp(a.root, b.root, 65536 * sizeof(uint32_t)) == 0
        and memcmp(a.codes, b.codes, a.lines * 16 * sizeof(uint32_t)) == 0
        and (a.leaf_count == 0 or memcmp(a.leaves, b.leaves, a.leaf_count * <size_t>32) == 0)
    )


cdef inline uint64_t set4_next(const Set4* self, uint64_t at, bint inside) noexcept nogil:
    """The first address from at on that is inside (or outside); 2**32 when there is none."""
    cdef uint32_t line, code, word
    cdef uint64_t bits
    while at < <uint64_t>1 << 32:
        line = self.root[at >> 16]
        if line < 2:
            if line == <uint32_t>inside:
                return at
            at = (at | 0xFFFF) + 1
            continue
        word = line * 16 + (<uint32_t>at >> 12 & 15)
        code = self.codes[word] >> (<uint32_t>at >> 7 & 30) & 3
        if code < 2:
            if code == <uint32_t>inside:
                return at
            at = (at | 0xFF) + 1
            continue
        bits = self.leaves[leaf_word(self, word, <uint32_t>at)]
        if not inside:
            bits = ~bits
        bits >>= at & 63
        if bits:
            return at + ctz(bits)
        at = (at | 63) + 1
    return at


cdef inline uint64_t set4_size(const Set4* self) noexcept nogil:
    """How many addresses."""
    cdef uint64_t total = 0
    cdef uint32_t upper, line, leaves
    cdef size_t i
    for upper in range(65536):
        line = self.root[upper]
        if line < 2:
            total += <uint64_t>line << 16
            continue
        for i in range(<size_t>line * 16, <size_t>line * 16 + 16):
            total += <uint64_t>popcount(self.codes[i] & 0x55555555) << 8
        leaves = self.places[line].before[15] + count_leaves(self.codes[<size_t>line * 16 + 15])
        for i in range(<size_t>self.places[line].first * 4, (<size_t>self.places[line].first + leaves) * 4):
            total += popcount(self.leaves[i])
    return total


cdef inline bint set4_sound(const Set4* self) noexcept nogil:
    """Whether no question can lead outside the arrays."""
    cdef uint32_t line, leaves
    cdef size_t i
    if self.lines < 2 or memcmp(self.codes, EMPTY4.codes, 32 * sizeof(uint32_t)) != 0:
        return False
    for i in range(65536):
        if self.root[i] >= self.lines:
            return False
    for line in range(self.lines):
        leaves = 0
        for i in range(16):
            if self.places[line].before[i] != leaves:
                return False
            leaves += count_leaves(self.codes[<size_t>line * 16 + i])
        if <uint64_t>self.places[line].first + leaves > self.leaf_count:
            return False
    return True
