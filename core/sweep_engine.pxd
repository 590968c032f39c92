# cython: linetrace=False, profile=False
"""The thread of a Sweep: takes hosts from the inbox, connects at the pace, and tells what came of it.

Nothing here touches a Python object but the never-scan set, whose two methods need no GIL. Engine and Host
say of each word who guards it; ThreadSanitizer has nothing to add (tests/core/sweep_alone.py, many_threads).
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

from core.cidr cimport CidrSet
from core.sweep_host cimport (
    AGAIN, FINISHED, FREE, NEXT, READY, REPORTED, RETRYING, SAY_FINISHED, SAY_MISSED, SAY_OPENED, START, STOP,
    WAITING, Event, Host, Link, Wheel, append, clear, empty, move_all, outcomes_of, unlink, wheel_add,
    wheel_next, wheel_remove, wheel_start, wheel_turn,
)
from core.sweep_posix cimport (
    EPOLL_CTL_DEL, EPOLLERR, EPOLLHUP, EPOLLONESHOT, EPOLLOUT, POLLOUT, epoll_ctl, epoll_event, epoll_wait,
    eventfd_write, poll, pollfd, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock, watch,
)
from core.sweep_socket cimport (
    EINPROGRESS, FILTERED_, LOCAL_, LOCAL_HOST_, NEVER_, OPEN_, REFUSED_, UNREACHABLE_, WAITING_, Address,
    Outcome, answer, c_connect, close, meaning, monotonic, new_socket, socklen_t, target, to_itself,
)


cdef enum:
    BATCH = 64  # connects between two looks at epoll and the inbox: about a millisecond
    EVENTS = 256  # taken from epoll at once
    BURST = 10_000_000  # ns: no more than what the rate allows in this comes at once
    PAUSE = 10_000_000  # ns, after a local limit that concerns all
    RETRY = 100_000_000  # ns, after a local limit that concerns one host
    LONGEST = 3_600_000  # ms in one epoll_wait


cdef struct Counters:
    uint64_t connects, opened, refused, filtered, unreachable, never, local_errors, sockets


cdef struct Engine:
    # Under `lock`. A Host wanders: the inbox gives it to the thread, the results give it back to the callers,
    # so whoever holds it has seen all that the other side wrote before.
    pthread_mutex_t lock
    Host* inbox  # a queue through after_in_inbox
    Host* inbox_end
    Link results
    bint woken  # `wake` was written since the inbox was last seen empty
    bint signalled  # `signal` is readable
    bint closing
    double wanted_rate  # read without the lock only under the GIL, where it is written
    Counters published

    # Under `connect_lock`, which the thread holds from the question to the set until connect() returned.
    pthread_mutex_t connect_lock
    void* never  # a CidrSet; the Sweep holds the reference

    # Written before the thread starts.
    int epoll, wake, signal
    uint32_t most_sockets

    # The thread's own.
    Link urgent, ordinary  # READY hosts
    Link pending  # on their way to the results
    Wheel wheel
    Counters counters
    double rate, interval, due  # the next connect's time, and between two: ns
    int64_t paused  # until then


cdef inline void engine_prepare(Engine* engine) noexcept nogil:
    """What needs no system call; all else is zero."""
    clear(&engine.results)
    clear(&engine.urgent)
    clear(&engine.ordinary)
    clear(&engine.pending)
    wheel_start(&engine.wheel, monotonic())
    engine.due = <double> monotonic()


cdef inline void* engine_run(void* argument) noexcept nogil:
    cdef Engine* engine = <Engine*> argument
    cdef epoll_event[EVENTS] events
    cdef int64_t asked
    cdef int count, index
    while obey(engine):
        connect_ready(engine)
        publish(engine)
        asked = monotonic()
        count = epoll_wait(engine.epoll, events, EVENTS, patience(engine, asked))
        for index in range(count):
            if events[index].data.ptr != NULL:
                answered(engine, <Host*> events[index].data.ptr, events[index].events)
        # Filtered means: epoll, asked after the deadline, had no answer, however long this thread had to wait
        # for a processor. A full batch may have left some unread.
        if count < EVENTS:
            expire(engine, asked)
    publish(engine)
    return NULL


cdef inline int patience(Engine* engine, int64_t now) noexcept nogil:
    """How long epoll may wait: until the next connect is due or the wheel's next tick begins."""
    cdef double wait = LONGEST * 1e6
    cdef bint idle = empty(&engine.urgent) and empty(&engine.ordinary)
    if not idle and engine.counters.sockets < engine.most_sockets:
        wait = min(wait, max(engine.due, <double> engine.paused) - now)
    if engine.wheel.waiting:
        wait = min(wait, <double> (wheel_next(&engine.wheel) - now))
    return 0 if wait <= 0 else <int> (wait / 1e6) + 1


# What Python asked for

