"""Postfix, each with a queue of its own."""

from __future__ import annotations

from tests.peers.enclosure import Enclosure
from tests.peers.place import DOMAIN
from tests.peers.programs import ROOT
from tests.peers.servers.peer import Start
from tests.peers.site import Site

CERTIFICATE = ROOT / "tests/scanner/data/mail.test.pem"

_MAIN = """
compatibility_level = 3.6
queue_directory = /var/spool/postfix
data_directory = /var/lib/postfix
myhostname = {name}.test
mydestination = {name}.test
# Its one address would have to be on an interface, which none of loopback's need be.
inet_interfaces = loopback-only
inet_protocols = ipv4
proxy_interfaces = {address}
smtp_bind_address = {address}
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
local_recipient_maps =
alias_maps =
maillog_file = {site.folder}/{name}.log
maillog_file_prefixes = {site.folder}
minimal_backoff_time = 2s
maximal_backoff_time = 5s
queue_run_delay = 2s
"""
_DEFAULTS = {
    "mynetworks": "203.0.113.0/24",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    "transport_maps": "inline:{{ {{ {domain} = smtp:[{place.canary}]:{place.mail} }} }}",
}
_MASTER = """
{address}:{port} inet n - n - - smtpd {options}
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""
# What `postfix check` makes, which takes three seconds for it.
_PREPARE = """
install -d /var/spool/postfix /var/spool/postfix/pid
install -d -o postfix /var/lib/postfix
cd /var/spool/postfix
install -d -o postfix -m 700 active bounce corrupt defer deferred flush hold incoming private saved trace
install -d -o postfix -g postdrop -m 710 public
install -d -o postfix -g postdrop -m 730 maildrop
"""
_USERS = ("postfix", "postdrop", "postgrey")


def postfix(rules: str = "", options: str = "") -> Start:
    """rules: lines of main.cf; options: of its smtpd."""

    def start(site: Site) -> None:
        run(site, rules, options)

    return start


def run(site: Site, rules: str = "", options: str = "", *, address: str = "", prepare: str = "") -> None:
    """address: where it listens and dials from, by default the site's."""
    name = f"postfix-{address}" if address else "postfix"
    address = address or str(site.address)
    words = {"site": site, "place": site.place, "domain": DOMAIN, "certificate": CERTIFICATE, "name": name}
    words |= {"address": address, "port": site.port, "options": options}
    given = {line.partition("=")[0].strip() for line in rules.splitlines()}
    defaults = [f"{name} = {value}" for name, value in _DEFAULTS.items() if name not in given]
    folder = site.folder / f"{name}.d"
    folder.mkdir(exist_ok=True)
    site.write(f"{folder.name}/main.cf", "\n".join([_MAIN, *defaults, rules]).format(**words), root=True)
    site.write(f"{folder.name}/master.cf", _MASTER.format(**words), root=True)
    within = Enclosure("postfix", _USERS, _PREPARE + prepare)
    # It first tries the system's log for two seconds, which need not exist.
    command = ("/usr/lib/postfix/sbin/master", "-c", folder, "-d")
    site.start(*command, listens=f"{address}:{site.port}", within=within, wait=False)


def greylists(site: Site) -> None:
    """By Debian's postgrey: strangers have to come again after a second."""
    server = "inet:{site.address}:10023"
    rules = "mynetworks = 0.0.0.0/0\nsmtpd_recipient_restrictions = check_policy_service " + server
    prepare = f"""
install -d -o postgrey /var/lib/postgrey
postgrey --inet={site.address}:10023 --delay=1 --daemonize
"""
    run(site, rules, prepare=prepare)


def chain(site: Site) -> None:
    """An input host that hands all mail to an output host, which takes it from there alone."""
    run(site, f"mynetworks = {site.address}/32", address=site.upstream)
    run(site, "mynetworks = 0.0.0.0/0\ntransport_maps =\nrelayhost = [{site.upstream}]:{site.port}")
