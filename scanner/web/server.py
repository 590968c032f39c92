"""Serves an ASGI application in the daemon's nursery: whatever a client sends, only its own connection ends.

anycorn lets some errors out of a connection into its listener's nursery, and from there into ours; so every
connection is guarded, a supervisor serves again whatever happened, and the sockets are ours.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import anycorn
import anyio
import h11
import structlog
import trio
from anycorn import protocol, tcp_server
from anycorn.config import Config
from anycorn.events import RawData, Updated
from anycorn.protocol.h11 import H11Protocol

from core.cidr import CidrSet
from scanner.fields import parse_host_port
from scanner.model import parse_address
from scanner.web.edge import requester_of

_HEADER_LIMIT = 16 * 1024  # bytes of a request's head
_IDLE = 10.0  # seconds for a request's head to arrive, and between two requests
_SEND = 20.0  # seconds for a client to take what we send
_AT_ONCE = 16 * 1024  # bytes of an answer
_GRACE = 1.0  # seconds that requests get at the end
_BACKLOG = 256
_RETRY = 0.5, 15.0  # seconds before the next attempt to serve: the first pause, the longest
_SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}  # what accept(2) and socket(2) lack at times
_log = structlog.get_logger()


class Server:
    """One listener. error: why it does not listen just now; troubles: connections that ended in an exception."""

    def __init__(self, name: str, app: Any, binds: Sequence[str], *, most: int, trusted: CidrSet = CidrSet([])) -> None:
        self.name = name
        self.error = ""
        self.binds: list[tuple[str, int]] = []
        self.connections = Connections(most, max(1, most // 2), trusted)
        self._app = app
        self._wanted = [parse_host_port(text) for text in binds]

    @property
    def troubles(self) -> int:
        return self.connections.troubles

    async def run(self, *, task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Started when it listens, or has said why it does not: then it goes on trying."""
        pause, told = _RETRY[0], False
        while True:
            listeners: list[socket.socket] = []
            began = trio.current_time()
            try:
                for host, port in self._wanted:
                    listeners.append(_listen(host, port))
                self.binds = [listener.getsockname()[:2] for listener in listeners]
                self.error = ""
                if not told:
                    task_status.started(self)
                    told = True
                await self._serve(listeners)
            except Exception as error:  # noqa: BLE001 - whatever it is, the daemon goes on
                self._failed(error)
                if not told:
                    task_status.started(self)
                    told = True
                elif listeners and trio.current_time() - began > _RETRY[1]:
                    pause = _RETRY[0]
            finally:
                for listener in listeners:
                    listener.close()
            await trio.sleep(pause)
            pause = min(_RETRY[1], pause * 2)

    async def _serve(self, listeners: Sequence[socket.socket]) -> None:
        """Cancelled from outside anycorn fails; so it is shielded, and told to end by its trigger."""
        config = _Config(self.connections, [f"fd://{os.dup(listener.fileno())}" for listener in listeners])
        end = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_when_cancelled, end)
            with trio.CancelScope(shield=True):
                await anycorn.serve(self._app, config, shutdown_trigger=end.wait, mode="asgi")
            nursery.cancel_scope.cancel()

    def _failed(self, error: Exception) -> None:
        where = ", ".join(f"{host}:{port}" for host, port in self._wanted)
        if isinstance(error, _CannotListen):
            self.error = str(error)
            # Critical: without its pages nobody gets off the list, and the demo shows nothing less than that.
            _log.critical(f"{self.name}: can't listen, trying again", error=self.error)
        elif shortage := _shortage(error):
            self.error = f"{where}: {shortage}"
            _log.critical(f"{self.name}: takes no connections, trying again", error=self.error)
        else:
            self.error = f"{where}: {error!r}"
            _log.error(f"{self.name}: ended, serving again", exc_info=error)


class Connections:
    """How many there are, in all and from one address, or /64; a trusted proxy's stand for many people."""

    def __init__(self, most: int, most_each: int, trusted: CidrSet) -> None:
        self.now = self.refused = self.troubles = 0
        self._most, self._most_each, self._trusted = most, most_each, trusted
        self._each: Counter[str] = Counter()

    @contextmanager
    def admitted(self, peer: str) -> Iterator[bool]:
        """Counts a connection while it lasts; False where it is one too many."""
        address = parse_address(peer.partition("%")[0])
        limited, source = address not in self._trusted, requester_of(address)
        if self.now >= self._most or (limited and self._each[source] >= self._most_each):
            self.refused += 1
            yield False
            return
        self.now += 1
        self._each[source] += 1
        try:
            yield True
        finally:
            self.now -= 1
            self._each[source] -= 1
            if not self._each[source]:
                del self._each[source]


class _CannotListen(Exception):
    pass


class _Config(Config):
    def __init__(self, connections: Connections, binds: list[str]) -> None:
        super().__init__()
        self.connections = connections
        self.bind = binds
        self.errorlog = self.accesslog = None
        self.include_server_header = False
        self.keep_alive_timeout = _IDLE
        self.graceful_timeout = _GRACE
        self.max_app_queue_size = 2  # of 64 KiB each: what a client may be ahead of the application


