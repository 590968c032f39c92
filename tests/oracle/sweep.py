"""core.sweep, plainly: one thread, one selector, one lock around everything."""

import errno
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Container, Sequence
from contextlib import suppress

from core.sweep import FILTERED, NEVER, OPEN, REFUSED, UNREACHABLE, UNTRIED, Finished, Missed, Opened

BURST = 0.01  # seconds' worth of the rate that may come at once
RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
OUTCOMES = {
    0: OPEN,
    errno.ECONNRESET: OPEN,
    errno.EPIPE: OPEN,
    errno.ECONNREFUSED: REFUSED,
    errno.ETIMEDOUT: FILTERED,
}
LOCAL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN}


class Host:
    def __init__(self, number, address, ports, source, urgent, timeout):
        self.number, self.address, self.ports, self.urgent, self.timeout = (
            number,
            address,
            ports,
            urgent,
            timeout,
        )
        self.family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
        self.text = socket.inet_ntop(self.family, address)
        self.source = source and socket.inet_ntop(self.family, source)
        self.outcomes = bytearray(len(ports))
        self.index = 0
        self.state = "ready"  # waiting, retrying, told, held, finished
        self.again = False
        self.stopped = False
        self.socket = None
        self.taken = False
        self.event = None
        self.started = self.deadline = 0.0


