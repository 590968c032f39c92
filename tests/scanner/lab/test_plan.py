from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.lab.internet import LabError
from scanner.lab.machine import Exit
from scanner.lab.plan import PER_NETWORK, POPULATION, plan
from scanner.lab.rules import lowest_port


@given(hosts=st.integers(1, 400), seed=st.integers())
@settings(max_examples=30, deadline=None)
def test_the_same_seed_plans_the_same_lab(hosts: int, seed: int) -> None:
    assert plan(hosts, seed) == plan(hosts, seed)
    assert len({host.address for host in plan(hosts, seed)}) == hosts


def test_another_seed_plans_another() -> None:
    assert plan(200, 1) != plan(200, 2)


def test_the_shares_are_kept() -> None:
    counts = Counter(host.kind.name for host in plan(5000, 3))
    total = sum(kind.share for kind in POPULATION.values())
    for name in ("closed", "filtered", "http", "socks5", "web"):
        assert counts[name] == pytest.approx(5000 * POPULATION[name].share / total, rel=0.25)


def test_every_kind_is_there() -> None:
    assert {host.kind.name for host in plan(len(POPULATION), 9)} == set(POPULATION)


def test_addresses_are_spread_over_networks_and_never_ours() -> None:
    planned = plan(2000, 1)
    assert [host.address for host in planned] == sorted(host.address for host in planned)
    networks = Counter(IPv4Network((host.address, 24), strict=False) for host in planned)
    assert set(networks.values()) == {PER_NETWORK}
    assert planned[0].address in IPv4Network("127.1.0.0/24")
    assert not any(host.address in IPv4Network("127.0.0.0/24") for host in planned)
    assert not any(int(host.address) % 256 in (0, 255) for host in planned)


@pytest.mark.parametrize(("hosts", "prefix"), [(41, "127.255.255.0/24"), (1, "127.0.0.0/24"), (1, "10.0.0.0/8")])
def test_what_does_not_fit_is_refused(hosts: int, prefix: str) -> None:
    with pytest.raises(LabError, match=r"do not fit between 127\.0\.1\.0 and 127\.255\.255\.255"):
        plan(hosts, 1, IPv4Network(prefix))
    assert plan(40, 1, IPv4Network("127.255.255.0/24"))[-1].address < IPv4Address("127.255.255.255")


def test_a_chain_is_two_hosts_that_know_each_other() -> None:
    planned = {host.address: host for host in plan(2000, 4)}
    entries = [host for host in planned.values() if host.kind.name == "chained"]
    hops = [host for host in planned.values() if host.kind.name == "hop"]
    assert len(entries) == len(hops) >= 5
    for entry in entries:
        assert entry.next_hop is not None
        hop = planned[entry.next_hop]
        assert (hop.kind.name, hop.previous_hop, entry.exit) == ("hop", entry.address, hop.address)


def test_another_exit_is_an_address_where_nothing_listens() -> None:
    planned = {host.address: host for host in plan(500, 4)}
    others = [host for host in planned.values() if host.kind.exit is Exit.OTHER]
    assert others
    assert all(planned[host.exit].kind.name == "closed" for host in others)
    own = [host for host in planned.values() if host.kind.relays and host.kind.exit is Exit.OWN]
    assert all(host.exit == host.address for host in own)


def test_what_relays_can_be_repaired_in_each_way() -> None:
    planned = plan(500, 4)
    assert all(bool(host.kind.relays) == (host.repair is not None) for host in planned)
    assert len({host.repair for host in planned}) == 4


def test_low_ports_are_left_to_those_who_may_have_them() -> None:
    def ports(lowest: int) -> set[int]:
        return {port for host in plan(2000, 4, lowest=lowest) for port in host.ports}

    assert {22, 25, 80, 999} <= ports(1)
    assert min(ports(1024)) >= 1024
    assert lowest_port() in range(1, 65536)
