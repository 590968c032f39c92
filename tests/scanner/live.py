"""Real sockets on loopback: peers that watch our connections from their side, canaries that can be broken, a lab."""

from __future__ import annotations

import os
import random
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import trio

from scanner.canary import Tally, run_canary
from scanner.canary.server import Limits
from scanner.lab.internet import Internet
from scanner.lab.kinds import KINDS
from scanner.lab.machine import Host, Repair
from scanner.lab.network import Network, serve
from scanner.model import CanaryTarget
from scanner.proof import CanaryKey
from scanner.secret import open_secret
from scanner.settings import (
    CanarySection,
    CanaryTargetSection,
    ControlsSection,
    IdentitySection,
    ScanSection,
    ScopeSection,
    Settings,
    WebSection,
)
from scanner.store import NominationIn, Store

CANARY = IPv4Address("127.82.0.25")
SPAM = b"Received: from [127.82.1.1]"
_ESTABLISHED = 1  # first byte of struct tcp_info (linux/tcp.h)


_PORTS = iter(random.sample(range(12000, 32000), 20000))


def free_port(address: object = CANARY) -> int:
    """Below what the kernel hands out by itself, so that it stays free until it is used; never the same one twice."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((str(address), port))
            return port


PORT = free_port("0.0.0.0")  # where the lab's hosts listen: on every address, and nobody else on any
OTHER_PORT = free_port("0.0.0.0")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@dataclass
class Peer:
    """A host with some ports. `most`: connections of the same client that were open at once, as TCP itself says."""

    address: str
    ports: tuple[int, ...] = ()
    total: int = 0
    most: int = 0
    began: list[float] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)

    def met(self, stream: trio.SocketStream) -> None:
        sock = stream.socket._sock  # the plain one
        self._open = [s for s in self._open if s.fileno() >= 0 and _established(s)] + [sock]
        self.most = max(self.most, len(self._open))
        self.total += 1
        self.began.append(trio.current_time())


def _established(sock: socket.socket) -> bool:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED


Talk = Callable[[trio.SocketStream], Awaitable[None]]


async def hang_up(stream: trio.SocketStream) -> None:
    pass


async def mute(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def forbid(stream: trio.SocketStream) -> None:
    await stream.receive_some(4096)
    await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


async def relay(stream: trio.SocketStream, source: str | None = None) -> None:
    """CONNECT, to wherever it says on loopback, from this address, else the one that it was asked at."""
    head = b""
    while b"\r\n\r\n" not in head:
        if not (data := await stream.receive_some(4096)):
            return
        head += data
    host, _, port = head.split(b" ")[1].decode().rpartition(":")
    assert IPv4Address(host).is_loopback
    here = source or stream.socket.getsockname()[0]
    async with await trio.open_tcp_stream(host, int(port), local_address=here) as out:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pump, stream, out)
            await _pump(out, stream)
            nursery.cancel_scope.cancel()


async def _pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await source.receive_some(4096):
            await sink.send_all(data)


async def peer(nursery: trio.Nursery, address: str, talk: Talk = hang_up, ports: Sequence[int] = (0,)) -> Peer:
    """Listen; each connection is counted and then talked to, and closed by the talk's end."""
    made = Peer(address)

    async def met(stream: trio.SocketStream) -> None:
        made.met(stream)
        with suppress(trio.BrokenResourceError, OSError, IndexError, ValueError):
            await talk(stream)
            with suppress(trio.BrokenResourceError), trio.move_on_after(5):
                await stream.send_eof()  # never RST: it would cost the client our last words
                while await stream.receive_some(65536):
                    pass

    listeners = [(await trio.open_tcp_listeners(port, host=address))[0] for port in ports]
    made.ports = tuple(listener.socket.getsockname()[1] for listener in listeners)
    nursery.start_soon(partial(trio.serve_listeners, met, listeners))
    return made


