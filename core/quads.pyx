"""Very many single IPv4 addresses as the lines of a blocklist zone, and back.

The plain twin is tests/oracle/quads.py; the public types are in quads.pyi.
"""

from array import array
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memchr, memcpy, memset

from core.cidr_text cimport FINE, parse4


cdef enum:
    QUAD = 15   # characters at most
    OCTET = 4   # bytes of an entry of `octets`: up to three digits, and a dot


# Each octet's digits with a dot behind, and how many digits they are.
cdef unsigned char octets[256][OCTET]
cdef unsigned char digits[256]


cdef int fill_tables() except -1:
    cdef bytes text
    for number in range(256):
        text = b"%d." % number
        digits[number] = len(text) - 1
        memcpy(octets[number], <const char*>text, len(text))
    return 0


fill_tables()


cdef class Buffer:
    """Of uint32 in host order, held until this goes."""
    cdef Py_buffer view
    cdef const uint32_t* at
    cdef size_t count

    def __cinit__(self, source):
        PyObject_GetBuffer(source, &self.view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)
        code = self.view.format if self.view.format != NULL else b"B"
        if self.view.itemsize != 4 or code.lstrip(b"@=") not in (b"I", b"L"):
            raise TypeError(f"expected a buffer of uint32 (format I), got format {code.decode()}")
        self.at = <const uint32_t*>self.view.buf
        self.count = self.view.len // 4

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef struct Numbers:
    uint32_t* at
    size_t count
    size_t room


cdef inline int push(Numbers* numbers, uint32_t number) except -1 nogil:
    cdef uint32_t* grown
    if numbers.count == numbers.room:
        numbers.room = numbers.room * 2 if numbers.room else 1024
        grown = <uint32_t*>realloc(numbers.at, numbers.room * sizeof(uint32_t))
        if grown == NULL:
            raise MemoryError
        numbers.at = grown
    numbers.at[numbers.count] = number
    numbers.count += 1
    return 0


cdef object to_array(const uint32_t* at, size_t count):
    found = array("I")
    if count:
        found.frombytes((<const char*>at)[:count * sizeof(uint32_t)])
    return found


cdef inline unsigned char* put_quad(unsigned char* to, uint32_t address) noexcept nogil:
    """Writes up to three bytes behind what it returns."""
    cdef unsigned int octet
    cdef int shift
    for shift in range(24, -8, -8):
        octet = address >> shift & 255
        memcpy(to, octets[octet], OCTET)
        to += digits[octet] + 1
    return to - 1


def write_lines(addresses, bytes before, bytes behind):
    cdef Buffer source = Buffer(addresses)
    cdef size_t ahead = len(before), after = len(behind), i
    cdef const unsigned char* head = before
    cdef const unsigned char* tail = behind
    cdef unsigned char* text = <unsigned char*>malloc(source.count * (ahead + QUAD + after) + OCTET)
    cdef unsigned char* to = text
    if text == NULL:
        raise MemoryError
    with nogil:
        for i in range(source.count):
            memcpy(to, head, ahead)
            to = put_quad(to + ahead, source.at[i])
            memcpy(to, tail, after)
            to += after
    try:
        return PyBytes_FromStringAndSize(<const char*>text, to - text)
    finally:
        free(text)


cdef struct Lines:
    # Where runs of one value begin in `listed`, value and place in turn.
    Numbers runs
    Numbers listed
    Numbers excluded
    # Offsets of the other lines' begins and ends, in turn.
    Numbers others


cdef inline bint parse_listed(
    const unsigned char* p, const unsigned char* end, uint32_t* address, uint32_t* value
) noexcept nogil:
    if parse4(&p, end, address) != FINE or end - p < 2 or p[0] != c" " or p[1] != c":":
        return False
    p += 2
    return parse4(&p, end, value) == FINE and p != end and p[0] == c":" and value[0] >> 24 == 127


cdef int parse_lines(Lines* lines, const unsigned char* text, size_t size) except -1 nogil:
    """0: the last line has no newline."""
    cdef const unsigned char* p = text
    cdef const unsigned char* end = text + size
    cdef const unsigned char* newline
    cdef const unsigned char* excluded
    cdef uint32_t address = 0, value = 0
    cdef uint32_t last = 0
    while p != end:
        newline = <const unsigned char*>memchr(p, c"\n", end - p)
        if newline == NULL:
            return 0
        excluded = p + 1
        if p[0] == c"!" and parse4(&excluded, newline, &address) == FINE and excluded == newline:
            push(&lines.excluded, address)
        elif parse_listed(p, newline, &address, &value):
            if value != last:
                push(&lines.runs, value)
                push(&lines.runs, <uint32_t>lines.listed.count)
                last = value
            push(&lines.listed, address)
        else:
            push(&lines.others, <uint32_t>(p - text))
            push(&lines.others, <uint32_t>(newline - text))
        p = newline + 1
    return 1


