"""The registry and what a person writes."""

from __future__ import annotations

import pytest

from scanner.model import Endpoint
from scanner.proof import TOKEN_LIMIT
from scanner.protocols import PROTOCOLS, parse_endpoint
from tests.protocols.player import token


def test_rows():
    assert list(PROTOCOLS) == ["http-connect", "http-get", "http-post", "socks4", "socks4a", "socks5", "smtp-relay"]
    for name, row in PROTOCOLS.items():
        assert row.name == name
        assert row.help
        assert row.hosts
        assert set(row.hosts) <= {"ipv4", "ipv6", "name"} or row.hosts == ("domain",)
        assert row.faces
        assert len(token(name)) <= TOKEN_LIMIT


def test_endpoint():
    assert parse_endpoint("socks5:1080") == Endpoint("socks5", 1080)
    assert str(Endpoint("http-connect", 8080)) == "http-connect:8080"


@pytest.mark.parametrize(
    "text", ["", "socks5", "socks5:", "socks5:0", "socks5:65536", "socks5:1o80", "socks5:-1", "socks5:²"]
)
def test_endpoint_port_is_refused(text):
    with pytest.raises(ValueError, match=r"expected PROTOCOL:PORT|unknown protocol"):
        parse_endpoint(text)


def test_unknown_protocol_names_the_known():
    with pytest.raises(ValueError, match=r"unknown protocol 'socks9'; known are http-connect, .*smtp-relay$"):
        parse_endpoint("socks9:1080")
