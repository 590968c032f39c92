"""What flows: addresses as people write them, and types that hold their own rules."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import model
from scanner.model import THROUGH, Aim, Endpoint, EventKind, Evidence, Face, Kind, Reason, RemovalState, parse_address
from tests.scanner.world import SOCKS5, aim, shown


@given(st.ip_addresses())
def test_an_address_is_read_as_it_is_written(address):
    assert parse_address(f" {address}\n") == (getattr(address, "ipv4_mapped", None) or address)


@pytest.mark.parametrize("text", ["", "192.0.2", "192.0.2.1/32", "fe80::1%eth0", "0x7f.1", "192.0.2.01", "a.example"])
def test_what_is_no_address_is_named(text):
    with pytest.raises(ValueError, match="address") as error:
        parse_address(text)
    assert repr(text) in str(error.value)


def test_evidence_is_relayed_if_and_only_if_it_carries_a_proof():
    with pytest.raises(ValueError, match="if and only if"):
        Evidence(SOCKS5, Kind.RELAYED)
    assert shown(Kind.PRETENDS).proof is None


def test_the_types_are_frozen():
    types = [value for value in vars(model).values() if is_dataclass(value) and value.__module__ == model.__name__]
    assert len(types) > 15
    for type_ in types:
        assert type_.__dataclass_params__.frozen
        assert "__slots__" in vars(type_)
    with pytest.raises(FrozenInstanceError):
        SOCKS5.port = 1  # type: ignore[misc]
    assert {field.name for field in fields(model.Listing)}.isdisjoint({"port", "endpoint"})


@pytest.mark.parametrize(
    ("host", "port", "face", "capability"),
    [
        ("198.51.100.1", 25, Face.MAIL, "mail"),
        ("canary.example", 25, Face.MAIL, "mail"),
        ("198.51.100.1", 2525, Face.MAIL, "tcp"),
        ("canary.example", 80, Face.HTTP, "name"),
        ("2001:db8::1", 4000, Face.TCP, "ipv6"),
        ("198.51.100.1", 80, Face.HTTP, "http"),
    ],
)
def test_mail_is_a_capability_only_where_the_target_saw_port_25(host, port, face, capability):
    where = host if host.endswith("example") else ip_address(host)
    assert Aim("c1", where, port, face).capability == capability
    delivered = Aim("c1", where, port, face, THROUGH).capability
    assert delivered == ("mail-delivered" if capability == "mail" else capability)


def test_words():
    assert str(Endpoint("socks5", 1080)) == "socks5:1080"
    assert str(replace(aim(), host=ip_address("2001:db8::1"))) == "c1/tcp/[2001:db8::1]:4000"
    assert {reason for reason in Reason if reason.on_demand} == {Reason.REMOVAL, Reason.OPERATOR}
    assert {kind.value for kind in EventKind if kind.ends} == {"delisted", "expired", "withdrawn"}
    assert {state.value for state in RemovalState if not state.final} == {"requested", "retesting", "confirming"}
