"""What core.sweep and its plain twin keep to: rate, sockets, hosts, time; bad arguments; the end."""

import math
import os
import time

import pytest
import trio

import core.sweep
from core.cidr import CidrSet
from core.sweep import FILTERED, OPEN, REFUSED, UNTRIED, Finished
from tests.core.driving import (
    NOBODY,
    PATIENCE,
    descriptors,
    drive,
    go_on,
    packed,
    resident,
    settled,
    text,
    threads,
)

pytestmark = pytest.mark.usefixtures("no_descriptor_stays")


async def test_urgent_hosts_go_first(kind, loopback):
    with kind(never=NOBODY, rate=0.001) as sweep:
        for host in range(20):
            sweep.add(host, packed(text(host)), [loopback.closed[0]], urgent=host % 2 == 1)
        await trio.sleep(0.05)
        sweep.rate = 1_000
        order = [event.host for event in await drive(sweep, 20)]
    ordinary = order.index(2)  # 0 may have gone before the first urgent one was added
    assert [host for host in order[:ordinary] if host != 0] == list(range(1, 20, 2))


async def test_the_rate_holds_over_all_hosts_and_without_bursts(kind, loopback):
    rate = 400
    with kind(never=NOBODY, rate=rate) as sweep:
        await trio.sleep(0.1)  # what was not used up is not saved
        began = time.monotonic()
        for host in range(50):
            sweep.add(host, packed(text(host)), [loopback.closed[0]] * 4)
        with trio.fail_after(PATIENCE):
            while (connects := sweep.statistics()["connects"]) < 200:
                assert connects <= (time.monotonic() - began) * rate + rate / 100 + 1
                await trio.sleep(0.001)
        assert time.monotonic() - began >= (200 - rate / 100 - 1) / rate
        await drive(sweep, 50)


async def test_a_new_rate_holds_at_once(kind, loopback):
    with kind(never=NOBODY, rate=0.001) as sweep:
        assert sweep.rate == 0.001
        sweep.add(1, packed("127.1.0.1"), [loopback.closed[0]] * 100)
        await settled(sweep, connects=1)
        sweep.rate = math.inf
        assert sweep.rate == math.inf
        await drive(sweep, 1)


async def test_a_connect_is_given_its_timeout_and_not_much_more(kind, loopback):
    with kind(never=NOBODY, rate=math.inf, timeout=60) as sweep:
        sweep.add(1, packed("127.1.0.1"), [loopback.mute])
        began = time.monotonic()
        sweep.add(2, packed("127.1.0.2"), [loopback.mute], timeout=0.3)
        assert await drive(sweep, 1) == [Finished(2, bytes([FILTERED]))]
        assert 0.3 <= time.monotonic() - began < PATIENCE


async def test_sockets_waiting_and_handed_over_are_bounded_together(kind, loopback):
    with kind(never=NOBODY, rate=math.inf, sockets=3, timeout=60) as sweep:
        sweep.add(0, packed(text(0)), [loopback.mute])
        await settled(sweep, sockets=1)
        for host in range(1, 9):
            sweep.add(host, packed(text(host)), [loopback.open[0]])
        await settled(sweep, sockets=3)
        await trio.sleep(0.05)
        assert len(loopback.arrivals) <= 2
        most = 0
        finished = 0
        with trio.fail_after(PATIENCE):
            while finished < 8:
                await trio.lowlevel.wait_readable(sweep.fileno())
                for event in sweep.take(1):
                    most = max(most, sweep.statistics()["sockets"])
                    if isinstance(event, Finished):
                        finished += 1
                    else:
                        go_on(sweep, event)
        assert most == 3


async def test_hosts_are_bounded_until_their_summary_was_taken(kind, loopback):
    with kind(never=NOBODY, rate=math.inf, hosts=2) as sweep:
        assert sweep.add(1, packed(text(1)), [loopback.closed[0]])
        assert sweep.add(2, packed(text(2)), [loopback.closed[0]])
        assert sweep.add(3, packed(text(3)), [loopback.closed[0]]) is False
        await settled(sweep, refused=2)
        assert sweep.add(3, packed(text(3)), [loopback.closed[0]]) is False
        await drive(sweep, 2)
        assert sweep.add(3, packed(text(1)), [loopback.closed[0]])
        await drive(sweep, 1)


