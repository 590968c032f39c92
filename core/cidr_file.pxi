# Text files of networks, and the binary form that can be mapped. Included by cidr.pyx.

import mmap
import os
import struct

from libc.stdlib cimport malloc
from libc.string cimport memchr, memcpy

# Magic, byte order mark, version, numbers of lines, leaves and edges, CRC-32 of what follows; native order.
cdef object HEADER = struct.Struct("=8sIIIIII32x")
cdef enum:
    HEADER_SIZE = 64
cdef bytes MAGIC = b"CIDRSET\0"
cdef uint32_t ORDER = 0x01020304
cdef uint32_t VERSION = 1


cdef Py_ssize_t PART = 1 << 18  # bytes read at a time; small enough for the caches


cdef inline bint is_blank(unsigned char c) noexcept nogil:
    return c == c" " or c == c"\t" or c == c"\r" or c == c"\v" or c == c"\f"


cdef struct Reader:
    # Where the reader is; at a fault, what was wrong there.
    Heap heap
    size_t line
    const unsigned char* begin
    const unsigned char* end
    Span span


cdef Fault read_lines(Reader* reader, const unsigned char* text, size_t size) except? SYNTAX nogil:
    """Whole lines, the last with or without its newline."""
    cdef const unsigned char* stop = text + size
    cdef const unsigned char* newline
    cdef const unsigned char* first
    cdef const unsigned char* last
    cdef Fault fault
    while text < stop:
        reader.line += 1
        newline = <const unsigned char*>memchr(text, c"\n", stop - text)
        if newline == NULL:
            newline = stop
        first = text
        text = newline + 1
        last = <const unsigned char*>memchr(first, c"#", newline - first)
        if last == NULL:
            last = newline
        while first != last and is_blank(first[0]):
            first += 1
        while first != last and is_blank((last - 1)[0]):
            last -= 1
        if first == last:
            continue
        reader.begin = first
        reader.end = last
        fault = parse_span(first, last, &reader.span)
        if fault != FINE:
            return fault
        heap_add(&reader.heap, &reader.span)
    return FINE


cdef int read_part(Reader* reader, bytes text, size_t size, str path) except -1:
    cdef const unsigned char* at = text
    cdef Fault fault
    with nogil:
        fault = read_lines(reader, at, size)
    if fault != FINE:
        item = (<const char*>reader.begin)[:reader.end - reader.begin].decode("utf-8", "backslashreplace")
        raise ValueError(f"{path}:{reader.line}: {shown(item)}: {explain(fault, &reader.span, False)}")
    return 0


cdef CidrSet read_file(object path):
    """Part by part, so that a text of any size takes little memory."""
    cdef CidrSet result = CidrSet.__new__(CidrSet)
    cdef Reader reader
    cdef bytes text
    cdef bytes rest = b""
    cdef Py_ssize_t cut
    cdef str name = os.fsdecode(path)
    memset(&reader, 0, sizeof(Reader))
    try:
        with open(path, "rb", buffering=0) as file:
            while part := file.read(PART):
                text = rest + part
                cut = text.rfind(b"\n") + 1
                if cut == 0 and len(text) > PART:
                    raise ValueError(f"{name}:{reader.line + 1}: expected lines of at most {PART} bytes")
                read_part(&reader, text, cut, name)
                rest = text[cut:]
        read_part(&reader, rest, len(rest), name)
        heap_settle(&reader.heap, result)
    finally:
        heap_free(&reader.heap)
    return result


cdef bytes raw(const void* at, size_t size):
    return (<const char*>at)[:size] if size else b""


