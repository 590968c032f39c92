"""Peers on 127.0.0.0/8 for the sweep's tests: ports open, closed or mute on every address at once."""

import os
import selectors
import socket
import threading
import time
from contextlib import ExitStack

LAST = "127.255.0.1"


def bound(port=0) -> socket.socket:
    """A socket on every loopback address: bound to the interface, so that no one outside reaches it."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    found.bind(("", port))
    return found


class Loopback:
    """Open ports that say who came in which order; closed ports that nobody else can take; a mute port."""

    def __init__(self, open_ports=3, closed_ports=3):
        self._stack = ExitStack()
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._alive: dict[str, socket.socket] = {}
        self.arrivals: list[tuple[str, int]] = []  # address and port, in the order of arrival
        self.sources: list[tuple] = []
        self.overlaps: list[str] = []  # addresses that got a connection while the last one was open
        listeners = [self._stack.enter_context(bound()) for _ in range(open_ports)]
        for listener in listeners:
            listener.listen(4096)
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
        closed = [self._stack.enter_context(bound()) for _ in range(closed_ports)]  # bound, not listening: RST
        full = self._stack.enter_context(bound())
        full.listen(0)
        self.open = [listener.getsockname()[1] for listener in listeners]
        self.closed = [one.getsockname()[1] for one in closed]
        self.mute = full.getsockname()[1]
        # A queue of no length takes one connection; whoever comes later has his SYN dropped.
        self._stack.enter_context(socket.create_connection(("127.0.0.1", self.mute)))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def forget(self):
        """All that came so far. Queues are in order: what waits in them comes before a last one here."""
        for port in self.open:
            socket.create_connection((LAST, port)).close()
        while len(self.of(LAST)) < len(self.open):
            time.sleep(0.001)
        with self._lock:
            self.arrivals.clear()
            self.sources.clear()
            self.overlaps.clear()

    def accepted(self, fd: int):
        """Wait until it was. Both ends say which one it is: from one port the kernel connects to two peers at once."""
        with socket.socket(fileno=os.dup(fd)) as opened:
            ends = opened.getpeername(), opened.getsockname()
            while ends not in zip(self.arrivals, self.sources, strict=False):
                time.sleep(0.0005)

    def hang_up(self, fd: int):
        """Close our end, once it was accepted: what waits at two ports is accepted in no order."""
        self.accepted(fd)
        os.close(fd)

    def of(self, address: str) -> list[int]:
        """The ports of one address in the order that they were connected to."""
        with self._lock:
            return [port for where, port in self.arrivals if where == address]

    def close(self):
        self._ending.set()
        self._thread.join()
        for conversation in self._alive.values():
            conversation.close()
        self._selector.close()
        self._stack.close()

    def _serve(self):
        while not self._ending.is_set():
            for key, _ in self._selector.select(0.05):
                self._accept(key.fileobj)

    def _accept(self, listener):
        while True:
            try:
                conversation, source = listener.accept()
            except BlockingIOError:
                return
            conversation.setblocking(False)
            address, port = conversation.getsockname()
            with self._lock:
                self.arrivals.append((address, port))
                self.sources.append(source)
                last = self._alive.pop(address, None)
                self._alive[address] = conversation
                if last is not None:
                    try:
                        last.recv(1)  # loopback: the end of the last is here before the next one's beginning
                    except BlockingIOError:
                        self.overlaps.append(address)
                    except OSError:
                        pass
                    last.close()
