"""Network: the hosts of a plan at run time, thousands of them in one process."""

from __future__ import annotations

import errno
import resource
import select
import socket
from collections.abc import Iterable
from contextlib import ExitStack, closing, suppress
from ipaddress import IPv4Address

import trio

from scanner.lab.internet import Internet, LabError
from scanner.lab.link import Gone, Link, finish
from scanner.lab.machine import Behaviour, Host, Machine

TALK_TIMEOUT = 60.0  # seconds of one connection, whatever the host does
_LINGER = 5.0  # seconds for the client to read the last words
_SPARE = 1024  # descriptors for conversations, two for each
_BATCH = 256  # accepted before others have their turn
_FULL = (errno.EMFILE, errno.ENFILE)


class Network:
    """Runs until cancelled; nothing is left open then."""

    def __init__(self, plan: Iterable[Host], internet: Internet) -> None:
        self.machines = {h.address: Machine(h, internet, h.kind.behaviour) for h in plan}
        # A private epoll: Trio sees one descriptor instead of thousands and need not be told again after each
        # connection, and a host costs no task.
        self._doors: dict[int, tuple[socket.socket, Machine]] = {}
        self._epoll: select.epoll | None = None

    @property
    def listeners(self) -> int:
        return len(self._doors)

    async def serve(self, task_status: trio.TaskStatus[Network] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the doors and answer. LabError where the machine does not let us."""
        with ExitStack() as stack:
            self._epoll = stack.enter_context(closing(select.epoll()))
            stack.callback(self._close_all)
            raise_limit(sum(len(m.host.ports) for m in self.machines.values()))
            for machine in self.machines.values():
                self._open(machine)
            async with trio.open_nursery() as nursery:
                task_status.started(self)
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    for door, _ in self._epoll.poll(0, _BATCH):
                        if door in self._doors and not self._accept(*self._doors[door], nursery):
                            await trio.sleep(0.05)  # out of descriptors: the client waits in the backlog
                    await trio.lowlevel.checkpoint()

    def repair(self, address: IPv4Address) -> None:
        """The owner repairs it, and everything that runs through it ends."""
        machine = self._repairable(address)
        assert machine.host.repair is not None
        self._change(machine, machine.host.kind.repairs[machine.host.repair][0])

    def reopen(self, address: IPv4Address) -> None:
        """The owner breaks it again."""
        machine = self._repairable(address)
        self._change(machine, machine.host.kind.behaviour)

    def _repairable(self, address: IPv4Address) -> Machine:
        machine = self.machines.get(address)
        if machine is None or machine.host.repair is None:
            raise LabError(f"{address} is no lab host that can be repaired")
        return machine

    def _change(self, machine: Machine, behaviour: Behaviour | None) -> None:
        for door, (_, owner) in list(self._doors.items()):
            if owner is machine:
                self._close(door)
        for talk in machine.talks:
            talk.cancel()
        machine.behaviour, machine.memory = behaviour, b""
        self._open(machine)

    def _open(self, machine: Machine) -> None:
        if machine.behaviour is None and not machine.host.kind.filtered:
            return
        assert self._epoll is not None
        for port in machine.host.ports:
            door = listen(machine.host.address, port, filtered=machine.host.kind.filtered)
            self._doors[door.fileno()] = (door, machine)
            if not machine.host.kind.filtered:
                self._epoll.register(door.fileno(), select.EPOLLIN)

    def _close(self, door: int) -> None:
        self._doors.pop(door)[0].close()

    def _close_all(self) -> None:
        for door in list(self._doors):
            self._close(door)

    def _accept(self, door: socket.socket, machine: Machine, nursery: trio.Nursery) -> bool:
        """Take all that wait at a door; False where we have no descriptor for them."""
        try:
            while True:
                connection, _ = door.accept()
                connection.setblocking(False)
                nursery.start_soon(_talk, machine, connection)
        except BlockingIOError:
            return True
        except OSError as failure:
            return failure.errno not in _FULL


async def _talk(machine: Machine, connection: socket.socket) -> None:
    """One connection from accept to close; whatever the client does, it ends here."""
    with trio.move_on_after(TALK_TIMEOUT) as talk:
        machine.talks.add(talk)
        try:
            async with trio.SocketStream(trio.socket.from_stdlib_socket(connection)) as stream:
                with suppress(Gone, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                    link = Link(stream)
                    behaviour = machine.behaviour
                    assert behaviour is not None
                    with suppress(Gone, OSError):
                        await behaviour(link, machine)
                    # Closing with bytes unread would be RST, and could cost the client our last words.
                    await finish(stream)
                    with trio.move_on_after(_LINGER):
                        await link.drain()
        finally:
            machine.talks.discard(talk)


def listen(address: IPv4Address, port: int, *, filtered: bool) -> socket.socket:
    """A listening socket; a filtered one drops every SYN, because its queue is full from the start."""
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((str(address), port))
        door.listen(0 if filtered else 256)
        if filtered:
            # The queue takes one more than it says; a connection stays in it when its client has gone.
            with socket.create_connection((str(address), port), 5, source_address=(str(address), 0)):
                pass
    except OSError as failure:
        door.close()
        raise LabError(f"cannot listen on {address}:{port}: {failure.strerror or failure}") from failure
    return door


def raise_limit(listeners: int) -> None:
    """Raise the limit of open files to what so many listeners need. LabError where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = listeners + _SPARE
    if needed > hard:
        raise LabError(
            f"the lab needs {needed:,} descriptors and may have {hard:,}: plan fewer hosts or raise ulimit -n"
        )
    if needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(
    plan: Iterable[Host],
    internet: Internet,
    *,
    task_status: trio.TaskStatus[Network] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a plan until cancelled; started with the Network, for repair() and reopen()."""
    await Network(plan, internet).serve(task_status)
