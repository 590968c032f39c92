"""Exits: where the conversations through an entry came out, as the canary signed it. Pure.

An exit is listed by two conversations, stands and falls with its entries, and expires by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

from core.cidr import CidrSet
from scanner.model import Address, Event, EventKind, Face, Listing, Standing, VisitRecord
from scanner.rules import EXIT, OUTPUT, RSS, Rules
from scanner.version import __version__

Sighting = tuple[str, float, str]  # an exit by its name, the moment, the face of the conversation
_MEMORY = 64  # sightings kept with a watch: bounds what a rotating exit can make us store


def exit_name(address: Address) -> str:
    """An exit as it is listed: IPv6 by its /64, since one host has all of that."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address)


def sightings(record: VisitRecord, earlier: Iterable[Sighting]) -> tuple[Sighting, ...]:
    """Exits other than the entry, of this visit and of earlier ones, the latest first."""
    latest = [
        (exit_name(item.proof.exit), item.at or record.ended, str(item.aim.face if item.aim else Face.TCP))
        for item in record.verdict.proofs
        if item.proof is not None and item.proof.exit != record.visit.address
    ]
    return tuple([*latest, *earlier][:_MEMORY])


def exits_of_entry(record: VisitRecord, seen: Iterable[Sighting], rules: Rules) -> tuple[str, ...]:
    """What an entry's listing says about its exits: those of this visit and of the days an exit lasts.

    The entry stands among them under its own name. Whatever must not be published is left out.
    """
    address = record.visit.address
    latest = [str(exit_) if exit_ == address else exit_name(exit_) for exit_ in record.verdict.exits]
    earlier = [name for name, at, _ in seen if at > record.ended - rules.exit_expiry]
    names = [name for name in dict.fromkeys([*latest, *earlier]) if not unpublishable(name, rules)]
    return tuple(names[: rules.exits_per_entry + 1])


def exit_events(standing: Standing, record: VisitRecord, seen: Iterable[Sighting], rules: Rules) -> list[Event]:
    """List the exits that were seen often enough, and confirm those that are listed and were seen again.

    The output host of a mail relay is one by a single letter, and only where the operator wants them listed.
    """
    entry, ended = str(record.visit.address), record.ended
    of_relay = rules.list == RSS
    if of_relay and not rules.list_outputs:
        return []
    by_name: dict[str, list[tuple[float, str]]] = {}
    for name, at, face in seen:
        by_name.setdefault(name, []).append((at, face))
    listed = {listing.address: listing for listing in standing.listings if _is_exit(listing)}
    room = rules.exits_per_entry - sum(listing.entry == entry for listing in listed.values())
    events: list[Event] = []
    for name in dict.fromkeys(exit_name(exit_) for exit_ in record.verdict.exits if str(exit_) != entry):
        if len(events) >= rules.exits_per_entry:
            break
        old = listed.get(name)
        sure = of_relay or _sure(by_name.get(name, []), rules)
        if unpublishable(name, rules) or (old is None and (room <= 0 or not sure)):
            continue
        if of_relay and not CidrSet([name]).isdisjoint(rules.near):
            continue  # our own domain's exchanger: it hands us what others took, as it should
        room -= old is None
        listing = Listing(
            list=rules.list,
            address=name,
            type=OUTPUT if of_relay else EXIT,
            criterion="open-relay-output" if of_relay else "open-proxy-exit",
            reason=old.reason if old else str(record.visit.reason),
            detector=f"exit/{__version__}",
            vantage=record.verdict.proofs[0].vantage,
            first_listed=old.first_listed if old else ended,
            last_confirmed=ended,
            expires=ended + rules.exit_expiry,
            entry=old.entry if old else entry,
            visit=record.visit.id,
        )
        events.append(Event(EventKind.CONFIRMED if old else EventKind.LISTED, ended, listing))
    return events


def exits_without(entry: str, standing: Standing, kind: EventKind, at: float, reason: str) -> list[Event]:
    """What becomes of an entry's exits when it goes: they go too, but for those that another entry has."""
    events: list[Event] = []
    for listing in standing.listings:
        if _is_exit(listing) and listing.entry == entry:
            others = standing.exit_entries.get((listing.list, listing.address), ())
            if others and not (kind is EventKind.EXPIRED and listing.expires <= at):
                kept = replace(listing, entry=others[0])
                events.append(Event(EventKind.CONFIRMED, at, kept, reason="another entry has it"))
            else:
                events.append(Event(kind, at, listing, reason=f"its entry: {reason}"))
    return events


def unpublishable(name: str, rules: Rules) -> bool:
    """On a never-list, whole or in part, hard or soft: nobody says yes to each of an entry's exits."""
    if "/" not in name:  # a set of one costs a thousand times as much as the question
        return name in rules.never_list or name in rules.never_list_soft
    exit_ = CidrSet([name])
    return not (exit_.isdisjoint(rules.never_list) and exit_.isdisjoint(rules.never_list_soft))


def _sure(sightings_: Iterable[tuple[float, str]], rules: Rules) -> bool:
    """Two conversations far enough apart, one of them plain TCP."""
    moments = [at for at, _ in sightings_]
    plain = any(face == Face.TCP for _, face in sightings_)
    return plain and max(moments) >= min(moments) + rules.exit_interval


def _is_exit(listing: Listing) -> bool:
    return listing.type in (EXIT, OUTPUT)
