"""`check --json` on real packets: families, exits, chains, firewalls, ICMP, long ways, small packets, blocks."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.network.capture import Capture
from tests.network.internet import CANARY, CANARY6, MAIN, far, target, target6
from tests.network.relays import PORT, Relay, serving
from tests.network.slow import SlowWay

pytestmark = pytest.mark.timeout(300)

HOP = far(20)
EXITS = tuple(target(number) for number in (106, 107, 108, 109))
SLOW = [target(number) for number in range(64, 70)]
SMALL = [target(number) for number in range(72, 76)]
BEHIND_IT, MTU = "198.51.100.72/30", 576
RELAYS = {
    "plain": Relay(target(1)),
    "entry by IPv6, exit by IPv4": Relay(target6(2), (target(2),)),
    "entry by IPv4, exit by IPv6": Relay(target(3), (target6(3),)),
    "IPv6 from end to end": Relay(target6(4)),
    "another exit": Relay(target(5), (target(105),)),
    "rotating exits": Relay(target(6), EXITS),
    "a chain of two hosts": Relay(target(7), hop=HOP),
    "a chain entered by IPv6": Relay(target6(7), hop=HOP),
    "drops our first vantage": Relay(target(20)),
    "refuses our first canary": Relay(target(21), refuses=frozenset({CANARY, CANARY6})),
    "denies": Relay(target(22), denies=True),
    "denies by IPv6": Relay(target6(22), denies=True),
} | {f"slow {address}": Relay(address) for address in (*SLOW, *SMALL)}


@dataclass(frozen=True)
class Expected:
    """Of one address. exits: some of these."""

    address: object
    verdict: str
    evidence: str
    exits: tuple[object, ...] = ()


REJECTIONS = {  # what the router answers with, by nft's names
    target(40): "icmp type net-unreachable",
    target(41): "icmp type host-unreachable",
    target(42): "icmp type prot-unreachable",
    target(43): "icmp type port-unreachable",
    target(44): "icmp type net-prohibited",
    target(45): "icmp type host-prohibited",
    target(46): "icmp type admin-prohibited",
    target6(40): "icmpv6 type no-route",
    target6(41): "icmpv6 type admin-prohibited",
    target6(42): "icmpv6 type addr-unreachable",
    target6(43): "icmpv6 type port-unreachable",
    target6(44): "icmpv6 type policy-fail",
    target6(45): "icmpv6 type reject-route",
}
RESETS = [target(50), target6(50)]
DROPPED = [target(51), target6(51)]
CLOSED = [target(52), target6(52)]
ROWS = {
    "plain": Expected(target(1), "open", "relayed", (target(1),)),
    "entry by IPv6, exit by IPv4": Expected(target6(2), "open", "relayed", (target(2),)),
    "entry by IPv4, exit by IPv6": Expected(target(3), "open", "relayed", (target6(3),)),
    "IPv6 from end to end": Expected(target6(4), "open", "relayed", (target6(4),)),
    "another exit": Expected(target(5), "open", "relayed", (target(105),)),
    "rotating exits": Expected(target(6), "open", "relayed", EXITS),
    "a chain of two hosts": Expected(target(7), "open", "relayed", (HOP,)),
    "a chain entered by IPv6": Expected(target6(7), "open", "relayed", (HOP,)),
    "drops our first vantage": Expected(target(20), "tester_blocked", "relayed", (target(20),)),
    "refuses our first canary": Expected(target(21), "tester_blocked", "relayed", (target(21),)),
    "denies": Expected(target(22), "closed", "denied"),
    "denies by IPv6": Expected(target6(22), "closed", "denied"),
    **{f"closed {address}": Expected(address, "closed", "refused") for address in CLOSED},
    **{f"reset by a firewall {address}": Expected(address, "closed", "refused") for address in RESETS},
    **{f"dropped {address}": Expected(address, "filtered", "filtered") for address in DROPPED},
    **{f"{how}": Expected(address, "closed", "unreachable") for address, how in REJECTIONS.items()},
    **{f"200 ms and 5 % loss {address}": Expected(address, "open", "relayed", (address,)) for address in SLOW},
    **{f"MTU black hole {address}": Expected(address, "open", "relayed", (address,)) for address in SMALL},
}


@contextmanager
def black_hole(net):
    """Whatever is larger than 576 bytes (RFC 791) gets lost on the way to SMALL, and nobody hears of it."""
    net.router.run(f"ip route add {BEHIND_IT} via 198.51.100.253 mtu lock {MTU}")
    hook = "type filter hook output priority 0"
    rule = "icmp type destination-unreachable icmp code frag-needed drop"
    net.router.nft(f"table ip black_hole {{\nchain out {{\n{hook}\n{rule}\n}}\n}}")
    try:
        yield
    finally:
        net.router.nft("delete table ip black_hole")
        net.router.run(f"ip route del {BEHIND_IT}")


@pytest.fixture(scope="module")
def found(net, product):
    """One run of the command for all."""
    families = {4: "ip", 6: "ip6"}
    rejections = [f"{families[a.version]} daddr {a} reject with {how}" for a, how in REJECTIONS.items()]
    resets = [f"{families[a.version]} daddr {a} meta l4proto tcp reject with tcp reset" for a in RESETS]
    drops = [f"{families[a.version]} daddr {a} drop" for a in DROPPED]
    rules = [*rejections, *resets, *drops, f"ip saddr {MAIN} ip daddr {target(20)} drop"]
    way = SlowWay(net.router, "198.51.100.64/29", delay=0.1, loss=0.05)
    forward = "chain forward { type filter hook forward priority 0;\n" + "\n".join(rules) + "\n}"
    try:
        with serving(net.targets, *RELAYS.values()), serving(net.far, Relay(HOP)), net.rules(forward):
            with black_hole(net):
                answers = product.check([row.address for row in ROWS.values()])
            assert way.lost > 0, "nothing was lost on the long way"
            yield answers
    finally:
        way.close()


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_what_is_found(row, found):
    answer = found[str(row.address)]
    evidence = {item["evidence"] for item in answer["endpoints"]}
    assert (answer["verdict"], row.evidence in evidence) == (row.verdict, True), answer
    assert set(answer["exits"]) <= set(map(str, row.exits)), answer
    assert bool(answer["exits"]) == bool(row.exits)


def test_what_a_proof_needs_is_small_enough_for_every_path(net, product, found):
    """Every protocol. Without the mail port: a letter, which is no proof of a proxy, has 1,500 bytes."""
    product.configure(faces="tcp = 443, http = 80")
    protocols = ("http-connect", "http-get", "http-post", "socks4", "socks5")
    words = [word for name in protocols for word in ("--endpoint", f"{name}:{PORT}")]
    with black_hole(net), Capture(net.targets) as capture:
        answer = product.check(SMALL[:1], "--thorough", *words)[str(SMALL[0])]
        sent = capture.sizes[SMALL[0]]
        net.scanner.do(_send, SMALL[1], 4 * MTU)
        assert not any(size > MTU for size in capture.sizes[SMALL[1]]), "the hole lets it through"
        assert capture.sizes[SMALL[1]], "the small packets of that connection arrive"
    assert {item["protocol"]: item["evidence"] for item in answer["endpoints"]} == dict.fromkeys(protocols, "relayed")
    assert max(sent) <= MTU
    print(f"largest packet of a proof: {max(sent)} bytes")


def _send(address, size):
    with socket.create_connection((str(address), PORT), 5) as sock:
        sock.sendall(bytes([5]) * size)
        sock.settimeout(1)
        try:
            sock.recv(1)
        except TimeoutError:
            return
    raise AssertionError("it was answered")
