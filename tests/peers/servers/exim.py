"""Exim."""

from __future__ import annotations

from tests.peers.enclosure import Enclosure
from tests.peers.place import DOMAIN
from tests.peers.servers.peer import Start
from tests.peers.site import Site

_MAIN = """
primary_hostname = relay.test
log_file_path = {site.folder}/exim/%slog
local_interfaces = {site.address}
daemon_smtp_ports = {site.port}
keep_environment =
tls_advertise_hosts =
rfc1413_hosts =
host_lookup =
allow_domain_literals = true
message_logs = false
domainlist local = @[] : relay.test
hostlist relay_from_hosts = {hosts}
acl_smtp_rcpt = rcpt
{options}
begin acl
rcpt:
  {first}
  accept hosts = +relay_from_hosts
  accept domains = +local
    verify = recipient
  deny message = relay not permitted
begin routers
{router}
out:
  driver = manualroute
  domains = {domain}
  transport = out
  route_list = * {place.canary} byname
  self = send
begin transports
out:
  driver = smtp
  interface = {site.address}
  port = {place.mail}
  hosts_try_chunking =
  hosts_avoid_tls = *
begin retry
* * F,1h,2s
"""
PERCENT = r"""
percent:
  driver = redirect
  domains = +local
  local_parts = ^.*%
  data = ${sg{$local_part}{%}{@}}
"""
DISCARDS = "gone:\n  driver = redirect\n  data = :blackhole:\n  allow_fail\n"
LOGIN = "require message = 530 5.7.0 Authentication required\n    authenticated = *"
QUEUES = "queue_only = true"
_QUEUE_RUNS = "-q11s"  # longer than a visit waits for a letter


def exim(hosts: str = "203.0.113.0/24", *, first: str = "", router: str = "", options: str = "") -> Start:
    """hosts: who may relay; first: the first of its rules; router: before the one that sends mail out."""

    def start(site: Site) -> None:
        words = {"hosts": hosts, "first": first, "router": router, "options": options}
        file = site.write("exim.conf", _MAIN.format(site=site, place=site.place, domain=DOMAIN, **words), root=True)
        prepare = f"""
install -d /etc/exim4
install -m 644 {file} /etc/exim4/exim4.conf
install -d -o Debian-exim /var/spool/exim4 {site.folder}/exim
"""
        within = Enclosure("exim", ("Debian-exim",), prepare)
        site.start("exim4", "-bdf", _QUEUE_RUNS, "-oP", "/run/exim.pid", within=within)

    return start
