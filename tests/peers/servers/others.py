"""Servers in Python, from PyPI: pproxy, proxy.py, and aiosmtpd on a proxy port."""

from __future__ import annotations

from functools import partial

from tests.peers.servers.peer import HTTP, SOCKS, SYSTEM, Peer, Start, Then, seen
from tests.peers.site import Site


def pproxy(scheme: str, user: str = "") -> Start:
    def start(site: Site) -> None:
        site.start("python -m pproxy", "-m", "pproxy", "-l", f"{scheme}://{site.at}/@{site.address}{user}")

    return start


def proxy_py(*arguments: str) -> Start:
    def start(site: Site) -> None:
        site.start(
            "python -m proxy",
            *("-m", "proxy", "--hostname", site.address, "--port", site.port),
            *("--num-workers", 1, "--num-acceptors", 1, "--data-dir", site.folder / "data"),
            *arguments,
        )

    return start


def aiosmtpd(site: Site) -> None:
    site.start("python -m aiosmtpd", "-m", "aiosmtpd", "-n", "-l", site.at, "-c", "aiosmtpd.handlers.Sink")


PPROXY = partial(Peer, "pproxy", "pproxy", "python -m pproxy")
PROXY_PY = partial(Peer, "proxy.py", "proxy.py", "python -m proxy")

PEERS = (
    PPROXY(
        "HTTP and SOCKS",
        pproxy("http+socks4+socks5"),
        # It has no SOCKS4a, grants before it dials, and dials 0.0.0.x in vain.
        seen((HTTP, "relayed"), ("socks4", "relayed"), ("socks4a", "pretends"), ("socks5", "relayed")),
        then=Then("password", pproxy("http+socks4+socks5", "#owner:secret"), "inconclusive"),
    ),
    PPROXY(
        "password",
        pproxy("http+socks4+socks5", "#owner:secret"),
        seen((HTTP, "auth_required"), (SOCKS, "hung_up")),
    ),
    PROXY_PY(
        "open",
        proxy_py(),
        seen((HTTP, "relayed"), (SOCKS, "silent")),
        dials_from=SYSTEM,
        then=Then("password", proxy_py("--basic-auth", "owner:secret")),
    ),
    PROXY_PY("password", proxy_py("--basic-auth", "owner:secret"), seen((HTTP, "auth_required"), (SOCKS, "silent"))),
    Peer(
        "aiosmtpd",
        "aiosmtpd",
        "python -m aiosmtpd",
        "on a proxy port",
        aiosmtpd,
        seen((HTTP, "wrong_protocol"), (SOCKS, "wrong_protocol")),
    ),
)
