"""What a verdict, an expiry or an operator's word changes on the lists. Pure policy; the rules are docs/policy.md.

Only a verified proof lists. Doubt neither lists nor delists. Every listing ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from core.cidr import CidrSet
from scanner.exits import exit_events, exits_of_entry, exits_without, sightings
from scanner.lists import concerns_relays, retry, seen_of, standing_on, together, unchanged
from scanner.model import (
    Aim,
    Decision,
    Endpoint,
    Event,
    EventKind,
    Kind,
    Listing,
    Proven,
    Reason,
    RemovalState,
    RemovalStep,
    Standing,
    State,
    Target,
    VisitRecord,
    Watch,
)
from scanner.rules import DAY, ENTRY, HOUR, MANUAL, OPS, RSS, Rules
from scanner.version import __version__

__all__ = [
    "DAY",
    "HOUR",
    "REOPENED",
    "Rules",
    "add_by_hand",
    "decide",
    "decide_late",
    "expire",
    "removal_not_before",
    "resume",
    "withdraw",
]

_PASSES = 3  # of a removal's retest, at most: two of each of two lists, which may begin one pass apart
REOPENED = "reopened"  # reason of the event that lists an address again while its recheck was still to come


def decide(standing: Standing, record: VisitRecord, rules: Rules) -> Decision:
    """What a visit changes."""
    if not concerns_relays(standing, record):
        return _decide(standing_on(standing, OPS), record, rules)
    proxy = _decide(standing_on(standing, OPS), seen_of(record, OPS), rules)
    relay = _decide(standing_on(standing, RSS), seen_of(record, RSS), rules.of_relays)
    decision = together(proxy, relay)
    return decision if decision.next_target else replace(decision, next_target=retry(standing, record, rules))


def decide_late(standing: Standing, record: VisitRecord, rules: Rules, *, accepted: float) -> Decision:
    """What a letter changes that arrived after its visit. accepted: when the server took it.

    It tells of that moment: nothing where the relay was delisted since, and no more than what is known where it was
    confirmed since, or by another letter of the same visit. The listing lasts as if it had been made then.
    """
    others, relay = unchanged(standing.watch, None), standing.relay
    if any(list_ == RSS and at > accepted for list_, at in standing.ends):
        return together(others, unchanged(relay, None))
    entry = _listing(standing, ENTRY, str(record.visit.address), RSS)
    if entry is not None and (entry.visit == record.visit.id or entry.last_confirmed >= accepted):
        # What relayed once more has to be refused once more before it counts as repaired.
        again = replace(relay, proven=_merged(relay.proven, record)) if relay else None
        return together(others, unchanged(again, None))
    decision = _decide(standing_on(standing, RSS), record, rules.of_relays)
    events = tuple(_dated(event, accepted) for event in decision.events)
    if any(event.listing.expires <= record.ended for event in events):
        return together(others, unchanged(relay, None))
    return together(others, replace(decision, events=events))


def _dated(event: Event, accepted: float) -> Event:
    """An event of now, about what was so when the server took the letter."""
    listing = event.listing
    lasts = listing.expires - listing.last_confirmed
    return replace(event, listing=replace(listing, last_confirmed=accepted, expires=accepted + lasts))


def _decide(standing: Standing, record: VisitRecord, rules: Rules) -> Decision:
    """What a visit changes on one list."""
    entry = _listing(standing, ENTRY, str(record.visit.address), rules.list)
    with_reason = bool(record.verdict.proofs) and rules.list == RSS and record.visit.address in rules.near
    if record.visit.address in rules.never_list:
        decision = _barred(standing, record, rules, entry)
    elif entry is None and _overruled(standing, record, rules):
        decision = Decision()
    elif record.verdict.proofs and _carries(record, rules) and not with_reason:
        decision = _proven(standing, record, rules, entry)
    elif standing.watch is None:
        decision = Decision()
    elif entry is not None:
        decision = _unproven(standing, record, rules, entry, standing.watch)
    else:
        decision = _still_closed(record, rules, standing.watch)
    if with_reason and not decision.barred:
        decision = replace(decision, barred="relays for us with reason: in our own network, or our mail exchanger")
    removal = record.visit.target.removal
    if removal is not None and decision.removal is None:
        state, detail = _removal_outcome(record, listed=_listed_after(decision, entry))
        decision = replace(decision, removal=RemovalStep(removal, record.ended, state, detail))
    return decision


def expire(standing: Standing, *, at: float, rules: Rules) -> Decision:
    """End an address's listings whose time has run out without fresh confirmation; an entry takes its exits along."""
    proxy = _expire(standing_on(standing, OPS), at, rules)
    return together(proxy, _expire(standing_on(standing, RSS), at, rules.of_relays))


