"""core.sweep and its plain twin under the same tests, on real sockets of this machine."""

import math
import os
import socket

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import core.sweep
from core.cidr import CidrSet
from core.sweep import FILTERED, NEVER, OPEN, REFUSED, UNTRIED, Finished, Missed, Opened
from tests.core.driving import (
    NOBODY,
    PATIENCE,
    drive,
    packed,
    patiently,
    settled,
    text,
)
from tests.core.loopback import bound

pytestmark = pytest.mark.usefixtures("no_descriptor_stays")


def test_the_extension_is_the_one_that_is_loaded():
    assert core.sweep.__file__.endswith(".so")


async def test_ports_are_tried_in_order_and_each_has_its_outcome(kind, loopback):
    ports = [loopback.closed[0], loopback.open[1], loopback.mute, loopback.open[0], loopback.closed[1]]
    with kind(never=NOBODY, rate=math.inf, timeout=0.1) as sweep:
        assert sweep.add(7, packed("127.1.0.1"), ports) is True
        events = await drive(sweep, 1, patiently(loopback))
    first, second, last = events
    assert (first.host, first.index, first.port) == (7, 1, loopback.open[1])
    assert 0 <= first.micros < PATIENCE * 1e6
    assert (second.host, second.index, second.port) == (7, 3, loopback.open[0])
    assert last == Finished(7, bytes([REFUSED, OPEN, FILTERED, OPEN, REFUSED]))
    assert loopback.of("127.1.0.1") == [loopback.open[1], loopback.open[0]]


async def test_statistics_agree_with_the_outcomes(kind, loopback):
    with kind(never=CidrSet(["127.1.0.2/32"]), rate=math.inf, timeout=0.1) as sweep:
        sweep.add(1, packed("127.1.0.1"), [loopback.closed[0], loopback.open[1], loopback.mute])
        sweep.add(2, packed("127.1.0.2"), [loopback.open[0]])
        await drive(sweep, 2)
        assert sweep.statistics() == {
            "connects": 3, "opened": 1, "refused": 1, "filtered": 1, "unreachable": 0, "never": 1,
            "local_errors": 0, "hosts": 0, "sockets": 0,
        }  # fmt: skip
    assert loopback.of("127.1.0.2") == []


async def test_ipv6(kind):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server, \
            socket.socket(socket.AF_INET6) as closed, kind(never=NOBODY, rate=math.inf) as sweep:  # fmt: skip
        closed.bind(("::1", 0))
        ports = [closed.getsockname()[1], server.getsockname()[1]]
        sweep.add(1, packed("::1"), ports, source=packed("::1"))
        events = await drive(sweep, 1)
        assert events[-1] == Finished(1, bytes([REFUSED, OPEN]))
        sweep.never = CidrSet(["::1/128"])
        sweep.add(2, packed("::1"), ports)
        assert await drive(sweep, 1) == [Finished(2, bytes([NEVER, NEVER]))]


async def test_the_socket_handed_over_is_connected_and_does_not_block(kind, loopback):
    with kind(never=NOBODY) as sweep:
        sweep.add(1, packed("127.1.0.1"), [loopback.open[0]])

        def look(sweep, event):
            with socket.socket(fileno=event.fd) as opened:
                assert opened.getpeername() == ("127.1.0.1", loopback.open[0])
                assert os.get_blocking(event.fd) is False
                assert os.get_inheritable(event.fd) is False
                assert opened.getsockopt(socket.IPPROTO_IP, 11) == 0  # IP_RECVERR would end conversations
            sweep.next(event.host)

        await drive(sweep, 1, look)


async def test_a_held_host_is_not_connected_to(kind, loopback):
    with kind(never=NOBODY, rate=math.inf) as sweep:
        sweep.add(1, packed("127.1.0.1"), loopback.open)
        sweep.add(2, packed("127.1.0.2"), [loopback.closed[0]])
        held = []
        await drive(sweep, 1, lambda _, event: held.append(event))
        loopback.accepted(held[0].fd)
        await trio.sleep(0.05)
        assert sweep.take() == []
        assert loopback.of("127.1.0.1") == loopback.open[:1]
        assert sweep.statistics()["sockets"] == 1
        patiently(loopback)(sweep, held[0])
        assert (await drive(sweep, 1, patiently(loopback)))[-1].outcomes == bytes([OPEN] * 3)
    assert loopback.of("127.1.0.1") == loopback.open
    assert loopback.overlaps == []


