# Python objects to spans of addresses and back. Included by cidr.pyx.

cdef object IPv4Address = ipaddress.IPv4Address
cdef object IPv6Address = ipaddress.IPv6Address
cdef object IPv4Network = ipaddress.IPv4Network
cdef object IPv6Network = ipaddress.IPv6Network
cdef tuple INTERFACES = (ipaddress.IPv4Interface, ipaddress.IPv6Interface)


cdef object to_int(u128 value):
    cdef uint64_t high = <uint64_t>(value >> 64)
    if high == 0:
        return PyLong_FromUnsignedLongLong(<uint64_t>value)
    return (<object>PyLong_FromUnsignedLongLong(high) << 64) | PyLong_FromUnsignedLongLong(<uint64_t>value)


cdef int from_int(object number, int* family, u128* out) except -1:
    cdef bytes packed
    if 0 <= number < 1 << 64:
        out[0] = PyLong_AsUnsignedLongLong(number)
        family[0] = 4 if out[0] <= <u128>0xFFFFFFFFu else 6
        return 0
    try:
        packed = number.to_bytes(16, "big")
    except OverflowError:
        raise ValueError(f"{number!r}: expected an integer from 0 to 2**128-1") from None
    family[0] = 6
    out[0] = load6(<const unsigned char*>packed)
    return 0


cdef object shown(object item):
    """The item for a message, cut when it is long."""
    cdef str text = repr(item)
    return text if len(text) <= 80 else text[:77] + "..."


cdef object network_text(int family, u128 first, int length):
    return str(IPv4Network((to_int(first), length)) if family == 4 else IPv6Network((to_int(first), length)))


cdef object explain(Fault fault, const Span* span, bint address_only):
    """What was wrong and what was expected."""
    if fault == LEADING_ZERO:
        return "leading zero; expected plain decimal numbers"
    if fault == ZONE:
        return "zone id; expected an address without '%'"
    if address_only:
        return "expected an address"
    if fault == LENGTH:
        return f"expected a prefix length from 0 to {32 if span.family == 4 else 128}, without leading zeros"
    if fault == HOST_BITS:
        net = network_text(span.family, span.first & ~host_mask(span.family, span.length), span.length)
        return f"host bits set; expected {net}"
    if fault == REVERSED:
        return "the first address is above the last"
    if fault == MIXED:
        return "IPv4 and IPv6 in one range"
    return "expected an address, a network address/length or a range first-last"


cdef int whole(Span* span, int family, u128 first, object item) except -1:
    """A single address."""
    span.family = family
    span.first = span.last = first
    span.length = 32 if family == 4 else 128
    return 0


cdef int read_text(object item, Span* span, bint address_only) except -1:
    cdef str text = PyUnicode_FromObject(item)  # the text itself, of a subclass too
    cdef Py_ssize_t size
    cdef const unsigned char* p
    cdef const unsigned char* end
    cdef Fault fault = SYNTAX
    if text.isascii():
        p = <const unsigned char*>PyUnicode_AsUTF8AndSize(text, &size)
        end = p + size
        if address_only:
            fault = parse_address(&p, end, &span.family, &span.first)
            if fault == FINE and p != end:
                fault = SYNTAX
        else:
            fault = parse_span(p, end, span)
    if fault != FINE:
        raise ValueError(f"{shown(text)}: {explain(fault, span, address_only)}")
    return 0


cdef inline bint read_quad(object item, uint32_t* out) noexcept:
    """The common cases without a detour: an int below 2**32, a dotted quad. False: anything else."""
    cdef int overflow = 0
    cdef long long number
    cdef const unsigned char* p
    cdef const unsigned char* end
    if PyLong_CheckExact(item):
        number = PyLong_AsLongLongAndOverflow(item, &overflow)
        out[0] = <uint32_t>number
        return overflow == 0 and <uint64_t>number >> 32 == 0
    if PyUnicode_CheckExact(item) and PyUnicode_IS_COMPACT_ASCII(item):
        p = <const unsigned char*>PyUnicode_DATA(item)
        end = p + PyUnicode_GET_LENGTH(item)
        return parse4(&p, end, out) == FINE and p == end
    return False


cdef inline int read_address(object item, int* family, u128* out) except -1:
    """One address: str, int, packed bytes, ipaddress or netaddr."""
    cdef uint32_t quad
    if read_quad(item, &quad):
        family[0] = 4
        out[0] = quad
        return 0
    return read_any_address(item, family, out)


