"""Showing control of an address: by asking from it, or by a TXT record that only its holder can set.

While an address is listed as an open proxy, its users ask from it too: then that shows them what they know anyway,
the port and the transcript, and the record alone does the rest.

The record is looked for at `_proxywarden.` before the address's reverse name, and before each name that its PTR
record gives and that leads back to it: a name that somebody merely pointed at the address shows nothing. The record
is bound to a ticket that only the asker has, since everybody can read it. Nothing is kept: tickets are signed.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from secrets import token_hex

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename
import trio
from fastapi import Request
from itsdangerous import BadData, URLSafeTimedSerializer

from scanner.model import Address, parse_address
from scanner.proof import derive
from scanner.secret import MasterSecret

COOKIE = "control"
SHOWN_FOR = 86400  # seconds that control counts as shown
TICKET_FOR = 7 * 86400  # seconds to set the record in
LABEL = "_proxywarden"
_NAMES = 3  # PTR names that are looked at
_QUERY_SECONDS, _ALL_SECONDS = 2.5, 12.0


class CannotTell(Exception):
    """The name server gave no answer that says yes or no."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the asker keeps (text), and what is to be published under one of the names (record)."""

    text: str
    address: Address
    names: tuple[str, ...]
    record: str


class Control:
    """Gives tickets, looks for their records, and knows again who showed control."""

    def __init__(self, secret: MasterSecret, resolver: tuple[str, int] | None) -> None:
        keys = [derive(secret.keys[number], "proxywarden web control") for number in sorted(secret.keys)]
        self._tickets = URLSafeTimedSerializer(keys, salt="ticket")
        self._shown = URLSafeTimedSerializer(keys, salt="shown")
        self._key = keys[-1]
        self._resolver = resolver
        self._limiter = trio.CapacityLimiter(8)

    @property
    def by_dns(self) -> bool:
        return self._resolver is not None

    def is_shown(self, request: Request, address: Address) -> bool:
        """Whether this request shows the one or the other."""
        return self.asked_from(request, address) or self.by_record(request, address)

    def asked_from(self, request: Request, address: Address) -> bool:
        """Whether it comes from the address itself, and not from a proxy that says so."""
        return bool(request.state.client == address and not request.state.relayed)

    def by_record(self, request: Request, address: Address) -> bool:
        """Whether it brings what `show` gave."""
        words = request.headers.get("authorization", "").split()
        bearer = words[1] if len(words) == 2 and words[0].lower() == "bearer" else ""
        return any(self._address_of(text) == address for text in (request.cookies.get(COOKIE, ""), bearer) if text)

    def show(self, address: Address) -> str:
        """What somebody carries who showed control, for SHOWN_FOR seconds."""
        return str(self._shown.dumps(str(address)))

    def ticket(self, address: Address) -> Ticket:
        return self._ticket(str(self._tickets.dumps([str(address), token_hex(16)])), address)

    def known_ticket(self, text: str) -> Ticket | None:
        """None where it is none of ours, or too old."""
        try:
            address, _ = self._tickets.loads(text[:500], max_age=TICKET_FOR)
            return self._ticket(text, parse_address(address))
        except (BadData, ValueError, TypeError):
            return None

    async def published(self, ticket: Ticket) -> bool:
        """Whether the ticket's record is in the DNS; CannotTell where that can't be found out."""
        with trio.move_on_after(_ALL_SECONDS):
            async with self._limiter:
                return await self._published(ticket)
        raise CannotTell("the name server took too long")

    async def _published(self, ticket: Ticket) -> bool:
        address = ticket.address
        reverse = dns.reversename.from_address(str(address)).to_text()
        if ticket.record in await self._ask(f"{LABEL}.{reverse}", dns.rdatatype.TXT):
            return True
        kind = dns.rdatatype.A if address.version == 4 else dns.rdatatype.AAAA
        for name in (await self._ask(reverse, dns.rdatatype.PTR))[:_NAMES]:
            leads_back = str(address) in await self._ask(name, kind)
            if leads_back and ticket.record in await self._ask(f"{LABEL}.{name}", dns.rdatatype.TXT):
                return True
        return False

    def _ticket(self, text: str, address: Address) -> Ticket:
        mark = hmac.digest(self._key, text.encode(), "sha256").hex()[:32]
        reverse = dns.reversename.from_address(str(address)).to_text(omit_final_dot=True)
        names = (f"{LABEL}.{reverse}", f"{LABEL}.<the name that {address} has in its PTR record>")
        return Ticket(text, address, names, f"proxywarden={mark}")

    def _address_of(self, text: str) -> Address | None:
        try:
            return parse_address(str(self._shown.loads(text[:500], max_age=SHOWN_FOR)))
        except (BadData, ValueError):
            return None

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> list[str]:
        """The values of the records that are there, of the configured server alone."""
        assert self._resolver is not None
        host, port = self._resolver
        try:
            question = dns.message.make_query(name, kind)
            answer, _ = await dns.asyncquery.udp_with_fallback(
                question, host, _QUERY_SECONDS, port, backend=dns.asyncbackend.get_backend("trio")
            )
        except dns.exception.Timeout:
            raise CannotTell("the name server did not answer") from None
        except (dns.name.LabelTooLong, dns.name.NameTooLong):
            return []
        except (OSError, EOFError, ValueError, trio.BrokenResourceError, dns.exception.DNSException):
            raise CannotTell("the name server gave no usable answer") from None
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise CannotTell(f"the name server says {dns.rcode.to_text(answer.rcode())}")
        found: list[str] = []
        for rrset in answer.answer[:16]:
            for item in list(rrset)[:16]:
                if item.rdtype != kind:
                    continue
                if kind == dns.rdatatype.TXT:
                    found.append(b"".join(item.strings).decode("ascii", "replace").strip())
                elif kind == dns.rdatatype.PTR:
                    found.append(item.target.to_text())
                else:
                    found.append(str(parse_address(item.address)))
        return found
