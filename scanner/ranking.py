"""Where open proxies are found: the shipped order of endpoints, and how own hits change it.

Source: the share of confirmed hits per protocol and port in the scanner lists of the EFnet RBL, August 2026
(mannfredcom/hopm-conf, MIT licence), percent. The lists of older tools cover 42 % of those hits, these about 78 %.
Their "HTTP" is CONNECT or POST and their "SOCKS" any version: each becomes the protocols that answer to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scanner.model import Endpoint

_HTTP = ("http-connect", "http-get", "http-post")
_SOCKS = ("socks5", "socks4", "socks4a")

_SHARES: tuple[tuple[tuple[str, ...], int, float], ...] = (
    (_HTTP, 8080, 23.5),
    (_SOCKS, 1080, 13.1),
    (_HTTP, 999, 6.7),
    (_HTTP, 3125, 5.4),
    (_HTTP, 3128, 5.3),
    (_HTTP, 8082, 1.9),
    (_SOCKS, 5678, 1.7),
    (_SOCKS, 4145, 1.6),
    (_HTTP, 1080, 1.5),
    (_SOCKS, 8989, 1.5),
    (_SOCKS, 4153, 1.3),
    (_HTTP, 1111, 1.2),
    (_HTTP, 8888, 1.1),
    (_HTTP, 8118, 1.0),
    (_HTTP, 8181, 1.0),
    (_HTTP, 8081, 1.0),
    (_HTTP, 80, 1.0),
    (_HTTP, 8090, 0.9),
    (_HTTP, 8085, 0.5),
    (_HTTP, 443, 0.5),
    (_HTTP, 8818, 0.4),
    (_SOCKS, 1081, 0.4),
    (_HTTP, 32650, 0.4),
    (_SOCKS, 1011, 0.4),
    (_HTTP, 9090, 0.4),
    (_SOCKS, 10808, 0.3),
    (_HTTP, 7890, 0.3),
    (_HTTP, 808, 0.3),
    (_HTTP, 3129, 0.3),
    (_HTTP, 81, 0.3),
    (_SOCKS, 8080, 0.3),
    (_SOCKS, 1082, 0.3),
)

SHIPPED: dict[Endpoint, float] = {
    Endpoint(protocol, port): share for protocols, port, share in _SHARES for protocol in protocols
}

# Where mail servers take mail: from other servers (RFC 5321), under TLS (RFC 8314) and from users (RFC 6409), and the
# port that providers offer to those whose network blocks port 25.
RELAYS = tuple(Endpoint("smtp-relay", port) for port in (25, 587, 465, 2525))

# How many of our own hits the shipped shares weigh as much as: with fewer, the order changes slowly.
_PRIOR_HITS = 200.0


def order(endpoints: Iterable[Endpoint], hits: Mapping[Endpoint, float]) -> tuple[Endpoint, ...]:
    """Endpoints by the expected share of hits, most first: the shipped shares, moved by our own hits.

    hits: how often each endpoint was proven open by us. Endpoints of one port stay together, so that one port is
    connected to in one go; endpoints with own hits that are not among `endpoints` join them.
    """
    known = dict.fromkeys(endpoints)
    known.update(dict.fromkeys(endpoint for endpoint, count in hits.items() if count > 0))
    total_hits = sum(hits.values())
    total_share = sum(SHIPPED.get(endpoint, 0.0) for endpoint in known) or 1.0

    def weight(endpoint: Endpoint) -> float:
        prior = SHIPPED.get(endpoint, 0.0) / total_share * _PRIOR_HITS
        return (prior + hits.get(endpoint, 0.0)) / (_PRIOR_HITS + total_hits)

    ports: dict[int, list[Endpoint]] = {}
    for endpoint in known:
        ports.setdefault(endpoint.port, []).append(endpoint)
    by_weight = sorted(ports.values(), key=lambda group: -sum(weight(endpoint) for endpoint in group))
    return tuple(endpoint for group in by_weight for endpoint in sorted(group, key=lambda e: -weight(e)))


def grouped(endpoints: Sequence[Endpoint]) -> dict[int, tuple[Endpoint, ...]]:
    """Ports in the order of their first endpoint, each with its endpoints in order."""
    ports: dict[int, list[Endpoint]] = {}
    for endpoint in dict.fromkeys(endpoints):
        ports.setdefault(endpoint.port, []).append(endpoint)
    return {port: tuple(group) for port, group in ports.items()}