def _expire(standing: Standing, at: float, rules: Rules) -> Decision:
    reason = "not confirmed before its expiry"
    due = [listing for listing in standing.listings if listing.expires <= at]
    entry = next((listing for listing in due if _is_entry(listing)), None)
    ended = Decision((), standing.watch, _watch_target(standing.watch))
    if entry is not None:
        ended = _end_entry(EventKind.EXPIRED, standing, entry, rules, at, reason)
    told = {event.listing.key for event in ended.events}
    others = [_end(EventKind.EXPIRED, listing, at, reason) for listing in due if listing.key not in told]
    return replace(ended, events=(*ended.events, *others))


def resume(listing: Listing, *, since: float, at: float) -> Event:
    """An opt-out that began at `since` ends: the expiry, which stood still, goes on."""
    rest = listing.expires - max(since, listing.last_confirmed)
    kept = replace(listing, expires=at + max(0.0, rest))
    return Event(EventKind.CONFIRMED, at, kept, reason="opt-out ended: its expiry had stood still")


def add_by_hand(
    standing: Standing, *, list_: str, address: str, reason: str, at: float, expiry: float, rules: Rules
) -> Decision:
    """The operator lists an address or a network, on the soft never-list too. ValueError where it never may be."""
    if not CidrSet([address]).isdisjoint(rules.never_list):
        raise ValueError(f"{address} is on the never-list: it is never published")
    old = _listing(standing, MANUAL, address, list_)
    listing = Listing(
        list=list_,
        address=address,
        type=MANUAL,
        criterion="operator",
        reason=reason,
        detector=f"operator/{__version__}",
        vantage="",
        first_listed=old.first_listed if old else at,
        last_confirmed=at,
        expires=at + expiry,
    )
    event = Event(EventKind.CONFIRMED if old else EventKind.LISTED, at, listing, reason=reason)
    return replace(unchanged(standing.watch, standing.relay), events=(event,))


def withdraw(standing: Standing, *, list_: str | None, address: str, at: float, reason: str) -> Decision:
    """The operator ends an address's listings, on one list or on all. ValueError where there are none.

    His word stands: no recheck follows, and only a new reason to look lists again.
    """
    own = [listing for listing in standing.listings if listing.address == address and list_ in (None, listing.list)]
    if not own:
        raise ValueError("not listed" + (f" on {list_}" if list_ else ""))
    events = [_end(EventKind.WITHDRAWN, listing, at, reason) for listing in own]
    watches = {OPS: standing.watch, RSS: standing.relay}
    for entry in filter(_is_entry, own):
        events += exits_without(address, standing_on(standing, entry.list), EventKind.WITHDRAWN, at, reason)
        watches[entry.list] = None
    return replace(unchanged(watches[OPS], watches[RSS]), events=tuple(events))


def removal_not_before(standing: Standing, delays: Sequence[float]) -> float:
    """When the owner may first ask without showing control of the address: relistings within a year delay it."""
    parts = [standing_on(standing, list_) for list_ in (OPS, RSS)]
    listed = [(part, listing) for part in parts for listing in part.listings if _is_entry(listing)]
    return max((entry.first_listed + _nth(delays, _relistings(part)) for part, entry in listed), default=0.0)


def strangers_may_send(listings: Iterable[Listing]) -> bool:
    """Whether a request from the address may be anybody's: a proxy was proven to let strangers' connections out."""
    return any(listing.list == OPS and listing.type != MANUAL for listing in listings)


