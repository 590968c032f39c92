"""The special-use networks against Python's own registry and against the forms that carry IPv4 inside."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cidr import CidrSet
from scanner.special_use import SPECIAL_USE

ALL = CidrSet([network for network, _ in SPECIAL_USE])


@pytest.mark.parametrize(("network", "source"), SPECIAL_USE)
def test_each_network_has_a_source_and_no_host_bits(network, source):
    ip_network(network)
    assert source.partition("RFC ")[2].isdigit()


@given(st.ip_addresses())
def test_what_python_calls_private_multicast_or_reserved_is_special(address):
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback:
        within_reserved_blocks = address.version == 6 and address.is_reserved and not address.is_private
        assert address in ALL or within_reserved_blocks


@pytest.mark.parametrize(
    "text", ["::ffff:192.0.2.1", "::192.0.2.1", "64:ff9b::c000:201", "2002:c000:201::1", "2001:0:c000:201::1", "::1"]
)
def test_an_ipv4_address_inside_an_ipv6_one_is_special(text):
    assert ip_address(text) in ALL


@pytest.mark.parametrize("text", ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2600::1", "2a00::1"])
def test_the_internet_is_not(text):
    assert ip_address(text) not in ALL
