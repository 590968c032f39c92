"""Dynamic DNS (RFC 2136) to a primary: what changed in batches, signed by TSIG; everything again where the zone is not
as we left it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.tsigkeyring
import dns.update
import structlog
import trio

from scanner.config import ConfigError
from scanner.dnsbl import behind
from scanner.fields import parse_host_port
from scanner.publish.ledger import Changes
from scanner.publish.names import Names, Node
from scanner.publish.publisher import OutputError, Publisher, zone_of
from scanner.publish.rbldnsd import TEST4, TEST6, replace_file
from scanner.publish.settings import DnsUpdateSection
from scanner.publish.views import LISTS, Heading
from scanner.settings import Settings

_TIMEOUT = 20.0  # seconds for one message and its answer
_LOOK_PAUSE = 60.0  # seconds between two looks at the serials while nothing changes
_MARKER = "_proxywarden"  # a TXT that says how far the zone was brought
# Whatever else stands in the zone, such as the addresses of its name servers, is the operator's.
_OUR_NAMES = re.compile(r"(\*\.)?\d{1,3}(\.\d{1,3}){0,3}|(\*\.)?[0-9a-f](\.[0-9a-f]){0,31}")
_OURS = (dns.rdatatype.A, dns.rdatatype.TXT)
_TEXT_LIMIT = 200
_log = structlog.get_logger()

Records = frozenset[tuple[str, str]]  # type and text


@dataclass(slots=True)
class _Zone:
    name: str
    version: int
    left: int | None = None  # the serial that our last update left, also of an earlier process
    serial: int | None = None  # the same, where the zone is known to be right with it; None: look at all of it
    looked: float = -_LOOK_PAUSE


class DnsUpdate:
    """The zones of a primary, one for each family."""

    name = "dns_update"

    def __init__(self, settings: Settings) -> None:
        self._section = settings.publish.dns_update
        self._texts = zone_of(settings, self._section.view)
        self._server = parse_host_port(self._section.server)
        self._keys = _keyring(self._section)
        families = ((self._section.zone, 4), (self._section.zone6, 6))
        self._zones = [_Zone(zone, version) for zone, version in families if zone]
        self._file = settings.data_dir / "dns_update.json"  # serials: the zone itself may be an old copy
        self._known: dict[str, int] | None = None

    async def update(self, publisher: Publisher, changes: Changes, *, whole: bool) -> str:
        ledger = publisher.ledger
        assert ledger is not None
        self._recall()
        try:
            for zone in self._zones:
                names = Names(ledger.published, zone.version, LISTS)
                marker = f"{ledger.cursor or '-'} {sum(ledger.published.count(name, zone.version) for name in LISTS)}"
                nodes = {node for _, item in changes.items for node in names.affected(item)}
                due = time.monotonic() - zone.looked >= _LOOK_PAUSE
                if nodes or whole or zone.serial is None or due:
                    await self._bring(zone, names, nodes, marker, whole=whole)
                    zone.looked = time.monotonic()
        except (OSError, EOFError, trio.TooSlowError, trio.BrokenResourceError, dns.exception.DNSException) as error:
            for zone in self._zones:
                zone.serial = None
            text = str(error) or type(error).__name__
            raise OutputError(f"{self._section.server}: {text}") from None
        self._remember()
        for zone in self._zones:
            if zone.left is not None:
                publisher.serials[zone.name.rstrip(".").lower()] = zone.left
        return f"ok, serial {', '.join(f'{zone.name} {zone.serial}' for zone in self._zones)}"

    async def _bring(self, zone: _Zone, names: Names, nodes: set[Node], marker: str, *, whole: bool) -> None:
        """Make a zone what the names say."""
        async with self._session(zone) as session:
            serial, known = await session.serial(), await session.marker()
            if zone.left is not None and behind(serial, zone.left):
                _log.warning("dns_update", zone=zone.name, serial=serial, expected=zone.left, problem="an old copy")
                serial, zone.serial = await session.raise_serial(zone.left), None
            if whole and known == marker and serial == zone.left and not nodes:
                wanted: dict[str, Records] = {}  # it is as an earlier process left it
            elif whole or zone.serial is None or serial != zone.serial:
                wanted = await self._difference(session, names)
            else:
                tests = dict(self._tests(zone.version))
                wanted = {node.labels(): self._records(names.content(node), node) for node in nodes}
                wanted = {name: records for name, records in wanted.items() if name not in tests}
            if wanted or known != marker:
                await session.send(wanted, marker, self._section.batch, self._section.ttl)
                before, serial = serial, await session.serial()
                if not behind(before, serial):
                    raise OutputError(f"{zone.name}: the update left serial {serial}: secondaries would not take it")
            zone.serial = zone.left = serial

    def _recall(self) -> None:
        if self._known is None:
            try:
                self._known = dict(json.loads(self._file.read_bytes()))
            except (OSError, ValueError, TypeError):
                self._known = {}  # only that an old copy can't be told from a new zone
            for zone in self._zones:
                zone.left = self._known.get(zone.name)

    def _remember(self) -> None:
        known = {zone.name: zone.left for zone in self._zones if zone.left is not None}
        if known != self._known:
            replace_file(self._file, [json.dumps(known).encode()])
            self._known = known

    async def _difference(self, session: Session, names: Names) -> dict[str, Records]:
        """What must change so that the zone holds exactly the names: no records means that a name goes."""
        there = await session.transfer()
        wanted: dict[str, Records] = {}
        for number, (name, records) in enumerate(self.all(names)):
            if there.pop(name, None) != records:
                wanted[name] = records
            if number % 1000 == 0:
                await trio.lowlevel.checkpoint()
        return wanted | dict.fromkeys(there, frozenset())

    def all(self, names: Names) -> Iterator[tuple[str, Records]]:
        """Every name once, the test entries first: they stand in the place of whatever a laboratory lists there."""
        tests = dict(self._tests(names.version))
        yield from tests.items()
        for node in dict.fromkeys(names.all()):
            if (name := node.labels()) not in tests and (records := self._records(names.content(node), node)):
                yield name, records

    def _records(self, headings: list[Heading], node: Node) -> Records:
        """A and TXT of a name. A wildcard can't name the address that was asked; it names where its network begins."""
        view = self._texts.view
        kind = IPv4Address if node.version == 4 else IPv6Address
        address = str(kind(node.number))
        found = set()
        for heading in headings:
            value = view.value(heading)
            if value is not None:
                found |= {("A", value), ("TXT", self._text(heading.title, address))}
        return frozenset(found)

    def _text(self, title: str, address: str) -> str:
        link = f", see {self._texts.lookup}{address}"
        return title[: _TEXT_LIMIT - len(link)] + link

    def _tests(self, version: int) -> Iterator[tuple[str, Records]]:
        """Test entries: every value stands for itself (RFC 5782 section 5), the general ones for all lists."""
        values = [value for list_ in LISTS for value in self._texts.view.values_of(list_)]
        general = [TEST4] if TEST4 in values else values[:1]
        if version == 6:
            nodes = [(Node(6, int(IPv6Address(TEST6)), 128), general)]
        else:
            nodes = [(Node(4, int(IPv4Address(value)), 32), [value]) for value in values if value != TEST4]
            nodes.append((Node(4, int(IPv4Address(TEST4)), 32), general))
        for node, own in nodes:
            kind = IPv4Address if version == 4 else IPv6Address
            text = self._text("Test entry", str(kind(node.number)))
            yield node.labels(), frozenset({*(("A", value) for value in own), ("TXT", text)})

    @asynccontextmanager
    async def _session(self, zone: _Zone) -> AsyncIterator[Session]:
        host, port = self._server
        with trio.fail_after(_TIMEOUT):
            stream = await trio.open_tcp_stream(host, port)
        async with stream:
            yield Session(stream, dns.name.from_text(zone.name), self._keys, self._section.key_algorithm)


