"""A list and a type of listing -> the A values that stand for them, and the lists that a view publishes.

Values of one address on several lists are several A records, never a sum: clients that compare and clients that
test bits both read them (Postfix and rspamd, SpamAssassin and Exim).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from scanner.model import Listing

LISTS: Final = ("ops", "rss", "dul", "rbl")
FAMILIES: Final = ("http", "socks", "telnet", "smtp")

_ANSWERS = IPv4Network("127.0.0.0/8")
_ERRORS = IPv4Network("127.255.255.0/24")  # read as "you may not ask" by clients of large lists
_TEST_ABSENT = IPv4Address("127.0.0.1")  # must never be listed (RFC 5782 section 5), so it is no value either
_PRINTABLE = frozenset(map(chr, range(0x20, 0x7F)))

# Sources of the codes: MAPS RBL+ in Exim 4.50's specification and SpamAssassin's 20_dnsbl_tests.cf; the others in
# HOPM's doc/reference.conf and on the lists' own pages.
SHIPPED: Final[Mapping[str, Mapping[str, str]]] = {
    "maps": {
        "ops": "127.1.0.8",
        "ops.exit": "127.1.0.16",
        "rss": "127.1.0.4",
        "dul": "127.1.0.2",
        "rbl": "127.1.0.1",
    },
    "sorbs": {
        "ops": "127.0.0.4",
        "ops.http": "127.0.0.2",
        "ops.socks": "127.0.0.3",
        "rss": "127.0.0.5",
        "dul": "127.0.0.10",
        "rbl": "127.0.0.6",
    },
    "dronebl": {
        "ops": "127.0.0.10",
        "ops.http": "127.0.0.9",
        "ops.socks": "127.0.0.8",
        "ops.telnet": "127.0.0.14",
        "ops.exit": "127.0.0.10",
        "rbl": "127.0.0.255",
    },
    "spamhaus": {"ops": "127.0.0.4", "rss": "127.0.0.4", "dul": "127.0.0.10", "rbl": "127.0.0.2"},
}

_TITLES = {
    "ops": "Open proxy",
    "ops.http": "Open HTTP proxy",
    "ops.socks": "Open SOCKS proxy",
    "ops.telnet": "Open telnet gateway",
    "ops.exit": "Exit of an open proxy",
    "rss": "Open mail relay",
    "dul": "Dynamic address range: use your provider's mail server",
    "rbl": "Listed by the operator",
}
_NOTE_LIMIT = 80  # characters


@dataclass(frozen=True, slots=True)
class Heading:
    """What decides how an entry is published. note: the operator's own words, for entries by hand."""

    list: str
    type: str
    family: str = ""
    note: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """Under which a view, or a table of texts, may know it; the most specific first."""
        return (f"{self.list}.{self.type}", f"{self.list}.{self.family}", self.list)

    @property
    def title(self) -> str:
        title = next((_TITLES[key] for key in self.keys if key in _TITLES), "Listed")
        return f"{title}: {self.note}" if self.note else title


@dataclass(frozen=True, slots=True)
class View:
    """A values by key: `LIST`, `LIST.FAMILY` (http, socks, telnet, smtp) or `LIST.TYPE` (entry, exit, manual)."""

    name: str
    values: Mapping[str, str]

    def value(self, heading: Heading) -> str | None:
        """The A value, or None where this view does not publish such entries."""
        return next((self.values[key] for key in heading.keys if key in self.values), None)

    def values_of(self, list_: str) -> tuple[str, ...]:
        """Every value that the list can answer with, its own first."""
        keys = sorted((key for key in self.values if key.partition(".")[0] == list_), key=lambda key: "." in key)
        return tuple(dict.fromkeys(self.values[key] for key in keys))


def heading(list_: str, type_: str, detector: str, reason: str) -> Heading:
    """The heading of an entry. reason counts only for what was listed by hand: no other word of it is an operator's."""
    if type_ == "manual":
        return Heading(list_, type_, note=plain(reason))
    return Heading(list_, type_, family(detector))


def heading_of(listing: Listing) -> Heading:
    return heading(listing.list, listing.type, listing.detector, listing.reason)


def family(detector: str) -> str:
    """The kind of proxy that a detector such as `socks5/1.0` finds: http, socks, telnet, smtp or nothing."""
    name = detector.partition("/")[0]
    if name.startswith(("http", "h2-")):
        return "http"
    return next((known for known in FAMILIES if name.startswith(known)), "")


def plain(text: str) -> str:
    """An operator's words as a TXT record carries them: printable ASCII, short, without what rbldnsd substitutes."""
    words = " ".join("".join(sign if sign in _PRINTABLE else " " for sign in text).replace("$", "").split())
    return words[:_NOTE_LIMIT].rstrip()


def lint(name: str, values: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with a view, a line each: key, value, and what was expected."""
    for key, value in values.items():
        list_, _, rest = key.partition(".")
        if list_ not in LISTS:
            yield f"{name}.{key}: expected one of {', '.join(LISTS)}, with .TYPE or .KIND behind it where wanted"
        elif "." in key and rest not in (*FAMILIES, "entry", "exit", "manual"):
            yield f"{name}.{key}: expected .entry, .exit, .manual, .http, .socks, .telnet or .smtp"
        try:
            address = IPv4Address(value)
        except ValueError:
            yield f"{name}.{key} = {value!r}: expected an address of 127.0.0.0/8"
            continue
        if address not in _ANSWERS:
            yield f"{name}.{key} = {value!r}: expected an address of 127.0.0.0/8 (RFC 5782 section 2.3)"
        elif address == _TEST_ABSENT:
            yield f"{name}.{key} = {value!r}: 127.0.0.1 is what clients test for being absent (RFC 5782 section 5)"
        elif address in _ERRORS:
            yield f"{name}.{key} = {value!r}: 127.255.255.0/24 is read as an error, and mail refused for it"


def view(name: str, own: Mapping[str, Mapping[str, str]]) -> View:
    """A view by name. KeyError where there is none; a view of the configuration goes before a shipped one."""
    return View(name, dict(own[name] if name in own else SHIPPED[name]))