cdef inline void ask(Engine* engine, Host* host, uint8_t wish) noexcept nogil:
    """Put a wish into the inbox. The one function here that the callers' threads run; under `lock`."""
    host.wishes |= wish
    if not host.in_inbox:
        host.in_inbox = True
        host.after_in_inbox = NULL
        if engine.inbox == NULL:
            engine.inbox = host
        else:
            engine.inbox_end.after_in_inbox = host
        engine.inbox_end = host
    if wish != FREE:
        wake(engine)


cdef inline void wake(Engine* engine) noexcept nogil:
    if not engine.woken:
        engine.woken = True
        eventfd_write(engine.wake, 1)


cdef inline bint obey(Engine* engine) noexcept nogil:
    """Empty the inbox. False when the sweep is being closed."""
    cdef Host* host
    cdef uint8_t wishes = 0
    cdef bint closing
    cdef double rate
    while True:
        pthread_mutex_lock(&engine.lock)
        closing = engine.closing
        host = NULL if closing else engine.inbox
        if host == NULL:
            engine.woken = False
        else:
            wishes = host.wishes
            host.wishes = 0
            host.in_inbox = False
            engine.inbox = host.after_in_inbox
        rate = engine.wanted_rate
        pthread_mutex_unlock(&engine.lock)
        if host == NULL:
            break
        if wishes & FREE:
            free(host)
        elif wishes & STOP:
            stop(engine, host)
        elif wishes & START:
            ready(engine, host)
        elif host.state == REPORTED:
            if host.event == SAY_OPENED:
                engine.counters.sockets -= 1
            if wishes & AGAIN:
                host.again = True
                ready(engine, host)
            else:
                go_on(engine, host)
    if rate != engine.rate:
        engine.rate = rate
        engine.interval = 1e9 / rate
        engine.due = min(engine.due, monotonic() + engine.interval)
    return not closing


cdef inline void stop(Engine* engine, Host* host) noexcept nogil:
    cdef int fd = -1
    cdef bint told
    if host.state == FINISHED:
        return
    if host.state == REPORTED:
        if host.event == SAY_OPENED:
            engine.counters.sockets -= 1
        pthread_mutex_lock(&engine.lock)
        told = host.in_results
        if told:  # and not taken: its place there becomes the summary's
            if host.event == SAY_OPENED:
                fd = host.fd
            host.event = SAY_FINISHED
            host.state = FINISHED
        pthread_mutex_unlock(&engine.lock)
        if fd >= 0:
            close(fd)
        if told:
            return
    elif host.state == READY:
        unlink(host)
    elif host.state == RETRYING:
        wheel_remove(&engine.wheel, host)
    elif host.state == WAITING:
        wheel_remove(&engine.wheel, host)
        hang_up(engine, host)
    tell(engine, host, SAY_FINISHED)


# Connecting

cdef inline void ready(Engine* engine, Host* host) noexcept nogil:
    host.state = READY
    append(&engine.urgent if host.urgent else &engine.ordinary, host)


cdef inline void connect_ready(Engine* engine) noexcept nogil:
    """Connect as the pace allows. Each connect moves the next one's time on by one interval, whenever it
    really was, so that the rate is exact in the long run; what is late by more than BURST is not made up for.
    """
    cdef Host* begun[BATCH]
    cdef pollfd[BATCH] polled
    cdef int64_t now = monotonic()
    cdef int waiting = 0
    cdef int left = BATCH
    cdef Host* host
    if now < engine.paused:
        return
    engine.due = max(engine.due, now - max(BURST - engine.interval, BURST / 2.0))
    while left and engine.counters.sockets < engine.most_sockets and engine.due <= now:
        if not empty(&engine.urgent):
            host = <Host*> engine.urgent.after
        elif not empty(&engine.ordinary):
            host = <Host*> engine.ordinary.after
        else:
            break
        left -= 1
        if connect_one(engine, host, now):
            begun[waiting] = host
            polled[waiting].fd = host.fd
            polled[waiting].events = POLLOUT
            polled[waiting].revents = 0
            waiting += 1
        if engine.paused > now:
            break
        now = monotonic()
    # A near host has answered by now. Asking once for all costs 0.1 us each, epoll 1.8 us.
    if waiting:
        poll(polled, waiting, 0)
    for left in range(waiting):
        if polled[left].revents:  # the bits are those of epoll
            answered(engine, begun[left], polled[left].revents)
        elif watch(engine.epoll, begun[left].fd, EPOLLOUT | EPOLLONESHOT, begun[left]) != 0:
            wheel_remove(&engine.wheel, begun[left])
            try_later(engine, begun[left])


