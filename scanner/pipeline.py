"""START HERE: the stages of one visit, joined in order.

target -> visit -> openings -> evidence -> verdict -> controls -> decision -> events. Each stage is a file of its own;
this one only says what follows what, and what happens when a stage says no.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog
import trio

from scanner import ranking
from scanner.agenda import refutation
from scanner.controls import Controls, Way
from scanner.examine import examine
from scanner.insist import Insist
from scanner.listing import DAY, HOUR, Rules, decide, decide_late, expire, removal_not_before
from scanner.lists import near, unchanged
from scanner.model import (
    Address,
    CanaryTarget,
    Decision,
    Endpoint,
    Event,
    Evidence,
    Kind,
    Proven,
    Reason,
    RemovalState,
    RemovalStep,
    Standing,
    Target,
    Vantage,
    Visit,
    VisitRecord,
)
from scanner.probe import Prober, intercepted
from scanner.receipt import Receipt
from scanner.scope import Scope
from scanner.settings import Settings
from scanner.store import Leased, Posted, Store
from scanner.sweep import Connector
from scanner.verdict import judge, void

_VOID_PAUSE = 30.0  # seconds until a visit whose controls failed is repeated; on demand a tenth of it
_LEARN_EVERY = 60.0  # seconds between looks at our own hits
_EXPIRE_EVERY = 10.0  # seconds
_HELD_UP = "our own controls fail: nothing that we could find now would count, so we ask again until they work"
_CUT_SHORT = "cut short by us: it will be asked again"
_LAST_WORDS = 5.0  # seconds to write down a visit that was cut short, also on a busy disk
_log = structlog.get_logger()


class Pipeline:
    """Carries out visits. heard: told of each record and its events once they are committed."""

    def __init__(
        self,
        settings: Settings,
        scope: Scope,
        store: Store,
        connector: Connector,
        insistent: Connector,
        prober: Prober,
        controls: Controls,
        targets: Sequence[CanaryTarget],
        heard: Callable[[VisitRecord, Sequence[Event]], None] = lambda record, events: None,
        insist: Insist | None = None,
    ) -> None:
        self.visits = self.void = 0
        self._exchangers: frozenset[Address] = frozenset()
        self._voided: dict[Address, frozenset[Way]] = {}  # by the ways whose failure made the latest visit void
        self._insist = insist or Insist()
        self._store = store
        self._connector = connector
        self._insistent = insistent  # its never-scan set lacks the opt-outs, and nothing else
        self._prober = prober
        self._controls = controls
        self._heard = heard
        self._targets = targets
        self.reconfigure(settings, scope)

    def reconfigure(self, settings: Settings, scope: Scope) -> None:
        """Holds for every visit from here on."""
        self.settings = settings
        self.rules = rules_of(settings, scope, canaries=len(self._targets))
        self._near_of: frozenset[Address] | None = None  # our own addresses that the rules know of
        self.endpoints = settings.endpoints
        self._prober.timeout = settings.scan.conversation_timeout
        self._prober.max_read = settings.scan.max_read
        self._prober.mail_timeout = settings.lists.rss.timeout
        self._prober.receipt_wait = settings.lists.rss.receipt_wait
        self._connector.timeout = self._insistent.timeout = settings.scan.connect_timeout

    async def carry_out(self, leased: Leased) -> None:
        """One visit from its target to its events."""
        target = leased.target
        if self._controls.trouble() or not self._controls.good_now(self._voided.get(target.address, ())):
            await self._put_off(leased)
            return
        mark = self._controls.mark()
        await self._tell(target)
        planned_on = await self._insist(partial(self._store.standing, target.address, time.time()))
        visit = plan(target, planned_on, self.settings, self.endpoints, self._targets)
        started = time.time()
        connector = self._insistent if visit.despite_optout else self._connector
        seen: list[Evidence] = []
        try:
            await examine(visit, connector, self._prober, self._targets, seen)
            record = _record(visit, started, seen)
            used = self._controls.ways_of(visit, record.evidence)
            good = await self._controls.good_since(mark, used)
        except* trio.Cancelled:  # of several lanes it is a group
            with trio.move_on_after(_LAST_WORDS, shield=True):  # it was touched: who complains gets an answer
                await self._void(leased, _record(visit, started, seen), _CUT_SHORT)
            raise
        self.visits += 1
        if not good:
            self._voided[target.address] = frozenset(used)
            await self._tell(target, _HELD_UP)
            await self._void(leased, record, _HELD_UP)
            return
        self._voided.pop(target.address, None)
        unlisted = ""

        def decided(standing: Standing) -> Decision:
            nonlocal unlisted
            decision = decide(standing, judged_by(planned_on, standing, record, self._targets), self._rules_now())
            unlisted = decision.barred or decision.held
            return decision

        not_before = removal_rule(self.settings)
        conclude = partial(self._store.conclude, record, decided, lease=leased, not_before=not_before)
        events = await self._insist(conclude)
        if unlisted:
            _log.warning("not listed", address=str(target.address), why=unlisted, found=record.verdict.why)
        self._heard(record, events)

    async def late(self, posted: Posted, receipt: Receipt) -> bool:
        """What a letter changes that arrived after its visit; False where our controls fail just now."""
        if not await self._controls.good_since(self._controls.mark(), {(posted.vantage, posted.aim.canary)}):
            return False
        if intercepted(receipt.exit, posted.address, self._prober.egress):
            await self._insist(partial(self._store.discard_letter, posted.letter))
            return True
        now = time.time()
        detail = f"letter arrived late at canary {posted.aim.canary} from {receipt.exit}{receipt.under}"
        evidence = Evidence(
            endpoint=posted.endpoint,
            kind=Kind.RELAYED,
            detail=detail[:200],
            vantage=posted.vantage,
            aim=posted.aim,
            proof=receipt,
            at=posted.at,
            letter=posted.letter,
        )
        target = Target(posted.address, posted.reason, posted.at)
        visit = Visit(posted.visit, target, (posted.endpoint,), (Vantage(posted.vantage),))
        record = VisitRecord(visit, now, now, (evidence,), judge(visit, (evidence,)))
        decided = partial(decide_late, record=record, rules=self._rules_now(), accepted=posted.at)
        events = await self._insist(partial(self._store.receive, posted.letter, record, decided))
        self._heard(record, events)
        return True

    def _rules_now(self) -> Rules:
        """The policy, with where we are: our own addresses are learned as the canaries see them."""
        egress = frozenset(self._prober.egress)
        if egress != self._near_of:  # a set of networks takes most of a millisecond to build
            canaries = [address for target in self._targets for address in (target.address, target.address6) if address]
            exchangers = [*canaries, *self.settings.canary.mail_exchangers, *self._exchangers]
            self.rules = replace(self.rules, near=near(egress, self.settings.scope.own_networks, exchangers))
            self._near_of = egress
        return self.rules

    def exchangers_known(self, found: frozenset[Address]) -> None:
        """Who takes mail for our domains, as the DNS says."""
        self._exchangers, self._near_of = found, None

    async def _put_off(self, leased: Leased) -> None:
        """Without touching it: the target is due again soon, and who waits for it is told why."""
        await self._tell(leased.target, _HELD_UP)
        due = time.time() + self._pause(leased.target)
        await self._insist(partial(self._store.give_back, leased.target.address, due, lease=leased))

    async def _void(self, leased: Leased, record: VisitRecord, why: str) -> None:
        """Nothing was shown, and yet the address was visited: that is kept, and nothing changes.

        It is visited again, once, when the ways that this visit used are good.
        """
        self.void += 1
        again = replace(leased.target, due=time.time() + self._pause(leased.target))

        def decided(standing: Standing) -> Decision:
            still = unchanged(standing.watch, standing.relay)
            ended = again.reason is Reason.RESCAN and still.next_target is None  # meanwhile, by the operator's hand
            return still if ended else replace(still, next_target=again)

        await self._insist(partial(self._store.conclude, void(record, why), decided, lease=leased))

    def _pause(self, target: Target) -> float:
        return _VOID_PAUSE / 10 if target.reason.on_demand else _VOID_PAUSE

    async def _tell(self, target: Target, detail: str = "") -> None:
        """That a removal's retest has begun, or what holds it up: each is told once, the latter of each entry."""
        if target.removal is None or (target.pass_number > 1 and not detail):
            return
        state = RemovalState.RETESTING if target.pass_number == 1 else RemovalState.CONFIRMING
        removal = await self._insist(partial(self._store.removal, target.removal))
        if removal is None or removal.target != target.address:  # it went on: this visit's lease was lost
            return
        told = removal.turn if detail else removal.steps
        if not any((step.state, step.detail) == (state, detail) for step in told):
            step = RemovalStep(target.removal, time.time(), state, detail)
            await self._insist(partial(self._store.removal_step, step))

    async def learn(self) -> None:
        """Keep the order of endpoints by the shipped shares and our own hits, for ever."""
        while True:
            if self.settings.scan.learn_order:
                statistics = await self._insist(self._store.port_statistics)
                hits = {item.endpoint: float(item.relayed) for item in statistics}
                self.endpoints = ranking.order(self.settings.endpoints, hits)
            await trio.sleep(_LEARN_EVERY)

    async def expire(self, published: Callable[[Sequence[Event]], None]) -> None:
        """End listings whose time has run out, for ever: no probe and no control has a say in it."""
        while True:
            now = time.time()
            ended = partial(expire, at=now, rules=self.rules)
            while events := await self._insist(partial(self._store.expire, now, 500, ended)):
                published(events)
            await trio.sleep(_EXPIRE_EVERY)


