"""SOCKS servers: microsocks, dante, tor, and OpenSSH's -D."""

from __future__ import annotations

import os
import pwd
from functools import partial

from tests.peers.programs import AS_ROOT, NOBODY
from tests.peers.servers.peer import HTTP, SOCKS4, SYSTEM, Peer, Start, Then, seen, stopped
from tests.peers.site import Site

# microsocks answers 05 FF to whatever it does not let in; dante has no SOCKS4a, and dials 0.0.0.x in vain.


def microsocks(*arguments: str) -> Start:
    def start(site: Site) -> None:
        site.start("microsocks", "-i", site.address, "-p", site.port, "-b", site.address, *arguments)

    return start


PASSWORD = ("-u", "owner", "-P", "secret")


def dante(rules: str, method: str = "none") -> Start:
    def start(site: Site) -> None:
        file = site.write(
            "danted.conf",
            f"""
logoutput: {site.folder}/danted.log
internal: {site.address} port = {site.port}
external: {site.address}
clientmethod: none
socksmethod: {method}
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
{rules}
""",
        )
        site.start("danted", "-f", file, "-N", 1, "-p", site.folder / "pid")

    return start


def rule(verdict: str = "pass", extra: str = "") -> str:
    return f"socks {verdict} {{ from: 0.0.0.0/0 to: 0.0.0.0/0 {extra} }}"


def tor(site: Site) -> None:
    """DisableNetwork: it must not reach for the real network, and takes no client until it may."""
    file = site.write(
        "torrc",
        f"""
DisableNetwork 1
SocksPort {site.at}
DataDirectory {site.folder}/data
Log notice file {site.log}
""",
    )
    site.start("tor", "--defaults-torrc", site.write("defaults", ""), "-f", file, listens=None)
    site.wait(lambda: b"DisableNetwork is set" in site.log.read_bytes(), "tor does not start")


def tor_without_a_way(site: Site) -> None:
    """Its port is open; all that it sends would go to a proxy that is not there, so that nothing leaves."""
    file = site.write(
        "torrc",
        f"""
Socks5Proxy {site.address}:9
SocksPort {site.at}
SocksTimeout 60
DataDirectory {site.folder}/data
Log notice file {site.log}
""",
    )
    site.start("tor", "--defaults-torrc", site.write("defaults", ""), "-f", file)


def user() -> str:
    return pwd.getpwuid(NOBODY if AS_ROOT else os.geteuid()).pw_name


def sshd(site: Site, port: int, forwarding: str = "yes") -> str:
    """OpenSSH's server with keys of its own; where it listens."""
    for key in ("hostkey", "key"):
        if not (site.folder / key).exists():
            site.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", site.folder / key)
    file = site.write(
        "sshd_config",
        f"""
ListenAddress {site.address}:{port}
HostKey {site.folder}/hostkey
AuthorizedKeysFile {site.folder}/key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
UseDNS no
AllowTcpForwarding {forwarding}
""",
    )
    site.start("sshd", "-D", "-e", "-f", file, listens=f"{site.address}:{port}")
    return f"{site.address}:{port}"


def ssh(forwarding: str) -> Start:
    """A client's -D, to a server that dials where the client asks, unless it may not."""

    def start(site: Site) -> None:
        sshd(site, 2222, forwarding)
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", f"UserKnownHostsFile={site.folder}/known"]
        site.start(
            "ssh",
            *("-N", "-F", "/dev/null", "-i", site.folder / "key", "-D", site.at, "-p", 2222),
            *(word for option in options for word in ("-o", option)),
            f"{user()}@{site.address}",
        )

    return start


def sshd_alone(site: Site) -> None:
    sshd(site, site.port)


MICROSOCKS = partial(Peer, "microsocks", "microsocks", "microsocks")
DANTE = partial(Peer, "dante", "dante-server", "danted")
SSH = partial(Peer, "ssh", "openssh-server", "sshd")  # both ends, and the server brings the client along

PEERS = (
    MICROSOCKS(
        "open",
        microsocks(),
        seen((HTTP, "wrong_protocol"), (SOCKS4, "wrong_protocol"), ("socks5", "relayed")),
        then=Then("password", microsocks(*PASSWORD)),
    ),
    MICROSOCKS(
        "open and left so",
        microsocks(),
        seen((HTTP, "wrong_protocol"), (SOCKS4, "wrong_protocol"), ("socks5", "relayed")),
    ),
    MICROSOCKS(
        "password",
        microsocks(*PASSWORD),
        seen((HTTP, "wrong_protocol"), (SOCKS4, "wrong_protocol"), ("socks5", "auth_required")),
    ),
    MICROSOCKS(
        "auth once",
        microsocks("-1", *PASSWORD),
        seen((HTTP, "wrong_protocol"), (SOCKS4, "wrong_protocol"), ("socks5", "auth_required")),
    ),
    DANTE(
        "open",
        dante(rule()),
        seen((HTTP, "hung_up"), ("socks4", "relayed"), ("socks4a", "denied"), ("socks5", "relayed")),
        then=Then("blocked", dante(rule("block"))),
    ),
    DANTE(
        "SOCKS4 only",
        dante(rule(extra="proxyprotocol: socks_v4")),
        seen((HTTP, "hung_up"), ("socks4", "relayed"), ("socks4a", "denied"), ("socks5", "denied")),
        then=Then("SOCKS5 with password", dante(rule(extra="proxyprotocol: socks_v5"), "username")),
    ),
    DANTE("blocked", dante(rule("block")), seen((HTTP, "hung_up"), (SOCKS4, "denied"), ("socks5", "denied"))),
    DANTE(
        "password",
        dante(rule(), "username"),
        seen((HTTP, "hung_up"), (SOCKS4, "denied"), ("socks5", "auth_required")),
    ),
    DANTE(
        "bind only",
        dante(rule(extra="command: bind bindreply")),
        seen((HTTP, "hung_up"), (SOCKS4, "denied"), ("socks5", "denied")),
    ),
    Peer("tor", "tor", "tor", "no network", tor, seen((HTTP, "refused"), (SOCKS4, "refused"), ("socks5", "refused"))),
    Peer(
        "tor",
        "tor",
        "tor",
        "no way to its network",
        tor_without_a_way,
        # To an address of loopback it says no; for a name it waits for a circuit that never comes.
        seen((HTTP, "denied"), ("socks4", "denied"), ("socks4a", "silent"), ("socks5", "denied")),
    ),
    SSH(
        "-D",
        ssh("yes"),
        seen((HTTP, "hung_up"), (SOCKS4, "relayed"), ("socks5", "relayed")),
        dials_from=SYSTEM,
        then=Then("stopped", stopped),
    ),
    SSH(
        "-D where the server forbids it",
        ssh("no"),
        seen((HTTP, "hung_up"), (SOCKS4, "hung_up"), ("socks5", "hung_up")),
    ),
    Peer(
        "sshd",
        "openssh-server",
        "sshd",
        "on a proxy port",
        sshd_alone,
        seen((HTTP, "wrong_protocol"), (SOCKS4, "wrong_protocol"), ("socks5", "wrong_protocol")),
    ),
)
