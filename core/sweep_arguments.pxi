# What a caller may hand to a Sweep; ValueError says what was wrong and what is expected.

cdef double checked_rate(double rate) except -1.0:
    if not rate > 0:
        raise ValueError(f"rate {rate}: connections a second, more than 0, expected")
    return rate


cdef uint32_t checked_count(str name, count) except 0:
    if not 1 <= count <= 10_000_000:
        raise ValueError(f"{name} {count}: 1 to 10,000,000 expected")
    return count


cdef int64_t checked_timeout(double timeout) except -1:
    if not 0 < timeout <= 3600:
        raise ValueError(f"timeout {timeout}: seconds, more than 0 and at most 3600, expected")
    return <int64_t> (timeout * 1e9)


cdef int halves(bytes address, uint64_t* high, uint64_t* low) except -1:
    """Host byte order. The kernel would connect to another than a mapped or an unspecified address."""
    if len(address) != 4 and len(address) != 16:
        raise ValueError(f"address of {len(address)} bytes, 4 or 16 expected")
    whole = int.from_bytes(address, "big")
    high[0] = whole >> 64
    low[0] = whole & UINT64_MAX
    if high[0] == 0 and (low[0] == 0 or low[0] >> 32 == 0xFFFF):
        raise ValueError(f"address {address.hex()}: unspecified or IPv4-mapped")
    return 0


cdef int check_length(bytes source, bytes address) except -1:
    if len(source) != len(address):
        raise ValueError(f"source of {len(source)} bytes for an address of {len(address)}")
    return 0


cdef bint is_local(bytes source) except -1:
    """Whether it is an address of this machine, which bind() knows; the thread retries a failure for ever."""
    cdef bint v6 = len(source) == 16
    cdef bint good
    fd = socket(AF_INET6 if v6 else AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)
    if fd < 0:
        return False  # unknown: a local limit, which is the thread's to wait for
    good = bind_source(fd, v6, <const uint8_t*> PyBytes_AS_STRING(source))
    close(fd)
    if not good:
        raise ValueError(f"source {source.hex()} is not an address of this machine")
    return True
