"""Listens, holds each connection to its limits, and counts how it ended: the canary's only I/O.

It stands in the open under a known address, so all is bounded: connections, bytes, seconds, log lines.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv6Address, ip_address

import structlog
import trio

from scanner.canary.caller import Caller, Deliver, Dialogue, Stranger
from scanner.canary.converse import READ, converse
from scanner.canary.http import http as http_face
from scanner.canary.smtp import smtp as mail_face
from scanner.canary.tcp import tcp as tcp_face
from scanner.model import Address, Face
from scanner.proof import CanaryKey, Forged

_FACES: dict[Face, Callable[[Caller], Dialogue]] = {
    Face.TCP: tcp_face,
    Face.MAIL: mail_face,
    Face.HTTP: http_face,
}
_ACCEPT_PAUSE = 0.1  # seconds after an accept that failed: without descriptors it would fail again at once
_BUGS_LOGGED = 10  # of one process: who finds a bug shall not fill the disk with it

_log = structlog.get_logger(__name__)


class Ending(StrEnum):
    """How a connection ended."""

    ANSWERED = "answered"
    STRANGER = "stranger"  # brought no challenge
    FORGED = "forged"  # brought one without our MAC; many of them may mean that a key is missing here
    LATE = "late"  # was not done at the deadline
    BROKEN = "broken"  # the connection broke
    EVICTED = "evicted"  # was the oldest when there were too many
    REFUSED = "refused"  # there were too many of its source
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class Limits:
    """What all strangers together, and each of them, can take from us."""

    connections: int = 1000  # open at once; the oldest makes room for the newest
    per_source: int = 64  # open at once from one IPv4 address or one IPv6 /64; more are closed at once
    deadline: float = 30.0  # seconds, a connection from its first to its last byte
    received: int = 65536  # bytes, read from one connection
    linger: float = 2.0  # seconds that we wait for the other side to close after our answer


DEFAULT_LIMITS = Limits()


@dataclass(slots=True)
class Tally:
    """What the canary counts instead of logging."""

    open: int = 0
    accept_errors: int = 0
    ended: Counter[tuple[Face, Ending]] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """By name for status: `open`, `accept_errors`, and `FACE.ENDING` for each that occurred."""
        ended = {f"{face}.{ending}": count for (face, ending), count in sorted(self.ended.items())}
        return {"open": self.open, "accept_errors": self.accept_errors, **ended}


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a canary listens: host and port by face."""

    tcp: tuple[tuple[str, int], ...] = ()
    mail: tuple[tuple[str, int], ...] = ()
    http: tuple[tuple[str, int], ...] = ()


class BindError(Exception):
    """An address that we can't listen on; one line that names it and says why."""


Keep = Callable[[str, bytes], Awaitable[bool]]
"""Keeps a signed delivery for good, by the letter's id; False where that failed and the relay should try again."""


def log_bug(error: Exception, caller: Caller) -> None:
    """Log one with its traceback."""
    _log.error("canary_bug", face=str(caller.face), peer=str(caller.peer), exc_info=error)


