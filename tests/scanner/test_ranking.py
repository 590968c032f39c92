"""The order of endpoints: the shipped shares, moved by our own hits."""

from hypothesis import given
from hypothesis import strategies as st

from scanner.model import Endpoint
from scanner.protocols import PROTOCOLS
from scanner.ranking import SHIPPED, grouped, order

endpoints = st.sampled_from([*SHIPPED, Endpoint("socks5", 7), Endpoint("http-connect", 7), Endpoint("socks4", 6006)])
hits = st.dictionaries(endpoints, st.integers(0, 100_000).map(float), max_size=8)


def test_without_own_hits_the_shipped_order_holds():
    ports = list(grouped(order(SHIPPED, {})))
    assert ports[:3] == [8080, 1080, 999]
    assert {endpoint.protocol for endpoint in SHIPPED} <= set(PROTOCOLS)


def test_a_new_port_rises_with_its_hits():
    """As HTTP on port 6006 did in January 2026: unseen, then 4 % of all hits."""
    new = Endpoint("http-connect", 6006)
    assert list(grouped(order(SHIPPED, {new: 1.0}))).index(6006) > 10
    assert next(iter(order(SHIPPED, {new: 10_000.0}))) == new


def test_few_hits_move_little():
    rare = Endpoint("socks5", 1082)
    assert next(iter(grouped(order(SHIPPED, {rare: 3.0})))) == 8080


@given(st.lists(endpoints), hits)
def test_an_order_has_each_endpoint_once_and_the_ports_together(known, own):
    ordered = order(known, own)
    assert set(ordered) == {*known, *(endpoint for endpoint, count in own.items() if count)}
    assert len(set(ordered)) == len(ordered)
    ports = [endpoint.port for endpoint in ordered]
    assert [endpoint for group in grouped(ordered).values() for endpoint in group] == list(ordered)
    assert len(grouped(ordered)) == sum(port != before for port, before in zip(ports, [None, *ports], strict=False))


@given(st.lists(endpoints, min_size=1), hits)
def test_more_hits_never_put_a_port_back(known, own):
    it = known[0]
    before = list(grouped(order(known, own))).index(it.port)
    more = {**own, it: own.get(it, 0.0) + 500}
    assert list(grouped(order(known, more))).index(it.port) <= before
