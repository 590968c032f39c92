"""The sweep as a visit sees it: what opens, what does not, how many at once, and that nothing is left behind."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
import trio

from core.cidr import CidrSet
from scanner.lab.network import listen
from scanner.model import Kind
from scanner.sweep import Connector, usable
from tests.scanner.live import descriptors, free_port, mute, peer, until

HERE = "127.82.2."
NOTHING = CidrSet([])


@asynccontextmanager
async def connecting(**options):
    connector = Connector(**{"never": NOTHING, "rate": 20_000, "sockets": 64, "hosts": 16, "timeout": 0.5, **options})
    async with trio.open_nursery() as nursery:
        await nursery.start(connector.run)
        yield connector
        nursery.cancel_scope.cancel()


async def sweep(connector, address, ports, hold=0.0, **options):
    """The ports that opened, and what the others were."""
    opened = []
    async with connector.host(IPv4Address(address), ports, **options) as host:
        async for opening in host:
            opened.append(opening.port)
            await trio.sleep(hold)
            os.close(opening.fd)
    return opened, host.missed


async def test_ports_open_in_their_order_and_the_others_are_refused_or_filtered(nursery):
    one = await peer(nursery, HERE + "1", ports=(0, 0))
    closed = free_port(one.address)
    port = free_port(one.address)
    with listen(IPv4Address(one.address), port, filtered=True):
        async with connecting() as connector:
            opened, missed = await sweep(connector, one.address, (one.ports[1], closed, port, one.ports[0]))
    assert opened == [one.ports[1], one.ports[0]]
    assert missed == {closed: Kind.REFUSED, port: Kind.FILTERED}


async def test_a_host_gets_one_connection_at_a_time_until_its_socket_is_closed(nursery):
    one = await peer(nursery, HERE + "2", mute, ports=(0,) * 6)
    async with connecting() as connector:
        opened, _ = await sweep(connector, one.address, one.ports, hold=0.02)
    assert opened == list(one.ports)
    assert (one.total, one.most) == (6, 1)


async def test_whoever_wants_the_same_host_meanwhile_waits_for_it(nursery):
    one = await peer(nursery, HERE + "3", mute)
    async with connecting() as connector, trio.open_nursery() as visits:
        for _ in range(5):
            visits.start_soon(sweep, connector, one.address, one.ports, 0.02)
    assert (one.total, one.most) == (5, 1)


async def test_each_lane_is_one_connection_more_to_a_host(nursery):
    one = await peer(nursery, HERE + "4", mute, ports=(0,) * 9)
    async with connecting(lanes=3) as connector:
        assert connector.lanes == 3

        async def hold(lane):
            async with connector.host(IPv4Address(one.address), one.ports[lane::3], lane=lane) as host:
                async for opening in host:
                    with socket_of(opening):
                        while one.most < 3:  # the others have connected too
                            await trio.sleep(0.01)

        with trio.fail_after(60):
            async with trio.open_nursery() as visit:
                for lane in range(3):
                    visit.start_soon(hold, lane)
        assert connector.statistics()["opened"] == 9
    assert (one.total, one.most) == (9, 3)


async def test_invariant_5_no_packet_leaves_for_an_address_in_the_never_scan_set(nursery):
    one = await peer(nursery, HERE + "5")
    async with connecting(never=CidrSet([HERE + "5/32"])) as connector:
        assert await sweep(connector, one.address, one.ports) == ([], {one.ports[0]: Kind.NEVER_SCAN})
    assert one.total == 0


async def test_invariant_5_a_new_never_scan_set_holds_for_the_very_next_connect(nursery):
    one = await peer(nursery, HERE + "6", ports=(0, 0))
    async with connecting() as connector, connector.host(IPv4Address(one.address), one.ports) as host:
        opening = await anext(host)
        os.close(opening.fd)
        connector.reconfigure(never=CidrSet([HERE + "0/24"]), rate=1000)
        assert IPv4Address(one.address) in connector.never
        assert await host.again() is Kind.NEVER_SCAN
        with pytest.raises(StopAsyncIteration):
            await anext(host)
    assert host.missed == {one.ports[1]: Kind.NEVER_SCAN}
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert one.total == 1


async def test_again_is_another_connection_to_the_same_port(nursery):
    one = await peer(nursery, HERE + "7")
    async with connecting() as connector, connector.host(IPv4Address(one.address), one.ports) as host:
        async for opening in host:
            os.close(opening.fd)
            for _ in range(3):
                more = await host.again()
                assert more.port == opening.port
                os.close(more.fd)
    assert one.total == 4


async def test_leaving_early_leaves_out_the_remaining_ports(nursery):
    one = await peer(nursery, HERE + "8", ports=(0, 0, 0))
    async with connecting() as connector, connector.host(IPv4Address(one.address), one.ports) as host:
        async for opening in host:
            os.close(opening.fd)
            break
    assert one.total == 1


async def test_more_hosts_than_places_wait_for_one(nursery):
    hosts = [await peer(nursery, f"{HERE}{n}") for n in range(20, 32)]
    async with connecting(hosts=2) as connector, trio.open_nursery() as visits:
        for one in hosts:
            visits.start_soon(sweep, connector, one.address, one.ports)
    assert [one.total for one in hosts] == [1] * 12


@pytest.mark.parametrize("patience", [0, 0.001, 0.005, 0.02, 0.1])
async def test_a_cancelled_visit_leaves_neither_descriptor_nor_place_behind(nursery, patience):
    one = await peer(nursery, HERE + "40", ports=(0,) * 3)
    filtered = free_port(HERE + "41")
    with listen(IPv4Address(HERE + "41"), filtered, filtered=True):
        async with connecting(hosts=1, timeout=5) as connector:
            before = descriptors()
            for address, ports in (
                (one.address, one.ports),
                (HERE + "41", (filtered,)),
                (HERE + "42", (9, 10, 11)),
            ) * 3:
                with trio.move_on_after(patience):
                    async with connector.host(IPv4Address(address), ports) as host:
                        async for opening in host:
                            with socket_of(opening):
                                await trio.sleep(0.01)
                # There is a single place: this visit goes on only when the other one's is free.
                assert await sweep(connector, HERE + "43", (9,)) == ([], {9: Kind.REFUSED})

            async def closed():  # the peer's side closes too
                return descriptors() <= before

            await until(closed)
            assert connector.statistics()["hosts"] == 0


class socket_of:
    """Closes an opening's descriptor, whatever happens."""

    def __init__(self, opening):
        self.fd = opening.fd

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