async def test_take_gives_at_most_so_many_and_the_eventfd_says_when_there_is_more(kind, loopback):
    with kind(never=NOBODY, rate=math.inf) as sweep:
        for host in range(10):
            sweep.add(host, packed(text(host)), [loopback.closed[0]])
        await settled(sweep, refused=10)
        assert [event.host for event in sweep.take(4)] == [0, 1, 2, 3]
        await trio.lowlevel.wait_readable(sweep.fileno())
        assert len(sweep.take(6)) == 6
        assert sweep.take() == []
        with trio.move_on_after(0.02) as waiting:
            await trio.lowlevel.wait_readable(sweep.fileno())
        assert waiting.cancelled_caught


async def test_the_source_address_is_the_one_asked_for(kind, loopback):
    with kind(never=NOBODY) as sweep:
        sweep.add(1, packed("127.1.0.1"), [loopback.open[0]], source=packed("127.0.0.77"))
        await drive(sweep, 1)
        with trio.fail_after(PATIENCE):
            while not loopback.sources:
                await trio.sleep(0.01)
    assert loopback.sources[0][0] == "127.0.0.77"


HERE = b"\x7f\0\0\1"
BAD_ARGUMENTS = [
    ("an id|^id", -1, HERE, [1], {}),
    ("an id|^id", 2**63, HERE, [1], {}),
    ("address", 1, HERE[:3], [1], {}),
    ("address", 1, b"", [1], {}),
    ("address", 1, bytes(4), [1], {}),  # the kernel would connect to 127.0.0.1
    ("address", 1, bytes(16), [1], {}),
    ("address", 1, bytes(10) + b"\xff\xff" + HERE, [1], {}),  # to IPv4's, past its never-scan set
    ("ports", 1, HERE, [], {}),
    ("ports", 1, HERE, [1] * 65_536, {}),
    ("port", 1, HERE, [0], {}),
    ("port", 1, HERE, [1, 65_536], {}),
    ("port", 1, HERE, [-1], {}),
    ("port", 1, HERE, [2**70], {}),
    ("timeout", 1, HERE, [1], {"timeout": 0.0}),
    ("timeout", 1, HERE, [1], {"timeout": math.inf}),
    ("timeout", 1, HERE, [1], {"timeout": math.nan}),
    ("source", 1, HERE, [1], {"source": bytes(15) + b"\1"}),
    ("source", 1, HERE, [1], {"source": b"\x7f"}),
    ("source", 1, HERE, [1], {"source": b"\xc0\0\2\1"}),  # 192.0.2.1 is not this machine's
    ("under way", 5, b"\x7f\1\0\6", [1], {}),
    ("under way", 6, b"\x7f\1\0\5", [1], {}),
]


@pytest.mark.parametrize(("what", "host", "address", "ports", "options"), BAD_ARGUMENTS)
def test_add_refuses_what_it_cannot_do(kind, loopback, what, host, address, ports, options):
    with kind(never=NOBODY, hosts=2) as sweep:
        assert sweep.add(5, b"\x7f\1\0\5", [loopback.mute])
        with pytest.raises(ValueError, match=what):
            sweep.add(host, address, ports, **options)
        assert sweep.statistics()["hosts"] == 1


@pytest.mark.parametrize(
    ("what", "value"),
    [("rate", 0.0), ("rate", -1.0), ("rate", math.nan), ("sockets", 0), ("hosts", 0), ("timeout", 0.0)],
)
def test_a_sweep_with_impossible_bounds_is_refused(kind, what, value):
    with pytest.raises(ValueError, match=what):
        kind(never=NOBODY, **{what: value})


@pytest.mark.parametrize("arguments", [{}, {"never": None}, {"never": NOBODY, "rate": "fast"}], ids=repr)
def test_arguments_of_the_wrong_type_close_no_descriptor(arguments):
    before = descriptors()
    with pytest.raises(TypeError):
        core.sweep.Sweep(**arguments)
    assert descriptors() == before