cdef bytes to_block(CidrSet self):
    """Header, then root, codes, leaves, edges, places: each aligned for what it holds. No IPv4: no lines."""
    cdef Set4* four = &self.set4
    cdef uint32_t lines = 0 if four.root == empty_root else four.lines
    cdef bytes body = b"".join((
        raw(four.root, 65536 * sizeof(uint32_t) if lines else 0),
        raw(four.codes, lines * 16 * sizeof(uint32_t)),
        raw(four.leaves, four.leaf_count * <size_t>32),
        raw(self.edges6.at, self.edges6.count * sizeof(u128)),
        raw(four.places, lines * sizeof(Place4)),
    ))
    cdef uint32_t edges = self.edges6.count
    return HEADER.pack(MAGIC, ORDER, VERSION, lines, four.leaf_count, edges, zlib.crc32(body)) + body


cdef bint are_edges(const u128* at, size_t count) noexcept nogil:
    """Ascending."""
    cdef size_t i
    for i in range(1, count):
        if at[i - 1] >= at[i]:
            return False
    return True


cdef CidrSet from_block(bytes_like, object path):
    """A set of the bytes of a block: copies or, with a path (for messages), IPv4 on the block itself."""
    cdef CidrSet result = CidrSet.__new__(CidrSet)
    cdef const unsigned char[::1] view = bytes_like
    cdef uint32_t lines, leaves, edges
    cdef uint64_t size
    cdef Set4 four
    cdef const unsigned char* at = &view[0]
    where = "" if path is None else f"{os.fsdecode(path)}: "
    if view.shape[0] < HEADER_SIZE:
        raise ValueError(f"{where}expected a saved CidrSet, got {view.shape[0]} bytes")
    magic, order, version, lines, leaves, edges, checksum = HEADER.unpack_from(bytes_like)
    if magic != MAGIC:
        raise ValueError(f"{where}expected a saved CidrSet, got other content")
    if order != ORDER:
        raise ValueError(f"{where}saved on a machine of the other byte order")
    if version != VERSION:
        raise ValueError(f"{where}expected version {VERSION} of the form, got {version}")
    size = HEADER_SIZE + leaves * <uint64_t>32 + edges * <uint64_t>16
    if lines:
        size += 65536 * sizeof(uint32_t) + lines * <uint64_t>(64 + sizeof(Place4))
    if size != <uint64_t>view.shape[0]:
        raise ValueError(f"{where}cut short or longer than its header says")
    if zlib.crc32(memoryview(bytes_like)[HEADER_SIZE:]) != checksum:
        raise ValueError(f"{where}the checksum is wrong")
    at += HEADER_SIZE
    four = EMPTY4
    if lines:
        four.lines = lines
        four.leaf_count = leaves
        four.root = <uint32_t*>take(&at, 65536 * sizeof(uint32_t))
        four.codes = <uint32_t*>take(&at, lines * <size_t>64)
        four.leaves = <uint64_t*>take(&at, leaves * <size_t>32)
    edges_at = take(&at, edges * sizeof(u128))
    if lines:
        four.places = <Place4*>take(&at, lines * sizeof(Place4))
    if not set4_sound(&four) or not are_edges(<const u128*>edges_at, edges):
        raise ValueError(f"{where}the content contradicts itself")
    if path is not None:
        result.mapped = bytes_like
        result.set4 = four
    elif set4_combine(&result.set4, &four, &EMPTY4, UNION):
        raise MemoryError
    copy = <u128*>malloc((edges + <size_t>1) * sizeof(u128))
    if copy == NULL:
        raise MemoryError
    memcpy(copy, edges_at, edges * sizeof(u128))
    if edges_finish(&result.edges6, copy, edges):
        raise MemoryError
    return result


cdef inline const void* take(const unsigned char** at, size_t size) noexcept nogil:
    """The part of the block that begins here; at goes behind it."""
    at[0] += size
    return at[0] - size


cdef int save_file(CidrSet self, object path) except -1:
    """Beside the file first, then over it: a process that has it mapped keeps the old pages."""
    part = os.fsdecode(path) + f".{os.getpid()}.part"
    try:
        with open(part, "wb") as file:
            file.write(to_block(self))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise
    return 0


cdef CidrSet open_file(object path):
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ValueError(f"{os.fsdecode(path)}: expected a saved CidrSet, got 0 bytes")
        block = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return from_block(block, path)
