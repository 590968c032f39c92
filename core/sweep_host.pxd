# cython: linetrace=False, profile=False
"""A host under way, the lists it can be in, and the wheel that says whose time is over."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memset


cdef enum State:
    NEW         # on its way to the thread
    READY       # its turn comes: in a list of ready hosts
    WAITING     # connect() was called: in the wheel and in epoll
    RETRYING    # a local limit was met: in the wheel
    REPORTED    # Opened or Missed was told: nothing happens before next, again or stop
    FINISHED    # the summary was told

cdef enum Wish:  # what Python asked of the thread for a host; bits
    START = 1
    NEXT = 2
    AGAIN = 4
    STOP = 8
    FREE = 16

cdef enum Event:  # what take() is to say of a host that is in the results
    SAY_OPENED
    SAY_MISSED
    SAY_FINISHED


cdef struct Link:
    Link* before
    Link* after


cdef struct Host:
    # 176 bytes, then two for each port and one for each outcome; measured in benchmarks/sweep.py.
    Link link  # first, so that a Link* is a Host*; guarded by whoever owns the list

    # Written once, by add().
    int64_t id
    uint64_t high, low  # the address in host byte order; IPv4 in low
    uint8_t[16] source  # packed
    int64_t timeout  # ns
    uint32_t count  # of ports
    bint v6, sourced, urgent

    # The thread's own.
    State state
    int64_t started  # ns
    int64_t tick  # of the wheel, when the wait ends
    bint again  # this connect is again()'s

    # The thread's, and readable for take() while the host is in the results.
    Event event
    uint32_t index  # of the port whose turn it is
    uint32_t micros
    int fd  # -1: none
    uint8_t outcome

    # Guarded by Sweep.lock.
    Host* after_in_inbox
    uint8_t wishes
    bint in_inbox, in_results

    # Guarded by the GIL.
    Host* same_id_slot
    Host* same_address_slot
    bint held, stopped


cdef inline Host* new_host(uint32_t ports) noexcept nogil:
    cdef Host* host = <Host*> calloc(1, sizeof(Host) + 3 * <size_t> ports)
    if host != NULL:
        host.count = ports
        host.fd = -1
    return host


cdef inline uint16_t* ports_of(Host* host) noexcept nogil:
    return <uint16_t*> (host + 1)


cdef inline uint8_t* outcomes_of(Host* host) noexcept nogil:
    return <uint8_t*> (ports_of(host) + host.count)


# Circular lists: the head is a Link that belongs to no host.

cdef inline void clear(Link* head) noexcept nogil:
    head.before = head.after = head


cdef inline bint empty(Link* head) noexcept nogil:
    return head.after == head


cdef inline void append(Link* head, Host* host) noexcept nogil:
    cdef Link* link = &host.link
    link.before = head.before
    link.after = head
    link.before.after = link
    head.before = link


cdef inline void prepend(Link* head, Host* host) noexcept nogil:
    append(head.after, host)


cdef inline void unlink(Host* host) noexcept nogil:
    host.link.before.after = host.link.after
    host.link.after.before = host.link.before


cdef inline void move_all(Link* source, Link* target) noexcept nogil:
    # To the end of the target.
    if empty(source):
        return
    source.after.before = target.before
    source.before.after = target
    target.before.after = source.after
    target.before = source.before
    clear(source)


cdef enum:
    TICK_BITS = 23  # a tick is 2**23 ns, 8.4 ms: of no weight beside a timeout of seconds
    SLOTS = 1024  # 8.6 s a turn; a longer wait passes its slot once a turn


cdef struct Wheel:
    Link[1024] slots
    int64_t tick  # the last one that was looked at
    uint32_t waiting  # hosts in it


cdef inline void wheel_start(Wheel* wheel, int64_t now) noexcept nogil:
    cdef int slot
    for slot in range(SLOTS):
        clear(&wheel.slots[slot])
    wheel.tick = now >> TICK_BITS
    wheel.waiting = 0


cdef inline void wheel_add(Wheel* wheel, Host* host, int64_t end) noexcept nogil:
    host.tick = (end >> TICK_BITS) + 1
    append(&wheel.slots[host.tick & (SLOTS - 1)], host)
    wheel.waiting += 1


cdef inline void wheel_remove(Wheel* wheel, Host* host) noexcept nogil:
    unlink(host)
    wheel.waiting -= 1


cdef inline int64_t wheel_next(Wheel* wheel) noexcept nogil:
    """When the next tick begins, in ns."""
    return (wheel.tick + 1) << TICK_BITS


cdef inline void wheel_turn(Wheel* wheel, int64_t now, Link* ended) noexcept nogil:
    """Move the hosts whose wait is over to `ended`."""
    cdef int64_t tick = wheel.tick + 1
    cdef int64_t last = now >> TICK_BITS
    cdef Link* slot
    cdef Link* link
    cdef Host* host
    if last - tick >= SLOTS:
        tick = last - SLOTS + 1
    while tick <= last:
        slot = &wheel.slots[tick & (SLOTS - 1)]
        link = slot.after
        while link != slot:
            host = <Host*> link
            link = link.after
            if host.tick <= last:
                wheel_remove(wheel, host)
                append(ended, host)
        tick += 1
    if last > wheel.tick:
        wheel.tick = last


# Two hash tables with chains, by id and by address, so that neither costs a Python object a host.

cdef struct Table:
    Host** by_id
    Host** by_address
    uint64_t mask


cdef inline uint64_t mixed(uint64_t value) noexcept nogil:
    value *= 0x9E3779B97F4A7C15u
    return value ^ (value >> 32)


cdef inline Host** id_slot(Table* table, int64_t number) noexcept nogil:
    return &table.by_id[mixed(<uint64_t> number) & table.mask]


cdef inline Host** address_slot(Table* table, uint64_t high, uint64_t low) noexcept nogil:
    return &table.by_address[mixed(mixed(high) ^ low) & table.mask]


cdef inline Host* by_id(Table* table, int64_t number) noexcept nogil:
    cdef Host* host = id_slot(table, number)[0]
    while host != NULL and host.id != number:
        host = host.same_id_slot
    return host


cdef inline Host* by_address(Table* table, bint v6, uint64_t high, uint64_t low) noexcept nogil:
    cdef Host* host = address_slot(table, high, low)[0]
    while host != NULL and not (host.low == low and host.high == high and host.v6 == v6):
        host = host.same_address_slot
    return host


cdef inline void enter(Table* table, Host* host) noexcept nogil:
    cdef Host** slot = id_slot(table, host.id)
    host.same_id_slot = slot[0]
    slot[0] = host
    slot = address_slot(table, host.high, host.low)
    host.same_address_slot = slot[0]
    slot[0] = host


cdef inline void leave(Table* table, Host* host) noexcept nogil:
    cdef Host** slot = id_slot(table, host.id)
    while slot[0] != host:
        slot = &slot[0].same_id_slot
    slot[0] = host.same_id_slot
    slot = address_slot(table, host.high, host.low)
    while slot[0] != host:
        slot = &slot[0].same_address_slot
    slot[0] = host.same_address_slot
