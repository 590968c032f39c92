"""What test_sweep_process.py runs in a process of its own: python -m tests.core.sweep_alone CASE."""

import gc
import math
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from core.cidr import CidrSet
from core.sweep import FILTERED, REFUSED, Finished, Sweep
from tests.core.loopback import bound

NOBODY = CidrSet([])
LOCAL = bytes([127, 0, 0, 1])
PATIENCE = 30

closed = bound()
CLOSED = closed.getsockname()[1]
full = bound()
full.listen(0)
MUTE = full.getsockname()[1]
first_in_queue = socket.create_connection(("127.0.0.1", MUTE))


def address(host: int, network: int = 5) -> bytes:
    return bytes([127, network, host >> 8, host & 255])


def drive(sweep: Sweep, hosts: int) -> dict[int, bytes]:
    finished = {}
    deadline = time.monotonic() + PATIENCE
    while len(finished) < hosts:
        assert select.select([sweep], [], [], max(deadline - time.monotonic(), 0))[0]
        for event in sweep.take():
            assert isinstance(event, Finished)
            finished[event.host] = event.outcomes
    return finished


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def at_work() -> Sweep:
    sweep = Sweep(never=CidrSet(["192.0.2.0/24"]), rate=math.inf, timeout=60)
    sweep.add(1, LOCAL, [CLOSED] * 65_535)
    sweep.add(2, address(2), [MUTE])
    return sweep


def exit_with_a_sweep_at_work():
    globals()["sweep"] = at_work()


def exit_at_once():
    globals()["sweep"] = at_work()
    os._exit(0)


def exit_by_exception():
    globals()["sweep"] = at_work()
    raise SystemExit(0)


def exit_while_another_thread_closes_it():
    threading.Thread(target=at_work().close).start()


def fork():
    sweep = Sweep(never=NOBODY, rate=20_000, timeout=0.3)
    sweep.add(1, LOCAL, [CLOSED] * 5_000)
    sweep.add(2, address(2), [MUTE])
    for _ in range(20):
        child = os.fork()
        if child == 0:
            good = has_no_part_in(sweep)
            del sweep
            gc.collect()
            os._exit(0 if good else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert drive(sweep, 2) == {1: bytes([REFUSED]) * 5_000, 2: bytes([FILTERED])}
    sweep.close()


def has_no_part_in(sweep: Sweep) -> bool:
    refused = 0
    for call in (sweep.take, sweep.statistics, lambda: sweep.add(9, LOCAL, [1]), lambda: sweep.stop(1)):
        try:
            call()
        except RuntimeError:
            refused += 1
    sweep.close()
    with Sweep(never=NOBODY, rate=math.inf) as own:
        own.add(1, LOCAL, [CLOSED])
        works = drive(own, 1) == {1: bytes([REFUSED])}
    return works and refused == 4


def a_child_keeps_the_sockets_open():
    """The kernel sends the child's copy of the SYN again after a second, and then it is answered."""
    with Sweep(never=NOBODY, rate=math.inf, timeout=0.1) as sweep:
        sweep.add(1, LOCAL, [MUTE])
        wait_until(lambda: sweep.statistics()["connects"] == 1)
        child = os.fork()
        if child == 0:
            time.sleep(3)
            os._exit(0)
        assert drive(sweep, 1) == {1: bytes([FILTERED])}
        full.accept()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            for host in range(100):
                sweep.add(host, address(host), [CLOSED])
            drive(sweep, 100)
        assert sweep.statistics()["opened"] == 0
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def signals():
    handled = []
    signal.signal(signal.SIGALRM, lambda *_: handled.append(threading.current_thread()))
    with Sweep(never=NOBODY, rate=20_000, timeout=0.2) as sweep:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        sweep.add(1, LOCAL, [CLOSED] * 4_000 + [MUTE])
        assert drive(sweep, 1) == {1: bytes([REFUSED]) * 4_000 + bytes([FILTERED])}
        wait_until(lambda: len(handled) > 20)
        signal.setitimer(signal.ITIMER_REAL, 0)
        blocked = {}
        for task in Path("/proc/self/task").iterdir():
            status = dict(line.split(":\t") for line in (task / "status").read_text().splitlines())
            blocked[int(task.name)] = int(status["SigBlk"], 16)
    assert set(handled) == {threading.main_thread()}
    assert blocked.pop(os.getpid()) == 0
    (of_the_sweep,) = blocked.values()
    assert of_the_sweep >> (signal.SIGALRM - 1) & 1
    assert of_the_sweep >> (signal.SIGINT - 1) & 1
    assert not of_the_sweep >> (signal.SIGSEGV - 1) & 1


def no_descriptors():
    with Sweep(never=NOBODY, rate=math.inf, timeout=0.2) as sweep:
        highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        for host in range(100):  # more than there are descriptors for
            assert sweep.add(host, address(host), [MUTE, CLOSED])
        wait_until(lambda: sweep.statistics()["local_errors"])
        assert drive(sweep, 100) == dict.fromkeys(range(100), bytes([FILTERED, REFUSED]))
        assert sweep.statistics()["local_errors"] < 1_000  # it pauses, and does not spin


def many_threads():
    total, done, lock = 6_000, {}, threading.Lock()
    with Sweep(never=NOBODY, rate=math.inf, hosts=500, timeout=0.05) as sweep:

        def feed(first):
            for host in range(first, total, 3):
                while not sweep.add(host, address(host), [CLOSED, CLOSED], urgent=host % 5 == 0):
                    time.sleep(0.0005)
                if host % 7 == 0:
                    with suppress(ValueError):  # finished and taken
                        sweep.stop(host)

        def swap():
            while len(done) < total:
                sweep.never = CidrSet([f"192.0.2.{len(done) & 255}/32"])
                sweep.statistics()
                time.sleep(0.0002)

        def eat():
            while len(done) < total:
                for event in sweep.take(7):
                    with lock:
                        assert event.host not in done
                        done[event.host] = event.outcomes

        threads = [threading.Thread(target=feed, args=(first,)) for first in range(3)]
        threads += [threading.Thread(target=eat) for _ in range(2)]
        threads.append(threading.Thread(target=swap))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(done) == total
        assert all(outcomes == bytes([REFUSED] * 2) for host, outcomes in done.items() if host % 7)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
