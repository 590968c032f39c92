"""An internet of four hosts: the scanner, the targets' network, a far network, and the router between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address

from scanner.model import Address
from tests.network.namespace import Namespace, join
from tests.peers.programs import needed

# Documentation addresses (RFC 5737, RFC 3849), which nobody has.
SCANNER, TARGETS, FAR = "192.0.2", "198.51.100", "203.0.113"
NETWORKS = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
CANARY, CANARY6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8:1::1")
MAIN, MAIN6, SECOND = IPv4Address("192.0.2.10"), IPv6Address("2001:db8:1::10"), IPv4Address("192.0.2.20")
OTHER, OTHER6 = IPv4Address("203.0.113.5"), IPv6Address("2001:db8:3::5")  # the second canary
ROUTER = IPv4Address("192.0.2.254")


def target(number: int) -> Address:
    """An address of the targets' network, where 0 to 127 are."""
    return ip_address(f"{TARGETS}.{number}")


def target6(number: int) -> Address:
    return ip_address(f"2001:db8:2::{number:x}")


def far(number: int) -> Address:
    return ip_address(f"{FAR}.{number}")


class Internet:
    """Its hosts. All that the router does beyond forwarding is in tables of nft that a test adds."""

    def __init__(self, hosts: ExitStack) -> None:
        self.scanner, self.router, self.targets, self.far = (
            _opened(hosts, name) for name in ("scanner", "router", "targets", "far")
        )
        self.router.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        # It tells everybody what it rejects, and not only six of them and one more each second.
        self.router.sysctl(ipv4__icmp_ratelimit=0, ipv6__icmp__ratelimit=0)
        for number, host in enumerate((self.scanner, self.targets, self.far), 1):
            net = (SCANNER, TARGETS, FAR)[number - 1]
            join(host, "wire", self.router, f"wire{number}")
            self.router.run(
                f"ip addr add {net}.254/24 dev wire{number}",
                f"ip addr add 2001:db8:{number}:1::fe/64 dev wire{number} nodad",
            )
            host.run(
                f"ip addr add {net}.253/24 dev wire",
                f"ip addr add 2001:db8:{number}:1::fd/64 dev wire nodad",
                f"ip route add default via {net}.254",
                f"ip -6 route add default via 2001:db8:{number}:1::fe",
            )
            # The lower half of each network is this one host.
            self.router.run(
                f"ip route add {net}.0/25 via {net}.253",
                f"ip -6 route add 2001:db8:{number}::/64 via 2001:db8:{number}:1::fd",
            )
            host.run(f"ip route add local {net}.0/25 dev lo", f"ip -6 route add local 2001:db8:{number}::/64 dev lo")
        for host, own in ((self.scanner, (CANARY6, MAIN6)), (self.far, (OTHER6,))):
            # Who does not ask for it by IPV6_FREEBIND can bind only what is an address by itself.
            host.run(*(f"ip addr add {address}/128 dev lo nodad" for address in own))

    @contextmanager
    def rules(self, rules: str) -> Iterator[None]:
        """A table of the router's for a while: what stands in its braces."""
        self.router.nft(f"table inet for_a_while {{\n{rules}\n}}")
        try:
            yield
        finally:
            self.router.nft("delete table inet for_a_while")


def _opened(hosts: ExitStack, name: str) -> Namespace:
    host = Namespace(name)
    hosts.callback(host.close)
    return host


@contextmanager
def internet() -> Iterator[Internet]:
    """It, until the block ends; skips where it can't be made."""
    for program in ("ip", "nft"):
        needed(program)
    with ExitStack() as hosts:
        yield Internet(hosts)
