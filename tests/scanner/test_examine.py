"""A visit carried out: against peers that count our connections, and against hosts of the lab."""

from __future__ import annotations

from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import ClassVar

import pytest
import trio

from core.cidr import CidrSet
from scanner import examine as module
from scanner.agenda import EveryPort
from scanner.examine import examine
from scanner.lab.network import listen
from scanner.lab.truth import truth
from scanner.model import Aim, Endpoint, Face, Identity, Kind, Proven, Reason, State, Target, Vantage, Visit
from scanner.probe import Prober
from scanner.secret import newest, open_secret
from scanner.sweep import Connector
from scanner.verdict import judge
from tests.scanner.live import PORT, canary, forbid, free_port, hang_up, lab, lab_host, mute, peer, relay

HERE = IPv4Address("127.82.4.1")
ENDPOINTS = tuple(
    Endpoint(name, PORT) for name in ("http-connect", "http-get", "http-post", "socks5", "socks4", "socks4a")
)


@asynccontextmanager
async def bench(tmp_path, nursery, patience=20.0, **options):
    """Looks from here, with a canary that works. patience: seconds of a conversation with who is silent."""
    one = canary(tmp_path)
    await one.work(nursery)
    key = newest(open_secret(one.secret).canary_keys("main"))
    prober = Prober(Identity("test", "http://test/"), {"main": key}, timeout=patience, reraise=True)
    connector = Connector(
        **{"never": CidrSet([]), "rate": 20_000, "sockets": 64, "hosts": 16, "timeout": 0.5, **options}
    )
    async with trio.open_nursery() as running:
        await running.start(connector.run)

        async def look(made, agenda=None):
            return await examine(made, connector, prober, (one.target,), agenda=agenda)

        look.canary = one
        yield look
        running.cancel_scope.cancel()


def visit(address, endpoints=ENDPOINTS, vantages=("here",), **more):
    target = Target(IPv4Address(str(address)), Reason.NOMINATION, 0.0)
    return Visit("ab" * 16, target, tuple(endpoints), tuple(Vantage(name) for name in vantages), **more)


def kinds(evidence):
    return {str(item.endpoint): item.kind for item in evidence}


async def test_each_endpoint_of_a_closed_port_is_evidence(tmp_path, nursery):
    async with bench(tmp_path, nursery) as look:
        evidence = await look(visit(HERE))
    assert kinds(evidence) == {str(endpoint): Kind.REFUSED for endpoint in ENDPOINTS}
    assert {item.vantage for item in evidence} == {"here"}


async def test_a_visit_ends_with_its_first_proof_and_what_it_can_reach(tmp_path, nursery):
    one = await peer(nursery, str(HERE), relay, ports=(0, 0))
    endpoints = [Endpoint("http-connect", port) for port in one.ports]
    async with bench(tmp_path, nursery) as look:
        evidence = await look(visit(HERE, endpoints))
        assert {item.kind for item in evidence} == {Kind.RELAYED}
        assert {item.aim.face for item in evidence} >= {Face.TCP, Face.HTTP}
        assert {item.endpoint for item in evidence} == {endpoints[0]}
        assert (one.total, one.most) == (len(evidence), 1)
        quick = await look(visit(HERE, endpoints, capabilities=False))
        assert len(quick) == 1
        thorough = await look(visit(HERE, endpoints, thorough=True))
        assert {item.endpoint for item in thorough} == set(endpoints)
    assert one.most == 1


async def test_one_connection_at_a_time_conversations_included(tmp_path, nursery):
    one = await peer(nursery, str(HERE), forbid, ports=(0,) * 4)
    endpoints = [Endpoint(name, port) for port in one.ports for name in ("http-connect", "http-get", "socks5")]
    async with bench(tmp_path, nursery) as look:
        evidence = await look(visit(HERE, endpoints))
    assert one.total == sum(item.aim is not None for item in evidence) >= 12
    assert one.most == 1


