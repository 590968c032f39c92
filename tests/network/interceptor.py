"""A transparent proxy on our own path: the router answers for every target there is, and carries our challenge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.network.internet import ROUTER, Internet
from tests.network.relays import PORT, Relay, serving

_AT = 3129


@contextmanager
def intercepting(net: Internet, *networks: str, as_client: bool = False, denies: bool = False) -> Iterator[Relay]:
    """Takes every connection to the proxies' port in these networks.

    as_client: dials from its client's address, not its own. denies: dials nowhere.
    """
    relay = Relay(ROUTER, client=as_client, denies=denies, port=_AT)
    divert = (
        "chain divert {\ntype filter hook prerouting priority mangle\n"
        "meta l4proto tcp socket transparent 1 meta mark set 1\n}"
    )
    taken = "\n".join(f"iifname wire1 ip daddr {network} tcp dport {PORT} redirect to :{_AT}" for network in networks)
    redirect = f"chain redirect_ {{\ntype nat hook prerouting priority dstnat\n{taken}\n}}"
    with serving(net.router, relay):
        # What comes back to the client's address is for the proxy here, not for the client.
        net.router.run("ip rule add fwmark 1 lookup 88 pref 5", "ip route add local 0.0.0.0/0 dev lo table 88")
        try:
            with net.rules(f"{divert}\n{redirect}"):
                yield relay
        finally:
            net.router.run("ip rule del pref 5", "ip route flush table 88")