cdef int read_any_address(object item, int* family, u128* out) except -1:
    cdef Span span
    cdef const unsigned char* p
    cdef uint32_t quad
    if type(item) is IPv4Address and read_quad(item._ip, &quad):
        family[0] = 4
        out[0] = quad
        return 0
    if isinstance(item, str):
        read_text(item, &span, True)
        family[0] = span.family
        out[0] = span.first
        return 0
    if isinstance(item, int) and not isinstance(item, bool):
        return from_int(item, family, out)
    if isinstance(item, bytes):
        p = <const unsigned char*><bytes>item
        if len(<bytes>item) == 4:
            family[0] = 4
            out[0] = <uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | <uint32_t>p[3]
            return 0
        if len(<bytes>item) == 16:
            family[0] = 6
            out[0] = load6(p)
            return 0
        raise ValueError(f"{shown(item)}: expected 4 or 16 packed bytes, got {len(item)}")
    if isinstance(item, (IPv4Address, IPv6Address)) and not isinstance(item, INTERFACES):
        if getattr(item, "scope_id", None) is not None:
            raise ValueError(f"{shown(item)}: {explain(ZONE, &span, True)}")
        from_int(int(item), family, out)
        family[0] = item.version
        return 0
    netaddr = sys.modules.get("netaddr")
    if netaddr is not None and isinstance(item, netaddr.IPAddress):
        from_int(int(item), family, out)
        family[0] = item.version
        return 0
    raise TypeError(f"{shown(item)}: expected an address, got {type(item).__name__}")


cdef int read_span(object item, Span* span) except -1:
    """One address, network or range, of any type."""
    cdef int family = 0
    cdef int other = 0
    cdef u128 value = 0
    if isinstance(item, str):
        return read_text(item, span, False)
    if isinstance(item, (IPv4Network, IPv6Network)):
        if getattr(item.network_address, "scope_id", None) is not None:
            raise ValueError(f"{shown(item)}: {explain(ZONE, span, True)}")
        from_int(int(item.network_address), &family, &span.first)
        span.family = item.version
        span.length = item.prefixlen
        span.last = span.first | host_mask(span.family, span.length)
        return 0
    if isinstance(item, tuple):
        return read_pair(<tuple>item, span)
    netaddr = sys.modules.get("netaddr")
    if netaddr is not None and isinstance(item, (netaddr.IPNetwork, netaddr.IPRange)):
        from_int(item.first, &family, &span.first)
        from_int(item.last, &other, &span.last)
        span.family = item.version
        span.length = -1
        if isinstance(item, netaddr.IPNetwork):
            span.length = item.prefixlen
            from_int(item.value, &other, &value)
            if value != span.first:
                raise ValueError(f"{shown(item)}: {explain(HOST_BITS, span, False)}")
        return 0
    if isinstance(item, INTERFACES):
        raise TypeError(f"{shown(item)}: expected an address or a network; take its .ip or its .network")
    read_address(item, &family, &value)
    return whole(span, family, value, item)


cdef int read_pair(tuple item, Span* span) except -1:
    """(number, family)."""
    cdef int family = 0
    cdef u128 value = 0
    if len(item) != 2 or type(item[0]) is not int or item[1] not in (4, 6):
        raise TypeError(f"{shown(item)}: expected (int, 4) or (int, 6)")
    from_int(item[0], &family, &value)
    if item[1] == 4 and family == 6:
        raise ValueError(f"{shown(item)}: expected an integer from 0 to 2**32-1")
    return whole(span, item[1], value, item)


cdef object flat(object networks):
    """The iterable itself, netaddr's sets as their ranges; what iterates over other things is refused."""
    netaddr = sys.modules.get("netaddr")
    if netaddr is not None:
        if isinstance(networks, netaddr.IPSet):
            return networks.iter_cidrs()
        if isinstance(networks, (netaddr.IPNetwork, netaddr.IPRange)):
            networks = None
    if networks is None or isinstance(networks, (str, bytes, IPv4Network, IPv6Network)):
        raise TypeError("expected an iterable of networks; put a single one in a list")
    return networks


cdef object to_address(int family, u128 value):
    return IPv4Address(to_int(value)) if family == 4 else IPv6Address(to_int(value))


cdef object to_network(int family, u128 first, int length):
    return (IPv4Network if family == 4 else IPv6Network)((to_int(first), length))
