"""What other core modules may use of cidr without the GIL."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from core.cidr_edges cimport Edges
from core.cidr_set4 cimport Set4


@cython.final
cdef class CidrSet:
    # Addresses in host byte order; IPv6 as its upper and lower half. The caller keeps a reference to the set.
    cdef bint has4(self, uint32_t address) noexcept nogil
    cdef bint has6(self, uint64_t high, uint64_t low) noexcept nogil

    cdef Set4 set4
    cdef Edges edges6
    cdef object mapped      # keeps the pages of the file that set4 lies in; None: the memory is the set's own
    cdef Py_hash_t hashed   # -1: not computed
