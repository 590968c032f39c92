# Questions and sets from whole arrays. Included by cidr.pyx.

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_CheckBuffer,
    PyObject_GetBuffer,
)


choose_wide(True)


def _use_wide(bint wanted):
    """Take the wide form of the bulk questions, or not: for tests and benchmarks. Whether it is in use."""
    return choose_wide(wanted)


cdef class Addresses:
    """A buffer of addresses, held until this goes: uint32 in host order, or 16 bytes in network order."""
    cdef Py_buffer view
    cdef int family
    cdef size_t count

    def __cinit__(self, source, str name="addresses"):
        cdef bytes code
        if not PyObject_CheckBuffer(source):
            kind = type(source).__name__
            raise TypeError(f"{name}: expected a buffer of uint32 or of 16-byte addresses, got {kind}")
        PyObject_GetBuffer(source, &self.view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)
        code = self.view.format if self.view.format != NULL else b"B"
        if self.view.itemsize == 4 and code.lstrip(b"@=" + NATIVE) in (b"I", b"L"):
            self.family = 4
            self.count = self.view.len // 4
        elif code in (b"16s", b"16x") or (self.view.itemsize == 1 and self.view.len % 16 == 0):
            self.family = 6
            self.count = self.view.len // 16
        else:
            raise TypeError(
                f"{name}: expected a buffer of uint32 (format I) or of 16-byte addresses, "
                f"got {self.view.len} bytes of format {code.decode()}"
            )

    def __dealloc__(self):
        PyBuffer_Release(&self.view)

    cdef inline u128 at(self, size_t i) noexcept nogil:
        if self.family == 4:
            return (<const loose32*>self.view.buf)[i]
        return load6(<const unsigned char*>self.view.buf + 16 * i)


cdef bytes NATIVE = b"<" if sys.byteorder == "little" else b">"


cdef class Output:
    """Where a bulk answer goes: the caller's writable buffer, or new bytes."""
    cdef Py_buffer view
    cdef object result
    cdef unsigned char* at
    cdef bint borrowed

    def __cinit__(self, out, size_t size):
        if out is None:
            self.result = PyBytes_FromStringAndSize(NULL, size)
            self.at = <unsigned char*>PyBytes_AS_STRING(self.result)
            return
        PyObject_GetBuffer(out, &self.view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS)
        self.borrowed = True
        if <size_t>self.view.len != size:
            raise ValueError(f"out: expected {size} bytes, got {self.view.len}")
        self.result = out
        self.at = <unsigned char*>self.view.buf

    def __dealloc__(self):
        if self.borrowed:
            PyBuffer_Release(&self.view)


cdef class Mixed:
    """A list of addresses of any type, taken apart; the answers for IPv6 go over those for the quads."""
    cdef uint32_t* quads        # one for each address; 0 in place of IPv6
    cdef uint8_t* packed        # the IPv6 addresses, 16 bytes each
    cdef size_t* places         # where in the list they stand
    cdef size_t count
    cdef size_t sixes

    def __cinit__(self, addresses):
        cdef tuple items = tuple(addresses)  # the caller's list may change while we read
        cdef size_t i
        cdef int family = 0
        cdef u128 value = 0
        self.count = len(items)
        self.quads = <uint32_t*>malloc((self.count + 1) * sizeof(uint32_t))
        if self.quads == NULL:
            raise MemoryError
        for i in range(self.count):
            if read_quad(items[i], &self.quads[i]):
                continue
            read_any_address(items[i], &family, &value)
            self.quads[i] = <uint32_t>value if family == 4 else 0
            if family == 6:
                self.add6(i, value)

    cdef int add6(self, size_t place, u128 value) except -1:
        cdef int i
        if self.packed == NULL:
            self.packed = <uint8_t*>malloc(16 * self.count)
            self.places = <size_t*>malloc(self.count * sizeof(size_t))
            if self.packed == NULL or self.places == NULL:
                raise MemoryError
        for i in range(16):
            self.packed[16 * self.sixes + i] = <uint8_t>(value >> 8 * (15 - i))
        self.places[self.sixes] = place
        self.sixes += 1
        return 0

    def __dealloc__(self):
        free(self.quads)
        free(self.packed)
        free(self.places)


cdef object contains_many(CidrSet self, object addresses, object out, bint bits):
    cdef Addresses source
    cdef Output target
    cdef Mixed mixed
    cdef bytearray answers
    cdef uint8_t* whole
    cdef uint8_t* six
    cdef size_t i
    cdef size_t count
    if isinstance(addresses, (list, tuple)):
        mixed = Mixed(addresses)
        count = mixed.count
        target = Output(out, (count + 7) // 8 if bits else count)
        answers = bytearray(mixed.sixes + (count if bits else 0))
        six = <uint8_t*>PyByteArray_AS_STRING(answers)
        whole = six + mixed.sixes if bits else target.at
        set4_many(&self.set4, mixed.quads, count, whole, False)
        edges_many(&self.edges6, mixed.packed, mixed.sixes, six, False)
        for i in range(mixed.sixes):
            whole[mixed.places[i]] = six[i]
        if bits:
            memset(target.at, 0, (count + 7) // 8)
            for i in range(count):
                target.at[i >> 3] |= whole[i] << (i & 7)
        return target.result
    source = Addresses(addresses)
    count = source.count
    target = Output(out, (count + 7) // 8 if bits else count)
    with nogil:
        if source.family == 4:
            set4_many(&self.set4, <const loose32*>source.view.buf, count, target.at, bits)
        else:
            edges_many(&self.edges6, <const uint8_t*>source.view.buf, count, target.at, bits)
    return target.result


cdef CidrSet read_arrays(object first, object last, object length):
    cdef Addresses begin = Addresses(first, "first")
    cdef Addresses end
    cdef Py_buffer lengths
    if last is not None and length is not None:
        raise TypeError("last and length exclude each other")
    if last is not None:
        end = Addresses(last, "last")
        if end.family != begin.family or end.count != begin.count:
            raise ValueError(f"last: expected {begin.count} addresses of the type of first, got {end.count}")
        return from_spans(begin, end, NULL)
    if length is None:
        return from_spans(begin, begin, NULL)
    PyObject_GetBuffer(length, &lengths, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)
    try:
        if lengths.itemsize != 1 or <size_t>lengths.len != begin.count:
            raise ValueError(f"length: expected {begin.count} bytes (format B), got {lengths.len}")
        return from_spans(begin, None, <const uint8_t*>lengths.buf)
    finally:
        PyBuffer_Release(&lengths)


cdef CidrSet from_spans(Addresses begin, Addresses end, const uint8_t* lengths):
    cdef CidrSet result = CidrSet.__new__(CidrSet)
    cdef Heap heap
    cdef Span span
    cdef Fault fault = FINE
    cdef size_t i = 0
    memset(&heap, 0, sizeof(Heap))
    span.family = begin.family
    try:
        with nogil:
            for i in range(begin.count):
                span.first = begin.at(i)
                if lengths != NULL:
                    span.length = lengths[i]
                    fault = close_span(&span)
                else:
                    span.last = end.at(i)
                    fault = REVERSED if span.first > span.last else FINE
                if fault != FINE:
                    break
                heap_add(&heap, &span)
        if fault != FINE:
            if lengths != NULL:
                tail = f"/{span.length}"
            else:
                tail = f"-{to_address(span.family, span.last)}"
            raise ValueError(
                f"item {i}: {to_address(span.family, span.first)}{tail}: {explain(fault, &span, False)}"
            )
        heap_settle(&heap, result)
    finally:
        heap_free(&heap)
    return result
