"""A week of operation under a clock of its own: 100,000 nominated addresses, the real policy, a made-up network.

    python -m benchmarks.week [--targets 100000] [--seed 1] [--charts docs]

What runs is what decides: pipeline.plan, agenda, proofs, verdict, listing, exits. What is made up: hosts, owners and
victims (benchmarks/population.py), how long a visit takes, and the store, as plain dictionaries. Nobody may be visited
automatically twice in a day, every change is held against what the host was at that moment, and at the end the events
must replay to the listings. --charts writes the three charts of docs/week.md.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from pathlib import Path

from benchmarks.population import WEEK, Deed, population
from core.cidr import CidrSet
from scanner.listing import decide, expire
from scanner.model import (
    Decision,
    EventKind,
    Kind,
    Listing,
    Reason,
    RemovalState,
    Standing,
    Target,
    VisitRecord,
    Watch,
)
from scanner.pipeline import plan, removal_rule, rules_of
from scanner.scope import Scope
from scanner.settings import Settings
from scanner.verdict import judge
from scanner.web.charts import columns, rows
from tests.scanner.world import CANARIES, DAY, ENDPOINTS, HOUR, START, Event, replay, see

_VISIT = 2.0, 25.0  # seconds of a visit, from its start until its control round is over
_RETEST = 3.0, 12.0  # of one pass of a removal's retest
_AGAIN = 6 * HOUR  # until an owner who was told that it is still open asks again, at most twice
NOBODY = CidrSet([])
Key = tuple[str, str, str]


@dataclass
class Register:
    """What the store knows, by address."""

    listings: dict[Key, Listing] = field(default_factory=dict)
    of: dict[str, dict[Key, Listing]] = field(default_factory=lambda: defaultdict(dict))  # address or entry
    with_exit: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # exit -> entries
    events: list[Event] = field(default_factory=list)
    ends: dict[str, list[tuple[str, float]]] = field(default_factory=lambda: defaultdict(list))
    watches: dict[str, Watch] = field(default_factory=dict)
    last_visit: dict[str, float] = field(default_factory=dict)

    def standing(self, of: str) -> Standing:
        watch = self.watches.get(of)
        own = dict(self.of[of]) if of in self.of else {}
        for exit_ in {name for name, _, _ in watch.exits_seen} if watch else ():
            own |= {key: item for key, item in self.of.get(exit_, {}).items() if item.type == "exit"}
        entry = own.get(("ops", of, "entry"))
        others = {("ops", name): tuple(sorted(self.with_exit[name] - {of})) for name in (entry.exits if entry else ())}
        ends = tuple(self.ends.get(of, ()))
        return Standing(tuple(own[key] for key in sorted(own)), watch, ends, others, None, self.last_visit.get(of))

    def apply(self, of: str, decision: Decision) -> None:
        for event in decision.events:
            self.events.append(event)
            listing = event.listing
            old = self.listings.pop(listing.key, None)
            for key in {listing.address, listing.entry, old.entry if old else None} - {None}:
                self.of[key].pop(listing.key, None)
            for name in old.exits if old else ():
                self.with_exit[name].discard(old.address)
            if event.kind.ends:
                if listing.type == "entry":
                    self.ends[listing.address].append((listing.list, event.at))
                continue
            self.listings[listing.key] = listing
            for key in {listing.address, listing.entry} - {None}:
                self.of[key][listing.key] = listing
            for name in listing.exits:
                self.with_exit[name].add(listing.address)
        if any(event.reason == "reopened" for event in decision.events):
            self.ends[of].append(("ops", decision.events[0].at))
        if decision.watch is None:
            self.watches.pop(of, None)
        else:
            self.watches[of] = decision.watch


def rank(target: Target) -> tuple[int, float]:
    """Which of two targets of an address stays: store/schedule.py."""
    return (0 if target.removal else 1 if target.reason.on_demand else 2, target.due)


class Week:
    """The clock and the queue. Call run(); what happened is in its fields."""

    def __init__(self, targets: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.hosts, deeds = population(targets, self.rng)
        self.settings = Settings()
        self.rules = rules_of(self.settings, Scope(NOBODY, NOBODY, NOBODY, NOBODY), canaries=len(CANARIES))
        self.not_before = removal_rule(self.settings)
        self.register = Register()
        self.targets: dict[str, Target] = {}
        self.now = START
        self.visits: Counter[tuple[int, bool]] = Counter()  # day, on demand
        self.sizes: list[tuple[int, int]] = []  # entries and exits, each hour
        self.waits: list[float] = []  # seconds from a request to its delisting
        self.answers: Counter[RemovalState] = Counter()
        self.steps = 0
        self._automatic: dict[str, float] = {}
        self._asked: dict[str, float] = {}  # address -> since when its removal request runs
        self._denied: Counter[str] = Counter()  # how often in vain
        self._busy: set[str] = set()  # visits that are under way
        self._numbers = count(1)
        self._queue: list[tuple[float, int, object]] = []
        for deed in deeds:
            self._push(deed.at, deed)
        for hour in range(int(WEEK / HOUR) + 1):
            self._push(START + hour * HOUR, None)

    def run(self) -> None:
        while self._queue:
            self.now, _, item = heappop(self._queue)
            if self.now > START + WEEK:
                return
            self.steps += 1
            if item is None:
                self._hour()
            elif isinstance(item, Deed):
                self._happens(item)
            elif isinstance(item, Target):
                if self.targets.get(str(item.address)) is item:
                    self._begin(item)
            else:
                self._end(*item)  # type: ignore[misc]

    def _push(self, at: float, item: object) -> None:
        heappush(self._queue, (at, next(self._numbers), item))

    def _schedule(self, target: Target) -> None:
        if str(target.address) in self._busy and not target.reason.on_demand:
            return  # the visit that is under way answers this too
        waiting = self.targets.get(str(target.address))
        if waiting is None or rank(target) < rank(waiting):
            self.targets[str(target.address)] = target
            self._push(max(self.now, target.due), target)

    def _happens(self, deed: Deed) -> None:
        host = self.hosts[deed.address]
        if deed.what == "changes":
            assert deed.mode is not None
            host.mode = deed.mode
        elif deed.what == "nominated":
            last = self.register.last_visit.get(deed.address)
            due = self.now if last is None else max(self.now, last + DAY)
            self._schedule(Target(host.address, Reason.NOMINATION, due))
        else:
            self._asks(deed.address)

    def _asks(self, address: str) -> None:
        """Somebody asks for removal, as far as the policy page lets him."""
        standing = self.register.standing(address)
        if ("ops", address, "entry") not in self.register.listings or address in self._asked:
            return
        moment = self.not_before(standing)
        if moment > self.now:
            self._push(moment, Deed(moment, address, "asks"))
            return
        removal = f"{next(self._numbers):032x}"
        self._asked[address] = self.now
        self._schedule(Target(self.hosts[address].address, Reason.REMOVAL, self.now, removal, 1))

    def _begin(self, target: Target) -> None:
        """A visit: what it sees is what the host is now."""
        of = str(target.address)
        del self.targets[of]
        self._busy.add(of)
        self.visits[int((self.now - START) // DAY), target.reason.on_demand] += 1
        if not target.reason.on_demand:
            before = self._automatic.get(of)
            assert before is None or self.now >= before + DAY, f"{of} is visited twice in a day"
            self._automatic[of] = self.now
        visit = plan(target, self.register.standing(of), self.settings, ENDPOINTS, CANARIES)
        visit = replace(visit, id=f"{next(self._numbers):032x}")
        evidence = see(visit, self.hosts[of], CANARIES, self.now + 1)
        lasts = self.rng.uniform(*(_RETEST if target.reason is Reason.REMOVAL else _VISIT))
        record = VisitRecord(visit, self.now, self.now + lasts, evidence, judge(visit, evidence))
        self._push(record.ended, (record, self.hosts[of].mode is Kind.RELAYED))

    def _end(self, record: VisitRecord, was_open: bool) -> None:
        of = str(record.visit.address)
        decision = decide(self.register.standing(of), record, self.rules)
        for event in decision.events:
            entry = event.listing.address == of
            if event.kind in {EventKind.LISTED, EventKind.CONFIRMED} and event.reason != "another entry has it":
                assert was_open, f"{of} is {event.kind} and was closed"
            assert not (entry and event.kind is EventKind.DELISTED and was_open), f"{of} is delisted and was open"
        self.register.apply(of, decision)
        self.register.last_visit[of] = record.ended
        self._busy.discard(of)
        if decision.next_target is not None:
            self._schedule(decision.next_target)
        if decision.removal is not None and decision.removal.state.final:
            self._answered(of, decision.removal.state)

    def _answered(self, of: str, state: RemovalState) -> None:
        since = self._asked.pop(of)
        self.answers[state] += 1
        if state is RemovalState.DELISTED:
            self.waits.append(self.now - since)
            return
        self._denied[of] += 1
        if self._denied[of] < 3:
            self._push(self.now + _AGAIN, Deed(self.now + _AGAIN, of, "asks"))

    def _hour(self) -> None:
        for listing in [item for item in self.register.listings.values() if item.expires <= self.now]:
            if listing.key in self.register.listings:
                of = listing.address
                self.register.apply(of, expire(self.register.standing(of), at=self.now, rules=self.rules))
        types = Counter(listing.type for listing in self.register.listings.values())
        self.sizes.append((types["entry"], types["exit"]))

    def check(self) -> None:
        """What must be so at the end of any week."""
        assert replay(self.register.events) == self.register.listings
        for key, listing in self.register.listings.items():
            if listing.type == "entry":
                assert key[1] in self.targets or key[1] in self._busy, f"{key[1]} is listed, and nobody looks again"


def share(values: Sequence[float], part: float) -> float:
    """The value below which this part of them lies."""
    return sorted(values)[int(part * (len(values) - 1))]


_STYLE = """<style>
svg { color-scheme: light dark; font-family: system-ui, sans-serif; background: #fff; }
text { fill: #555; font-size: 12px; } .one { fill: #2563a8; } .two { fill: #d98324; } .grid { stroke: #ddd; }
@media (prefers-color-scheme: dark) {
  svg { background: #16191d; } text { fill: #aaa; } .grid { stroke: #333; }
  .one { fill: #6aa5e0; } .two { fill: #e3a355; }
}
</style>"""
_BOUNDS = ((15, "under 15 s"), (20, "15 to 20 s"), (25, "20 to 25 s"), (30, "25 to 30 s"), (35, "30 to 35 s"),
           (60, "35 to 60 s"), (1e9, "over a minute"))  # fmt: skip


def charts(week: Week, folder: Path) -> None:
    """The list's size, visits a day, time to delist: SVG files of their own."""
    hours = [START + hour * HOUR for hour in range(len(week.sizes))][::4]
    sizes = week.sizes[::4]
    days = [START + day * DAY for day in range(7)]
    buckets: Counter[str] = Counter()
    for wait in week.waits:
        buckets[next(name for bound, name in _BOUNDS if wait < bound)] += 1
    drawn = {
        "size": columns("Entries and exits on the list, every four hours of a week", hours,
                        [("entries", [entries for entries, _ in sizes]), ("exits", [exits for _, exits in sizes])]),
        "visits": columns("Visits a day: automatic, and asked for by owners", days,
                          [("automatic", [week.visits[day, False] for day in range(7)]),
                           ("retests", [week.visits[day, True] for day in range(7)])]),
        "delist": rows("Seconds from an owner's request to the delisting",
                       [(name, buckets[name]) for _, name in _BOUNDS]),
    }  # fmt: skip
    for name, svg in drawn.items():
        head, _, rest = str(svg).partition(">")
        head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
        (folder / f"week-{name}.svg").write_text(f"{head}>{_STYLE}{rest}\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--charts", type=Path, help="write the charts into this folder")
    options = parser.parse_args()
    began, used = time.monotonic(), time.process_time()
    week = Week(options.targets, options.seed)
    week.run()
    week.check()
    kinds = Counter(event.kind for event in week.register.events if event.listing.type == "entry")
    open_ = sum(host.mode is Kind.RELAYED for host in week.hosts.values())
    visits = sum(week.visits.values())
    for name, value in (
        ("addresses nominated, open at the end", f"{len(week.hosts):,}, {open_:,}"),
        ("visits, of them asked for", f"{visits:,}, {sum(n for (_, asked), n in week.visits.items() if asked):,}"),
        ("entries listed, confirmed, delisted", ", ".join(f"{kinds[kind]:,}" for kind in list(EventKind)[:3])),
        ("listed at the end: entries, exits", "{:,}, {:,}".format(*week.sizes[-1])),
        ("removal requests answered",
         ", ".join(f"{state} {number:,}" for state, number in sorted(week.answers.items()))),
        ("request to delisting: median, 99 %, longest",
         f"{share(week.waits, 0.5):.0f}, {share(week.waits, 0.99):.0f}, {max(week.waits):.0f} s"),
        ("steps, seconds of CPU, seconds (120)",
         f"{week.steps:,}, {time.process_time() - used:.1f}, {time.monotonic() - began:.1f}"),
    ):  # fmt: skip
        print(f"{name:46} {value}")
    if options.charts:
        charts(week, options.charts)


if __name__ == "__main__":
    main()