def test_ports_may_change_while_they_are_looked_at(kind, loopback):
    class Port(int):
        def __ge__(self, other):
            ports.clear()
            return int(self) >= other

    ports = [Port(loopback.mute), *range(1, 1000)]
    with kind(never=NOBODY) as sweep:
        assert sweep.add(1, HERE, ports)
        sweep.stop(1)


async def test_next_and_again_are_for_held_hosts(kind, loopback):
    with kind(never=NOBODY, rate=math.inf) as sweep:
        for call in (sweep.next, sweep.again, sweep.stop):
            with pytest.raises(ValueError, match="not under way"):
                call(1)
        sweep.add(1, packed("127.1.0.1"), [loopback.open[0]])
        await settled(sweep, opened=1)
        for call in (sweep.next, sweep.again):
            with pytest.raises(ValueError, match="not held"):
                call(1)  # nobody has seen the Opened yet
        with pytest.raises(ValueError, match="rate"):
            sweep.rate = 0.0


async def test_closing_in_the_middle_gives_every_host_its_summary(kind, loopback):
    sweep = kind(never=NOBODY, rate=math.inf, sockets=600, hosts=3000, timeout=60)
    for host in range(10):
        sweep.add(host, packed(text(host)), [loopback.closed[0], loopback.open[0], loopback.open[1]], urgent=True)
    await settled(sweep, opened=10)
    taken = sweep.take(3)
    for host in range(10, 3000):
        sweep.add(host, packed(text(host)), [loopback.mute, loopback.closed[0]])
    await settled(sweep, sockets=600)
    for host in range(500, 1500):
        sweep.stop(host)
    sweep.close()
    sweep.close()
    for event in taken:
        os.close(event.fd)
        sweep.next(event.host)  # of no effect
    finished = sweep.take(5000)
    assert {event.host for event in finished} == set(range(3000))
    assert len(finished) == 3000
    for event in finished:
        assert event.outcomes == (bytes([REFUSED, OPEN, UNTRIED]) if event.host < 10 else bytes(2))
    assert sweep.take() == []
    assert sweep.statistics()["hosts"] == sweep.statistics()["sockets"] == 0
    assert sweep.fileno() == -1
    with pytest.raises(RuntimeError):
        sweep.add(1, packed("127.1.0.1"), [1])


async def test_a_host_that_is_done_with_costs_nothing(loopback):
    """20,000 hosts of 1,000 ports are 63 MB."""
    with core.sweep.Sweep(never=NOBODY, rate=0.001, hosts=100) as sweep:
        before = resident()
        for number in range(20_000):
            host = number % 100
            assert sweep.add(host, packed(text(host)), [1000] * 1_000)
            sweep.stop(host)
            if host == 99:
                await drive(sweep, 100)
        assert resident() - before < 10_000_000


async def test_a_sweep_in_a_cancelled_nursery_is_closed(kind, loopback):
    async def scan(task_status):
        with kind(never=NOBODY, rate=math.inf, timeout=60) as sweep:
            for host in range(500):
                sweep.add(host, packed(text(host)), [loopback.mute])
            task_status.started(sweep)
            await drive(sweep, 500)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            sweep = await nursery.start(scan)
            await settled(sweep, sockets=500)
            nursery.cancel_scope.cancel()
    assert sweep.fileno() == -1
    assert len(sweep.take(1000)) == 500


def test_a_sweep_that_is_dropped_ends_its_thread_and_closes_its_descriptors(loopback):
    before, running = descriptors(), threads()
    sweep = core.sweep.Sweep(never=CidrSet(["127.77.0.0/16"]), rate=math.inf)
    for host in range(100):
        sweep.add(host, packed(text(host)), [loopback.mute])
    time.sleep(0.02)
    (own,) = threads() - running
    del sweep
    deadline = time.monotonic() + PATIENCE
    while own in threads():  # one that was joined is in /proc a little longer
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert descriptors() == before