def read_lines(bytes text):
    cdef Lines lines
    cdef const unsigned char* at = text
    cdef size_t size = len(text), i, begin, end
    if size >> 32:
        raise ValueError("expected less than 4 GB of text at once")
    memset(&lines, 0, sizeof(Lines))
    try:
        with nogil:
            i = parse_lines(&lines, at, size)
        if i == 0:
            raise ValueError("the last line is cut")
        runs = []
        for i in range(0, lines.runs.count, 2):
            begin = lines.runs.at[i + 1]
            end = lines.runs.at[i + 3] if i + 2 < lines.runs.count else lines.listed.count
            runs.append((lines.runs.at[i], to_array(lines.listed.at + begin, end - begin)))
        others = [text[lines.others.at[i]:lines.others.at[i + 1]] for i in range(0, lines.others.count, 2)]
        return runs, to_array(lines.excluded.at, lines.excluded.count), others
    finally:
        free(lines.runs.at)
        free(lines.listed.at)
        free(lines.excluded.at)
        free(lines.others.at)


cdef bint ascends(const uint32_t* at, size_t count) noexcept nogil:
    cdef size_t i
    for i in range(1, count):
        if at[i - 1] >= at[i]:
            return False
    return True


cdef int push_cuts(Numbers* found, const uint32_t* at, size_t count) except -1 nogil:
    """Of addresses that have all but the last number in common. What is cut is below 26: a bit for each."""
    cdef uint32_t present = 0
    cdef uint32_t cut = 0
    cdef unsigned int octet
    cdef size_t i
    for i in range(count):
        octet = at[i] & 255
        if octet < 32:
            present |= <uint32_t>1 << octet
        if octet > 9:
            cut |= <uint32_t>1 << octet // 10
        if octet > 99:
            cut |= <uint32_t>1 << octet // 100
    cut &= ~present
    for octet in range(1, 26):
        if cut >> octet & 1:
            push(found, at[0] & 0xFFFFFF00u | octet)
    return 0


def cut_short(addresses):
    cdef Buffer source = Buffer(addresses)
    cdef Numbers found
    cdef size_t begin = 0, end
    if not ascends(source.at, source.count):
        raise ValueError("expected addresses that ascend")
    memset(&found, 0, sizeof(Numbers))
    try:
        with nogil:
            while begin < source.count:
                end = begin + 1
                while end < source.count and source.at[end] >> 8 == source.at[begin] >> 8:
                    end += 1
                push_cuts(&found, source.at + begin, end - begin)
                begin = end
        return to_array(found.at, found.count)
    finally:
        free(found.at)


cdef int compare(const void* one, const void* other) noexcept nogil:
    cdef uint32_t a = (<const uint32_t*>one)[0], b = (<const uint32_t*>other)[0]
    return (a > b) - (a < b)


cdef inline size_t place_of(const uint32_t* at, size_t begin, size_t end, uint32_t number) noexcept nogil:
    """The first of at[begin:end], which ascends, that is not below number."""
    cdef size_t middle
    while begin < end:
        middle = (begin + end) // 2
        if at[middle] < number:
            begin = middle + 1
        else:
            end = middle
    return begin


cdef int push_common(Numbers* found, const Numbers* one, const uint32_t* at, size_t count) except -1 nogil:
    """one: ascending. What is in both, in the order of at."""
    cdef size_t i, near, place = 0
    for i in range(count):
        if place and one.at[place - 1] >= at[i]:
            place = place_of(one.at, 0, place, at[i])
        near = place + 8 if place + 8 < one.count else one.count
        while place < near and one.at[place] < at[i]:
            place += 1
        if place == near:
            place = place_of(one.at, place, one.count, at[i])
        if place < one.count and one.at[place] == at[i]:
            push(found, at[i])
    return 0


def common(one, other):
    cdef Buffer left = Buffer(one)
    cdef Buffer right = Buffer(other)
    cdef Numbers sorted_, found
    cdef size_t i
    memset(&sorted_, 0, sizeof(Numbers))
    memset(&found, 0, sizeof(Numbers))
    try:
        with nogil:
            for i in range(left.count):
                push(&sorted_, left.at[i])
            if not ascends(sorted_.at, sorted_.count):
                qsort(sorted_.at, sorted_.count, sizeof(uint32_t), compare)
            push_common(&found, &sorted_, right.at, right.count)
        return array("I", sorted(set(to_array(found.at, found.count))))
    finally:
        free(sorted_.at)
        free(found.at)
