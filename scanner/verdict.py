"""What the evidence of a visit means for its address. Pure.

Evidence is not a verdict: a pretender is no relay, a firewall is no repair, and doubt is said as doubt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from scanner.model import Endpoint, EndpointReport, Evidence, Face, Kind, Proven, State, Verdict, Visit, VisitRecord

VOID = "void: "  # how the reason of a visit begins that showed nothing

# From what counts most to what counts least: the kind that stands for an endpoint, and the verdict's order.
_RANK = {kind: rank for rank, kind in enumerate(Kind)}
_STATES = {state: rank for rank, state in enumerate(State)}

_DOUBT = frozenset(
    {
        Kind.ACCEPTED,
        Kind.DEFERRED,
        Kind.INTERCEPTED,
        Kind.PRETENDS,
        Kind.TURNED_AWAY,
        Kind.SILENT,
        Kind.HUNG_UP,
        Kind.TLS_FAILED,
        Kind.UNREACHABLE,
    }
)
# A positive sign of repair: the port is closed, or another service or a refusal speaks there.
_REPAIRED = frozenset({Kind.REFUSED, Kind.DENIED, Kind.AUTH_REQUIRED, Kind.WRONG_PROTOCOL})
# The port took no connection: there is nothing to ask it.
_NO_CONNECTION = frozenset({Kind.REFUSED, Kind.FILTERED})
_CLOSED = frozenset({Kind.REFUSED})
# Says nothing about the target: no contradiction to a proof by another way.
_NOT_THE_TARGET = frozenset({Kind.INTERCEPTED, Kind.UNREACHABLE, Kind.NEVER_SCAN, Kind.ACCEPTED, Kind.DEFERRED})


def judge(visit: Visit, evidence: Sequence[Evidence]) -> Verdict:
    """The verdict of a visit that is over, or was cut short: what is missing counts as nothing shown."""
    evidence = _final(evidence)
    by_endpoint: dict[Endpoint, list[Evidence]] = {}
    for item in evidence:
        by_endpoint.setdefault(item.endpoint, []).append(item)
    proven = [known.endpoint for known in visit.proven]
    states = [_state(items, visit.listed or endpoint in proven) for endpoint, items in by_endpoint.items()]
    state = min(states, key=_STATES.__getitem__, default=State.CLOSED)
    proofs = tuple(item for item in evidence if item.proof is not None)
    return Verdict(
        address=visit.address,
        state=state,
        why=_why(state, states, by_endpoint),
        endpoints=tuple(_report(endpoint, items) for endpoint, items in by_endpoint.items()),
        proofs=proofs,
        exits=tuple(dict.fromkeys(item.proof.exit for item in proofs if item.proof)),
        mail=_mail(evidence),
        repaired=not proofs and _all_proven(visit, by_endpoint, _REPAIRED),
        filtered=not proofs and _all_proven(visit, by_endpoint, frozenset({Kind.FILTERED})),
    )


def void(record: VisitRecord, why: str) -> VisitRecord:
    """What is kept of a visit that shows nothing: the address was touched all the same, and a complaint is answered."""
    return replace(record, verdict=replace(record.verdict, state=State.INCONCLUSIVE, why=f"{VOID}{why}", proofs=()))


def _final(evidence: Sequence[Evidence]) -> Sequence[Evidence]:
    """Without the handshakes that failed, where the same was then asked and answered in the clear."""
    failed = [item for item in evidence if item.kind is Kind.TLS_FAILED]
    if not failed:  # nearly always
        return evidence
    no_answer = _NO_CONNECTION | {Kind.TLS_FAILED}
    answered = {(item.endpoint, item.vantage, item.aim) for item in evidence if item.kind not in no_answer}
    settled = [item for item in failed if (item.endpoint, item.vantage, item.aim) in answered]
    return [item for item in evidence if item not in settled]


def _state(items: Sequence[Evidence], watched: bool) -> State:
    """One endpoint's state. watched: the address is listed, or the endpoint was proven before."""
    kinds = {item.kind for item in items}
    if kinds == _CLOSED:  # nearly all there is
        return State.CLOSED
    if Kind.RELAYED in kinds:
        return State.TESTER_BLOCKED if _contradicted(items) else State.OPEN
    if kinds & _DOUBT and watched:
        return State.INCONCLUSIVE
    if Kind.FILTERED in kinds:
        return State.FILTERED
    if kinds == {Kind.NEVER_SCAN}:
        return State.NEVER_SCAN
    return State.CLOSED


