"""Open very many TCP connections cheaply and politely, in a thread of its own without the GIL."""

from collections.abc import Sequence
from typing import Final, NamedTuple, final

from core.cidr import CidrSet

UNTRIED: Final = 0  # stopped, or closed, before this port's turn came
OPEN: Final = 1
REFUSED: Final = 2  # RST
FILTERED: Final = 3  # no answer within the timeout
UNREACHABLE: Final = 4  # ICMP: host, network, port, administratively prohibited
NEVER: Final = 5  # in the never-scan set: nothing was sent

class Opened(NamedTuple):
    """A connection that was accepted. The receiver owns the descriptor `fd` (non-blocking) and closes it
    before it calls next(), again() or stop() for the host."""

    host: int
    index: int  # type: ignore[assignment]  # of the port in add()'s list
    port: int
    fd: int
    micros: int  # from connect to established

class Missed(NamedTuple):
    """What again() met where it was not an open port; the host is held as after an Opened."""

    host: int
    index: int  # type: ignore[assignment]
    port: int
    outcome: int

class Finished(NamedTuple):
    """The summary, exactly one for each host that add() took, after which its id is free."""

    host: int
    outcomes: bytes  # one of the constants above for each port of add(), in its order

@final
class Sweep:
    """One thread, one epoll, one timer wheel: takes hosts with their ordered ports and connects.

    One connection at a time per host: a host whose port opened is held, conversation included, until next(),
    again() or stop(). The rate (connections a second over all hosts), the number of sockets (waiting and
    handed over together) and the number of hosts are bounded. The never-scan set is asked last thing before
    connect.
    """

    def __init__(
        self,
        *,
        never: CidrSet,
        rate: float = 1000.0,
        sockets: int = 4096,
        hosts: int = 8192,
        timeout: float = 4.0,
    ) -> None: ...

    never: CidrSet  # replaceable at any time; holds for every connect after the assignment
    rate: float  # connections a second; replaceable at any time

    def fileno(self) -> int:
        """An eventfd that is readable while take() has something to give; -1 once closed."""

    def add(
        self,
        host: int,
        address: bytes,
        ports: Sequence[int],
        *,
        source: bytes | None = None,
        urgent: bool = False,
        timeout: float | None = None,
    ) -> bool:
        """Take a host: id (0 to 2**63-1), packed address (4 or 16 bytes), 1 to 65,535 ports, tried in order.

        source: packed local address to connect from. urgent: its connects go ahead of all that are not.
        timeout: seconds for one connect, else the sweep's. False when `hosts` are under way already.
        ValueError: a bad argument, an id or an address that is under way. RuntimeError: closed.
        """

    def next(self, host: int) -> None:
        """Go on to the host's next port; its conversation is over and its socket closed.

        ValueError: not held. Nothing happens for a host that was stopped, nor after close().
        """

    def again(self, host: int) -> None:
        """Connect to the same port of a held host once more: Opened or Missed comes.

        ValueError: not held. Nothing happens for a host that was stopped, nor after close().
        """

    def stop(self, host: int) -> None:
        """Leave out the host's remaining ports: Finished comes, and nothing else any more.

        Also for a host that is not held. ValueError: not under way. Nothing happens after close().
        """

    def take(self, limit: int = 256) -> list[Opened | Missed | Finished]:
        """What has happened, oldest first, at most `limit`; empty when nothing has. Never waits."""

    def statistics(self) -> dict[str, int]:
        """Counters: connects, opened, refused, filtered, unreachable, never, local_errors.
        Gauges: hosts, sockets.
        """

    def close(self) -> None:
        """End the thread and close every descriptor that was not taken. Idempotent.

        take() then gives a Finished for each host that was under way. In a forked child, where all else is a
        RuntimeError, this closes its copies of the epoll and the eventfds alone.
        """

    def __enter__(self) -> Sweep: ...
    def __exit__(self, *exc: object) -> None: ...