async def run_canary(
    canary: str,
    keys: Mapping[int, CanaryKey],
    *,
    tcp: Sequence[tuple[str, int]] = (),
    mail: Sequence[tuple[str, int]] = (),
    http: Sequence[tuple[str, int]] = (),
    limits: Limits = DEFAULT_LIMITS,
    tally: Tally,
    name: str,
    on_bug: Callable[[Exception, Caller], None] = log_bug,
    keep: Keep | None = None,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[Bound] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. Raises BindError or ValueError before it has started, and nothing afterwards.

    tcp, mail, http: host and port to listen on, port 0 for any that is free. name: our host's, to greet with.
    keys: looked up for each connection, so that a rotation may change them in place. on_bug: is given an
    exception that ended a connection; what it raises itself ends the canary. keep: for letters; without it the mail
    face takes none. tls: that they may come under.
    """
    server = Canary(canary, keys, limits, tally, name, on_bug, keep, tls)
    wanted = {Face.TCP: tcp, Face.MAIL: mail, Face.HTTP: http}
    bound: dict[Face, list[tuple[str, int]]] = {face: [] for face in wanted}
    with contextlib.ExitStack() as stack:
        listeners = []
        for face, places in wanted.items():
            for host, port in places:
                for listener in await _listen(host, port):
                    stack.callback(listener.socket.close)
                    address = listener.socket.getsockname()
                    bound[face].append((address[0], address[1]))
                    listeners.append((face, listener))
        async with trio.open_nursery() as nursery:
            for face, listener in listeners:
                nursery.start_soon(server.accept, face, listener, nursery)
            task_status.started(Bound(*(tuple(bound[face]) for face in (Face.TCP, Face.MAIL, Face.HTTP))))
            await trio.sleep_forever()


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise BindError(f"can't listen on {host} port {port}: {error.strerror or error}") from None


class Canary:
    """One canary behind all its listeners."""

    def __init__(
        self,
        canary: str,
        keys: Mapping[int, CanaryKey],
        limits: Limits,
        tally: Tally,
        name: str,
        on_bug: Callable[[Exception, Caller], None],
        keep: Keep | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if any(key.canary != canary for key in keys.values()):
            raise ValueError(f"a key of another canary than {canary!r}")
        if not (name.isascii() and name.isprintable() and 0 < len(name) <= 253 and " " not in name):
            raise ValueError(f"{name!r}: expected a host name for the mail greeting")
        self.canary = canary
        self.keys = keys
        self.limits = limits
        self.tally = tally
        self.name = name
        self.on_bug = on_bug
        self._keep = keep
        self._tls = None if keep is None else tls
        self._open: dict[trio.CancelScope, None] = {}  # the oldest first
        self._sources = Counter[Address]()

    async def accept(self, face: Face, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        """Take connections for ever, also when the process has no descriptor left for one."""
        port = listener.socket.getsockname()[1]
        while True:
            try:
                sock, address = await listener.socket.accept()
            except OSError:
                self.tally.accept_errors += 1
                await trio.sleep(_ACCEPT_PAUSE)
                continue
            nursery.start_soon(self.attend, face, trio.SocketStream(sock), _address(address[0]), address[1], port)

    async def attend(
        self, face: Face, stream: trio.abc.HalfCloseableStream, peer: Address, peer_port: int, port: int
    ) -> None:
        """One connection from its first byte to its close. Never raises, except what on_bug does."""
        source = _source(peer)
        if self._sources[source] >= self.limits.per_source:
            self.tally.ended[face, Ending.REFUSED] += 1
            await stream.aclose()
            return
        if len(self._open) >= self.limits.connections:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        caller = Caller(
            self.canary,
            self.keys,
            face,
            peer,
            peer_port,
            port,
            self.name,
            takes_letters=self._keep is not None,
            offers_tls=self._tls is not None,
        )
        ending = Ending.STRANGER
        scope = trio.move_on_after(self.limits.deadline)
        self._open[scope] = None
        self._sources[source] += 1
        self.tally.open += 1
        try:
            with scope:
                async with stream:
                    await converse(stream, _FACES[face](caller), self.limits.received, self._deliver, self._tls)
                    if caller.answered:
                        await self._part(stream)
        except Stranger:
            ending = Ending.STRANGER
        except Forged:
            ending = Ending.FORGED
        except trio.BrokenResourceError:
            ending = Ending.BROKEN
        except Exception as error:  # noqa: BLE001 - the one place where a bug in one connection ends
            ending = Ending.BUG
            if self.bugs < _BUGS_LOGGED:
                self.on_bug(error, caller)
        finally:
            self._open.pop(scope, None)
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]
            self.tally.open -= 1
        if caller.answered and ending is not Ending.BUG:
            ending = Ending.ANSWERED
        elif scope.cancelled_caught:
            ending = Ending.LATE if trio.current_time() >= scope.deadline else Ending.EVICTED
        self.tally.ended[face, ending] += 1

    async def _deliver(self, letter: Deliver) -> bool:
        """Sign what was seen of a letter, and have it kept."""
        delivery = replace(letter.delivery, at=time.time())
        return self._keep is not None and await self._keep(delivery.letter, delivery.signed(letter.key))

    @property
    def bugs(self) -> int:
        return sum(self.tally.ended[face, Ending.BUG] for face in Face)

    async def _part(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Say that it was all, and hear the other side out.

        A close over unread bytes sends RST (RFC 2525 2.17), which can overtake the answer.
        """
        await stream.send_eof()
        left = self.limits.received
        with trio.move_on_after(self.limits.linger):
            while left > 0 and (data := await stream.receive_some(READ)):
                left -= len(data)


def _address(host: str) -> Address:
    """A peer as the kernel names it: without zone, IPv4-mapped as IPv4."""
    address = ip_address(host.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _source(peer: Address) -> Address:
    """Who it counts as: whoever has one IPv6 address has the /64 around it."""
    return IPv6Address(int(peer) >> 64 << 64) if isinstance(peer, IPv6Address) else peer