def _contradicted(items: Iterable[Evidence]) -> bool:
    """Whether the endpoint was not open for one canary or vantage while it was for another."""
    by_way: dict[tuple[str, str | None], set[Kind]] = defaultdict(set)
    for item in items:
        by_way[item.vantage, item.aim.canary if item.aim else None].add(item.kind)
    return any(Kind.RELAYED not in kinds and not kinds <= _NOT_THE_TARGET for kinds in by_way.values())


def _all_proven(visit: Visit, by_endpoint: dict[Endpoint, list[Evidence]], kinds: frozenset[Kind]) -> bool:
    """Whether every endpoint ever proven shows only these kinds, from every vantage."""
    return bool(visit.proven) and all(
        _shows(known, [item for item in by_endpoint.get(known.endpoint, ()) if item.vantage == vantage.name], kinds)
        for known in visit.proven
        for vantage in visit.vantages
    )


def _shows(known: Proven, items: Sequence[Evidence], kinds: frozenset[Kind]) -> bool:
    """Whether one vantage saw only these kinds of an endpoint, and all that there was to see."""
    if not items or any(item.kind not in kinds for item in items):
        return False
    asked = {item.aim for item in items}
    return any(item.kind in _NO_CONNECTION for item in items) or (bool(known.aims) and asked.issuperset(known.aims))


def _report(endpoint: Endpoint, items: Sequence[Evidence]) -> EndpointReport:
    best = items[0] if len(items) == 1 else min(items, key=lambda item: _RANK[item.kind])
    if best.proof is None:
        return EndpointReport(endpoint, best.kind, best.detail, elapsed=best.elapsed)
    reached = [item.aim for item in items if item.proof is not None and item.aim is not None]
    others = {item.aim.canary for item in items if item.aim} - {aim.canary for aim in reached}
    return EndpointReport(
        endpoint=endpoint,
        kind=best.kind,
        detail=best.detail + (f"; not for canary {', '.join(sorted(others))}" if others else ""),
        exit=best.proof.exit,
        capabilities=tuple(dict.fromkeys(aim.capability for aim in reached)) or None,
        elapsed=best.elapsed,
    )


def _mail(evidence: Iterable[Evidence]) -> bool | None:
    tried = [item for item in evidence if item.aim and item.aim.face is Face.MAIL and item.aim.port == 25]
    if any(item.kind is Kind.RELAYED for item in tried):
        return True
    return False if any(item.kind is not Kind.INTERCEPTED for item in tried) else None


def _why(state: State, states: Sequence[State], by_endpoint: dict[Endpoint, list[Evidence]]) -> str:
    """One sentence for people. states: of the endpoints, in their order."""
    if not states:
        return "nothing was tried"
    if state is State.CLOSED:
        said = {its.kind for items in by_endpoint.values() for its in items} - {Kind.REFUSED}
        return "no endpoint relays: " + ", ".join(sorted(said)) if said else "every port tried is closed"
    endpoint, items = list(by_endpoint.items())[states.index(state)]
    where = f"{endpoint.protocol} on port {endpoint.port}"
    best = min(items, key=lambda item: _RANK[item.kind])
    match state:
        case State.OPEN:
            return f"{where} carried our challenge to the canary"
        case State.TESTER_BLOCKED:
            return f"{where} carried our challenge for one canary or vantage and not for another"
        case State.INCONCLUSIVE:
            return f"{where} leaves doubt: {best.kind}" + (f" ({best.detail})" if best.detail else "")
        case State.FILTERED:
            return f"no answer to connections, as on port {endpoint.port}"
        case State.NEVER_SCAN:
            return "in the never-scan set"
