"""Network namespaces of the tests' own, joined by veth pairs: they are gone with the process, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import trio

from tests.peers.programs import environment, lacking, needed

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_STOPS = 20.0  # seconds until a process or a server must have ended


class Namespace:
    """One. What runs in it is run by a thread that alone has entered it; processes and threads begun there stay."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._servers: list[Server] = []
        self.path = self.do(_enter)
        self.run("ip link set lo up")

    def do(self, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call it in here; its result."""
        return self._thread.submit(call, *args, **more).result()

    def run(self, *commands: str) -> None:
        """Commands that configure it, each without quotes."""
        for command in commands:
            done = self.do(subprocess.run, command.split(), capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{self.name}: {command}: {done.stderr}"

    def nft(self, rules: str) -> None:
        """Load rules as nft reads them from a file."""
        command, how = [str(needed("nft")), "-f", "-"], {"capture_output": True, "text": True, "env": environment()}
        done = self.do(subprocess.run, command, input=rules, check=False, **how)
        assert done.returncode == 0, f"{self.name}: nft: {done.stderr}"

    def sysctl(self, **values: object) -> None:
        """Of /proc/sys/net: each `/` is written `__`."""
        for name, value in values.items():
            self.do((Path("/proc/sys/net") / name.replace("__", "/")).write_text, str(value))

    def start(self, *command: str, **more: Any) -> subprocess.Popen[bytes]:
        """A process that is ended with the namespace, or before."""
        process = self.do(subprocess.Popen, command, preexec_fn=_end_with_us, **more)
        self._processes.append(process)
        return process

    def serve(self, main: Callable[[], Awaitable[None]]) -> Server:
        """Run a Trio program in here until it is stopped, at the latest with the namespace."""
        server = Server(main)
        self._servers.append(server)
        self.do(server.thread.start)
        return server

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            try:
                process.wait(_STOPS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for server in self._servers:
            server.stop()
        self._thread.shutdown()


class Server:
    """A Trio program in a thread."""

    def __init__(self, main: Callable[[], Awaitable[None]]) -> None:
        self._main = main
        self._token: trio.lowlevel.TrioToken | None = None
        self._begun = threading.Event()
        self.thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)

    async def _run(self) -> None:
        with trio.CancelScope() as self._scope:
            self._token = trio.lowlevel.current_trio_token()
            self._begun.set()
            await self._main()

    def stop(self) -> None:
        if self.thread.is_alive() and self._begun.wait(_STOPS):
            assert self._token is not None
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._scope.cancel)
            self.thread.join(_STOPS)
        assert not self.thread.is_alive(), "a server of the test does not end"


def join(one: Namespace, its_end: str, other: Namespace, other_end: str) -> None:
    """A wire between two."""
    one.run(f"ip link add name {its_end} type veth peer name {other_end} netns {other.path}")
    one.run(f"ip link set {its_end} up")
    other.run(f"ip link set {other_end} up")


def _enter() -> str:
    """The calling thread gets a namespace; where other processes find it."""
    if _LIBC.unshare(_CLONE_NEWNET) != 0:
        lacking(f"no network namespace may be made here: {os.strerror(ctypes.get_errno())}")
    return f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"


def _end_with_us() -> None:
    _LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
