"""Text to spans of addresses, strictly: an address, address/length or first-last. Objects: cidr_read.pxi."""

from libc.stdint cimport uint32_t

cdef extern from *:
    """
    typedef unsigned __int128 u128;
    """
    # Cython is told a narrower type than it is: cast before arithmetic, never convert to a Python object.
    ctypedef unsigned long long u128


cdef struct Span:
    int family      # 4 or 6
    int length      # prefix length; -1 when first-last was given
    u128 first      # host byte order, both ends included
    u128 last


cdef enum Fault:
    FINE = 0
    SYNTAX
    LEADING_ZERO
    ZONE
    LENGTH
    HOST_BITS
    REVERSED
    MIXED


cdef inline u128 host_mask(int family, int length) noexcept nogil:
    """The bits below the prefix."""
    cdef int bits = (32 if family == 4 else 128) - length
    return (((<u128>1) << (bits - 1)) << 1) - <u128>1 if bits else <u128>0


cdef inline Fault parse4(
    const unsigned char** cursor, const unsigned char* end, uint32_t* out
) noexcept nogil:
    """A dotted quad of plain decimals (RFC 6943 section 3.1.1, strict form)."""
    cdef const unsigned char* p = cursor[0]
    cdef uint32_t value = 0
    cdef unsigned int octet, digit
    cdef int i
    for i in range(4):
        if i:
            if p == end or p[0] != c".":
                return SYNTAX
            p += 1
        if p == end:
            return SYNTAX
        octet = <unsigned int>p[0] - c"0"
        if octet > 9:
            return SYNTAX
        p += 1
        if p != end:
            digit = <unsigned int>p[0] - c"0"
            if digit <= 9:
                if octet == 0:
                    return LEADING_ZERO
                octet = octet * 10 + digit
                p += 1
                if p != end:
                    digit = <unsigned int>p[0] - c"0"
                    if digit <= 9:
                        octet = octet * 10 + digit
                        p += 1
                        if octet > 255:
                            return SYNTAX
        value = value << 8 | octet
    cursor[0] = p
    out[0] = value
    return FINE


cdef inline unsigned int hex_digit(unsigned char c) noexcept nogil:
    """16 for what is none."""
    cdef unsigned int d = <unsigned int>c - c"0"
    if d <= 9:
        return d
    d = (<unsigned int>c | 0x20) - c"a"
    return d + 10 if d <= 5 else 16


cdef inline Fault parse6(const unsigned char** cursor, const unsigned char* end, u128* out) noexcept nogil:
    """RFC 4291 section 2.2, all three forms; "::" stands for at least one group."""
    cdef const unsigned char* p = cursor[0]
    cdef const unsigned char* start
    cdef u128 value = 0
    cdef u128 low
    cdef uint32_t quad
    cdef unsigned int group, digit
    cdef int groups = 0
    cdef int gap = -1
    cdef Fault fault
    if end - p >= 2 and p[0] == c":" and p[1] == c":":
        gap = 0
        p += 2
    while groups < 8:
        start = p
        group = 0
        while p != end and p - start < 4:
            digit = hex_digit(p[0])
            if digit > 15:
                break
            group = group << 4 | digit
            p += 1
        if p == start:
            if groups == gap:  # "::" ends the text
                break
            return SYNTAX
        if p != end and p[0] == c".":
            if groups > 6:
                return SYNTAX
            p = start
            fault = parse4(&p, end, &quad)
            if fault != FINE:
                return fault
            value = value << 32 | <u128>quad
            groups += 2
            break
        value = value << 16 | <u128>group
        groups += 1
        if p == end or p[0] != c":" or groups == 8:
            break
        p += 1
        if p != end and p[0] == c":":
            if gap >= 0:
                return SYNTAX
            gap = groups
            p += 1
    if gap < 0:
        if groups != 8:
            return SYNTAX
    elif groups == 8:
        return SYNTAX
    elif groups > gap:  # the groups after "::" stand at the low end
        low = value & host_mask(6, 128 - 16 * (groups - gap))
        if gap:
            value = (value >> 16 * (groups - gap)) << (128 - 16 * gap) | low
    elif gap:
        value = value << (128 - 16 * gap)
    cursor[0] = p
    out[0] = value
    return FINE


cdef inline Fault parse_address(
    const unsigned char** cursor, const unsigned char* end, int* family, u128* out
) noexcept nogil:
    """The family shows within five characters: a colon comes before the first dot, or not at all."""
    cdef const unsigned char* p = cursor[0]
    cdef uint32_t quad = 0
    cdef Fault fault
    while p != end and p - cursor[0] < 5 and p[0] != c":" and p[0] != c".":
        p += 1
    if p != end and p[0] == c":":
        family[0] = 6
        fault = parse6(cursor, end, out)
    else:
        family[0] = 4
        fault = parse4(cursor, end, &quad)
        out[0] = quad
    if fault == FINE and cursor[0] != end and cursor[0][0] == c"%":
        return ZONE
    return fault


cdef inline Fault parse_span(const unsigned char* p, const unsigned char* end, Span* span) noexcept nogil:
    """The whole of [p, end)."""
    cdef int family = 0
    cdef int bits
    cdef Fault fault = parse_address(&p, end, &span.family, &span.first)
    if fault != FINE:
        return fault
    bits = 32 if span.family == 4 else 128
    span.last = span.first
    span.length = bits
    if p == end:
        return FINE
    if p[0] == c"-":
        p += 1
        fault = parse_address(&p, end, &family, &span.last)
        if fault != FINE:
            return fault
        span.length = -1
        if p != end:
            return SYNTAX
        if family != span.family:
            return MIXED
        return FINE if span.first <= span.last else REVERSED
    if p[0] != c"/":
        return SYNTAX
    p += 1
    if p == end or end - p > 3 or (p[0] == c"0" and end - p > 1):
        return LENGTH
    span.length = 0
    while p != end:
        if not c"0" <= p[0] <= c"9":
            return LENGTH
        span.length = span.length * 10 + (p[0] - c"0")
        p += 1
    return close_span(span)


cdef inline Fault close_span(Span* span) noexcept nogil:
    """The last address, from the length."""
    cdef u128 mask
    if span.length > (32 if span.family == 4 else 128):
        return LENGTH
    mask = host_mask(span.family, span.length)
    span.last = span.first | mask
    return HOST_BITS if span.first & mask else FINE
