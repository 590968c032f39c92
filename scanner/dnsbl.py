"""Asks a DNS blocklist about an address (RFC 5782): only the server that is named, never the system's resolver."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename
import trio

from scanner.model import Address

_TRIES = 2
_ANSWERS = IPv4Network("127.0.0.0/8")
# "You may not ask", as large lists say it: https://www.spamhaus.org/faqs/dnsbl-usage/#200
_ERRORS = IPv4Network("127.255.255.0/24")


class DnsblError(Exception):
    """Why the list can't be asked, or its answer not be believed: one line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a list says of an address: A values, and the texts that explain them."""

    name: str
    values: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def listed(self) -> bool:
        return bool(self.values)


def query_name(address: Address, zone: str) -> dns.name.Name:
    """The name to ask for: the address reversed, in octets or nibbles, below the zone. Raises DnsblError."""
    try:
        below = dns.name.from_text(zone)
        origin = dns.reversename.ipv4_reverse_domain if address.version == 4 else dns.reversename.ipv6_reverse_domain
        return dns.reversename.from_address(str(address)).relativize(origin).derelativize(below)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise DnsblError(f"zone {zone!r}: {error}") from None


async def ask(address: Address, zone: str, server: tuple[str, int], *, timeout: float = 3.0) -> Answer:
    """Ask `server` (address and port). Raises DnsblError where it can't tell.

    timeout: seconds for each of two tries.
    """
    name = query_name(address, zone)
    records = await _records(name, dns.rdatatype.A, server, timeout)
    for value in records:
        if ip_address(value) in _ERRORS:
            raise DnsblError(f"{zone}: answers {value}, which means that it will not say")
        if ip_address(value) not in _ANSWERS:
            raise DnsblError(f"{zone}: answers {value}, which no blocklist does: expected 127.0.0.0/8")
    texts = await _records(name, dns.rdatatype.TXT, server, timeout) if records else ()
    return Answer(name.to_text(omit_final_dot=True), records, texts)


async def serial(zone: str, server: tuple[str, int], *, timeout: float = 3.0) -> int:
    """The serial of the zone as the server has it. Raises DnsblError where it can't tell."""
    try:
        name = dns.name.from_text(zone)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise DnsblError(f"zone {zone!r}: {error}") from None
    for rrset in (await _answer(name, dns.rdatatype.SOA, server, timeout)).answer:
        if rrset.rdtype == dns.rdatatype.SOA and rrset.name == name:
            return int(rrset[0].serial)
    raise DnsblError(f"{server[0]} port {server[1]}: has no zone {zone}")


def behind(serial: int, other: int) -> bool:
    """Whether a serial comes before another one (RFC 1982)."""
    return 0 < other - serial & 0xFFFFFFFF < 1 << 31


async def _records(
    name: dns.name.Name, kind: dns.rdatatype.RdataType, server: tuple[str, int], timeout: float
) -> tuple[str, ...]:
    """The records of the answer; none where the name or the kind is not there."""
    answer = await _answer(name, kind, server, timeout)
    if kind == dns.rdatatype.TXT:
        return tuple(
            b"".join(item.strings).decode("utf-8", "backslashreplace")
            for rrset in answer.answer
            for item in rrset
            if item.rdtype == kind
        )
    return tuple(item.address for rrset in answer.answer for item in rrset if item.rdtype == kind)


async def _answer(
    name: dns.name.Name, kind: dns.rdatatype.RdataType, server: tuple[str, int], timeout: float
) -> dns.message.Message:
    """What the server says of a name, also that there is none."""
    host, port = server
    question = dns.message.make_query(name, kind)
    question.flags &= ~dns.flags.RD  # of the server itself; it is to ask nobody else
    backend = dns.asyncbackend.get_backend("trio")
    problem = ""
    for _ in range(_TRIES):
        try:
            answer, _ = await dns.asyncquery.udp_with_fallback(question, host, timeout, port, backend=backend)
            break
        except dns.exception.Timeout:
            problem = f"no answer within {_TRIES} times {timeout:g} s"
        except (OSError, EOFError, trio.BrokenResourceError, dns.exception.DNSException) as error:
            problem = str(error) or type(error).__name__
    else:
        raise DnsblError(f"{host} port {port}: {problem}")
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise DnsblError(f"{host} port {port}: answers {dns.rcode.to_text(answer.rcode())} for {name}")
    return answer
