"""The lab in a process of its own, so that it does not take the scanner's core: main() there, LabProcess here.

They speak JSON lines: {"do": "repair" or "reopen", "address": …} or {"do": "quit"} on the lab's stdin, and on its
stdout {"ready": true, …}, then {"done": …} or {"error": …} for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import trio

from scanner.lab.internet import Internet, LabError
from scanner.lab.machine import Host
from scanner.lab.network import Network, serve
from scanner.lab.plan import PREFIX, plan
from scanner.lab.truth import as_json

_LINE_LIMIT = 4096  # bytes of one command
_START_TIMEOUT = 60.0  # seconds; 20,000 hosts take about two
_STOP_TIMEOUT = 5.0


async def main(
    hosts: int,
    seed: int,
    list_only: bool = False,
    control: bool = False,
    internet: Internet | None = None,
    prefix: IPv4Network = PREFIX,
) -> None:
    """Run the lab until cancelled; list_only prints the truth instead, a JSON line for each host.

    control: obey JSON lines on stdin, and end with it. LabError says in one line what is impossible.
    """
    internet = internet or Internet()
    planned = plan(hosts, seed, prefix)
    if list_only:
        for host in planned:
            _print(as_json(host, internet))
        return
    try:
        await _run(planned, internet, control)
    except BaseExceptionGroup as group:
        # Nobody else is in these nurseries: a reason, or an interrupt, comes alone.
        reason: BaseException = group
        while isinstance(reason, BaseExceptionGroup) and len(reason.exceptions) == 1:
            reason = reason.exceptions[0]
        raise reason from None


async def _run(planned: list[Host], internet: Internet, control: bool) -> None:
    started = time.monotonic()
    async with trio.open_nursery() as nursery:
        network = await nursery.start(serve, planned, internet)
        ready = {
            "ready": True,
            "hosts": len(planned),
            "listeners": network.listeners,
            "seconds": round(time.monotonic() - started, 3),
        }
        if control:
            _print(ready)
            await _obey(network)
            nursery.cancel_scope.cancel()
        else:
            first, last = planned[0].address, planned[-1].address
            print(f"lab: {len(planned):,} hosts from {first} to {last}, until Ctrl-C", file=sys.stderr, flush=True)


async def _obey(network: Network) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        lines = _Lines(stdin)
        while (line := await lines.next()) is not None:
            try:
                command = json.loads(line)
                if command["do"] == "quit":
                    return
                act = {"repair": network.repair, "reopen": network.reopen}[command["do"]]
                act(IPv4Address(command["address"]))
            except LabError as error:
                _print({"error": str(error)})
            except (KeyError, TypeError, ValueError):
                _print({"error": f"expected do (repair, reopen, quit) and address, not {line[:80]!r}"})
            else:
                _print({"done": command["do"], "address": command["address"]})


class _Lines:
    """The lines of a stream."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._buffer = b""

    async def next(self) -> str | None:
        """None at the end of the stream; LabError where a line has none."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > _LINE_LIMIT:
                raise LabError(f"a line of more than {_LINE_LIMIT} bytes on the lab's control channel")
            data = await self._stream.receive_some()
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "replace")


def _print(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


class LabProcess:
    """A lab under way in another process; made by start()."""

    def __init__(self, process: trio.Process, plan: list[Host], internet: Internet) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.plan = plan
        self.internet = internet
        self.ready: dict[str, Any] = {}
        self.pid = process.pid
        self._process = process
        self._stdin = process.stdin
        self._answers = _Lines(process.stdout)
        self._turn = trio.Lock()

    @classmethod
    @asynccontextmanager
    async def start(
        cls, hosts: int, seed: int, internet: Internet | None = None, prefix: IPv4Network = PREFIX
    ) -> AsyncIterator[LabProcess]:
        """Up when entered, gone when left. LabError where it does not come up; the lab says why on stderr."""
        internet = internet or Internet()
        arguments = ["--hosts", str(hosts), "--seed", str(seed), "--prefix", str(prefix), "--control"]
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "scanner.lab", *arguments, "--internet", json.dumps(internet.as_json())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the terminal is for us: we close it in our own time
        )
        lab = cls(process, plan(hosts, seed, prefix), internet)
        try:
            with trio.move_on_after(_START_TIMEOUT):
                lab.ready = await lab._answer()
            if not lab.ready:
                raise LabError(f"the lab was not up after {_START_TIMEOUT:.0f} s")
            yield lab
        finally:
            await lab._close()

    async def repair(self, address: IPv4Address) -> None:
        """LabError where there is nothing to repair."""
        await self._ask("repair", address)

    async def reopen(self, address: IPv4Address) -> None:
        await self._ask("reopen", address)

    async def _ask(self, do: str, address: IPv4Address) -> None:
        async with self._turn:
            try:
                await self._stdin.send_all(json.dumps({"do": do, "address": str(address)}).encode() + b"\n")
            except trio.BrokenResourceError:
                raise LabError("the lab has ended") from None
            answer = await self._answer()
        if "error" in answer:
            raise LabError(answer["error"])

    async def _answer(self) -> dict[str, Any]:
        line = await self._answers.next()
        if line is None:
            raise LabError(f"the lab has ended, exit code {await self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _close(self) -> None:
        with trio.CancelScope(shield=True):
            await self._stdin.aclose()
            with trio.move_on_after(_STOP_TIMEOUT):
                await self._process.wait()
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            assert self._process.stdout is not None
            await self._process.stdout.aclose()
