"""How to close it, for the kinds of server that we mostly find: which setting, and not a manual."""

from __future__ import annotations

from dataclasses import dataclass

from scanner.model import Listing
from scanner.software import Software


@dataclass(frozen=True, slots=True)
class Advice:
    """summary: what must become true. settings: by the name of the software, where to look.

    leads: the first of them is what answered as it were that, or None.
    """

    summary: str
    settings: tuple[tuple[str, str], ...] = ()
    leads: str | None = None

    @property
    def text(self) -> str:
        """In one piece, for programs."""
        return " ".join([self.summary, *(f"{name}: {setting}" for name, setting in self.settings)])


_MIKROTIK = (
    Software.MIKROTIK.value,
    "/ip proxy set enabled=no and /ip socks set enabled=no, and drop what comes from outside in the firewall's input"
    " chain. If you never turned them on, somebody else did: look through /system script, /system scheduler and the"
    " users, then upgrade RouterOS.",
)
_3PROXY = (
    Software.THREEPROXY.value,
    "Put auth iponly (or strong, with users) and allow lines for your own networks before the service, then deny *;"
    " internal binds it to the inside.",
)
_WINGATE = (
    Software.WINGATE.value,
    "Bind every service (WWW, SOCKS, Telnet) to the inside interface only, and require known users.",
)
_UNKNOWN = (
    "You run no proxy?",
    "Then a program runs one for somebody else: a “share your bandwidth” app, a free VPN, a TV box, or malware."
    " ss -ltnp on Linux or netstat -abno on Windows names what listens. Behind a router look at its port forwardings"
    " and at UPnP, and at the router itself.",
)
_HTTP = Advice(
    "Let the proxy serve your own addresses only, or require a password, or stop it.",
    (
        (
            Software.SQUID.value,
            "Allow your own networks by name (acl localnet src …, http_access allow localnet) and let the rules end"
            " with http_access deny all; http_port with an inside address keeps it inside.",
        ),
        (
            Software.TINYPROXY.value,
            "Without any Allow line it serves everybody: name your networks. Listen binds it to the inside.",
        ),
        _3PROXY,
        (
            Software.PRIVOXY.value,
            "listen-address must be an inside address (127.0.0.1:8118 unless others in your network use it), and"
            " permit-access must name your own networks.",
        ),
        (Software.APACHE.value, "ProxyRequests Off. A reverse proxy does not need it."),
        _MIKROTIK,
        _WINGATE,
        _UNKNOWN,
    ),
)
_SOCKS = Advice(
    "Let the SOCKS server serve your own addresses only, or require a password, or stop it.",
    (
        (
            Software.DANTE.value,
            "Name your own networks in from: of each client pass and socks pass rule, or set socksmethod: username;"
            " internal: should be the inside interface.",
        ),
        _3PROXY,
        ("microsocks", "Start it with -u and -P, or with -i and an inside address."),
        ("ssh -D", "Bind it to 127.0.0.1 (ssh -D 127.0.0.1:1080) and set GatewayPorts no."),
        _MIKROTIK,
        _WINGATE,
        _UNKNOWN,
    ),
)
_TELNET = Advice(
    "Take the telnet gateway off the outside, or require a login before it connects anywhere.",
    (_WINGATE, ("Routers", "Turn telnet off on the outside interface."), _UNKNOWN),
)
_SMTP = Advice(
    "Let the mail server take mail for other domains from your own users only.",
    (
        (
            Software.POSTFIX.value,
            "mynetworks must hold your own networks only, and smtpd_relay_restrictions must end with"
            " reject_unauth_destination (or defer_unauth_destination).",
        ),
        (
            Software.EXIM.value,
            "relay_from_hosts (Debian: dc_relay_nets) must hold your own networks only, relay_to_domains no *.",
        ),
        (
            Software.SENDMAIL.value,
            "Remove FEATURE(promiscuous_relay) and FEATURE(relay_entire_domain); look for RELAY in access.",
        ),
        (Software.OPENSMTPD.value, "Relay with match from local (or from auth) only; for any needs one of the two."),
        (
            Software.EXCHANGE.value,
            "Take the right Ms-Exch-SMTP-Accept-Any-Recipient from ANONYMOUS LOGON on the Internet-facing"
            " receive connector.",
        ),
    ),
)
_EXIT = Advice(
    "Nothing needs to be closed on this address itself, unless it is also the proxy: close the proxy whose"
    " connections leave here. The listing ends together with the proxy's.",
)
_OUTPUT = Advice(
    "Let the mail server that takes strangers' mail in, or this one behind it, refuse mail for other domains from"
    " everybody but your own users. The listing ends together with that of the server that takes it in.",
    _SMTP.settings,
)
_MANUAL = Advice("A person listed it for the reason given. Write to the operator of the list.")
_BY_PROTOCOL = {"http": _HTTP, "https": _HTTP, "h2": _HTTP, "telnet": _TELNET, "smtp": _SMTP}


def advice_for(listing: Listing, software: Software | None = None) -> Advice:
    """By the protocol that the listing was proven with, which its detector names; what is known of first."""
    general = _general(listing)
    first = [item for item in general.settings if software is not None and item[0] == software]
    if not first:
        return general
    rest = (item for item in general.settings if item not in first)
    return Advice(general.summary, (*first, *rest), leads=first[0][0])


def _general(listing: Listing) -> Advice:
    if listing.type == "manual":
        return _MANUAL
    if listing.type == "relay-output":
        return _OUTPUT
    if listing.entry is not None:
        return _EXIT
    protocol = listing.detector.partition("/")[0]
    if protocol.startswith("socks"):
        return _SOCKS
    return _BY_PROTOCOL.get(protocol.partition("-")[0], Advice("Stop it from serving strangers."))
