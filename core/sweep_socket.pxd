# cython: linetrace=False, profile=False
"""The system calls of a connect, and what their errors mean. No call here waits.

What the kernel does (Linux 6.18) and what a call costs, in microseconds beside the 13.1 to 14 of a bare
socket, connect, close on the loopback, CPU of the whole process, one core of an AMD EPYC. benchmarks/sweep.py
and sweep_veth.py measure the whole; over a veth it is the same: 15.2 bare, 1.09 times that.
connect() itself knows no answer, not even this machine's own, since the socket is locked until it returns;
poll() over what was just begun: 0.1, and whoever has answered needs no epoll, whose ADD and share of the wait
  are 1.9. With poll 1.12 times bare for 4 ports a host, 1.21 for one; with epoll alone 1.25 and 1.32;
SO_ERROR is asked only after an error or a hang-up: a socket that can be written to is open;
TCP_INFO on ECONNREFUSED only: the two getsockopt() are 1.5. IP_RECVERR for all and a look at the error queue,
  which tell an ICMP port unreachable from an RST too, were 0.7 more, and a call more on each open socket;
EPOLLONESHOT saves the DEL of a socket that answered; a filtered one needs it (disarm()): 1.5 times bare;
a plain close() of a connect without an answer sends nothing: SO_LINGER would be of no effect;
connecting the same socket again (twice connect(), 9.2: two thirds of bare) counts sequence numbers on from
  the last target's, where RFC 6528 wants them unpredictable: not worth it;
IP_BIND_ADDRESS_NO_PORT leaves the choice of the port to connect(), so that two targets can share one. Without
  a source nothing is bound: 28,232 local ports for each address and port of a target.
"""

from libc.errno cimport (
    EADDRNOTAVAIL, EAGAIN, ECONNREFUSED, ECONNRESET, EINPROGRESS, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPIPE,
    ETIMEDOUT, errno,
)
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from core.sweep_host cimport Host, ports_of


cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    enum: CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec* time)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    ctypedef unsigned short sa_family_t
    struct sockaddr:
        sa_family_t sa_family
    enum: AF_INET, AF_INET6, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_ERROR
    int socket(int family, int kind, int protocol)
    int bind(int fd, const sockaddr* address, socklen_t size)
    int c_connect "connect"(int fd, const sockaddr* address, socklen_t size)
    int getsockname(int fd, sockaddr* address, socklen_t* size)
    int getsockopt(int fd, int level, int name, void* value, socklen_t* size)
    int setsockopt(int fd, int level, int name, const void* value, socklen_t size)

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        uint8_t* s6_addr
    struct sockaddr_in:
        sa_family_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        sa_family_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
    enum: IPPROTO_IP, IPPROTO_TCP
    enum: IP_BIND_ADDRESS_NO_PORT
    uint16_t htons(uint16_t value)
    uint32_t htonl(uint32_t value)

cdef extern from "<linux/tcp.h>" nogil:  # glibc's own ends before tcpi_segs_in
    struct tcp_info:
        uint32_t tcpi_segs_in
    enum: TCP_INFO

cdef extern from "<endian.h>" nogil:
    uint64_t htobe64(uint64_t value)


cdef union Address:
    sockaddr any
    sockaddr_in v4
    sockaddr_in6 v6


cdef enum Outcome:  # the public constants of core.sweep
    UNTRIED_ = 0
    OPEN_ = 1
    REFUSED_ = 2
    FILTERED_ = 3
    UNREACHABLE_ = 4
    NEVER_ = 5
    WAITING_ = 250  # no answer so far
    LOCAL_ = 251  # a limit of this machine that concerns all connects: descriptors, memory
    LOCAL_HOST_ = 252  # one that concerns this host's: no free local port, source address gone


cdef inline int64_t monotonic() noexcept nogil:
    """Nanoseconds. 50 ns a call (vDSO)."""
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * <int64_t> 1000000000 + time.tv_nsec