class Session:
    """A TCP connection to the primary for one zone. Everything asked on it is signed, every answer verified."""

    def __init__(
        self, stream: trio.SocketStream, zone: dns.name.Name, keys: dict[dns.name.Name, dns.tsig.Key], algorithm: str
    ) -> None:
        self._stream = stream
        self._zone = zone
        self._keys = keys
        self._algorithm = dns.name.from_text(algorithm)
        self._buffer = bytearray()

    async def serial(self) -> int:
        return int((await self._soa())[0].serial)

    async def raise_serial(self, left: int) -> int:
        """Set the serial behind one that secondaries have: they take nothing that seems older. The new one."""
        soa = await self._soa()
        update = dns.update.UpdateMessage(self._zone)
        update.add("@", soa.ttl, soa[0].replace(serial=left + 1 & 0xFFFFFFFF or 1))
        await self._update(update)
        serial = await self.serial()
        if not behind(left, serial):
            raise OutputError(f"{self._zone}: serial {serial}, but secondaries have {left}: expected a higher one")
        return serial

    async def _soa(self) -> dns.rrset.RRset:
        answer = await self._ask(self._zone, dns.rdatatype.SOA)
        for rrset in answer.answer:
            if rrset.rdtype == dns.rdatatype.SOA:
                return rrset
        raise OutputError(f"{self._zone}: the server has no such zone")

    async def marker(self) -> str | None:
        """What the last update left there."""
        answer = await self._ask(dns.name.from_text(_MARKER, self._zone), dns.rdatatype.TXT)
        texts = [b"".join(item.strings).decode("ascii", "replace") for rrset in answer.answer for item in rrset]
        return texts[0] if len(texts) == 1 else None

    async def send(self, wanted: dict[str, Records], marker: str, batch: int, ttl: int) -> None:
        """Updates of some names each; the marker goes with the last one."""
        names = list(wanted)
        for start in range(0, max(1, len(names)), batch):
            update = dns.update.UpdateMessage(self._zone)
            for name in names[start : start + batch]:
                update.delete(name)
                for kind, text in sorted(wanted[name]):
                    update.add(name, ttl, kind, text if kind == "A" else _quoted(text))
            if start + batch >= len(names):
                update.replace(_MARKER, ttl, "TXT", _quoted(marker))
            await self._update(update)

    async def transfer(self) -> dict[str, Records]:
        """The whole zone by AXFR: names below the apex, the marker aside, with their A and TXT."""
        query = dns.message.make_query(self._zone, dns.rdatatype.AXFR)
        found: dict[str, set[tuple[str, str]]] = {}
        context, ends = None, 0
        with trio.fail_after(_TIMEOUT):
            await self._write(query)
        while ends < 2:  # it begins and ends with the SOA
            with trio.fail_after(_TIMEOUT):  # for each message: a large zone takes what it takes
                wire = await self._read()
            answer = dns.message.from_wire(
                wire,
                keyring=self._keys,
                request_mac=query.mac,
                xfr=True,
                origin=self._zone,
                tsig_ctx=context,
                multi=True,
            )
            context = answer.tsig_ctx
            if answer.rcode() != dns.rcode.NOERROR:
                raise OutputError(f"{self._zone}: no transfer: {dns.rcode.to_text(answer.rcode())}")
            for rrset in answer.answer:
                ends += len(rrset) if rrset.rdtype == dns.rdatatype.SOA else 0
                _collect(rrset, found)
        return {name: frozenset(records) for name, records in found.items()}

    async def _update(self, update: dns.update.UpdateMessage) -> None:
        answer = await self._exchange(update)
        if answer.rcode() != dns.rcode.NOERROR:
            raise OutputError(f"{self._zone}: the update was answered with {dns.rcode.to_text(answer.rcode())}")

    async def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.message.Message:
        query = dns.message.make_query(name, kind)
        query.flags &= ~dns.flags.RD
        answer = await self._exchange(query)
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise OutputError(f"{name}: {dns.rcode.to_text(answer.rcode())}")
        return answer

    async def _exchange(self, message: dns.message.Message) -> dns.message.Message:
        with trio.fail_after(_TIMEOUT):
            await self._write(message)
            wire = await self._read()
        answer = dns.message.from_wire(wire, keyring=self._keys, request_mac=message.mac)
        if not message.is_response(answer):
            raise OutputError(f"{self._zone}: the answer belongs to another question")
        if message.had_tsig and not answer.had_tsig:
            raise OutputError(f"{self._zone}: {dns.rcode.to_text(answer.rcode())}, and the answer is not signed")
        return answer

    async def _write(self, message: dns.message.Message) -> None:
        message.use_tsig(self._keys, algorithm=self._algorithm)
        wire = message.to_wire(max_size=65535)
        await self._stream.send_all(len(wire).to_bytes(2, "big") + wire)

    async def _read(self) -> bytes:
        await self._fill(2)
        length = int.from_bytes(self._buffer[:2], "big")
        await self._fill(2 + length)
        wire = bytes(self._buffer[2 : 2 + length])
        del self._buffer[: 2 + length]
        return wire

    async def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            piece = await self._stream.receive_some(65536)
            if not piece:
                raise OutputError(f"{self._zone}: the server closed the connection")
            self._buffer += piece


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _collect(rrset: dns.rrset.RRset, found: dict[str, set[tuple[str, str]]]) -> None:
    name = rrset.name.to_text()
    if rrset.rdtype not in _OURS or not _OUR_NAMES.fullmatch(name):
        return
    records = found.setdefault(name, set())
    for item in rrset:
        if rrset.rdtype == dns.rdatatype.A:
            records.add(("A", item.address))
        else:
            records.add(("TXT", b"".join(item.strings).decode("ascii", "replace")))


def _keyring(section: DnsUpdateSection) -> dict[dns.name.Name, dns.tsig.Key]:
    path = Path(section.key_file)
    try:
        secret = path.read_text("ascii").strip()
        ring: dict[dns.name.Name, dns.tsig.Key] = dns.tsigkeyring.from_text(
            {section.key_name: (section.key_algorithm, secret)}
        )
    except OSError as error:
        raise ConfigError(f"publish.dns_update.key_file = {str(path)!r}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"publish.dns_update.key_file = {str(path)!r}: expected a secret in base64") from None
    return ring
