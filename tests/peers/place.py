"""Where a run of the peers takes place: addresses of its own on loopback, a canary, a name, and a configuration."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from tests.peers.programs import AS_ROOT, NOBODY, environment, find

PORT = 1080  # every peer's, on an address of its own
PROTOCOLS = ("http-connect", "http-get", "http-post", "socks4", "socks4a", "socks5")
DOMAIN = "mail.canary.test"  # whose mail the canary takes; the mail servers are told where it goes
RECEIPT_WAIT = 5.0  # seconds
MAIL_PORTS = (25, 465)
NAME = "canary.peers.test"  # in the peers' own hosts file: nobody asks a name server


@dataclass
class Place:
    """Addresses and ports of one run. folder: readable to nobody. mail_servers: they alone are here."""

    folder: Path
    mail_servers: bool = False
    network: str = field(init=False)

    def __post_init__(self) -> None:
        self.network = f"127.{64 + (os.getpid() + 95 * self.mail_servers) % 190}"
        self.canary = IPv4Address(f"{self.network}.0.1")
        self.vantage = IPv4Address(f"{self.network}.0.2")
        # What proxies know: 443, 25 and 80 where we may bind them.
        self.privileged = _may_bind(self.canary, 25)
        self.tcp, self.mail, self.http = (443, 25, 80) if self.privileged else (8443, 8025, 8080)
        self.hosts = self.folder / "hosts"
        self.hosts.write_text(f"127.0.0.1 localhost\n{self.canary} {NAME}\n", "utf-8")
        wrappers = [find("usr/lib/libnss_wrapper.so"), *_libraries("libnss_wrapper.so")]
        self.wrapper = next((found for found in wrappers if found), None)
        self.config = self.folder / "proxywarden.toml"
        self.events = self.folder / "events.jsonl"
        self.config.write_text(self._configuration(), "utf-8")

    def address(self, number: int) -> IPv4Address:
        """Of the peer with this number, from 0."""
        return IPv4Address(f"{self.network}.{1 + number // 250}.{1 + number % 250}")

    def surroundings(self) -> dict[str, str]:
        """Environment of a peer, in which the canary's name resolves without any name server."""
        if self.wrapper is None:
            return environment()
        return environment() | {"LD_PRELOAD": str(self.wrapper), "NSS_WRAPPER_HOSTS": str(self.hosts)}

    def command(self) -> dict[str, str]:
        """Environment of the product's command; nothing of the machine's settings has a say."""
        own = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("PROXYWARDEN_") and not key.lower().endswith("_proxy")
        }
        return own | {"PROXYWARDEN_CONFIG": str(self.config)}

    def _configuration(self) -> str:
        name = f'name = "{NAME}", ' if self.wrapper else ""
        domain = f'mail_domain = "{DOMAIN}", ' if self.mail_servers else ""
        endpoints = [] if self.mail_servers else [f"{protocol}:{PORT}" for protocol in PROTOCOLS]
        relays = [f"smtp-relay:{port}" for port in MAIL_PORTS]
        ports = f"tcp = {self.tcp}, mail = {self.mail}, http = {self.http}"
        return f"""
data_dir = "{self.folder / "data"}"
[[vantage]]
name = "main"
source = "{self.vantage}"
[canary]
listen = ["{self.canary}:{self.tcp}"]
mail_listen = ["{self.canary}:{self.mail}"]
http_listen = ["{self.canary}:{self.http}"]
targets = [{{id = "main", address = "{self.canary}", {name}{domain}{ports}}}]
[controls]
names = false
[scope]
allow = ["127.0.0.0/8"]
[scan]
endpoints = {json.dumps(endpoints)}
per_network_rate = 1000.0
conversation_timeout = 5.0
[lists.rss]
endpoints = {json.dumps(relays)}
receipt_wait = {RECEIPT_WAIT}
[web]
listen = ["{self.network}.0.4:8025"]
operator_listen = ["{self.network}.0.4:8027"]
[publish]
events = "{self.events}"
"""


def nobody(path: Path) -> Path:
    """Hand a file or a folder to whom the servers run as."""
    if AS_ROOT:
        os.chown(path, NOBODY, NOBODY)
    return path


def _libraries(name: str) -> list[Path]:
    found = [Path(folder) / name for folder in environment()["LD_LIBRARY_PATH"].split(":")]
    found += Path("/usr/lib").glob(f"*-linux-gnu*/{name}")
    return [path for path in found if path.exists()]


def _may_bind(address: IPv4Address, port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind((str(address), port))
        except PermissionError:
            return False
    return True