def _record(visit: Visit, started: float, seen: Sequence[Evidence]) -> VisitRecord:
    return VisitRecord(visit, started, time.time(), tuple(seen), judge(visit, seen))


def plan(
    target: Target,
    standing: Standing,
    settings: Settings,
    endpoints: Sequence[Endpoint],
    canaries: Sequence[CanaryTarget],
) -> Visit:
    """What a visit tries: what was proven, then the ranking; a retest only as much as fits into a minute."""
    removal = settings.removal
    listed = any(listing.type == "entry" for listing in standing.listings)
    hurried = target.reason is Reason.REMOVAL
    proven = refutation(known_open(standing), canaries, others_first=hurried)
    if hurried:
        known = {item.endpoint for item in proven}
        fresh = [endpoint for endpoint in endpoints if endpoint not in known]
        endpoints = fresh[: removal.endpoints] if target.pass_number == 1 else ()
    else:
        endpoints = (*settings.relays, *endpoints)
    return Visit(
        id=secrets.token_hex(16),
        target=target,
        endpoints=tuple(endpoints),
        vantages=settings.vantages,
        proven=proven,
        capabilities=not listed and not hurried,
        connect_timeout=removal.connect_timeout if hurried else None,
        listed=listed,
        mail=settings.lists.ops.require == "mail",
        despite_optout=standing.excluded is not None and standing.sampled,
        forms=settings.lists.rss.forms,
        letters=tuple((endpoint, aim, id_) for endpoint, aim, id_, _ in standing.deferred),
    )