@dataclass
class Canary:
    """A canary of one id on fixed ports, which the test starts and breaks."""

    target: CanaryTarget
    secret: Path
    scope: trio.CancelScope | None = None
    _over: trio.Event = field(default_factory=trio.Event)

    async def work(self, nursery: trio.Nursery, *, wrong_key: bool = False) -> None:
        """Serve."""
        keys = open_secret(self.secret).canary_keys(self.target.id)
        if wrong_key:
            keys = {1: CanaryKey.from_master(b"x" * 32, self.target.id)}
        await self._begin(
            nursery,
            partial(
                run_canary,
                self.target.id,
                keys,
                tcp=[(str(self.target.address), self.target.tcp)] if self.target.tcp else [],
                mail=[(str(self.target.address), self.target.mail)] if self.target.mail else [],
                http=[(str(self.target.address), self.target.http)] if self.target.http else [],
                limits=Limits(per_source=1000, linger=0.1),
                tally=Tally(),
                name="canary.test",
            ),
        )

    async def hang(self, nursery: trio.Nursery) -> None:
        """Take connections and never answer."""

        async def serve_mute(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            ports = [port for port in (self.target.tcp, self.target.mail, self.target.http) if port]
            listeners = [(await trio.open_tcp_listeners(p, host=str(self.target.address)))[0] for p in ports]
            task_status.started()
            await trio.serve_listeners(_silent, listeners)

        await self._begin(nursery, serve_mute)

    async def _begin(self, nursery: trio.Nursery, serve_it: Callable[..., Awaitable[None]]) -> None:
        await self.kill()
        over = self._over = trio.Event()

        async def scoped(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            try:
                with trio.CancelScope() as self.scope:
                    await serve_it(task_status=task_status)
            finally:
                over.set()

        await nursery.start(scoped)

    async def kill(self) -> None:
        """From the next checkpoint on nobody gets an answer; returns when its ports are closed."""
        if self.scope is not None:
            self.scope.cancel()
            await self._over.wait()


async def _silent(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


def canary(folder: Path, address: IPv4Address = CANARY, id_: str = "main") -> Canary:
    ports = {face: free_port(address) for face in ("tcp", "mail", "http")}
    return Canary(CanaryTarget(id_, address, **ports), folder / "secret")


def settings(folder: Path, *canaries: Canary, control_timeout: float = 10.0, **changes: Any) -> Settings:
    """Fast, all on loopback. Without canaries the daemon has its own on any free ports.

    Whoever is silent is waited for as long as a machine may be busy: tests that have one say how long.
    """
    anywhere = (f"{CANARY}:0",)
    of_canary = CanarySection(listen=anywhere, mail_listen=anywhere, http_listen=anywhere)
    if canaries:
        targets = tuple(
            CanaryTargetSection(
                id=c.target.id, address=c.target.address, tcp=c.target.tcp, mail=c.target.mail, http=c.target.http
            )
            for c in canaries
        )
        of_canary = CanarySection(listen=(), mail_listen=(), http_listen=(), targets=targets)
    scan = {
        "rate": 20_000.0,
        "per_network_rate": 10_000.0,
        "connect_timeout": 1.0,
        "conversation_timeout": 20.0,
        "endpoints": (f"http-connect:{PORT}", f"socks5:{OTHER_PORT}"),
        "learn_order": False,
        "sockets": 256,
        "hosts": 64,
    }
    made = Settings(
        data_dir=folder,
        identity=IdentitySection(name="proxywarden.test", url="http://127.0.0.1:8025/"),
        canary=of_canary,
        scope=ScopeSection(never_scan=(), never_list=(), allow=("127.0.0.0/8",)),
        scan=ScanSection(**{**scan, **changes.pop("scan", {})}),
        controls=ControlsSection(listen="127.82.0.26:0", timeout=control_timeout),
        web=WebSection(listen=()),
        **changes,
    )
    # Ten seconds at least between the passes of a retest hold for operators.
    return made.model_copy(update={"removal": made.removal.model_copy(update={"gap": 0.2})})


def lab_host(last: str, kind: str, port: int = PORT, repair: Repair | None = None) -> Host:
    address = IPv4Address(f"127.82.{last}")
    return Host(address, KINDS[kind], (port,) if KINDS[kind].listens else (), address, repair=repair)


@asynccontextmanager
async def lab(hosts: Sequence[Host], *canaries: Canary) -> AsyncIterator[Network]:
    async with trio.open_nursery() as nursery:
        internet = Internet(canaries=tuple(c.target for c in canaries), pace=0.05)
        network: Network = await nursery.start(serve, hosts, internet)
        yield network
        nursery.cancel_scope.cancel()


async def nominate(store: Store, addresses: Sequence[object], at: float) -> None:
    await store.nominate([NominationIn(IPv4Address(str(a)), sample=SPAM, submitter="test") for a in addresses], at)


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> Any:
    """Wait for something to be so; what it is. seconds: only a test that fails takes them."""
    with trio.fail_after(seconds):
        while not (result := await condition()):
            await trio.sleep(0.02)
        return result


async def command(*arguments: object, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """The program in a process of its own: code, stdout, stderr."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROXYWARDEN_")}
    done = await trio.run_process(
        [sys.executable, "-m", "scanner", *map(str, arguments)],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**clean, **(env or {})},
        cwd=Path(__file__).parents[2],
    )
    err = done.stderr.decode()
    assert "Traceback" not in err, err
    return done.returncode, done.stdout.decode(), err


def reset(stream: trio.SocketStream) -> None:
    """Close with RST."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()