def _proven(standing: Standing, record: VisitRecord, rules: Rules, entry: Listing | None) -> Decision:
    """A proof came back: list, or confirm; the exits too."""
    address, ended, watch = record.visit.address, record.ended, standing.watch
    asked_by_name = record.visit.reason is Reason.OPERATOR
    if entry is None and address in rules.never_list_soft and not asked_by_name:
        return Decision(held="open, but on the soft never-list: it is listed only by a person's word")
    reopened = entry is None and watch is not None
    relistings = _relistings(standing) + reopened  # at the recheck it counts double
    lasting = min(rules.expiry, rules.dynamic_expiry) if standing.dynamic else rules.expiry
    expiry = min(rules.expiry_cap, lasting * _nth(rules.relisting_factors, relistings))
    seen = sightings(record, watch.exits_seen if watch else ())
    first = record.verdict.proofs[0]
    listing = Listing(
        list=rules.list,
        address=str(address),
        type=ENTRY,
        criterion=rules.criterion,
        reason=entry.reason if entry else str(record.visit.reason),
        detector=f"{first.endpoint.protocol}/{__version__}",
        vantage=first.vantage,
        first_listed=entry.first_listed if entry else ended,
        last_confirmed=ended,
        expires=ended + expiry,
        exits=exits_of_entry(record, seen, rules),
        visit=record.visit.id,
    )
    longest = rules.rescan_max if set(listing.exits) <= {str(address)} else rules.rescan_max_with_exits
    age = ended - listing.first_listed
    watch = Watch(
        list=rules.list,
        address=address,
        proven=_merged(watch.proven if watch else (), record),
        next_visit=ended + max(rules.rescan, min(longest, age / 2, expiry - HOUR)),
        exits_seen=seen,
    )
    kind = EventKind.CONFIRMED if entry else EventKind.LISTED
    event = Event(kind, ended, listing, reason=REOPENED if reopened else "")
    return Decision((event, *exit_events(standing, record, seen, rules)), watch, _watch_target(watch))


def _unproven(standing: Standing, record: VisitRecord, rules: Rules, entry: Listing, watch: Watch) -> Decision:
    """A listed address that did not relay: a repair, a firewall, or doubt."""
    target, verdict, ended = record.visit.target, record.verdict, record.ended
    confirmed = watch.confirming == target.removal
    # Of two lists one may see its first sign when the other sees its second; after the third nobody asks on.
    if target.removal is not None and verdict.repaired and (confirmed or target.pass_number < _PASSES):
        if not confirmed:
            watch = replace(watch, confirming=target.removal)
            again = replace(target, due=ended + rules.removal_gap, pass_number=target.pass_number + 1)
            detail = "closed; asking once more to be sure"
            return Decision((), watch, again, RemovalStep(target.removal, ended, RemovalState.CONFIRMING, detail))
        step = RemovalStep(target.removal, ended, RemovalState.DELISTED, "closed twice: removed from the list")
        return replace(_delist(standing, entry, rules, ended, "removal"), removal=step)
    if target.reason.on_demand:
        return Decision((), replace(watch, confirming=None), _watch_target(watch))
    if target.reason is not Reason.RESCAN:
        # Who nominates an address knows when it is visited: that tells nothing of its repair.
        watch = _not_before(watch, ended + rules.rescan)
        return Decision((), watch, _watch_target(watch))
    clean = _in_a_row(watch.clean, ended, rules) if verdict.repaired else ()
    filtered = _in_a_row(watch.filtered, ended, rules) if verdict.filtered else ()
    if len(clean) >= rules.clean_rescans:
        return _delist(standing, entry, rules, ended, "rescan")
    if len(filtered) >= rules.gone_rescans and rules.vantages >= 2:
        return _delist(standing, entry, rules, ended, "gone")
    watch = replace(watch, clean=clean, filtered=filtered, next_visit=ended + rules.rescan)
    return Decision((), watch, _watch_target(watch))


def _still_closed(record: VisitRecord, rules: Rules, watch: Watch) -> Decision:
    """A delisted address whose one recheck is to come, or was this visit."""
    if record.visit.reason is Reason.RESCAN:
        return Decision()
    if not record.visit.reason.on_demand:
        watch = _not_before(watch, record.ended + rules.rescan)
    return Decision((), watch, _watch_target(watch))


def _barred(standing: Standing, record: VisitRecord, rules: Rules, entry: Listing | None) -> Decision:
    """An address that is never published: what was listed of it before the list said so goes."""
    why = "on the never-list: it is never published"
    if entry is None:
        return Decision(barred=why if record.verdict.proofs else "")
    ended = _end_entry(EventKind.WITHDRAWN, standing, entry, rules, record.ended, "never-list")
    return Decision(ended.events, barred=why)