def known_open(standing: Standing) -> tuple[Proven, ...]:
    """What was proven of an address, on both lists."""
    watches = [watch for watch in (standing.watch, standing.relay) if watch is not None]
    return tuple(known for watch in watches for known in watch.proven)


def judged_by(before: Standing, now: Standing, record: VisitRecord, canaries: Sequence[CanaryTarget]) -> VisitRecord:
    """A visit in the light of what a late letter proved while it was under way: that was not asked, so not refused."""
    if known_open(now) == known_open(before):
        return record
    visit = replace(record.visit, proven=refutation(known_open(now), canaries))
    return replace(record, visit=visit, verdict=judge(visit, record.evidence))


def removal_rule(settings: Settings) -> Callable[[Standing], float]:
    """From when on the removal of a relisted address is taken from whoever did not show control of it."""
    delays = tuple(days * DAY for days in settings.lists.ops.removal_delay_days)
    return partial(removal_not_before, delays=delays)


def rules_of(settings: Settings, scope: Scope, *, canaries: int = 1) -> Rules:
    """The policy as configured."""
    ops = settings.lists.ops
    return Rules(
        require_mail=ops.require == "mail",
        expiry=ops.expiry_days * DAY,
        exit_expiry=ops.exit_expiry_days * DAY,
        expiry_cap=ops.expiry_cap_days * DAY,
        relisting_factors=ops.relisting_factors,
        exits_per_entry=ops.exits_per_entry,
        exit_interval=ops.exit_interval_minutes * 60,
        rescan=ops.rescan_hours * HOUR,
        rescan_max=ops.rescan_max_hours * HOUR,
        rescan_max_with_exits=ops.rescan_max_hours_with_exits * HOUR,
        clean_rescans=ops.clean_rescans,
        gone_rescans=ops.gone_rescans,
        recheck=ops.recheck_hours * HOUR,
        removal_gap=settings.removal.gap,
        vantages=len(settings.vantage),
        canaries=canaries,
        relay_expiry=settings.lists.rss.expiry_days * DAY,
        list_outputs=settings.lists.rss.list_outputs,
        letter_tries=settings.lists.rss.tries,
        never_list=scope.never_list,
        never_list_soft=scope.never_list_soft,
    )
