"""Model types to rows and back. Compact JSON for what no query looks into, zlib for what strangers sent."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from scanner.model import (
    Address,
    Aim,
    Endpoint,
    Event,
    EventKind,
    Evidence,
    Face,
    Kind,
    Listing,
    Proven,
    Reason,
    Target,
    Watch,
)
from scanner.proof import Proof, Sighting
from scanner.receipt import Receipt
from scanner.store.types import Nomination, StoredEvidence

LISTING = (
    "list, address, type, criterion, reason, detector, vantage, first_listed, last_confirmed, expires,"
    " entry, exits, visit"
)
TARGET = "address, reason, due, removal, pass_number"

Row = tuple[Any, ...]


dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def squeeze(data: bytes) -> bytes | None:
    return zlib.compress(data, 6) if data else None


def expand(data: bytes | None) -> bytes:
    return zlib.decompress(data) if data else b""


def network_of(address: Address) -> str:
    """The schedule's unit: a /24 of IPv4, a /48 of IPv6."""
    if isinstance(address, IPv4Address):
        return str(address).rpartition(".")[0] + ".0/24"
    return f"{IPv6Address(int(address) >> 80 << 80)}/48"


def canonical(text: str) -> str:
    """An address or a network as the store keys it: no host bits, a single address without its length."""
    network = ip_network(text)
    return str(network.network_address) if network.num_addresses == 1 else str(network)


@lru_cache(maxsize=1024)  # 1 ms for IPv6, and one lookup asks three times
def covering(text: str) -> tuple[str, ...]:
    """Every key under which an address, or a network, can be covered, the narrowest first."""
    network = ip_network(text)
    width, kind = network.max_prefixlen, type(network.network_address)
    number = int(network.network_address)
    keys = [canonical(text)]
    for length in range(min(network.prefixlen, width), -1, -1):
        free = width - length
        keys.append(f"{kind(number >> free << free)}/{length}")
    return tuple(keys)


def target_of(row: Row) -> Target:
    address, reason, due, removal, pass_number = row
    return Target(ip_address(address), Reason(reason), due, removal, pass_number)


NOMINATION = "id, address, state, due, at, comment, submitter, trusted, sample"


def nomination_of(row: Row) -> Nomination:
    id_, address, state, due, at, comment, submitter, trusted, sample = row
    return Nomination(
        id_, ip_address(address), state, due, at, comment, submitter, bool(trusted), expand(sample) or None
    )


def listing_row(listing: Listing) -> Row:
    return (
        listing.list,
        listing.address,
        listing.type,
        listing.criterion,
        listing.reason,
        listing.detector,
        listing.vantage,
        listing.first_listed,
        listing.last_confirmed,
        listing.expires,
        listing.entry,
        dumps(listing.exits),
        listing.visit,
    )


def listing_of(row: Row) -> Listing:
    *head, exits, visit = row
    return Listing(*(*head, tuple(json.loads(exits)), visit))


_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def cursor_of(seq: int) -> str:
    digits = ""
    while seq:
        seq, digit = divmod(seq, 36)
        digits = _BASE36[digit] + digits
    return digits or "0"


def seq_of(cursor: str) -> int:
    """ValueError for what cursor_of() did not make."""
    plain = 1 <= len(cursor) <= 13 and all(digit in _BASE36 for digit in cursor)
    seq = int(cursor, 36) if plain else -1
    if not 0 <= seq < 2**63:
        raise ValueError(not_a_cursor(cursor))
    return seq


def not_a_cursor(text: str) -> str:
    return f"{text[:40]!r} is not a cursor of this store"


EVENT = "seq, id, kind, at, reason, listing"


def event_of(row: Row) -> Event:
    seq, id_, kind, at, reason, listing = row
    return Event(EventKind(kind), at, listing_of(json.loads(listing)), id_, cursor_of(seq), reason)


def aim_out(aim: Aim) -> list[Any]:
    form = [aim.form] if aim.form else []
    return [aim.canary, str(aim.host), isinstance(aim.host, str), aim.port, aim.face, *form]


def aim_of(value: list[Any]) -> Aim:
    canary, host, named, port, face, *form = value
    return Aim(canary, host if named else ip_address(host), port, Face(face), *form)


def watch_body(watch: Watch) -> str:
    proven = [[p.endpoint.protocol, p.endpoint.port, [aim_out(aim) for aim in p.aims]] for p in watch.proven]
    return dumps([proven, watch.clean, watch.filtered, watch.recheck, watch.exits_seen, watch.confirming])


def watch_of(row: Row) -> Watch:
    address, list_, next_visit, body = row
    proven, clean, filtered, recheck, exits_seen, *confirming = json.loads(body)  # older rows end before it
    return Watch(
        list_,
        ip_address(address),
        tuple(Proven(Endpoint(name, port), tuple(map(aim_of, aims))) for name, port, aims in proven),
        next_visit,
        tuple(clean),
        tuple(filtered),
        recheck,
        tuple((exit_, at, face) for exit_, at, face in exits_seen),
        *confirming,
    )


def _proof_out(proof: Proof | Receipt) -> str:
    seen = proof.sighting
    saw = [seen.canary, seen.face, str(seen.peer), seen.peer_port, seen.port, seen.name]
    return dumps([proof.nonce.hex(), saw])


def _proof_of(text: str | None) -> tuple[str, Sighting | None]:
    if text is None:
        return "", None
    nonce, (canary, face, peer, peer_port, port, name) = json.loads(text)
    return nonce, Sighting(canary, Face(face), ip_address(peer), peer_port, port, name)


EVIDENCE = "number, protocol, port, kind, detail, vantage, aim, proof, elapsed, at, transcript"


def evidence_rows(visit: str, evidence: Iterable[Evidence]) -> tuple[list[Row], bytes | None]:
    """The conversations as rows, and the attempts that came to none as one compressed list."""
    rows: list[Row] = []
    attempts: list[Row] = []
    for number, piece in enumerate(evidence):
        head = (number, piece.endpoint.protocol, piece.endpoint.port, piece.kind, piece.detail, piece.vantage)
        if piece.aim is None and piece.proof is None and not piece.transcript:
            attempts.append((*head, round(piece.elapsed, 6), piece.at))
            continue
        aim = dumps(piece.aim and aim_out(piece.aim))
        proof = piece.proof and _proof_out(piece.proof)
        rows.append((visit, *head, aim, proof, piece.elapsed, piece.at, squeeze(piece.transcript)))
    return rows, squeeze(dumps(attempts).encode()) if attempts else None


def evidence_of(rows: Iterable[Row], attempts: bytes | None) -> tuple[StoredEvidence, ...]:
    """Everything in the order it came, from what evidence_rows() made."""
    pieces: list[tuple[int, StoredEvidence]] = []
    for number, protocol, port, kind, detail, vantage, aim, proof, elapsed, at, transcript in rows:
        nonce, sighting = _proof_of(proof)
        aimed = json.loads(aim)
        pieces.append(
            (
                number,
                StoredEvidence(
                    Endpoint(protocol, port),
                    Kind(kind),
                    detail,
                    vantage,
                    aim_of(aimed) if aimed else None,
                    sighting,
                    nonce,
                    elapsed,
                    at,
                    expand(transcript),
                ),
            )
        )
    for number, protocol, port, kind, detail, vantage, elapsed, at in json.loads(expand(attempts) or b"[]"):
        endpoint = Endpoint(protocol, port)
        pieces.append((number, StoredEvidence(endpoint, Kind(kind), detail, vantage, None, None, "", elapsed, at, b"")))
    return tuple(piece for _, piece in sorted(pieces, key=lambda pair: pair[0]))
