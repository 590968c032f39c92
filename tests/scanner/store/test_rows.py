from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from scanner.model import Address, Aim, Endpoint, Evidence, Face, Kind, Proven, Watch
from scanner.store import rows
from tests.scanner.store.make import evidence, listing

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
moments = st.floats(0, 4e9)
words = st.text(max_size=20)
endpoints = st.builds(Endpoint, words, st.integers(1, 65535))
aims = st.builds(Aim, words, st.one_of(addresses, words), st.integers(1, 65535), st.sampled_from(Face))


@given(st.integers(0, 2**63 - 1))
def test_cursors(seq: int) -> None:
    assert rows.seq_of(rows.cursor_of(seq)) == seq


@given(addresses)
def test_network_and_covering(address: Address) -> None:
    length = 24 if address.version == 4 else 48
    network = rows.network_of(address)
    assert network == str(ip_network(f"{address}/{length}", strict=False))
    keys = rows.covering(str(address))
    assert keys[0] == str(address)
    assert len(keys) == address.max_prefixlen + 2
    for key in keys[1:]:
        assert address in ip_network(key)
    assert rows.covering(network)[0] == network
    assert all(ip_network(key).prefixlen <= length for key in rows.covering(network))


@given(
    st.builds(
        Watch,
        words,
        addresses,
        st.lists(st.builds(Proven, endpoints, st.lists(aims, max_size=3).map(tuple)), max_size=3).map(tuple),
        moments,
        st.lists(moments).map(tuple),
        st.lists(moments).map(tuple),
        st.none() | moments,
        st.lists(st.tuples(words, moments, words)).map(tuple),
        st.none() | words,
    )
)
def test_watches(watch: Watch) -> None:
    head = (str(watch.address), watch.list, watch.next_visit)
    body = rows.watch_body(watch)
    assert rows.watch_of((*head, body)) == watch
    shorter = rows.dumps(json.loads(body)[:5])  # as stores had them first
    assert rows.watch_of((*head, shorter)) == replace(watch, confirming=None)


@given(st.lists(words), st.none() | words, words)
def test_listings(exits: list[str], visit: str | None, reason: str) -> None:
    of = listing(exits=tuple(exits), visit=visit, reason=reason)
    assert rows.listing_of(rows.listing_row(of)) == of


pieces = st.builds(
    Evidence,
    endpoints,
    st.sampled_from([kind for kind in Kind if kind is not Kind.RELAYED]),
    words,
    words,
    st.none() | aims,
    st.none(),
    st.floats(0, 100).map(lambda x: round(x, 6)),
    moments,
    st.binary(max_size=50),
)


@given(st.lists(pieces | st.sampled_from(evidence())))
def test_evidence_comes_back_in_order(given_: list[Evidence]) -> None:
    made, attempts = rows.evidence_rows("a" * 32, given_)
    back = rows.evidence_of([row[1:] for row in made], attempts)
    assert len(back) == len(given_)
    for piece, original in zip(back, given_, strict=True):
        for name in ("endpoint", "kind", "detail", "vantage", "aim", "elapsed", "at", "transcript"):
            assert getattr(piece, name) == getattr(original, name), name
        assert (piece.sighting is None) == (original.proof is None)


def test_samples_are_small_on_disk() -> None:
    sample = b"Received: from here\r\n" * 1000
    packed = rows.squeeze(sample)
    assert packed is not None
    assert len(packed) < len(sample) / 50
    assert rows.expand(packed) == sample
    assert rows.squeeze(b"") is None
    assert rows.expand(None) == b""


def test_single_addresses_have_one_key() -> None:
    assert rows.canonical("192.0.2.1/32") == "192.0.2.1"
    assert rows.canonical("2001:DB8:0::1") == str(ip_address("2001:db8::1"))
    assert rows.canonical("2001:db8::/64") == "2001:db8::/64"
