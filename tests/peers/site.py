"""A site: one address with one real server on it, which can be stopped and configured otherwise."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tests.peers.enclosure import SURROUNDINGS as ENCLOSED
from tests.peers.enclosure import UNSHARE, Enclosure
from tests.peers.place import PORT, Place, nobody
from tests.peers.programs import AS_ROOT, NOBODY, program

_STARTS = 60.0  # seconds until a server takes connections; squid needs one of them
_STOPS = 10.0
_LIBC = ctypes.CDLL(None)


@dataclass
class Site:
    """Where one peer runs."""

    place: Place
    address: IPv4Address
    name: str
    port: int = PORT
    inside: Callable[..., Any] = lambda call, *args, **more: call(*args, **more)  # a network namespace's do()
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    expected: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = nobody(_made(self.place.folder / self.name))
        self.log = self.folder / "log"
        nobody(_touched(self.log))

    @property
    def at(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def upstream(self) -> str:
        """An address behind the peer's own, where only its traffic comes out."""
        return f"{self.place.network}.9.{self.address.packed[3]}"

    def program(self, name: str) -> str:
        found = program(name)
        assert found is not None, name
        return str(found)

    def write(self, name: str, text: str, *, root: bool = False) -> str:
        """A configuration file; its path. root: it stays his, as who becomes somebody else wants."""
        path = self.folder / name
        path.write_text(text, "utf-8")
        if not root:
            nobody(path)
        return str(path)

    def start(
        self,
        name: str,
        *arguments: object,
        listens: str | None = "",
        within: Enclosure | None = None,
        wait: bool = True,
    ) -> None:
        """Start a program and wait until it takes connections on `listens`, by default the site's port; None: don't.

        It runs as nobody, but as root `within` an enclosure. wait: else settled() does.
        """
        command = within.command([name, *arguments]) if within else [self.program(name), *map(str, arguments)]
        others = AS_ROOT and within is None and "-m" not in arguments
        own = {"HOME": str(self.folder), "TMPDIR": str(self.folder)}
        with self.log.open("ab") as log:
            process = self.inside(
                subprocess.Popen,
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=ENCLOSED if within else self.place.surroundings() | own,
                start_new_session=True,
                preexec_fn=_killed_with_us if within else _end_with_us,
                # A Python that nobody may not read starts as whoever runs the tests.
                **({"user": NOBODY, "group": NOBODY, "extra_groups": []} if others else {}),
            )
        self.processes.append(process)
        if listens is not None:
            self.expected.append((name, listens or self.at))
        if wait:
            self.settled()

    def settled(self) -> None:
        """Return when all that was started takes connections."""
        for name, listens in self.expected:
            host, _, port = listens.rpartition(":")
            self.wait(
                partial(self.inside, takes_connections, host, int(port)), f"{name} takes no connections on {listens}"
            )
        self.expected.clear()

    def run(self, name: str, *arguments: object) -> None:
        """Run a program to its end, as nobody."""
        self.start(name, *arguments, listens=None)
        process = self.processes.pop()
        assert process.wait(_STARTS) == 0, self.said()

    def wait(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + _STARTS
        while not condition():
            ended = next((process for process in self.processes if process.poll() is not None), None)
            assert ended is None, f"{complaint}: it ended with {ended and ended.returncode}\n{self.said()}"
            assert time.monotonic() < deadline, f"{complaint}\n{self.said()}"
            time.sleep(0.02)

    def said(self) -> str:
        """The end of what the servers wrote."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text('utf-8', 'replace')[-2000:]}"
            for path in sorted(self.folder.glob("**/*log"))
        )

    def stop(self) -> None:
        """End what was started here, and only that: each is the leader of a session of its own."""
        for process in reversed(self.processes):
            if process.args[0] == UNSHARE:  # type: ignore[index]
                _end_enclosed(process)
            for number in (signal.SIGTERM, signal.SIGKILL):
                _signal(process, number)
                try:
                    process.wait(_STOPS)
                    break
                except subprocess.TimeoutExpired:
                    continue
            _signal(process, signal.SIGKILL)  # children that it left
        self.processes.clear()
        self.expected.clear()


def takes_connections(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1.0).close()
    except OSError:
        return False
    return True


def _end_with_us() -> None:
    """A run that is killed leaves no server behind."""
    _LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _killed_with_us() -> None:
    _LIBC.prctl(1, signal.SIGKILL)


def _end_enclosed(process: subprocess.Popen[bytes]) -> None:
    """unshare passes no signal on; it ends after the first process in there, which ends after all the others."""
    with suppress(OSError):
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        process.wait(_STOPS)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        if number == signal.SIGTERM:
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def _made(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def _touched(path: Path) -> Path:
    path.touch()
    return path