class Sweep:
    def __init__(self, *, never, rate=1000.0, sockets=4096, hosts=8192, timeout=4.0):
        _check(rate > 0, "rate")
        _check(0 < timeout <= 3600, "timeout")
        _check(sockets >= 1, "sockets")
        _check(hosts >= 1, "hosts")
        self._never, self._rate, self._timeout = never, rate, timeout
        self._most_sockets, self._most_hosts = sockets, hosts
        self._hosts: dict[int, Host] = {}
        self._ready = (deque(), deque())  # urgent, ordinary
        self._pending: set[Host] = set()  # waiting and retrying
        self._results: deque[Host] = deque()
        self._counters = dict.fromkeys(
            ("connects", "opened", "refused", "filtered", "unreachable", "never", "local_errors", "sockets"),
            0,
        )
        self._due = time.monotonic()
        self._lock = threading.RLock()
        self._closed = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._signal = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def never(self) -> Container:
        return self._never

    @never.setter
    def never(self, never: Container):
        with self._lock:
            self._never = never

    @property
    def rate(self) -> float:
        return self._rate

    @rate.setter
    def rate(self, rate: float):
        _check(rate > 0, "rate")
        with self._lock:
            self._rate = rate
            self._due = min(self._due, time.monotonic() + 1 / rate)
            os.eventfd_write(self._wake, 1)

    def fileno(self) -> int:
        return self._signal

    def add(self, host, address: bytes, ports: Sequence[int], *, source=None, urgent=False, timeout=None) -> bool:
        if self._closed:
            raise RuntimeError("closed")
        number, ports = int.from_bytes(address, "big"), tuple(ports)
        _check(0 <= host < 2**63, "id")
        _check(len(address) in (4, 16), "address")
        _check(number != 0 and not (len(address) == 16 and number >> 32 == 0xFFFF), "address")
        _check(1 <= len(ports) <= 65_535 and all(1 <= port <= 65_535 for port in ports), "ports")
        _check(source is None or len(source) == len(address), "source")
        _check(timeout is None or 0 < timeout <= 3600, "timeout")
        new = Host(host, address, ports, source, urgent, timeout or self._timeout)
        if source is not None:
            with socket.socket(new.family) as probe:
                try:
                    probe.bind((new.source, 0))
                except OSError as error:
                    raise ValueError("source") from error
        with self._lock:
            _check(host not in self._hosts, "id under way")
            _check(all(other.address != address for other in self._hosts.values()), "address under way")
            if len(self._hosts) == self._most_hosts:
                return False
            self._hosts[host] = new
            self._make_ready(new)
            os.eventfd_write(self._wake, 1)
        return True

    def next(self, host: int):
        with self._lock:
            if held := self._let_go(host):
                self._go_on(held)

    def again(self, host: int):
        with self._lock:
            if held := self._let_go(host):
                held.again = True
                self._make_ready(held)

    def stop(self, host: int):
        with self._lock:
            if self._closed:
                return
            known = self._known(host)
            if known.stopped or known.state == "finished":
                return
            known.stopped = True
            if known.state == "ready":
                self._ready[not known.urgent].remove(known)
            elif known.state in ("waiting", "retrying"):
                self._end_wait(known)
                self._close_socket(known)
            elif known.state == "told":
                self._results.remove(known)
                self._close_socket(known)
            elif known.taken:
                self._counters["sockets"] -= 1
                known.taken = False
            self._tell(known, "finished", None)
            os.eventfd_write(self._wake, 1)

    def take(self, limit: int = 256) -> list:
        taken = []
        with self._lock:
            while self._results and len(taken) < limit:
                host = self._results.popleft()
                if host.state == "finished":
                    taken.append(Finished(host.number, bytes(host.outcomes)))
                    del self._hosts[host.number]
                    continue
                taken.append(host.event)
                host.state = "held"
                if host.socket:
                    host.socket.detach()
                    host.socket, host.taken = None, True
            if not self._results and not self._closed:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._signal)
        return taken

    def statistics(self) -> dict[str, int]:
        with self._lock:
            return self._counters | {"hosts": len(self._hosts)}

    def close(self):
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.eventfd_write(self._wake, 1)
        self._thread.join()
        for host in self._hosts.values():
            self._close_socket(host)
            if host.state == "told":
                self._results.remove(host)
            if host.state != "finished":
                host.state = "finished"
                self._results.append(host)
        self._counters["sockets"] = 0
        self._selector.close()
        os.close(self._wake)
        os.close(self._signal)
        self._signal = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _known(self, number):
        _check(number in self._hosts, "not under way")
        return self._hosts[number]

    def _let_go(self, number):
        if self._closed:
            return None
        host = self._known(number)
        if host.stopped:
            return None
        _check(host.state == "held", "not held")
        if host.taken:
            self._counters["sockets"] -= 1
            host.taken = False
        os.eventfd_write(self._wake, 1)
        return host

    def _run(self):
        while True:
            with self._lock:
                if self._closed:
                    return
                wait = self._connect_ready()
            asked = time.monotonic()
            answers = self._selector.select(wait)
            with self._lock:
                for key, _ in answers:
                    if key.data is None:
                        with suppress(BlockingIOError):
                            os.eventfd_read(self._wake)
                    elif key.data.socket is key.fileobj:
                        self._end_wait(key.data)
                        self._answered(key.data, key.data.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                for host in [host for host in self._pending if host.deadline <= asked]:
                    retrying = host.state == "retrying"
                    self._end_wait(host)
                    if retrying:
                        self._make_ready(host)
                    else:
                        self._settle(host, FILTERED)

    def _connect_ready(self) -> float:
        """Connect as the pace allows; the seconds until there is something to do again."""
        now = time.monotonic()
        interval = 1 / self._rate
        self._due = max(self._due, now - max(BURST - interval, BURST / 2))
        while any(self._ready) and self._counters["sockets"] < self._most_sockets:
            if self._due > now:
                break
            host = (self._ready[0] or self._ready[1]).popleft()
            if self._connect(host):
                self._due += interval
            now = time.monotonic()
        ends = [host.deadline for host in self._pending]
        if any(self._ready) and self._counters["sockets"] < self._most_sockets:
            ends.append(self._due)
        return min(max(min(ends, default=now + 3600) - now, 0), 3600)

    def _connect(self, host: Host) -> bool:
        if host.text in self._never:
            self._settle(host, NEVER)
            return False
        host.started = time.monotonic()
        try:
            host.socket = socket.socket(host.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            self._counters["sockets"] += 1
            host.socket.setsockopt(*RECVERR[host.family], 1)
            if host.source:
                host.socket.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
                host.socket.bind((host.source, 0))
            code = host.socket.connect_ex((host.text, host.ports[host.index]))
        except OSError as error:
            code = error.errno
        if code == errno.EINPROGRESS:
            self._counters["connects"] += 1
            self._selector.register(host.socket, selectors.EVENT_WRITE, host)
            self._wait(host, "waiting", host.timeout)
        else:
            self._counters["connects"] += code not in LOCAL
            self._answered(host, code)
        return True

    def _answered(self, host: Host, code: int):
        if code in LOCAL:
            self._counters["local_errors"] += 1
            self._close_socket(host)
            self._wait(host, "retrying", 0.1)
            return
        outcome = OUTCOMES.get(code, UNREACHABLE)
        if outcome == REFUSED:
            with suppress(BlockingIOError):
                host.socket.recvmsg(0, 0, socket.MSG_ERRQUEUE)
                outcome = UNREACHABLE  # ICMP's port unreachable, not an RST
        if outcome == OPEN and host.socket.getsockname()[:2] == (host.text, host.ports[host.index]):
            outcome = REFUSED  # it met itself
        self._settle(host, outcome)

    def _settle(self, host: Host, outcome: int):
        name = {OPEN: "opened", REFUSED: "refused", FILTERED: "filtered", NEVER: "never"}.get(outcome, "unreachable")
        self._counters[name] += 1
        port = host.ports[host.index]
        if outcome == OPEN:
            host.socket.setsockopt(*RECVERR[host.family], 0)
            host.outcomes[host.index] = OPEN
            micros = int((time.monotonic() - host.started) * 1e6)
            self._tell(host, "told", Opened(host.number, host.index, port, host.socket.fileno(), micros))
            return
        self._close_socket(host)
        if host.again:
            self._tell(host, "told", Missed(host.number, host.index, port, outcome))
        else:
            host.outcomes[host.index] = outcome
            self._go_on(host)

    def _go_on(self, host: Host):
        host.again = False
        host.index += 1
        if host.index < len(host.ports):
            self._make_ready(host)
        else:
            self._tell(host, "finished", None)

    def _make_ready(self, host: Host):
        host.state = "ready"
        self._ready[not host.urgent].append(host)

    def _wait(self, host: Host, state: str, seconds: float):
        host.state = state
        host.deadline = time.monotonic() + seconds
        self._pending.add(host)

    def _end_wait(self, host: Host):
        self._pending.discard(host)
        if host.state == "waiting":
            self._selector.unregister(host.socket)

    def _close_socket(self, host: Host):
        if host.socket:
            host.socket.close()
            host.socket = None
            self._counters["sockets"] -= 1

    def _tell(self, host: Host, state: str, event):
        host.state, host.event = state, event
        self._results.append(host)
        os.eventfd_write(self._signal, 1)


def _check(good: bool, what: str):
    if not good:
        raise ValueError(what)


assert UNTRIED == 0  # what bytearray() begins with
