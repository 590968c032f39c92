"""The list as files for other programs: firewalls, mail servers, proxies, resolvers, people.

Every format that allows comments says in its head what it is, when it was made and when it should no longer be used,
and ends with a line that a file cut short does not have.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from heapq import merge
from ipaddress import IPv4Address
from itertools import groupby, islice

from scanner.model import Listing
from scanner.publish.events import iso
from scanner.publish.image import Image, text_of
from scanner.publish.rbldnsd import Zone, ZoneFile
from scanner.publish.views import Heading

_LINE = 500  # entries on one line of an nft script: it is a page long, and read at once all the same
_SPOOL = 16 << 20  # bytes of CSV kept in memory; more goes through a file
_PIECE = 1 << 16  # characters of it given on at once
_MAX_ELEMENTS = 16_777_216  # of an ipset: the same in every file, since a set with other parameters is refused


@dataclass(slots=True)
class Meta:
    """What the head of a file says. entries: how many there are in it, once it was rendered."""

    name: str
    generated: float
    expires: float
    lists: tuple[str, ...]
    lookup: str  # the address of the lookup page, to which the address is added
    entries: int = 0

    def head(self, sign: str = "#") -> Iterator[str]:
        yield f"{sign} {self.name}: {', '.join(self.lists)}"
        yield f"{sign} generated {iso(self.generated)}"
        yield f"{sign} expires {iso(self.expires)}: do not use it any longer then"
        yield f"{sign} entries {self.entries}"
        yield f"{sign} each one explained at {self.lookup}ADDRESS"

    def end(self, sign: str = "#") -> str:
        return f"{sign} END {self.entries} entries"


Entry = tuple[bytes, list[Heading]]


def entries(image: Image, lists: Sequence[str]) -> Iterator[Entry]:
    """Each address or network once, with every heading it stands under; IPv4 before IPv6, ascending."""

    def stream(heading: Heading, shelf_items: Iterator[bytes]) -> Iterator[tuple[tuple[int, bytes], Heading]]:
        for item in shelf_items:
            yield (len(item), item), heading

    streams = [stream(heading, shelf.items()) for list_ in lists for heading, shelf in image.of_list(list_)]
    for (_, item), group in groupby(merge(*streams, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        yield item, [heading for _, heading in group]


def _commented(
    lines: Callable[[Image, Meta], Iterator[str]], sign: str = "#"
) -> Callable[[Image, Meta], Iterator[str]]:
    """A format whose every line is an entry, between head and end."""

    def render(image: Image, meta: Meta) -> Iterator[str]:
        yield from meta.head(sign)
        yield from lines(image, meta)
        yield meta.end(sign)

    return render


def _plain(image: Image, meta: Meta) -> Iterator[str]:
    for item, _ in entries(image, meta.lists):
        yield text_of(item)


def _postfix(image: Image, meta: Meta) -> Iterator[str]:
    """A cidr: table for check_client_access; tables of more than some ten thousand lines are slow, use the zone."""
    for item, headings in entries(image, meta.lists):
        where = text_of(item)
        yield f"{where} REJECT {headings[0].title}, see {meta.lookup}{where.partition('/')[0]}"


def _haproxy(image: Image, meta: Meta) -> Iterator[str]:
    """A map for `src,map_ip(FILE)`: the lists, with commas between them."""
    for item, headings in entries(image, meta.lists):
        yield f"{text_of(item)} {','.join(dict.fromkeys(heading.list for heading in headings))}"


def _nginx(image: Image, meta: Meta) -> Iterator[str]:
    """To be included in a `geo` block: the value is 0 for everybody else, or the first of the lists."""
    for item, headings in entries(image, meta.lists):
        yield f"{text_of(item)} {headings[0].list};"


def _crowdsec(image: Image, meta: Meta) -> Iterator[str]:
    """For `cscli decisions import`; its CSV has no comments."""
    yield "duration,scope,value,reason,type"
    hours = max(1, round((meta.expires - meta.generated) / 3600))
    for item, headings in entries(image, meta.lists):
        where = text_of(item)
        yield f"{hours}h,{'range' if '/' in where else 'ip'},{where},{meta.name}/{headings[0].list},ban"


def _nft(image: Image, meta: Meta, zone: Zone) -> Iterator[str]:
    """Sets in a table of our own, filled in one transaction: `nft -f FILE`, then `ip saddr @ops4 drop` in a chain."""
    yield from meta.head()
    yield "add table inet proxywarden"
    for list_ in meta.lists:
        for version in (4, 6):
            name = f"inet proxywarden {list_}{version}"
            # Without intervals where the gate lets none through: those sets load several times as fast.
            single = version == 4 and list_ in ("ops", "rss") and zone.prefix4.get(list_, 32) == 32
            interval = "" if single else " flags interval; auto-merge;"
            yield f"add set {name} {{ type ipv{version}_addr;{interval} }}"
            yield f"flush set {name}"
            for some in _batched(_texts(image, list_, version), _LINE):
                yield f"add element {name} {{ {', '.join(some)} }}"
    yield meta.end()


def _ipset(image: Image, meta: Meta) -> Iterator[str]:
    """For `ipset restore`: each set is filled beside the one in use and swapped in."""
    yield from meta.head()
    for list_ in meta.lists:
        for version, kind in ((4, "inet"), (6, "inet6")):
            name = f"proxywarden-{list_}{version}"
            for each in (name, f"{name}-new"):
                yield f"create {each} hash:net family {kind} maxelem {_MAX_ELEMENTS} -exist"
            yield f"flush {name}-new"
            for text in _texts(image, list_, version):
                yield f"add {name}-new {text}"
            yield f"swap {name}-new {name}"
            yield f"destroy {name}-new"
    yield meta.end()


def _texts(image: Image, list_: str, version: int) -> Iterator[str]:
    for item, _ in entries(image, (list_,)):
        if (len(item) == 17) == (version == 6):
            yield text_of(item)


def _rpz(image: Image, meta: Meta) -> Iterator[str]:
    """A response policy zone: names that lead to a listed address do not exist. The apex is the file's own."""
    yield from meta.head(";")
    yield "$TTL 300"
    yield f"@ IN SOA localhost. hostmaster.localhost. {int(meta.generated)} 300 60 86400 300"
    yield "@ IN NS localhost."
    for item, _ in entries(image, meta.lists):
        yield f"{rpz_name(item)}.rpz-ip CNAME ."
    yield meta.end(";")


