# cython: linetrace=False, profile=False
# (A traced function takes the GIL; the thread here never does.)
"""Open very many TCP connections cheaply and politely, in a thread of its own without the GIL.

The thread is in sweep_engine.pxd, its system calls in sweep_socket.pxd; this is the callers' side. sweep.pyi
is the contract, tests/oracle/sweep.py the plain twin.
"""

from typing import NamedTuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport INT64_MAX, UINT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from core.cidr cimport CidrSet
from core.sweep_engine cimport Counters, Engine, ask, engine_prepare, engine_run, wake
from core.sweep_host cimport (
    AGAIN, FREE, NEXT, SAY_FINISHED, SAY_OPENED, START, STOP, WAITING, Event, Host, Table, append,
    by_address, by_id, empty, enter, leave, new_host, outcomes_of, ports_of, unlink,
)
from core.sweep_posix cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, EPOLL_CLOEXEC, EPOLLET, EPOLLIN, epoll_create1, eventfd, eventfd_read,
    eventfd_t, pthread_atfork, pthread_join, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
    pthread_t, start_thread, watch,
)
from core.sweep_socket cimport (
    AF_INET, AF_INET6, FILTERED_, NEVER_, OPEN_, REFUSED_, SOCK_CLOEXEC, SOCK_STREAM, UNREACHABLE_, UNTRIED_,
    bind_source, close, socket,
)

UNTRIED = UNTRIED_
OPEN = OPEN_
REFUSED = REFUSED_
FILTERED = FILTERED_
UNREACHABLE = UNREACHABLE_
NEVER = NEVER_

include "sweep_events.pxi"
include "sweep_arguments.pxi"

# fork() copies the memory but not the thread: a Sweep of an older generation is the parent's.
cdef int generation = 0

cdef void forked() noexcept nogil:
    global generation
    generation += 1

pthread_atfork(NULL, NULL, forked)