async def test_with_lanes_as_many_connections_at_once_and_the_same_evidence(tmp_path, nursery):
    together = 1

    async def forbids_all(stream):  # when they are there: a lane may be done before another one has begun
        while one.most < together:
            await trio.sleep(0.01)
        await forbid(stream)

    one = await peer(nursery, str(HERE), forbids_all, ports=(0,) * 9)
    endpoints = [Endpoint("socks5", port) for port in (*one.ports, free_port(HERE))]
    async with bench(tmp_path, nursery) as look:
        alone = kinds(await look(visit(HERE, endpoints)))
    assert one.most == 1
    together = 3
    async with bench(tmp_path, nursery, lanes=3) as look:
        assert kinds(await look(visit(HERE, endpoints))) == alone
    assert one.most == 3


async def test_a_proof_in_one_lane_ends_the_others(tmp_path, nursery):
    silent = await peer(nursery, str(HERE), mute)
    one = await peer(nursery, str(HERE), relay)
    endpoints = [Endpoint("socks5", silent.ports[0]), Endpoint("http-connect", one.ports[0])]
    async with bench(tmp_path, nursery, patience=3600.0, lanes=2) as look:
        with trio.fail_after(60):  # the silent one alone takes an hour
            evidence = await look(visit(HERE, endpoints))
    assert Kind.RELAYED in kinds(evidence).values()


async def test_a_proof_counts_also_where_another_lane_is_done_after_it(monkeypatch, autojump_clock):
    class Lane:
        missed: ClassVar = {}

        def __init__(self, number):
            self.openings = [number]

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.openings:
                raise StopAsyncIteration
            return self.openings.pop()

    class Lanes:
        lanes = 2

        @asynccontextmanager
        async def host(self, address, ports, lane, **options):
            yield Lane(lane)
            await trio.sleep(2)  # until its last connection is closed

    async def on_port(self, host, lane):
        await trio.sleep(lane)
        return lane == 0

    monkeypatch.setattr(module._Look, "_on_port", on_port)
    asked = visit(HERE, [Endpoint("socks5", 1), Endpoint("socks5", 2)], vantages=("here", "there"))
    began = trio.current_time()
    await examine(asked, Lanes(), Prober(Identity("test", "http://test/"), {}), ())
    assert trio.current_time() - began < 3, "nothing is asked from the second vantage"


async def test_the_second_vantage_looks_where_the_first_saw_nothing(tmp_path, nursery):
    one = await peer(nursery, str(HERE), hang_up)
    async with bench(tmp_path, nursery) as look:
        endpoints = [Endpoint("socks5", one.ports[0])]
        evidence = await look(visit(HERE, endpoints, vantages=("here", "there")))
        assert [item.vantage for item in evidence] == ["here", "there"]
        open_ = await peer(nursery, "127.82.4.2", relay)
        endpoints = [Endpoint("http-connect", open_.ports[0])]
        evidence = await look(visit("127.82.4.2", endpoints, vantages=("here", "there"), capabilities=False))
        assert [item.vantage for item in evidence] == ["here"]


async def test_in_a_hurried_visit_what_was_proven_keeps_its_full_time(tmp_path, nursery):
    slow = await peer(nursery, str(HERE), mute, ports=(0, 0))
    proven, other = (Endpoint("socks5", port) for port in slow.ports)
    async with bench(tmp_path, nursery, patience=2.0) as look:
        aim = Aim("main", look.canary.target.address, look.canary.target.tcp, Face.TCP)
        evidence = await look(visit(HERE, [other], proven=(Proven(proven, (aim,)),), connect_timeout=0.1, listed=True))
    took = {item.endpoint: item.elapsed for item in evidence}
    assert took[other] < 2.0 <= took[proven]


