"""Where lab hosts listen, and the access rules that some of them have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from scanner.lab.internet import Destination, Internet

Ports = dict[int, float]  # port -> weight
Allows = Callable[[Internet, Destination, int], bool]

# Where confirmed open proxies listened in August 2026, in percent: mannfredcom/hopm-conf (MIT licence).
# fmt: off
HTTP_PORTS: Ports = {
    8080: 23.5, 999: 6.7, 3125: 5.4, 3128: 5.3, 8082: 1.9, 1080: 1.5, 1111: 1.2, 8888: 1.1, 8118: 1.0,
    8181: 1.0, 8081: 1.0, 80: 1.0, 8090: 0.9, 8818: 0.4, 32650: 0.4, 9090: 0.4,
}
SOCKS_PORTS: Ports = {
    1080: 13.1, 5678: 1.7, 4145: 1.6, 8989: 1.5, 4153: 1.3, 1081: 0.4, 1011: 0.4, 10808: 0.3,
}
# fmt: on
WEB_PORTS: Ports = {80: 5, 8080: 3, 8081: 1, 8888: 1, 3128: 0.3}
# For hosts that make their caller wait until its deadline: ports where few protocols are tried.
PATIENCE_PORTS: Ports = {3125: 5.4, 3128: 5.3, 8118: 1.0}
ANY_PORTS = HTTP_PORTS | SOCKS_PORTS | {1080: 14.6}


def lowest_port() -> int:
    """The first port that this process may listen on."""
    if os.geteuid() == 0:
        return 1
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


def anything(_internet: Internet, _target: Destination, _port: int) -> bool:
    return True


def only_tcp_port(internet: Internet, _target: Destination, port: int) -> bool:
    """Squid's usual rule lets CONNECT go to 443 alone; the canaries' plain TCP port stands for it."""
    return port in {canary.tcp for canary in internet.canaries}


def only_mail_port(internet: Internet, _target: Destination, port: int) -> bool:
    """Port 25 alone, for which the canaries' mail port stands."""
    return port in {canary.mail for canary in internet.canaries}


def only_names(_internet: Internet, target: Destination, _port: int) -> bool:
    """No IP literals."""
    return isinstance(target, str)


def not_first_canary(internet: Internet, target: Destination, _port: int) -> bool:
    """Everywhere but to us, as far as it knows us."""
    first = internet.canaries[0]
    return target not in (first.address, first.address6, first.name)
