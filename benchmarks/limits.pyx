"""What no lookup can beat: an empty `in`, and one random load for each question."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef class Empty:
    """Answers `in` without looking."""

    def __contains__(self, item):
        return False


def random_loads(const uint8_t[::1] table, const uint32_t[::1] questions, uint8_t[::1] out):
    """out[i] is a byte of the table, chosen by question i; the table's size is a power of two."""
    cdef uint64_t mask = table.shape[0] - 1
    cdef const uint8_t* t = &table[0]
    cdef const uint32_t* q = &questions[0]
    cdef uint8_t* o = &out[0]
    cdef Py_ssize_t i
    cdef Py_ssize_t count = questions.shape[0]
    with nogil:
        for i in range(count):
            o[i] = t[(q[i] * <uint64_t>0x9E3779B97F4A7C15u >> 24) & mask]
