"""HTTP proxies and web servers: squid, tinyproxy, privoxy, Apache, nginx, HAProxy."""

from __future__ import annotations

from functools import partial

from tests.peers.programs import find
from tests.peers.servers.peer import FORWARDS, HTTP, SOCKS, SYSTEM, UPSTREAM, Peer, Start, Then, seen, stopped
from tests.peers.site import Site


def squid(rules: str, mode: str = "") -> Start:
    def start(site: Site) -> None:
        file = site.write(
            "squid.conf",
            f"""
http_port {site.at} {mode}
{f"http_port {site.address}:3129" * bool(mode)}
tcp_outgoing_address {site.address}
visible_hostname peers.test
hosts_file {site.place.hosts}
dns_nameservers {site.address}
mime_table {find("usr/share/squid/mime.conf")}
icon_directory {find("usr/share/squid/icons")}
error_directory {find("usr/share/squid/errors/templates")}
pid_filename none
netdb_filename none
access_log none
cache_log {site.folder}/cache.log
unlinkd_program {find("usr/lib/squid/unlinkd")}
coredump_dir {site.folder}
pinger_enable off
shutdown_lifetime 0 seconds
max_filedescriptors 1024
cache_mem 8 MB
{rules.format(site=site, place=site.place)}
""",
        )
        site.start("squid", "-N", "-f", file)

    return start


SQUID_PORTS = """
acl sure port {place.tcp}
acl CONNECT method CONNECT
http_access deny CONNECT !sure
http_access allow all
"""
SQUID_CACHE = """
refresh_pattern . 1440 100% 1440 override-expire override-lastmod ignore-reload ignore-no-store ignore-private
http_access allow all
"""
SQUID_PASSWORD = """
auth_param basic program {ncsa} {{site.folder}}/squid.conf
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
"""


def squid_password(site: Site) -> None:
    squid(SQUID_PASSWORD.format(ncsa=find("usr/lib/squid/basic_ncsa_auth")))(site)


def tinyproxy(rules: str = "", *, upstream: bool = False) -> Start:
    def start(site: Site) -> None:
        if upstream:
            _tinyproxy(site, site.upstream, "")
        _tinyproxy(site, str(site.address), rules + (f"Upstream http {site.upstream}:{site.port}" * upstream))

    return start


def _tinyproxy(site: Site, address: str, rules: str) -> None:
    file = site.write(
        f"tinyproxy-{address}.conf",
        f"""
Listen {address}
Port {site.port}
Bind {address}
Timeout 20
MaxClients 30
LogFile "{site.folder}/tinyproxy.log"
{rules}
""",
    )
    site.start("tinyproxy", "-d", "-c", file, listens=f"{address}:{site.port}")


def privoxy(rules: str = "", actions: str = "") -> Start:
    def start(site: Site) -> None:
        site.write("peers.action", f"{{ {actions} }}\n/\n")
        file = site.write(
            "config",
            f"""
listen-address {site.at}
confdir {site.folder}
logdir {site.folder}
templdir {find("etc/privoxy/templates")}
actionsfile peers.action
{rules.format(site=site)}
""",
        )
        site.start("privoxy", "--no-daemon", file)

    return start


def apache(rules: str, modules: str = "proxy proxy_http proxy_connect") -> Start:
    def start(site: Site) -> None:
        folder = find("usr/lib/apache2/modules")
        names = f"mpm_event authz_core authz_host {modules}".split()
        loads = "\n".join(f"LoadModule {name}_module {folder}/mod_{name}.so" for name in names)
        file = site.write(
            "apache.conf",
            f"""
ServerRoot {site.folder}
ServerName peers.test
Listen {site.at}
PidFile {site.folder}/pid
ErrorLog {site.folder}/error.log
Mutex fcntl:{site.folder} default
StartServers 1
DocumentRoot {site.folder}
{loads}
{rules.format(site=site, place=site.place)}
""",
        )
        site.start("apache2", "-D", "FOREGROUND", "-f", file)

    return start


APACHE_OPEN = """
ProxyRequests On
ProxySourceAddress {site.address}
AllowCONNECT {place.tcp} {place.mail} {place.http}
<Proxy *>
Require all granted
</Proxy>
"""
APACHE_DENIED = APACHE_OPEN.replace("all granted", "all denied")


def nginx(location: str) -> Start:
    def start(site: Site) -> None:
        site.write("index.html", "<html><title>A web page</title></html>\n")
        paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = "\n".join(f"{name}_temp_path {site.folder}/{name};" for name in paths)
        file = site.write(
            "nginx.conf",
            f"""
daemon off;
pid {site.folder}/pid;
error_log {site.folder}/error.log;
worker_processes 1;
events {{}}
http {{
{places}
access_log off;
server {{
listen {site.at};
root {site.folder};
location / {{ {location.format(site=site)} }}
}} }}
""",
        )
        site.start("nginx", "-p", site.folder, "-e", site.folder / "error.log", "-c", file)

    return start


def haproxy(backend: str) -> Start:
    def start(site: Site) -> None:
        file = site.write(
            "haproxy.cfg",
            f"""
global
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
# Without this section it makes one of the machine's name servers.
resolvers default
    nameserver nobody {site.address}:53
frontend peers
    bind {site.at}
    default_backend all
backend all
{backend.format(site=site)}
""",
        )
        site.start("haproxy", "-db", "-f", file)

    return start


