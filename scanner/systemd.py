"""systemd's notify protocol (sd_notify(3)): ready, reloading, stopping, and the watchdog."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

import trio


def notify(state: str) -> None:
    """Send a state such as READY=1 to systemd; does nothing where systemd did not start us, or is gone."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    if state.startswith("RELOADING=1"):  # Type=notify-reload wants to know when (systemd 253)
        state += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        sock.sendall(state.encode())


async def feed_watchdog() -> None:
    """Tell systemd that the event loop turns, twice in each interval: from a task, so that a stuck loop trips it."""
    micros = int(os.environ.get("WATCHDOG_USEC") or 0)
    if micros and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
        while True:
            notify("WATCHDOG=1")
            await trio.sleep(micros / 2_000_000)