def _delist(standing: Standing, entry: Listing, rules: Rules, at: float, reason: str) -> Decision:
    return _end_entry(EventKind.DELISTED, standing, entry, rules, at, reason)


def _end_entry(kind: EventKind, standing: Standing, entry: Listing, rules: Rules, at: float, reason: str) -> Decision:
    """The entry goes, with the exits that no other entry has; who could hide from us is looked at once more."""
    events = (_end(kind, entry, at, reason), *exits_without(entry.address, standing, kind, at, reason))
    if standing.watch is None or not rules.can_be_hidden_from:
        return Decision(events)
    moment = at + rules.recheck
    watch = replace(standing.watch, clean=(), filtered=(), recheck=moment, next_visit=moment)
    return Decision(events, watch, _watch_target(watch))


def _removal_outcome(record: VisitRecord, *, listed: bool) -> tuple[RemovalState, str]:
    verdict = record.verdict
    if not listed:
        return RemovalState.DELISTED, "not listed any more"
    if verdict.state is State.TESTER_BLOCKED:
        return RemovalState.TESTER_BLOCKED, "open for one of our testers and closed for another: stop blocking us"
    if verdict.proofs:
        return RemovalState.STILL_OPEN, "it still relays"
    if verdict.state is State.NEVER_SCAN:
        return RemovalState.INCONCLUSIVE, "opted out of being probed: nothing can be retested"
    if any(report.kind is Kind.TURNED_AWAY for report in verdict.endpoints):
        return RemovalState.INCONCLUSIVE, "our tester was turned away before it could ask: let it in to be refused"
    if verdict.filtered:
        return RemovalState.INCONCLUSIVE, "our connections get no answer: a firewall in front is no repair"
    return RemovalState.INCONCLUSIVE, "it neither relayed nor clearly refused to"


def _overruled(standing: Standing, record: VisitRecord, rules: Rules) -> bool:
    """Whether the operator ended the listing, and this visit is of before that or was made because of the listing."""
    at, reason = standing.withdrawn.get(rules.list), record.visit.reason
    if at is None:
        return False
    for_the_listing = reason is Reason.REMOVAL or (reason is Reason.RESCAN and standing.nominated <= at)
    return record.started <= at or for_the_listing


def _carries(record: VisitRecord, rules: Rules) -> bool:
    """Whether the proofs are of the kind that the list asks for."""
    return not rules.require_mail or record.verdict.mail is True


def _in_a_row(moments: tuple[float, ...], at: float, rules: Rules) -> tuple[float, ...]:
    """The moments with this one, where it is far enough from the last to count."""
    return moments if moments and at < moments[-1] + rules.rescan else (*moments, at)


def _not_before(watch: Watch, moment: float) -> Watch:
    """No address is visited automatically twice within a day (RFC 6471 3.6.2)."""
    return replace(watch, next_visit=max(watch.next_visit, moment))


def _merged(known: Iterable[Proven], record: VisitRecord) -> tuple[Proven, ...]:
    """Every endpoint ever proven for the listing, with every aim that was reached through it."""
    aims: dict[Endpoint, dict[Aim, None]] = {item.endpoint: dict.fromkeys(item.aims) for item in known}
    for item in record.verdict.proofs:
        if item.aim is not None:
            aims.setdefault(item.endpoint, {})[item.aim] = None
    return tuple(Proven(endpoint, tuple(its)) for endpoint, its in aims.items())


def _listing(standing: Standing, type_: str, address: str, list_: str) -> Listing | None:
    key = (list_, address, type_)
    return next((listing for listing in standing.listings if listing.key == key), None)


def _is_entry(listing: Listing) -> bool:
    return listing.type == ENTRY


def _listed_after(decision: Decision, entry: Listing | None) -> bool:
    kinds = [event.kind for event in decision.events if _is_entry(event.listing)]
    return not kinds[-1].ends if kinds else entry is not None


def _end(kind: EventKind, listing: Listing, at: float, reason: str) -> Event:
    return Event(kind, at, listing, reason=reason)


def _watch_target(watch: Watch | None) -> Target | None:
    return Target(watch.address, Reason.RESCAN, watch.next_visit) if watch else None


def _relistings(standing: Standing) -> int:
    """Of one list's part of what is known."""
    return sum(list_ in (OPS, RSS) for list_, _ in standing.ends)


def _nth(values: Sequence[float], index: int) -> float:
    return values[min(index, len(values) - 1)]
