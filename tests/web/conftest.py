"""A browser, a daemon, and an open proxy on loopback that can be closed."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from scanner.daemon import Daemon
from scanner.settings import (
    CanarySection,
    IdentitySection,
    RemovalSection,
    ScanSection,
    ScopeSection,
    Settings,
    WebSection,
)
from tests.peers.programs import PEERS, REQUIRED, absent

CHROMIUM = Path("/usr/bin/chromium")


class OpenProxy:
    """An HTTP proxy that connects everybody to everywhere, until it is closed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.port = 0
        self._scope = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[OpenProxy] = trio.TASK_STATUS_IGNORED) -> None:
        with self._scope:
            (listener,) = await trio.open_tcp_listeners(0, host=self.address)
            self.port = listener.socket.getsockname()[1]
            task_status.started(self)
            await trio.serve_listeners(self._serve, [listener])

    def close(self) -> None:
        """From now on the port answers with RST."""
        self._scope.cancel()

    async def _serve(self, client: trio.SocketStream) -> None:
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError, ValueError):
            head = b""
            while b"\r\n\r\n" not in head:
                chunk = await client.receive_some(4096)
                if not chunk or len(head) > 8192:
                    return
                head += chunk
            host, _, port = head.split()[1].decode().rpartition(":")
            target = await trio.open_tcp_stream(host, int(port), local_address=self.address)  # its own exit
            async with client, target, trio.open_nursery() as nursery:
                await client.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
                nursery.start_soon(partial(_copy, client, target, nursery.cancel_scope))
                nursery.start_soon(partial(_copy, target, client, nursery.cancel_scope))


async def _copy(source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async for chunk in source:
            await sink.send_all(chunk)
    scope.cancel()


def daemon_settings(folder: Path, port: int) -> Settings:
    """A daemon on ports of its own, that looks at one port."""
    return Settings(
        data_dir=folder,
        identity=IdentitySection(name="proxywarden.test"),
        canary=CanarySection(listen=("127.0.0.1:0",), mail_listen=("127.0.0.1:0",), http_listen=("127.0.0.1:0",)),
        scope=ScopeSection(never_scan=(), never_list=(), allow=("127.0.0.0/8",)),
        scan=ScanSection(endpoints=(f"http-connect:{port}",), connect_timeout=2.0, conversation_timeout=5.0),
        removal=RemovalSection(endpoints=1),
        web=WebSection(listen=("127.0.0.1:0",), operator_listen=("127.0.0.1:0",)),
    )


def doors(daemon: Daemon) -> tuple[str, str]:
    """Where strangers and operators come in."""
    assert daemon.web is not None
    public, operators = (f"http://{host}:{port}" for host, port in (server.binds[0] for server in daemon.web.servers))
    return public, operators


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The machine's, else the one that `make test-peers` unpacked."""
    if not REQUIRED:
        pytest.importorskip("playwright", reason="playwright is not installed: pip install playwright")
    if CHROMIUM.exists():
        return CHROMIUM
    unpacked = PEERS / "chromium"
    program = unpacked / "usr/lib/chromium/chromium"
    if not program.exists():
        absent("chromium")
    folders = (*unpacked.glob("usr/lib/*-linux-gnu*"), *unpacked.glob("usr/lib/*-linux-gnu*/pulseaudio"))
    libraries = ":".join(map(str, folders))
    start = tmp_path_factory.mktemp("chromium") / "chromium"
    fonts = start.with_name("fonts.conf")  # without a font its pages crash, and a bare machine has none
    places = "".join(f"<dir>{root}/usr/share/fonts</dir>" for root in ("", unpacked))
    fonts.write_text(f"<fontconfig>{places}<cachedir>{start.parent}</cachedir></fontconfig>", "utf-8")
    begin = f"LD_LIBRARY_PATH={libraries} FONTCONFIG_FILE={fonts} exec {program}"
    start.write_text(f'#!/bin/sh\n{begin} "$@"\n', "utf-8")
    start.chmod(0o755)
    return start