# Without the first line a request for a name is one to itself, for ever.
HAPROXY_OPEN = """
    http-request deny unless {{ url_ip -m found }}
    http-request set-dst url_ip
    http-request set-dst-port url_port
    server any 0.0.0.0:0 source {site.address}
"""

SQUID = partial(Peer, "squid", "squid", "squid")
TINYPROXY = partial(Peer, "tinyproxy", "tinyproxy-bin", "tinyproxy")
PRIVOXY = partial(Peer, "privoxy", "privoxy", "privoxy")
APACHE = partial(Peer, "apache", "apache2-bin", "apache2")
NGINX = partial(Peer, "nginx", "nginx", "nginx")
HAPROXY = partial(Peer, "haproxy", "haproxy", "haproxy")

# Most wait for the end of a line that a SOCKS client never sends; others answer 400.
NO_SOCKS, NO_SOCKS_400 = (SOCKS, "silent"), (SOCKS, "wrong_protocol")
RELAYED, DENIED, AUTH = (HTTP, "relayed"), (HTTP, "denied"), (HTTP, "auth_required")

PEERS = (
    SQUID(
        "open",
        squid("http_access allow all"),
        seen(RELAYED, NO_SOCKS),
        then=Then("denied", squid("http_access deny all")),
    ),
    SQUID("open and left so", squid("http_access allow all"), seen(RELAYED, NO_SOCKS)),
    SQUID(
        "CONNECT to 443 only",
        squid(SQUID_PORTS),
        seen(RELAYED, NO_SOCKS),
        lacks={"http-connect": ("mail", "http")},
        then=Then("password", squid_password),
    ),
    SQUID("cache on", squid(SQUID_CACHE), seen(RELAYED, NO_SOCKS), then=Then("stopped", stopped)),
    SQUID("denied", squid("http_access deny all"), seen(DENIED, NO_SOCKS)),
    SQUID("password", squid_password, seen(AUTH, NO_SOCKS)),
    SQUID(
        "intercept, met directly",
        squid("http_access allow all", "intercept"),
        seen((HTTP, ("silent", "hung_up")), (SOCKS, ("silent", "hung_up"))),
    ),
    TINYPROXY("open", tinyproxy(), seen(RELAYED, NO_SOCKS), then=Then("ACL", tinyproxy("Allow 127.0.0.9\n"))),
    TINYPROXY("open and left so", tinyproxy(), seen(RELAYED, NO_SOCKS)),
    TINYPROXY(
        "upstream chain",
        tinyproxy(upstream=True),
        seen(RELAYED, NO_SOCKS),
        dials_from=UPSTREAM,
        then=Then("password", tinyproxy("BasicAuth owner secret\n")),
    ),
    TINYPROXY("ACL", tinyproxy("Allow 127.0.0.9\n"), seen(DENIED, NO_SOCKS_400)),
    TINYPROXY("password", tinyproxy("BasicAuth owner secret\n"), seen(AUTH, NO_SOCKS)),
    PRIVOXY(
        "open",
        privoxy(),
        seen(RELAYED, NO_SOCKS),
        dials_from=SYSTEM,
        then=Then("ACL", privoxy("permit-access 127.0.0.9"), "inconclusive"),
    ),
    PRIVOXY(
        "no CONNECT",
        privoxy(actions="+limit-connect{1}"),
        seen(("http-connect", "denied"), (FORWARDS, "relayed"), NO_SOCKS),
        dials_from=SYSTEM,
        then=Then("stopped", stopped),
    ),
    PRIVOXY("ACL", privoxy("permit-access 127.0.0.9"), seen((HTTP, "hung_up"), (SOCKS, "hung_up"))),
    APACHE("open", apache(APACHE_OPEN), seen(RELAYED, NO_SOCKS), then=Then("denied", apache(APACHE_DENIED))),
    APACHE("denied", apache(APACHE_DENIED), seen(DENIED, NO_SOCKS)),
    APACHE("a web server", apache("", ""), seen(DENIED, NO_SOCKS)),
    NGINX(
        "a web server",
        nginx("try_files /index.html =404;"),
        seen(("http-connect", "denied"), ("http-get", "pretends"), ("http-post", "denied"), NO_SOCKS_400),
    ),
    NGINX(
        "open forward proxy",
        nginx("proxy_pass http://$http_host$request_uri; proxy_bind {site.address};"),
        seen(("http-connect", "denied"), (FORWARDS, "relayed"), NO_SOCKS_400),
        lacks=dict.fromkeys(FORWARDS, ("name",)),
        then=Then("a web server", nginx("try_files /index.html =404;"), "inconclusive"),
    ),
    HAPROXY("no backend", haproxy(""), seen((HTTP, "unreachable"), NO_SOCKS_400)),
    HAPROXY(
        "200 to everything",
        haproxy('    http-request return status 200 content-type text/plain string "fine"'),
        seen((HTTP, "pretends"), NO_SOCKS_400),
    ),
    HAPROXY(
        "open forward proxy",
        haproxy(HAPROXY_OPEN),
        seen(("http-connect", "denied"), (FORWARDS, "relayed"), NO_SOCKS_400),
        lacks=dict.fromkeys(FORWARDS, ("name",)),
        then=Then("denied", haproxy("    http-request deny")),
    ),
)