async def test_again_connects_to_the_same_port_once_more(kind, loopback):
    with kind(never=NOBODY, rate=math.inf) as sweep:
        sweep.add(1, packed("127.1.0.1"), [loopback.open[0], loopback.closed[0]])
        seen = []

        def twice_more(sweep, event):
            seen.append((event.index, event.port))
            loopback.hang_up(event.fd)
            (sweep.again if len(seen) < 3 else sweep.next)(event.host)

        events = await drive(sweep, 1, twice_more)
    assert seen == [(0, loopback.open[0])] * 3
    assert events[-1] == Finished(1, bytes([OPEN, REFUSED]))
    assert loopback.of("127.1.0.1") == [loopback.open[0]] * 3
    assert loopback.overlaps == []


async def test_again_where_the_port_has_closed_is_a_miss_and_the_host_stays_held(kind):
    with bound() as server, kind(never=NOBODY, rate=math.inf) as sweep:
        server.listen()
        port = server.getsockname()[1]
        sweep.add(1, packed("127.1.0.1"), [port, port])
        misses = []

        def shut(sweep, event):
            if isinstance(event, Opened):
                os.close(event.fd)
                server.close()
            else:
                misses.append(event)
            (sweep.next if len(misses) == 2 else sweep.again)(event.host)

        events = await drive(sweep, 1, shut)
        assert misses == [Missed(1, 0, port, REFUSED)] * 2
        assert events[-1] == Finished(1, bytes([OPEN, REFUSED]))
        assert sweep.statistics()["sockets"] == 0


async def test_again_asks_the_never_scan_set(kind, loopback):
    with kind(never=NOBODY, rate=math.inf) as sweep:
        sweep.add(1, packed("127.1.0.1"), [loopback.open[0]])

        def opt_out(sweep, event):
            if isinstance(event, Missed):
                assert event.outcome == NEVER
                sweep.next(event.host)
                return
            loopback.hang_up(event.fd)
            sweep.never = CidrSet(["127.1.0.1/32"])
            sweep.again(event.host)

        await drive(sweep, 1, opt_out)
    assert len(loopback.arrivals) == 1


async def test_stop_leaves_the_rest_untried(kind, loopback):
    with kind(never=NOBODY, rate=math.inf) as sweep:
        sweep.add(1, packed("127.1.0.1"), [loopback.closed[0], *loopback.open])

        def stop(sweep, event):
            loopback.hang_up(event.fd)
            sweep.stop(event.host)
            sweep.stop(event.host)
            sweep.next(event.host)  # of no effect
            sweep.again(event.host)

        assert (await drive(sweep, 1, stop))[1:] == [Finished(1, bytes([REFUSED, OPEN, UNTRIED, UNTRIED]))]
        assert loopback.of("127.1.0.1") == loopback.open[:1]
        with pytest.raises(ValueError, match="not under way"):
            sweep.stop(1)
        assert sweep.statistics()["sockets"] == 0


async def test_stop_of_a_host_that_waits_for_an_answer_or_for_its_turn(kind, loopback):
    with kind(never=NOBODY, rate=math.inf, sockets=1, timeout=60) as sweep:
        sweep.add(1, packed("127.1.0.1"), [loopback.mute])
        await settled(sweep, sockets=1)
        sweep.add(2, packed("127.1.0.2"), [loopback.closed[0]] * 2)
        sweep.stop(2)
        assert await drive(sweep, 1) == [Finished(2, bytes(2))]
        sweep.stop(1)
        assert await drive(sweep, 1) == [Finished(1, bytes(1))]
        assert sweep.statistics()["sockets"] == 0