def _batched(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    while some := list(islice(texts, size)):
        yield some


def rpz_name(item: bytes) -> str:
    """Length and address backwards; of IPv6 the longest run of zeros as `zz`, since BIND takes no other form."""
    if len(item) <= 5:
        octets = str(IPv4Address(item[:4])).split(".")
        return f"{item[4] if len(item) == 5 else 32}.{'.'.join(reversed(octets))}"
    words = [f"{item[at] << 8 | item[at + 1]:x}" for at in range(0, 16, 2)]
    runs = [(len(list(group)), zero) for zero, group in groupby(words, key=lambda word: word == "0")]
    longest = max((length for length, zero in runs if zero), default=0)
    if longest > 1:
        place = 0
        for length, zero in runs:
            if zero and length == longest:
                words[place : place + length] = ["zz"]
                break
            place += length
    return f"{item[16]}.{'.'.join(reversed(words))}"


_OF_IMAGE: dict[str, Callable[[Image, Meta], Iterator[str]]] = {
    "plain": _commented(_plain),
    "postfix": _commented(_postfix),
    "haproxy": _commented(_haproxy),
    "nginx": _commented(_nginx),
    "crowdsec": _crowdsec,
    "ipset": _ipset,
    "rpz": _rpz,
}
_COLUMNS = ("address", "list", "type", "criterion", "first_listed", "last_confirmed", "expires")


def row(listing: Listing) -> dict[str, str | None]:
    """A listing as exports tell it: no port, nothing of whoever asked us to look."""
    return {
        "address": listing.address,
        "list": listing.list,
        "type": listing.type,
        "criterion": listing.criterion,
        "first_listed": iso(listing.first_listed),
        "last_confirmed": iso(listing.last_confirmed),
        "expires": iso(listing.expires),
    }


async def render(
    format_: str, image: Image, listings: Callable[[], AsyncGenerator[Listing, None]], meta: Meta, zone: Zone
) -> AsyncGenerator[str, None]:
    """An export in pieces of text. listings: those of the image, whole, for the formats that tell more than where."""
    if format_ == "rbldnsd":
        version = 6 if meta.name.removesuffix(".zone").endswith("6") else 4
        for list_ in meta.lists:
            shown = [shelf for heading, shelf in image.of_list(list_) if zone.view.value(heading) is not None]
            of_family = [shelf.networks6.items if version == 6 else shelf.networks4.items for shelf in shown]
            meta.entries = sum(map(len, of_family)) + (sum(shelf.singles for shelf in shown) if version == 4 else 0)
            for piece in ZoneFile(zone, list_, version).render(image, meta.generated):
                yield piece.decode("ascii")
    elif format_ in _OF_IMAGE or format_ == "nft":
        meta.entries = sum(1 for _ in entries(image, meta.lists))
        lines = _nft(image, meta, zone) if format_ == "nft" else _OF_IMAGE[format_](image, meta)
        for some in _batched(lines, 1000):
            yield "\n".join(some) + "\n"
    else:
        async with aclosing(listings()) as rows, aclosing((_csv if format_ == "csv" else _jsonl)(rows, meta)) as texts:
            async for text in texts:
                yield text


async def _csv(listings: AsyncGenerator[Listing, None], meta: Meta) -> AsyncGenerator[str, None]:
    """The head says how many there are, which only the end of a store that goes on meanwhile tells."""
    with tempfile.SpooledTemporaryFile(_SPOOL, "w+", encoding="utf-8", newline="") as rows:
        writer = csv.writer(rows, lineterminator="\n")
        async for listing in listings:
            meta.entries += 1
            writer.writerow(row(listing).values())
        rows.seek(0)
        yield "\n".join(meta.head()) + "\n" + ",".join(_COLUMNS) + "\n"
        while piece := rows.read(_PIECE):
            yield piece
    yield meta.end() + "\n"


async def _jsonl(listings: AsyncGenerator[Listing, None], meta: Meta) -> AsyncGenerator[str, None]:
    async for listing in listings:
        meta.entries += 1
        yield json.dumps(row(listing)) + "\n"
    about = {"name": meta.name, "generated": iso(meta.generated), "expires": iso(meta.expires), "entries": meta.entries}
    yield json.dumps({"metadata": about}) + "\n"