cdef inline socklen_t target(Host* host, Address* address) noexcept nogil:
    cdef uint64_t half
    memset(address, 0, sizeof(Address))
    if not host.v6:
        address.v4.sin_family = AF_INET
        address.v4.sin_port = htons(ports_of(host)[host.index])
        address.v4.sin_addr.s_addr = htonl(<uint32_t> host.low)
        return sizeof(sockaddr_in)
    address.v6.sin6_family = AF_INET6
    address.v6.sin6_port = htons(ports_of(host)[host.index])
    half = htobe64(host.high)
    memcpy(&address.v6.sin6_addr, &half, 8)
    half = htobe64(host.low)
    memcpy(<uint8_t*> &address.v6.sin6_addr + 8, &half, 8)
    return sizeof(sockaddr_in6)


cdef inline bint bind_source(int fd, bint v6, const uint8_t* source) noexcept nogil:
    cdef Address address
    cdef int on = 1
    cdef socklen_t size = sizeof(sockaddr_in6) if v6 else sizeof(sockaddr_in)
    memset(&address, 0, sizeof(Address))
    if v6:
        address.v6.sin6_family = AF_INET6
        memcpy(&address.v6.sin6_addr, source, 16)
    else:
        address.v4.sin_family = AF_INET
        memcpy(&address.v4.sin_addr, source, 4)
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(int))
    return bind(fd, &address.any, size) == 0


cdef inline int new_socket(Host* host) noexcept nogil:
    """A socket ready to connect, or -1 with errno."""
    cdef int error
    cdef int family = AF_INET6 if host.v6 else AF_INET
    cdef int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP)
    if fd < 0:
        return fd
    if host.sourced and not bind_source(fd, host.v6, host.source):
        error = errno
        close(fd)
        (&errno)[0] = error
        return -1
    return fd


cdef inline bint to_itself(int fd, Host* host) noexcept nogil:
    """TCP's simultaneous open: a connect from a port to the same port of this machine meets itself.

    28,000 of the 65,535 ports of this machine are ports that the kernel may connect from.
    """
    cdef Address there, here
    cdef socklen_t size = sizeof(Address)
    target(host, &there)
    if getsockname(fd, &here.any, &size) != 0:
        return False
    if host.v6:
        return (there.v6.sin6_port == here.v6.sin6_port
                and (<uint64_t*> &there.v6.sin6_addr)[0] == (<uint64_t*> &here.v6.sin6_addr)[0]
                and (<uint64_t*> &there.v6.sin6_addr)[1] == (<uint64_t*> &here.v6.sin6_addr)[1])
    return there.v4.sin_port == here.v4.sin_port and there.v4.sin_addr.s_addr == here.v4.sin_addr.s_addr


cdef inline Outcome meaning(int error) noexcept nogil:
    """Of an error of socket(), bind(), connect() or SO_ERROR."""
    if error == EINPROGRESS:
        return WAITING_
    if error == ECONNREFUSED:
        return REFUSED_
    if error == 0 or error == ECONNRESET or error == EPIPE:
        return OPEN_  # established, and reset before we looked
    if error == ETIMEDOUT:
        return FILTERED_
    if error == EMFILE or error == ENFILE or error == ENOBUFS or error == ENOMEM:
        return LOCAL_
    if error == EADDRNOTAVAIL or error == EAGAIN:
        return LOCAL_HOST_
    return UNREACHABLE_


cdef inline Outcome answer(int fd) noexcept nogil:
    """What epoll's error or hang-up on a waiting connect means.

    An ICMP port unreachable and an RST are both ECONNREFUSED, but only one of them is a segment of TCP.
    """
    cdef int error = 0
    cdef tcp_info info
    cdef socklen_t size = sizeof(int)
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size)
    if error == ECONNREFUSED:
        size = sizeof(tcp_info)
        info.tcpi_segs_in = 1
        getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size)
        if info.tcpi_segs_in == 0:
            return UNREACHABLE_
    return meaning(error)
