"""The store and the plain book of the small world say the same after every decision."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scanner.listing import Rules, decide, expire
from scanner.model import (
    Aim,
    Decision,
    Endpoint,
    Event,
    EventKind,
    Evidence,
    Face,
    Kind,
    Reason,
    Standing,
    Target,
    Visit,
    VisitRecord,
)
from scanner.receipt import Delivery, Letter, Receipt
from scanner.store import NominationIn, Store, open_store
from scanner.verdict import judge
from tests.scanner.test_policy import EXITS, HOSTS, act, histories, world
from tests.scanner.world import KEYS, START, VANTAGES, address


def plain(events: list[Event]) -> list[tuple[object, ...]]:
    return [(event.kind, event.at, event.listing, event.reason) for event in events]


@settings(max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(histories, st.integers(1, 2))
def test_the_store_concludes_expires_and_changes_as_the_book_does(tmp_path_factory, history, vantages):
    """The world runs first and is recorded; then the store is told the same story."""
    of = world(vantages, vantages)
    story: list[tuple[str, float, VisitRecord | None, Decision, Standing]] = []

    def visited(standing: Standing, record: VisitRecord, decision: Decision) -> None:
        story.append((str(record.visit.address), record.ended, record, decision, standing))

    def changed(name: str, decision: Decision) -> None:
        if decision.events:
            story.append((name, of.now, None, decision, Standing()))

    of.on_visit, of.on_change = visited, changed
    for host in of.hosts.values():
        host.exits = EXITS[:1] + EXITS[-1:]
    for name in HOSTS:
        of.nominate(name)
    for action in history:
        if action[0] not in ("optout", "optin", "clock"):
            act(of, action)
    trio.run(_told, tmp_path_factory.mktemp("store") / "store.db", story, of.rules, of.book)


async def _told(path: Path, story, rules, book) -> None:
    with trio.fail_after(60):
        async with open_store(f"sqlite:///{path}") as store:
            for name, at, record, decision, standing in story:
                if record is not None:
                    seen: list[Standing] = []

                    def decided(now: Standing, record=record, seen=seen) -> Decision:
                        seen.append(now)
                        return decide(now, record, rules)

                    await store.conclude(record, decided, lease=None)
                    (found,) = seen
                    assert {item.key: item for item in found.listings} == {item.key: item for item in standing.listings}
                    assert replace(found, listings=()) == replace(standing, listings=())
                elif all(event.kind == "expired" for event in decision.events[:1]):
                    await store.expire(at, 1, partial(expire, at=at, rules=rules))
                else:
                    await store.change(name, lambda _, decision=decision: decision, at)
            assert {item.key: item for item in await store.listings()} == book.listings
            assert plain(await store.events(limit=10_000)) == plain(book.events)
            assert await store.verify() == []


async def test_an_opt_out_yields_once_to_a_sample(tmp_path: Path) -> None:
    of = world()
    of.nominate(HOSTS[0])
    of.wait(1)
    (record,) = of.book.records
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        assert await _sampled(store, record) is False
        await store.nominate([NominationIn(record.visit.address, b"spam")], record.started)
        assert await _sampled(store, record) is False
        await store.exclude(HOSTS[0], "asked", "owner", record.started)
        assert await _sampled(store, record) is True
        await store.conclude(record, partial(decide, record=record, rules=of.rules), lease=None)
        assert await _sampled(store, record) is False
        await store.nominate([NominationIn(record.visit.address, None, trusted=True)], record.ended)
        assert await _sampled(store, record) is False


async def _sampled(store: Store, record: VisitRecord) -> bool:
    return (await store.standing(record.visit.address, record.ended)).sampled


async def test_what_waits_for_a_person_is_put_before_the_operator_once(tmp_path: Path) -> None:
    of = world()
    of.nominate(HOSTS[0])
    of.wait(1)
    (record,) = of.book.records
    why = Decision(held="open, but on the soft never-list")
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        await store.conclude(record, lambda _: why, lease=None)
        (waiting,) = await store.nominations("review")
        assert (waiting.address, waiting.comment) == (record.visit.address, why.held)
        again = await store.review(waiting.id, True, record.ended)
        assert again is not None
        (leased,) = await store.lease("me", record.ended, 60, 10)
        assert leased.target.reason == "operator"


async def test_a_relisted_address_waits_for_its_removal(tmp_path: Path) -> None:
    of = world()
    of.nominate(HOSTS[0])
    of.wait(1)
    (record,) = of.book.records
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        await store.conclude(record, partial(decide, record=record, rules=of.rules), lease=None)
        asked: list[Standing] = []

        def not_before(standing: Standing) -> float:
            asked.append(standing)
            return record.ended + 100

        refused = (await store.dossier(record.visit.address, record.ended + 99, not_before=not_before)).refused
        assert refused is not None
        assert (refused.reason, refused.not_before) == ("relisted", record.ended + 100)
        assert asked[0].listings[0].address == HOSTS[0]
        made = await store.request_removal(record.visit.address, "owner", record.ended + 100, not_before=not_before)
        assert made.target == record.visit.address


async def test_an_address_inside_the_dul_is_known_as_dynamic(tmp_path: Path) -> None:
    of = world()
    of.nominate(HOSTS[0])
    of.wait(1)
    (entry,) = of.book.entries()
    dynamic = replace(entry, list="dul", address="192.0.2.0/24", type="dynamic")
    listed = Decision((Event(EventKind.LISTED, entry.first_listed, dynamic),))
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        assert not (await store.standing(HOSTS[0])).dynamic
        await store.change("192.0.2.0/24", lambda _: listed, entry.first_listed)
        assert (await store.standing(HOSTS[0])).dynamic
        assert not (await store.standing("198.51.100.1")).dynamic


async def test_an_output_host_of_two_relays_is_listed_once(tmp_path: Path) -> None:
    rules = replace(Rules(), list_outputs=True)
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        kinds = []
        for number, name in enumerate(HOSTS[:2]):
            at, who = START + number, address(name)
            letter = Letter(bytes([number] * 9), who, Endpoint("smtp-relay", 25))
            signed = Delivery("c1", letter.id.hex(), address("203.0.113.1"), 40000, 25, at).signed(KEYS["c1"])
            aim = Aim("c1", "c1.example", 25, Face.MAIL, "plain")
            proof = Receipt(KEYS["c1"], letter, signed)
            seen = Evidence(letter.endpoint, Kind.RELAYED, "", "v1", aim, proof, at=at, letter=letter.id.hex())
            visit = Visit(f"{number:032x}", Target(who, Reason.NOMINATION, at), (), VANTAGES[:1])
            record = VisitRecord(visit, at, at, (seen,), judge(visit, (seen,)))
            events = await store.conclude(record, partial(decide, record=record, rules=rules), lease=None)
            kinds += [(event.kind, event.listing.entry) for event in events if event.listing.type == "relay-output"]
        assert kinds == [(EventKind.LISTED, HOSTS[0]), (EventKind.CONFIRMED, HOSTS[0])]
