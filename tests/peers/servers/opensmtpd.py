"""OpenSMTPD."""

from __future__ import annotations

from pathlib import Path

from tests.peers.enclosure import Enclosure
from tests.peers.place import DOMAIN
from tests.peers.servers.peer import Start
from tests.peers.servers.postfix import CERTIFICATE
from tests.peers.site import Site

_CONFIGURATION = """
pki relay.test cert "{certificate}"
pki relay.test key "{certificate}"
listen on {site.address} port {site.port} {options} hostname relay.test
action "out" relay host "smtp://{place.canary}:{place.mail}" src {site.address} helo relay.test
match from {clients} for domain {domain} action "out"
"""


def opensmtpd(clients: str, options: str = "") -> Start:
    """clients: whose mail it takes, in its own words; options: of the port that it listens on."""

    def start(site: Site) -> None:
        certificate = site.write("relay.pem", CERTIFICATE.read_text("utf-8"), root=True)
        Path(certificate).chmod(0o600)  # else it refuses the key
        words = {"site": site, "place": site.place, "domain": DOMAIN, "certificate": certificate}
        text = _CONFIGURATION.format(**words, clients=clients, options=options)
        file = site.write("smtpd.conf", text, root=True)
        within = Enclosure("opensmtpd", ("opensmtpd", "opensmtpq"), "install -d /var/lib/opensmtpd/empty")
        site.start("/usr/sbin/smtpd", "-d", "-f", file, within=within)

    return start
