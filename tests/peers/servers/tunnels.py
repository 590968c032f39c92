"""Local ends of tunnels that somebody left open: V2Ray and Shadowsocks."""

from __future__ import annotations

import json
from functools import partial

from tests.peers.place import NAME
from tests.peers.servers.peer import HTTP, SOCKS, SOCKS4, Peer, Start, Then, seen, stopped
from tests.peers.site import Site


def v2ray(protocol: str, **settings: object) -> Start:
    """The far end is the same process: what comes in goes straight out. It resolves names by itself."""

    def start(site: Site) -> None:
        configuration = {
            "log": {"loglevel": "warning"},
            "dns": {"hosts": {NAME: str(site.place.canary)}, "servers": [str(site.address)]},
            "inbounds": [{"listen": str(site.address), "port": site.port, "protocol": protocol, "settings": settings}],
            "outbounds": [
                {"protocol": "freedom", "sendThrough": str(site.address), "settings": {"domainStrategy": "UseIPv4"}}
            ],
        }
        site.start("v2ray", "-config", site.write("v2ray.json", json.dumps(configuration)))

    return start


def shadowsocks(site: Site) -> None:
    """Both ends here. It resolves names by itself, and the name server that it is given is nobody."""
    common = ("-k", "secret", "-m", "aes-256-gcm", "-s", site.address, "-p", 8388)
    site.start("ss-server", *common, "-b", site.address, "-d", site.address, listens=f"{site.address}:8388")
    site.start("ss-local", *common, "-b", site.address, "-l", site.port)


V2RAY = partial(Peer, "v2ray", "v2ray", "v2ray")

PEERS = (
    V2RAY(
        "SOCKS",
        v2ray("socks", auth="noauth"),
        seen((HTTP, "hung_up"), (SOCKS, "relayed")),
        lacks={"socks4a": ("tcp",)},  # an address written as a name: granted, and never dialled
        then=Then("password", v2ray("socks", auth="password", accounts=[{"user": "owner", "pass": "secret"}])),
    ),
    V2RAY(
        "HTTP",
        v2ray("http"),
        seen((HTTP, "relayed"), (SOCKS, "silent")),
        then=Then("password", v2ray("http", accounts=[{"user": "owner", "pass": "secret"}])),
    ),
    Peer(
        "shadowsocks",
        "shadowsocks-libev",
        "ss-local",
        "open to all",
        shadowsocks,
        seen((HTTP, "hung_up"), (SOCKS4, "hung_up"), ("socks5", "relayed")),
        lacks={"socks5": ("name",)},
        then=Then("stopped", stopped),
    ),
)
