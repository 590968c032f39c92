"""Who takes mail for our own mail domains: those servers relay to us with reason, and are never listed for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import structlog
import trio

from scanner.model import Address, parse_address

_SECONDS = 5.0  # for one answer
_MOST = 16  # records of an answer that are looked at
_EVERY, _AGAIN = 3600.0, 60.0  # seconds between looks; after one that failed
_log = structlog.get_logger()


class LookupFailed(Exception):
    """Why the name server can't tell: one line."""


async def exchangers(domain: str, server: tuple[str, int]) -> frozenset[Address]:
    """The addresses of a domain's mail exchangers; without MX those of the name itself (RFC 5321 5.1).

    server: address and port of the one name server that is asked. Raises LookupFailed.
    """
    records = await _records(domain, dns.rdatatype.MX, server)
    hosts = [record.partition(" ")[2] for record in records] or [domain]
    found: set[Address] = set()
    for host in hosts:
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            found.update(parse_address(text) for text in await _records(host, kind, server))
    return frozenset(found)


async def keep_known(
    domains: Iterable[str], server: tuple[str, int], known: Callable[[frozenset[Address]], None]
) -> None:
    """Look now and each hour, for ever. known: is told what was found; where a look fails the last word stands."""
    domains, trouble = tuple(domains), ""
    while True:
        try:
            answers = [await exchangers(domain, server) for domain in domains]
        except LookupFailed as error:
            if str(error) != trouble:
                _log.warning("mail exchangers of our own domain are not known", error=str(error))
            trouble = str(error)
            await trio.sleep(_AGAIN)
        else:
            trouble = ""
            known(frozenset().union(*answers))
            await trio.sleep(_EVERY)


async def _records(name: str, kind: dns.rdatatype.RdataType, server: tuple[str, int]) -> list[str]:
    """The values of the records that are there."""
    host, port = server
    ask = partial(dns.asyncquery.udp_with_fallback, backend=dns.asyncbackend.get_backend("trio"))
    try:
        answer, _ = await ask(dns.message.make_query(name, kind), host, _SECONDS, port)
    except (OSError, EOFError, ValueError, trio.BrokenResourceError, dns.exception.DNSException) as error:
        raise LookupFailed(f"{name}: {host} port {port}: {str(error) or type(error).__name__}") from None
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise LookupFailed(f"{name}: {host} port {port} answers {dns.rcode.to_text(answer.rcode())}")
    return [item.to_text() for rrset in answer.answer for item in rrset if item.rdtype == kind][:_MOST]
