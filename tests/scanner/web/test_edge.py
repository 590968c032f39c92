from __future__ import annotations

from ipaddress import ip_address

import pytest

from core.cidr import CidrSet
from scanner.web.edge import requester_of, seen_client

TRUSTED = CidrSet(["192.0.2.0/24", "2001:db8::/32"])
FRONT = ip_address("192.0.2.1")


def seen(peer: str, *forwarded: str, **others: str) -> tuple[str, bool]:
    headers = [(b"x-forwarded-for", value.encode("utf-8")) for value in forwarded]
    headers += [(name.replace("_", "-").encode(), value.encode()) for name, value in others.items()]
    client, relayed = seen_client(ip_address(peer), headers, TRUSTED)
    return str(client), relayed


@pytest.mark.parametrize(
    ("peer", "forwarded", "client", "relayed"),
    [
        ("198.51.100.1", (), "198.51.100.1", False),
        ("198.51.100.1", ("203.0.113.9",), "198.51.100.1", True),  # anybody can write that
        ("192.0.2.1", ("203.0.113.9",), "203.0.113.9", False),
        ("192.0.2.1", ("8.8.8.8, 203.0.113.9",), "203.0.113.9", True),  # the client itself passed something on
        ("192.0.2.1", ("8.8.8.8", "203.0.113.9"), "203.0.113.9", True),
        ("192.0.2.1", ("203.0.113.9, 192.0.2.2",), "203.0.113.9", False),  # two trusted hops
        ("192.0.2.1", ("203.0.113.9, nonsense",), "192.0.2.1", True),
        ("192.0.2.1", ("203.0.113.9, ",), "192.0.2.1", True),
        ("192.0.2.1", ("::ffff:203.0.113.9",), "203.0.113.9", False),
        ("192.0.2.1", ("203.0.113.9:4711",), "192.0.2.1", True),
        ("192.0.2.1", (), "192.0.2.1", True),  # the web server itself is nobody's owner
        ("192.0.2.1", ("2001:db9::5",), "2001:db9::5", False),
        ("192.0.2.1", (", ".join(["192.0.2.3"] * 100),), "192.0.2.3", True),
        ("192.0.2.1", ("٢٠٣.0.113.9",), "192.0.2.1", True),
    ],
)
def test_who_asks(peer: str, forwarded: tuple[str, ...], client: str, relayed: bool) -> None:
    assert seen(peer, *forwarded) == (client, relayed)


def test_a_proxy_that_says_so_is_not_its_owner() -> None:
    assert seen("198.51.100.1", via="1.1 squid") == ("198.51.100.1", True)
    assert seen("198.51.100.1", proxy_connection="keep-alive") == ("198.51.100.1", True)


def test_requesters_are_counted_by_their_64() -> None:
    assert requester_of(ip_address("2001:db8::1:2:3:4")) == "2001:db8::/64"
    assert requester_of(FRONT) == "192.0.2.1"
