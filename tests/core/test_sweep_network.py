"""core.sweep where answers come late, come from routers, or cannot be asked for: in network namespaces."""

import math
import os
import select
import socket
import time
from collections import Counter
from pathlib import Path

import pytest

import core.sweep
from core.cidr import CidrSet
from core.sweep import FILTERED, OPEN, REFUSED, UNREACHABLE, Finished, Opened
from tests.core.driving import PATIENCE
from tests.core.namespace import Peers, in_namespace, ip
from tests.oracle import sweep as oracle

NOBODY = CidrSet([])
EXPECTED = {1: REFUSED, 2: OPEN, 3: OPEN, 10: UNREACHABLE, 11: UNREACHABLE, 12: UNREACHABLE, 13: UNREACHABLE,
            77: FILTERED}  # fmt: skip


@pytest.fixture(params=[core.sweep.Sweep, oracle.Sweep], ids=["core", "twin"])
def kind(request):
    return request.param


def drive(sweep, hosts: int) -> dict[int, bytes]:
    outcomes = {}
    deadline = time.monotonic() + PATIENCE
    while len(outcomes) < hosts:
        assert select.select([sweep], [], [], max(deadline - time.monotonic(), 0))[0], "nothing comes"
        for event in sweep.take():
            if isinstance(event, Finished):
                outcomes[event.host] = event.outcomes
            elif isinstance(event, Opened):
                os.close(event.fd)
                sweep.next(event.host)
    return outcomes


@pytest.mark.parametrize("network", ["192.0.2.{}", "2001:db8::{:x}"])
def test_each_answer_is_told_from_the_others(kind, network):
    def run():
        with Peers() as peers, kind(never=NOBODY, rate=math.inf, timeout=PATIENCE) as sweep:
            for host, what in EXPECTED.items():
                address = network.format(host)
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                timeout = 0.5 if what == FILTERED else None
                assert sweep.add(host, socket.inet_pton(family, address), [80, 81], timeout=timeout)
            assert drive(sweep, len(EXPECTED)) == {host: bytes([what] * 2) for host, what in EXPECTED.items()}
            deadline = time.monotonic() + PATIENCE
            while len(peers.syns) < 2 * len(EXPECTED):  # nobody waited for the peers to read the mute one's
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert Counter(host for host, _ in peers.syns) == dict.fromkeys(EXPECTED, 2)
            counted = sweep.statistics()
            assert (counted["refused"], counted["opened"], counted["filtered"]) == (2, 4, 2)
            assert (counted["unreachable"], counted["local_errors"], counted["sockets"]) == (8, 0, 0)

    in_namespace(run)


def test_an_address_without_a_route_is_unreachable(kind):
    def run():
        ip("route add prohibit 198.51.100.2")
        ip("route add unreachable 198.51.100.3")
        with kind(never=NOBODY, rate=math.inf) as sweep:
            for host in (1, 2, 3):
                sweep.add(host, bytes([198, 51, 100, host]), [80])
            assert drive(sweep, 3) == dict.fromkeys((1, 2, 3), bytes([UNREACHABLE]))

    in_namespace(run)


def test_no_free_local_port_is_waited_for_and_never_an_outcome(kind):
    def run():
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40001")
        with (
            socket.create_server(("127.0.0.1", 80)) as server,
            socket.create_connection(server.getsockname()),
            socket.create_connection(server.getsockname()) as second,
            kind(never=NOBODY, rate=math.inf) as sweep,
        ):
            sweep.add(1, b"\x7f\0\0\1", [80])
            sweep.add(2, b"\x7f\0\0\2", [80])
            assert drive(sweep, 1) == {2: bytes([REFUSED])}  # another host is not kept waiting
            deadline = time.monotonic() + PATIENCE
            while sweep.statistics()["local_errors"] < 2:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert sweep.statistics()["sockets"] == 0
            second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # no TIME_WAIT
            second.close()
            assert drive(sweep, 1) == {1: bytes([OPEN])}

    in_namespace(run)


def test_two_targets_share_a_local_port_with_a_source_address(kind):
    """IP_BIND_ADDRESS_NO_PORT: without it a bound source needs a port of its own for every connect."""

    def run():
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40001")
        with Peers(), kind(never=NOBODY, rate=math.inf, timeout=0.3) as sweep:
            for host in range(100, 120):
                sweep.add(host, bytes([192, 0, 2, host]), [80], source=bytes([192, 0, 2, 254]))
            assert drive(sweep, 20) == dict.fromkeys(range(100, 120), bytes([FILTERED]))
            assert sweep.statistics()["local_errors"] == 0

    in_namespace(run)


def test_a_connect_to_the_port_it_comes_from_is_no_open_port(kind):
    def run():
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40000")
        with kind(never=NOBODY, rate=math.inf) as sweep:
            sweep.add(1, b"\x7f\0\0\1", [40000])
            sweep.add(2, socket.inet_pton(socket.AF_INET6, "::1"), [40000])
            assert drive(sweep, 2) == dict.fromkeys((1, 2), bytes([REFUSED]))

    in_namespace(run)
