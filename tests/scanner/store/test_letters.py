"""Letters and deliveries meet, whichever comes first, however late, and once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from scanner.model import Aim, Decision, Endpoint, EventKind, Evidence, Face, Kind, Reason, Watch
from scanner.proof import CanaryKey
from scanner.receipt import Delivery, Letter, Receipt
from scanner.store import Store, open_store
from scanner.store.letters import AWAITED, DAYS, SPOOLED
from scanner.verdict import void
from tests.scanner.store.make import AT, DAY, ENTRY, Decide, event, listing, record, target

KEY = CanaryKey.from_master(b"m" * 32, "main")
RELAY = Endpoint("smtp-relay", 25)
PLAIN, PERCENT = (Aim("main", "mail.example", 25, Face.MAIL, form) for form in ("plain", "percent"))
ID = b"i" * 9
SIGNED = Delivery("main", ID.hex(), ENTRY, 4, 25, AT).signed(KEY)
RSS = listing(list="rss", criterion="open-relay", detector="smtp-relay/1")


def piece(kind: Kind = Kind.ACCEPTED, at: float = AT, aim: Aim = PLAIN, id_: bytes = ID) -> Evidence:
    proof = Receipt(KEY, Letter(id_, ENTRY, RELAY), SIGNED) if kind is Kind.RELAYED else None
    return Evidence(RELAY, kind, "", "here", aim, proof, at=at, letter=id_.hex())


def lists_relay() -> Decide:
    decide = Decide(event(EventKind.LISTED, RSS), then=target(reason=Reason.RESCAN, due=AT + DAY))
    decide.decision = replace(decide.decision, relay=Watch("rss", ENTRY, (), AT + DAY))
    return decide


async def visited(store: Store, *pieces: Evidence, ended: float = AT + 10) -> None:
    kept = record(pieces=pieces, ended=ended)
    await store.conclude(kept, lambda standing: Decision(relay=standing.relay), lease=None)


def late() -> object:
    return record(pieces=(piece(Kind.RELAYED),), ended=AT + 100)


@pytest.mark.parametrize("first", ["letter", "delivery"])
async def test_they_meet_whichever_comes_first(url: str, first: str) -> None:
    async with open_store(url) as store:
        steps = [lambda: visited(store, piece()), lambda: store.deliver(ID.hex(), SIGNED, AT + 5)]
        for step in steps if first == "letter" else steps[::-1]:
            assert await store.pending_letters(AT + 20) == []
            await step()
        (posted,) = await store.pending_letters(AT + 20)
        assert (posted.letter, posted.address, posted.aim, posted.at) == (ID.hex(), ENTRY, PLAIN, AT)
        assert (posted.endpoint, posted.vantage, posted.signed) == (RELAY, "here", SIGNED)
        decide = lists_relay()
        (listed,) = await store.receive(ID.hex(), late(), decide)
        assert listed.listing == RSS
        assert await store.receive(ID.hex(), late(), decide) == (), "once"
        assert await store.pending_letters(AT + 20) == []
        standing = await store.standing(ENTRY)
        assert standing.relay == decide.decision.relay
        assert standing.watch is None
        assert await store.verify() == []


async def test_what_arrived_in_time_is_not_looked_at_again(url: str) -> None:
    async with open_store(url) as store:
        await store.deliver(ID.hex(), SIGNED, AT + 1)
        await store.deliver(ID.hex(), b"again", AT + 2)
        assert await store.delivery(ID.hex()) == SIGNED
        assert await store.delivery("00") is None
        await visited(store, piece(Kind.RELAYED))
        assert await store.pending_letters(AT + 20) == []


@pytest.mark.parametrize(
    ("kind", "at", "aim", "void"),
    [
        (Kind.DENIED, AT + 50, PLAIN, True),
        (Kind.AUTH_REQUIRED, AT + 50, PLAIN, True),
        (Kind.WRONG_PROTOCOL, AT + 50, PLAIN, True),
        (Kind.REFUSED, AT + 50, None, True),
        (Kind.DENIED, AT - 50, PLAIN, False),
        (Kind.DENIED, AT + 50, PERCENT, False),
        (Kind.TURNED_AWAY, AT + 50, PLAIN, False),
        (Kind.FILTERED, AT + 50, None, False),
        (Kind.DEFERRED, AT + 50, PLAIN, False),
    ],
)
async def test_a_later_refusal_of_the_form_voids_it(
    url: str, kind: Kind, at: float, aim: Aim | None, void: bool
) -> None:
    shown = replace(piece(kind, at, PLAIN, b"j" * 9), aim=aim, letter="" if aim is None else (b"j" * 9).hex())
    async with open_store(url) as store:
        await visited(store, piece())
        await visited(store, shown, ended=AT + 60)
        await store.deliver(ID.hex(), SIGNED, AT + 70)
        assert (await store.receive(ID.hex(), late(), lists_relay()) == ()) == void
        assert await store.pending_letters(AT + 80) == []


async def test_what_another_vantage_was_refused_in_the_same_visit_voids_nothing(url: str) -> None:
    async with open_store(url) as store:
        await visited(store, piece(), piece(Kind.DENIED, AT + 5, id_=b"j" * 9))
        await store.deliver(ID.hex(), SIGNED, AT + 70)
        assert await store.receive(ID.hex(), late(), lists_relay()) != ()


@pytest.mark.parametrize(("kind", "aim"), [(Kind.DENIED, PLAIN), (Kind.REFUSED, None)])
async def test_what_a_void_visit_saw_voids_nothing(url: str, kind: Kind, aim: Aim | None) -> None:
    shown = replace(piece(kind, AT + 50, PLAIN, b"j" * 9), aim=aim, letter="" if aim is None else (b"j" * 9).hex())
    async with open_store(url) as store:
        await visited(store, piece())
        kept = void(record(pieces=(shown,), ended=AT + 60), "our own controls fail")
        await store.conclude(kept, lambda standing: Decision(relay=standing.relay), lease=None)
        await store.deliver(ID.hex(), SIGNED, AT + 70)
        assert await store.receive(ID.hex(), late(), lists_relay()) != ()


async def test_after_five_days_nobody_waits(url: str) -> None:
    async with open_store(url) as store:
        await visited(store, piece())
        await store.deliver(ID.hex(), SIGNED, AT + DAYS + 1)
        assert await store.pending_letters(AT + DAYS + 1) == []


async def test_what_a_canary_elsewhere_kept_in_the_meantime_counts_from_its_arrival_there(url: str) -> None:
    async with open_store(url) as store:
        await visited(store, piece())
        await store.deliver(ID.hex(), SIGNED, AT + DAYS - 1)
        assert len(await store.pending_letters(AT + DAYS - 1)) == 1
        assert len(await store.pending_letters(AT + DAYS + SPOOLED - 2)) == 1
        assert await store.pending_letters(AT + DAYS + SPOOLED) == []


async def test_letters_that_were_deferred_are_remembered_with_their_tries(url: str) -> None:
    async with open_store(url) as store:
        for tries in (1, 2):
            await visited(store, piece(Kind.DEFERRED), piece(Kind.DENIED, aim=PERCENT, id_=b"j" * 9))
            assert (await store.standing(ENTRY, AT)).deferred == ((RELAY, PLAIN, ID, tries),)
        assert (await store.standing(ENTRY, AT + DAYS + 1)).deferred == ()
        await visited(store, piece(Kind.DENIED))
        assert (await store.standing(ENTRY, AT)).deferred == ()
        assert (await store.purge(AT + 1, AT + AWAITED + 1))["letters"] == 1
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("SELECT count(*) FROM letters").fetchone() == (0,)


@pytest.mark.parametrize("refused", [False, True])
async def test_a_purge_takes_no_letter_that_may_still_arrive(url: str, *, refused: bool) -> None:
    """Nor the visit that makes it void."""
    async with open_store(url) as store:
        await visited(store, piece())
        if refused:
            await visited(store, piece(Kind.DENIED, at=AT + 50, id_=b"j" * 9), ended=AT + 60)
        await store.deliver(ID.hex(), SIGNED, AT + DAYS)
        await store.purge(AT + 9 * DAY, AT + AWAITED - 1)
        assert len(await store.pending_letters(AT + AWAITED - 1)) == 1
        assert bool(await store.receive(ID.hex(), late(), lists_relay())) is not refused
        await store.purge(AT + 15 * DAY, AT + DAYS + AWAITED + 1)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        for table in ("letters", "deliveries"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


async def test_a_letter_nobody_can_read_is_discarded(url: str) -> None:
    async with open_store(url) as store:
        await visited(store, piece())
        await store.deliver(ID.hex(), b"junk", AT)
        await store.discard_letter(ID.hex())
        assert await store.pending_letters(AT) == []