async def test_stop_takes_back_an_opened_that_nobody_took(kind, loopback):
    with kind(never=NOBODY, rate=math.inf) as sweep:
        sweep.add(1, packed("127.1.0.1"), loopback.open)
        await settled(sweep, opened=1)
        sweep.stop(1)
        await settled(sweep, sockets=0)
        assert await drive(sweep, 1) == [Finished(1, bytes([OPEN, UNTRIED, UNTRIED]))]
        await settled(sweep, sockets=0, hosts=0)


async def test_replacing_the_never_scan_set_holds_for_every_connect_after_it(kind):
    """All ports are one port that listens from the moment of the replacement on: nobody may come."""
    with bound() as peer, kind(never=NOBODY, rate=5_000) as sweep:
        port = peer.getsockname()[1]
        for host in range(4):
            sweep.add(host, packed(text(host)), [port] * 20_000)
        enough = sweep.statistics()["connects"] + 100  # they take turns: some of each
        with trio.fail_after(PATIENCE):
            while sweep.statistics()["connects"] < enough:
                await trio.sleep(0.001)
        sweep.never = CidrSet(["127.1.0.0/16"])
        peer.listen()
        for event in await drive(sweep, 4):
            refused = event.outcomes.count(REFUSED)
            assert event.outcomes == bytes([REFUSED]) * refused + bytes([NEVER]) * (20_000 - refused)
            assert 0 < refused < 20_000


SCRIPTS = st.lists(
    st.lists(st.sampled_from(["next", "again", "stop", "closed", "mute", "never"]), min_size=1, max_size=6),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts=SCRIPTS, urgent=st.integers(0, 63), sockets=st.integers(1, 4))
def test_any_script_goes_as_it_should(kind, loopback, scripts, urgent, sockets):
    """One word a port: what is there, or what is answered when it opened; `never` ends the permission."""
    trio.run(play, kind, loopback, scripts, urgent, sockets)


async def play(kind, loopback, scripts, urgent, sockets):
    loopback.forget()
    kinds = {"closed": loopback.closed[0], "mute": loopback.mute}
    banned: set[str] = set()
    asked: set[tuple[int, int]] = set()

    def react(sweep, event):
        word = scripts[event.host][event.index]
        loopback.hang_up(event.fd)
        if word == "never":
            banned.add(text(event.host) + "/32")
            sweep.never = CidrSet(banned)
        if word == "stop":
            sweep.stop(event.host)
        elif word == "again" and (event.host, event.index) not in asked:
            asked.add((event.host, event.index))
            sweep.again(event.host)
        else:
            sweep.next(event.host)

    with kind(never=NOBODY, rate=math.inf, sockets=sockets, timeout=0.03) as sweep:
        for host, words in enumerate(scripts):
            ports = [kinds.get(word, loopback.open[index % 3]) for index, word in enumerate(words)]
            assert sweep.add(host, packed(text(host)), ports, urgent=bool(urgent >> host & 1))
        events = await drive(sweep, len(scripts), react)
        assert sweep.statistics()["sockets"] == sweep.statistics()["hosts"] == 0

    finished = {event.host: event.outcomes for event in events if isinstance(event, Finished)}
    for host, words in enumerate(scripts):
        outcomes, arrivals = expected(words, loopback)
        assert finished[host] == outcomes
        assert [event.port for event in events if isinstance(event, Opened) and event.host == host] == arrivals
        assert loopback.of(text(host)) == arrivals
    assert loopback.overlaps == []


def expected(words, loopback):
    outcomes, arrivals = bytearray(len(words)), []
    for index, word in enumerate(words):
        if word in ("closed", "mute"):
            outcomes[index] = REFUSED if word == "closed" else FILTERED
            continue
        outcomes[index] = OPEN
        arrivals += [loopback.open[index % 3]] * (2 if word == "again" else 1)
        if word == "stop":
            break
        if word == "never":
            outcomes[index + 1 :] = bytes([NEVER]) * (len(words) - index - 1)
            break
    return bytes(outcomes), arrivals