@cython.final
@cython.no_gc_clear  # __dealloc__ ends the thread, which asks the never-scan set until then, also at exit
cdef class Sweep:
    """One thread, one epoll, one timer wheel: takes hosts with their ordered ports and connects.

    One connection at a time per host: a host whose port opened is held, conversation included, until next(),
    again() or stop(). The rate (connections a second over all hosts), the number of sockets (waiting and
    handed over together) and the number of hosts are bounded. The never-scan set is asked last thing before
    connect.
    """

    cdef Engine engine  # says which of its words are under which lock
    cdef CidrSet never_  # keeps what engine.never points to
    cdef pthread_t thread

    # All else is under the GIL.
    cdef Table table
    cdef uint32_t hosts, most_hosts
    cdef int64_t timeout
    cdef int made_in
    cdef bint running, closed
    cdef bytes good_source

    def __cinit__(
        self, *, CidrSet never not None, double rate=1000.0, sockets=4096, hosts=8192, double timeout=4.0
    ):
        cdef Engine* engine = &self.engine
        cdef uint64_t size = 64
        engine.epoll = engine.wake = engine.signal = -1
        engine_prepare(engine)
        pthread_mutex_init(&engine.lock, NULL)
        pthread_mutex_init(&engine.connect_lock, NULL)
        self.made_in = generation
        self.never_ = never
        engine.never = <void*> never
        engine.wanted_rate = checked_rate(rate)
        engine.most_sockets = checked_count("sockets", sockets)
        self.most_hosts = checked_count("hosts", hosts)
        self.timeout = checked_timeout(timeout)
        while size < self.most_hosts:
            size *= 2
        self.table.mask = size - 1
        self.table.by_id = <Host**> calloc(size, sizeof(Host*))
        self.table.by_address = <Host**> calloc(size, sizeof(Host*))
        if self.table.by_id == NULL or self.table.by_address == NULL:
            raise MemoryError
        engine.epoll = epoll_create1(EPOLL_CLOEXEC)
        engine.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        engine.signal = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        # Edge-triggered, so that the thread never has to read it.
        if (engine.epoll < 0 or engine.wake < 0 or engine.signal < 0
                or watch(engine.epoll, engine.wake, EPOLLIN | EPOLLET, NULL) != 0):
            raise OSError(errno, "the sweep's epoll and eventfds could not be made")
        error = start_thread(&self.thread, engine_run, engine)
        if error:
            raise OSError(error, "the sweep's thread could not be started")
        self.running = True

    def __dealloc__(self):
        cdef Host* host
        cdef uint64_t slot
        if self.never_ is not None:  # else __cinit__ never began, and the descriptors are 0: standard input
            self._end(False)
        if self.table.by_id != NULL:
            for slot in range(self.table.mask + 1):
                host = self.table.by_id[slot]
                while host != NULL:
                    self.table.by_id[slot] = host.same_id_slot
                    free(host)
                    host = self.table.by_id[slot]
        free(self.table.by_id)
        free(self.table.by_address)

    @property
    def never(self):
        return self.never_

    @never.setter
    def never(self, CidrSet never not None):
        cdef CidrSet old = self.never_  # outlives the exchange
        self._check_owner()
        self.never_ = never
        pthread_mutex_lock(&self.engine.connect_lock)
        self.engine.never = <void*> never
        pthread_mutex_unlock(&self.engine.connect_lock)
        del old

    @property
    def rate(self):
        return self.engine.wanted_rate

    @rate.setter
    def rate(self, double rate):
        self._check_owner()
        checked_rate(rate)
        pthread_mutex_lock(&self.engine.lock)
        self.engine.wanted_rate = rate
        wake(&self.engine)
        pthread_mutex_unlock(&self.engine.lock)

    def fileno(self):
        """An eventfd that is readable while take() has something to give; -1 once closed."""
        return self.engine.signal

    def add(self, host, bytes address not None, ports, *, bytes source=None, bint urgent=False, timeout=None):
        """Take a host: its id, packed address and ports, tried in order. False when there are enough."""
        cdef uint64_t high = 0, low = 0
        cdef int64_t wait = self.timeout if timeout is None else checked_timeout(timeout)
        cdef Host* new
        cdef Py_ssize_t count, index
        self._check_owner()
        if self.closed:
            raise RuntimeError("the sweep is closed")
        if not 0 <= host <= INT64_MAX:
            raise ValueError(f"host {host}: an id is 0 to 2**63-1")
        halves(address, &high, &low)
        if source is not None:
            check_length(source, address)
            if source != self.good_source and is_local(source):
                self.good_source = source
        listed = tuple(ports)  # the caller's list may change while its numbers are looked at
        count = len(listed)
        if not 1 <= count <= 65_535:
            raise ValueError(f"host {host}: {count} ports, 1 to 65,535 expected")
        new = new_host(<uint32_t> count)
        if new == NULL:
            raise MemoryError
        try:
            for index in range(count):
                port = listed[index]
                if not 1 <= port <= 65_535:
                    raise ValueError(f"host {host}: port {port}: 1 to 65,535 expected")
                ports_of(new)[index] = <uint16_t> port
            new.id = host
            new.high, new.low, new.v6 = high, low, len(address) == 16
            # From here to enter() nothing may run Python code: another thread's add() could come between.
            if by_id(&self.table, new.id) != NULL:
                raise ValueError(f"host {host} is under way")
            if by_address(&self.table, new.v6, high, low) != NULL:
                raise ValueError(f"host {host}: its address {address.hex()} is under way")
            if self.hosts == self.most_hosts or self.closed:
                free(new)
                return False
        except BaseException:
            free(new)
            raise
        new.timeout = wait
        new.urgent = urgent
        if source is not None:
            new.sourced = True
            memcpy(new.source, PyBytes_AS_STRING(source), len(source))
        enter(&self.table, new)
        self.hosts += 1
        self._ask(new, START)
        return True

    def next(self, host):
        """Go on to the host's next port; its conversation is over and its socket closed."""
        self._go_on(host, NEXT)

    def again(self, host):
        """Connect to the same port of a held host once more: Opened or Missed comes."""
        self._go_on(host, AGAIN)

    def stop(self, host):
        """Leave out the host's remaining ports: Finished comes, and nothing else any more."""
        cdef Host* known = self._known(host)
        if known == NULL or known.stopped:
            return
        known.stopped = True
        known.held = False
        self._ask(known, STOP)

    def take(self, Py_ssize_t limit=256):
        """What has happened, oldest first, at most `limit`; empty when nothing has. Never waits."""
        cdef list taken = []
        self._check_owner()
        while len(taken) < limit and self._take_one(taken):
            pass
        return taken

    def statistics(self):
        """Counters: connects, opened, refused, filtered, unreachable, never, local_errors.
        Gauges: hosts, sockets.
        """
        cdef Counters now
        self._check_owner()
        pthread_mutex_lock(&self.engine.lock)
        now = self.engine.published
        pthread_mutex_unlock(&self.engine.lock)
        return {**now, "hosts": self.hosts}

    def close(self):
        """End the thread and close every descriptor that was not taken. Idempotent."""
        # In a forked child, connects in flight stay open until it ends or calls exec: which they are is known
        # to the thread alone, which the child has not.
        self._end(True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    cdef int _check_owner(self) except -1:
        if self.made_in != generation:
            raise RuntimeError("this sweep belongs to the parent process")
        return 0

    cdef void _ask(self, Host* host, uint8_t wish) noexcept:
        pthread_mutex_lock(&self.engine.lock)
        ask(&self.engine, host, wish)
        pthread_mutex_unlock(&self.engine.lock)

    cdef Host* _known(self, host) except? NULL:
        """NULL when the sweep is closed."""
        cdef Host* known = NULL
        self._check_owner()
        if self.closed:
            return NULL
        if 0 <= host <= INT64_MAX:
            known = by_id(&self.table, host)
        if known == NULL:
            raise ValueError(f"host {host} is not under way")
        return known

    cdef int _go_on(self, host, uint8_t wish) except -1:
        cdef Host* known = self._known(host)
        if known == NULL or known.stopped:
            return 0
        if not known.held:
            raise ValueError(f"host {host} is not held")
        known.held = False
        self._ask(known, wish)
        return 0

    cdef bint _take_one(self, list taken) except -1:
        """False when the results are empty."""
        cdef Engine* engine = &self.engine
        cdef Host* host = NULL
        cdef Event event = SAY_FINISHED
        cdef int fd = -1
        cdef eventfd_t drained
        pthread_mutex_lock(&engine.lock)
        if not empty(&engine.results):
            host = <Host*> engine.results.after
            unlink(host)
            host.in_results = False
            event = host.event
            fd = host.fd
            if engine.signalled and empty(&engine.results):
                engine.signalled = False
                eventfd_read(engine.signal, &drained)
        pthread_mutex_unlock(&engine.lock)
        if host == NULL:
            return False
        number, index, port = host.id, host.index, 0
        if event == SAY_FINISHED:
            outcomes = PyBytes_FromStringAndSize(<char*> outcomes_of(host), host.count)
            self._release(host)
            taken.append(tuple.__new__(Finished, (number, outcomes)))
            return True
        if host.stopped:  # only its Finished matters, which comes
            if event == SAY_OPENED:
                close(fd)
            return True
        host.held = True
        port = ports_of(host)[index]
        if event == SAY_OPENED:
            taken.append(tuple.__new__(Opened, (number, index, port, fd, host.micros)))
        else:
            taken.append(tuple.__new__(Missed, (number, index, port, host.outcome)))
        return True

    cdef void _release(self, Host* host) noexcept:
        """The thread frees it, unless it has ended: a stop() may be on its way there."""
        leave(&self.table, host)
        self.hosts -= 1
        if self.running:
            self._ask(host, FREE)
        else:
            free(host)

    cdef int _end(self, bint letting_others_run) except -1:
        cdef Engine* engine = &self.engine
        if self.closed:
            return 0
        self.closed = True
        if self.running and self.made_in == generation:
            pthread_mutex_lock(&engine.lock)
            engine.closing = True
            wake(engine)
            pthread_mutex_unlock(&engine.lock)
            if letting_others_run:
                with nogil:
                    pthread_join(self.thread, NULL)
            else:
                pthread_join(self.thread, NULL)
            self.running = False
            self._finish_all()
        for fd in (engine.epoll, engine.wake, engine.signal):
            if fd >= 0:
                close(fd)
        engine.epoll = engine.wake = engine.signal = -1
        engine.signalled = False
        return 0

    cdef void _finish_all(self) noexcept:
        """After the thread's end: close what nobody took, and make each host's Finished."""
        cdef Engine* engine = &self.engine
        cdef Host* host = engine.inbox
        cdef Host* after
        cdef uint64_t slot
        while host != NULL:
            after = host.after_in_inbox
            if host.wishes & FREE:
                free(host)
            host = after
        engine.inbox = NULL
        for slot in range(self.table.mask + 1):
            host = self.table.by_id[slot]
            while host != NULL:
                if host.state == WAITING or (host.in_results and host.event == SAY_OPENED):
                    close(host.fd)
                host.event = SAY_FINISHED
                if not host.in_results:
                    host.in_results = True
                    append(&engine.results, host)
                host = host.same_id_slot
        engine.published.sockets = 0