cdef inline bint connect_one(Engine* engine, Host* host, int64_t now) noexcept nogil:
    """True when its answer is to be waited for."""
    cdef Address address
    cdef socklen_t size = target(host, &address)
    cdef int error = 0
    cdef bint never = False
    cdef Outcome outcome
    cdef int fd = new_socket(host)
    if fd < 0:
        error = errno
    else:
        pthread_mutex_lock(&engine.connect_lock)
        if host.v6:
            never = (<CidrSet> engine.never).has6(host.high, host.low)
        else:
            never = (<CidrSet> engine.never).has4(<uint32_t> host.low)
        if not never and c_connect(fd, &address.any, size) != 0:
            error = errno
        pthread_mutex_unlock(&engine.connect_lock)
    outcome = NEVER_ if never else meaning(error)
    if outcome == LOCAL_:  # it stays at its place in the list
        engine.counters.local_errors += 1
        engine.paused = now + PAUSE
        if fd >= 0:
            close(fd)
        return False
    unlink(host)
    host.fd = fd
    host.started = now
    engine.counters.sockets += fd >= 0
    if outcome != NEVER_:
        engine.due += engine.interval
    if outcome == LOCAL_HOST_:
        try_later(engine, host)
        return False
    if outcome != NEVER_:
        engine.counters.connects += 1
    if outcome == WAITING_:
        host.state = WAITING
        wheel_add(&engine.wheel, host, now + host.timeout)
        return True
    settle(engine, host, outcome)
    return False


cdef inline void try_later(Engine* engine, Host* host) noexcept nogil:
    """A local limit is our own and no outcome. The host is in no list."""
    engine.counters.local_errors += 1
    close_socket(engine, host)
    host.state = RETRYING
    wheel_add(&engine.wheel, host, monotonic() + RETRY)


# What came of it

cdef inline void answered(Engine* engine, Host* host, uint32_t events) noexcept nogil:
    # One-shot: epoll says no more of this descriptor, so that a taken one needs no EPOLL_CTL_DEL.
    cdef Outcome outcome = answer(host.fd) if events & (EPOLLERR | EPOLLHUP) else OPEN_
    wheel_remove(&engine.wheel, host)
    if outcome == LOCAL_ or outcome == LOCAL_HOST_:
        try_later(engine, host)
    else:
        settle(engine, host, outcome)


cdef inline void expire(Engine* engine, int64_t now) noexcept nogil:
    cdef Link ended
    cdef Host* host
    clear(&ended)
    wheel_turn(&engine.wheel, now, &ended)
    while not empty(&ended):
        host = <Host*> ended.after
        unlink(host)
        if host.state == RETRYING:
            ready(engine, host)
        else:
            disarm(engine, host)
            settle(engine, host, FILTERED_)


cdef inline void settle(Engine* engine, Host* host, Outcome outcome) noexcept nogil:
    """A connect of the host, which is in no list, has ended; its socket is open still."""
    if outcome == OPEN_ and to_itself(host.fd, host):
        outcome = REFUSED_
    if outcome == OPEN_:
        engine.counters.opened += 1
        host.micros = <uint32_t> ((monotonic() - host.started) // 1000)
        outcomes_of(host)[host.index] = OPEN_
        tell(engine, host, SAY_OPENED)
        return
    close_socket(engine, host)
    if outcome == REFUSED_:
        engine.counters.refused += 1
    elif outcome == FILTERED_:
        engine.counters.filtered += 1
    elif outcome == UNREACHABLE_:
        engine.counters.unreachable += 1
    else:
        engine.counters.never += 1
    if host.again:
        host.outcome = outcome
        tell(engine, host, SAY_MISSED)
    else:
        outcomes_of(host)[host.index] = outcome
        go_on(engine, host)


cdef inline void go_on(Engine* engine, Host* host) noexcept nogil:
    host.again = False
    host.index += 1
    if host.index < host.count:
        ready(engine, host)
    else:
        tell(engine, host, SAY_FINISHED)


cdef inline void disarm(Engine* engine, Host* host) noexcept nogil:
    # close() alone leaves the socket in epoll while a child between fork and exec has a copy of it, and epoll
    # would go on to name a Host that is gone.
    epoll_ctl(engine.epoll, EPOLL_CTL_DEL, host.fd, NULL)


cdef inline void close_socket(Engine* engine, Host* host) noexcept nogil:
    if host.fd >= 0:
        close(host.fd)
        host.fd = -1
        engine.counters.sockets -= 1


cdef inline void hang_up(Engine* engine, Host* host) noexcept nogil:
    disarm(engine, host)
    close_socket(engine, host)


cdef inline void tell(Engine* engine, Host* host, Event event) noexcept nogil:
    host.state = FINISHED if event == SAY_FINISHED else REPORTED
    host.event = event
    host.in_results = True
    append(&engine.pending, host)


cdef inline void publish(Engine* engine) noexcept nogil:
    pthread_mutex_lock(&engine.lock)
    engine.published = engine.counters
    move_all(&engine.pending, &engine.results)
    if not engine.signalled and not empty(&engine.results):
        engine.signalled = True
        eventfd_write(engine.signal, 1)
    pthread_mutex_unlock(&engine.lock)