async def test_a_port_that_closes_between_two_questions_says_so(tmp_path, nursery):
    (listener,) = await trio.open_tcp_listeners(free_port(HERE), host=str(HERE))
    port = listener.socket.getsockname()[1]

    async def once():
        async with await listener.accept() as stream:
            listener.socket.close()  # before the answer, after which the next connection comes at once
            await stream.send_all(b"HTTP/1.1 503 no\r\n\r\n")

    nursery.start_soon(once)
    async with bench(tmp_path, nursery) as look:
        evidence = await look(visit(HERE, [Endpoint("http-connect", port), Endpoint("socks5", port)]))
    assert {item.kind for item in evidence[1:]} == {Kind.REFUSED}
    assert evidence[1].aim is not None  # it was asked on a connection that did not come about


@pytest.mark.parametrize(
    "kind",
    [
        "http",
        "connect-bare-lf",
        "connect-names-only",
        "connect-mail-port-only",
        "mixed",
        "web",
        "ssh",
        "grants-page",
        "grants-endless",
        "echo",
        "endless",
        "reset",
        "rewrites",
        "http-407",
        "closed",
    ],
)
async def test_what_a_visit_finds_is_what_is_there(kind, tmp_path, nursery):
    host = lab_host("5.1", kind)
    async with bench(tmp_path, nursery) as look, lab([host], look.canary) as network:
        internet = network.machines[host.address].internet
        expected = truth(host, internet)
        made = visit(host.address, capabilities=False)
        verdict = judge(made, await look(made))
    assert verdict.state is expected.state
    if not expected.open:
        found = {report.endpoint: report.kind for report in verdict.endpoints}
        assert found == {endpoint: expected.evidence.get(endpoint, Kind.REFUSED) for endpoint in ENDPOINTS}


@pytest.fixture
def few_ports(monkeypatch):
    """Every port there is, of a smaller world: nobody else's are touched."""
    found: set[int] = set()
    while len(found) < 60:
        found.add(free_port("127.82.4.9"))
    ports = sorted(found)
    monkeypatch.setattr(EveryPort, "ports", property(lambda self: ports))
    return ports


async def test_of_every_port_those_that_take_no_connection_are_told_of_together(tmp_path, nursery, few_ports):
    one = await peer(nursery, "127.82.4.9", forbid, ports=[few_ports[7]])
    with listen(IPv4Address("127.82.4.9"), few_ports[30], filtered=True):
        async with bench(tmp_path, nursery) as look:
            made = visit("127.82.4.9", ())
            agenda = EveryPort(made, (look.canary.target,), ("http-connect", "socks5"))
            evidence = await look(made, agenda)
    assert one.most == 1
    asked = {item.endpoint for item in evidence if item.aim}
    assert asked == {Endpoint("http-connect", few_ports[7]), Endpoint("socks5", few_ports[7])}
    summaries = {item.kind: item.detail for item in evidence if not item.aim}
    assert summaries == {Kind.REFUSED: "as 58 ports in all", Kind.FILTERED: "as 1 ports in all"}
    assert judge(made, evidence).state is State.FILTERED


async def test_every_port_finds_the_one_that_relays(tmp_path, nursery, few_ports):
    await peer(nursery, "127.82.4.9", relay, ports=[few_ports[50]])
    async with bench(tmp_path, nursery) as look:
        made = visit("127.82.4.9", ())
        evidence = await look(made, EveryPort(made, (look.canary.target,), ("http-connect",)))
    assert judge(made, evidence).state is State.OPEN


async def test_every_port_is_every_port():
    ports = EveryPort(visit(HERE, ()), (), ("socks5",)).ports
    assert (ports[0], ports[-1], len(ports)) == (1, 65535, 65535)
    assert module._PATIENCE > 1


async def test_a_host_that_takes_too_long_is_judged_by_what_it_showed(tmp_path, nursery, monkeypatch):
    """A tarpit on every port would hold its place beyond its lease, and its visit would be lost."""
    monkeypatch.setattr(module, "_LONGEST", 0.0)
    one = await peer(nursery, str(HERE), hang_up, ports=[0])
    async with bench(tmp_path, nursery) as look:
        evidence = await look(visit(HERE, [Endpoint(name, one.ports[0]) for name in ("http-connect", "socks5")]))
    assert len(evidence) == 1