class _Connection(tcp_server.TCPServer):
    """A connection that keeps its exceptions to itself and lets nobody make it wait for ever."""

    config: _Config
    _gone = False

    async def run(self) -> None:
        try:
            peer = self.stream.extra(anyio.abc.SocketAttribute.remote_address)[0]  # noqa: S610
        except Exception:  # noqa: BLE001 - it is gone already
            await self.stream.aclose()
            return
        with self.config.connections.admitted(str(peer)) as admitted:
            if not admitted:
                await self.stream.aclose()
                return
            self.stream = _Impatient(self.stream)  # type: ignore[assignment]
            try:
                await super().run()
            except Exception as error:  # noqa: BLE001 - of this connection alone
                self._caught(error)
            except BaseExceptionGroup as group:
                cancelled, rest = group.split(trio.Cancelled)
                if rest is not None:
                    self._caught(rest)
                if cancelled is not None:
                    raise cancelled from None

    async def _read_data(self) -> None:
        await super()._read_data()
        self._gone = True
        await self.idle_task.stop()  # the client is gone: nothing to wait for

    async def protocol_send(self, event: Any) -> None:
        """What fits into the socket's buffer is sent without a turn of the loop, which is long while the scan is busy.

        An answer that is finished after its client went does not wait for the next request.
        """
        if isinstance(event, RawData) and len(event.data) <= _AT_ONCE and not self.send_lock.locked():
            sent = self._send_now(event.data)
            if sent == len(event.data):
                return
            event = RawData(event.data[sent:])
        if not (self._gone and isinstance(event, Updated)):
            await super().protocol_send(event)

    def _send_now(self, data: bytes) -> int:
        """As many bytes as are taken; what is wrong with the connection the usual way finds out."""
        try:
            return int(self.stream.extra(anyio.abc.SocketAttribute.raw_socket).send(data))  # noqa: S610
        except OSError:
            return 0

    def _caught(self, error: BaseException) -> None:
        self.config.connections.troubles += 1
        _log.debug("web connection", exc_info=error)


class _Impatient:
    """A stream whose sending has a deadline. anycorn sends under a shield: without one, whoever does not read stays."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self.receive, self.send_eof, self.extra = stream.receive, stream.send_eof, stream.extra

    async def send(self, data: bytes) -> None:
        try:
            with anyio.fail_after(_SEND):
                await self._stream.send(data)
        except TimeoutError:
            await self._stream.aclose()  # else it would be read on
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()


class _BoundedHeads(h11.Connection):
    """Refuses a long head however it comes: h11 does where it is not whole yet, but a read brings 64 KiB at once."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        before = len(self.trailing_data[0]) if self.their_state is h11.IDLE else 0
        event = super().next_event()
        if isinstance(event, h11.Request) and before - len(self.trailing_data[0]) > _HEADER_LIMIT:
            raise h11.RemoteProtocolError("head too long", error_status_hint=431)
        return event


class _PlainHttp(H11Protocol):
    """HTTP/1.1 and nothing else: an offer to upgrade is declined by not taking it up (RFC 9110 7.8).

    Browsers speak HTTP/2 inside TLS only, which a web server in front does; no page here needs a WebSocket.
    """

    _held = b""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.connection = _BoundedHeads(h11.SERVER, max_incomplete_event_size=_HEADER_LIMIT)

    async def _check_protocol(self, event: Any) -> None:
        pass

    async def _send_h11_event(self, event: Any) -> None:
        """The head of an answer goes with what follows it: one write and one turn of the loop, not three."""
        try:
            data = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        self._held += data
        if self._held and not isinstance(event, h11.Response):
            held, self._held = self._held, b""
            await self.send(RawData(data=held))

    async def _create_stream(self, request: Any) -> None:
        headers = [(name, value) for name, value in request.headers.raw_items() if name.lower() != b"upgrade"]
        request = type(request)(
            method=request.method, target=_readable(request.target), headers=headers, http_version=request.http_version
        )
        await super()._create_stream(request)


def _readable(target: bytes) -> bytes:
    """A path in UTF-8: of any other anycorn makes an empty 400, and a bad address would not be told what is wrong."""
    path, mark, query = target.partition(b"?")
    plain = unquote_to_bytes(path)
    text = plain.decode("utf-8", "replace")
    return target if text.encode() == plain else quote(text).encode() + mark + query


# Private names of anycorn, which is therefore pinned to ~=0.20.1; tests/scanner/web/test_server.py knows the killers.
tcp_server.TCPServer = _Connection  # type: ignore[misc]
protocol.H11Protocol = _PlainHttp  # type: ignore[attr-defined]


async def _when_cancelled(event: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()


def _shortage(error: BaseException | None) -> str:
    """What the machine lacks, where that alone ended a listener: anycorn gives up at the first failed accept."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    cause = error.__cause__ if error is not None and not isinstance(error, OSError) else error
    return cause.strerror or "" if isinstance(cause, OSError) and cause.errno in _SHORTAGE else ""


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if listener.family == socket.AF_INET6:
            with suppress(OSError):
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _CannotListen(f"{host}:{port}: {error.strerror}") from None
    return listener
