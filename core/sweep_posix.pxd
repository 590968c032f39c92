# cython: linetrace=False, profile=False
"""What the sweep needs of threads, epoll and eventfd."""

from libc.stdint cimport uint32_t, uint64_t


ctypedef void* (*Start)(void*) noexcept nogil
ctypedef void (*Hook)() noexcept nogil

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_create(pthread_t* thread, void* attributes, Start start, void* argument)
    int pthread_join(pthread_t thread, void** result)
    int pthread_mutex_init(pthread_mutex_t* mutex, void* attributes)
    int pthread_mutex_lock(pthread_mutex_t* mutex)
    int pthread_mutex_unlock(pthread_mutex_t* mutex)
    int pthread_atfork(Hook prepare, Hook parent, Hook child)

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    enum: SIG_BLOCK, SIG_SETMASK, SIGBUS, SIGFPE, SIGILL, SIGSEGV
    int sigfillset(sigset_t* signals)
    int sigdelset(sigset_t* signals, int signal)
    int pthread_sigmask(int how, const sigset_t* signals, sigset_t* old)

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum: EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL
    enum: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLET, EPOLLONESHOT
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int most, int milliseconds)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    enum: POLLOUT
    int poll(pollfd* polled, unsigned long count, int milliseconds)

cdef extern from "<sys/eventfd.h>" nogil:
    ctypedef uint64_t eventfd_t
    enum: EFD_CLOEXEC, EFD_NONBLOCK
    int eventfd(unsigned int value, int flags)
    int eventfd_read(int fd, eventfd_t* value)
    int eventfd_write(int fd, eventfd_t value)


cdef inline int start_thread(pthread_t* thread, Start start, void* argument) noexcept nogil:
    """Start a thread that no signal interrupts: Python's handlers belong to the main thread."""
    cdef sigset_t blocked, old
    cdef int error
    sigfillset(&blocked)
    sigdelset(&blocked, SIGBUS)  # a fault of the thread's own, for faulthandler
    sigdelset(&blocked, SIGFPE)
    sigdelset(&blocked, SIGILL)
    sigdelset(&blocked, SIGSEGV)
    pthread_sigmask(SIG_BLOCK, &blocked, &old)
    error = pthread_create(thread, NULL, start, argument)
    pthread_sigmask(SIG_SETMASK, &old, NULL)
    return error


cdef inline int watch(int epoll, int fd, uint32_t events, void* pointer) noexcept nogil:
    cdef epoll_event event
    event.events = events
    event.data.ptr = pointer
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)
