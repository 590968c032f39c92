from __future__ import annotations

import json
import socket
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from scanner.lab import internet
from scanner.lab.internet import Internet, NotAllowed, destination, dial
from scanner.lab.network import listen
from scanner.model import Address, CanaryTarget

SOURCE = IPv4Address("127.77.0.1")
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def outside(address: Address) -> bool:
    return not any(address in network for network in LOOPBACK)


def never_a_socket(*_: object) -> None:
    raise AssertionError("a socket was made")


@given(st.ip_addresses().filter(outside))
@example(IPv4Address("0.0.0.0"))
@example(IPv4Address("128.0.0.0"))
@example(IPv4Address("126.255.255.255"))
@example(IPv4Address("255.255.255.255"))
@example(IPv6Address("::"))
@example(IPv6Address("::2"))
@example(IPv6Address("::ffff:127.0.0.1"))  # only as IPv4, where its source can be bound
def test_nothing_outside_of_loopback_is_dialled(address: Address) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(internet.trio.socket, "socket", never_a_socket)
        with pytest.raises(NotAllowed):
            trio.run(dial, SOURCE, address, 80)
        with pytest.raises(AssertionError):
            trio.run(dial, SOURCE, IPv4Address("127.0.0.1"), 80)


def test_no_name_is_asked_of_a_real_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", never_a_socket)
    lab = Internet(names={"else.test": "127.0.0.3", "out.test": "192.0.2.1"})
    assert lab.resolve("canary.test") == IPv4Address("127.0.0.1")
    assert lab.resolve("else.test") == IPv4Address("127.0.0.3")
    assert lab.resolve("out.test") == IPv4Address("192.0.2.1")  # and is not dialled
    assert lab.resolve(IPv4Address("127.9.9.9")) == IPv4Address("127.9.9.9")
    with pytest.raises(OSError, match=r"'localhost' is not in the lab's table"):
        lab.resolve("localhost")


async def test_dial_comes_from_the_source() -> None:
    for source, family, to in (("127.77.3.4", socket.AF_INET, "127.0.0.1"), ("::1", socket.AF_INET6, "::1")):
        with socket.create_server((to, 0), family=family) as server:
            port = server.getsockname()[1]
            target = IPv4Address(to) if family == socket.AF_INET else IPv6Address(to)
            async with await dial(IPv4Address("127.77.3.4"), target, port):
                connection, (peer, *_) = server.accept()
                connection.close()
                assert peer == source


async def test_dial_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internet, "_DIAL_TIMEOUT", 0.3)
    with listen(IPv4Address("127.77.9.9"), 8080, filtered=True), pytest.raises(TimeoutError):
        await dial(SOURCE, IPv4Address("127.77.9.9"), 8080)
    with pytest.raises(ConnectionRefusedError):
        await dial(SOURCE, IPv4Address("127.77.9.9"), 8080)


def test_destination() -> None:
    assert destination("127.0.0.1") == IPv4Address("127.0.0.1")
    assert destination("[::1]") == IPv6Address("::1")
    assert destination("::ffff:127.0.0.1") == IPv4Address("127.0.0.1")
    assert destination("One.Test.") == "one.test"
    assert destination("127.1") == "127.1"


def test_json_carries_it_whole() -> None:
    lab = Internet(
        (
            CanaryTarget("a", IPv4Address("127.0.0.1"), IPv6Address("::1"), "a.test", 1, 2, 3, "m.test"),
            CanaryTarget("b", IPv4Address("127.0.0.2"), tcp=443),
        ),
        {"x.test": "127.0.0.9"},
        0.5,
    )
    assert Internet.from_json(json.loads(json.dumps(lab.as_json()))) == lab
    assert Internet.from_json({}) == Internet()