async def test_a_visit_cancelled_when_its_summary_was_there_ends_in_peace():
    async with connecting() as connector:
        for _ in range(50):
            with trio.CancelScope() as scope:
                async with connector.host(IPv4Address(HERE + "50"), (9,)) as host:
                    while not host._inbox:
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
        assert await sweep(connector, HERE + "50", (9,)) == ([], {9: Kind.REFUSED})


async def test_from_an_address_that_is_not_ours_nothing_can_be_reached(nursery):
    one = await peer(nursery, HERE + "60")
    absent = IPv4Address("192.0.2.1")  # is never bound, so nothing is sent
    assert not usable(absent)
    assert usable(IPv4Address(HERE + "61"))
    async with connecting() as connector:
        assert await sweep(connector, one.address, one.ports, source=absent) == (
            [],
            {one.ports[0]: Kind.UNREACHABLE},
        )
        opened, _ = await sweep(connector, one.address, one.ports, source=IPv4Address(HERE + "61"))
    assert (opened, one.total) == (list(one.ports), 1)


async def test_a_bad_port_is_a_bug_and_costs_no_place():
    async with connecting(hosts=1) as connector:
        for _ in range(3):
            with pytest.raises(ValueError, match="port 0"):
                await sweep(connector, HERE + "70", (0,))
        assert await sweep(connector, HERE + "70", (9,)) == ([], {9: Kind.REFUSED})
