from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.model import Event, EventKind, Listing, Reason, RemovalState, RemovalStep, Target
from scanner.store import NominationIn, Store, open_store
from scanner.store.conclude import _append
from scanner.store.engine import connect
from scanner.store.migrate import upgrade
from scanner.store.verify import verify
from tests.scanner.store.make import (
    AT,
    DAY,
    ENTRY,
    EXIT,
    Decide,
    address,
    event,
    evidence,
    exit_listing,
    listing,
    lists,
    record,
)


@pytest.fixture
async def broken(url: str):
    """A store with one entry, one exit and a running removal, for a test to break."""
    async with open_store(url) as store:
        of = listing(exits=(EXIT,))
        decide = lists(of)
        both = (*decide.decision.events, event(EventKind.LISTED, exit_listing()))
        decide.decision = replace(decide.decision, events=both)
        await store.conclude(record(pieces=evidence()), decide, lease=None)
        await store.nominate([NominationIn(address(9), b"x")], AT)
        await store.request_removal(ENTRY, "owner", AT + 20)
        assert await store.verify() == []
        yield store


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM listings WHERE type = 'exit'", "listing ops/203.0.113.9/exit is missing"),
        ("UPDATE listings SET expires = 1 WHERE type = 'entry'", "ops/192.0.2.1/entry differs from its last event"),
        ("DELETE FROM events WHERE seq = 1", "listing ops/192.0.2.1/entry stands without an event"),
        ("UPDATE events SET kind = 'delisted' WHERE seq = 1", "ends ops/192.0.2.1/entry, which was not listed"),
        ("DELETE FROM targets WHERE address = '192.0.2.1'", "is running, but nobody is going to visit"),
        ("DELETE FROM targets WHERE reason = 'nomination'", "nomination of 192.0.4.1 is accepted, but"),
        ("UPDATE networks SET ready_at = NULL", "waits in a network that is due later or never"),
        ("UPDATE networks SET ready_at = 9e9", "waits in a network that is due later or never"),
        ("INSERT INTO exits (entry, exit, list) VALUES ('192.0.2.1', '1.2.3.4', 'ops')", "exit 1.2.3.4 of 192.0.2.1"),
        ("DELETE FROM exits", "exit 203.0.113.9 of 192.0.2.1 is not kept as one"),
        ("UPDATE evidence SET visit = 'x'", "a foreign key of table evidence leads nowhere"),
    ],
)
async def test_verify_finds(broken: Store, statement: str, said: str) -> None:
    with closing(sqlite3.connect(broken.path, isolation_level=None)) as connection:
        connection.execute(statement)
    assert said in "\n".join(await broken.verify())


keys = st.tuples(*map(st.sampled_from, (["ops", "rss"], ["192.0.2.1", "192.0.2.2"], ["entry", "manual"])))
moves = st.lists(st.tuples(keys, st.sampled_from(EventKind), st.integers(0, 3)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(moves)
def test_replaying_random_events_gives_the_listings(
    histories: list[tuple[tuple[str, str, str], EventKind, int]],
) -> None:
    """Against a dict: the store keeps exactly the events that policy may make, and the listings that follow."""
    with closing(_memory()) as connection:
        expected: dict[tuple[str, str, str], Listing] = {}
        made: list[Event] = []
        for (list_, name, type_), kind, variant in histories:
            exits = tuple(f"203.0.113.{n}" for n in range(variant))
            of = listing(name, list=list_, type=type_, expires=AT + variant, exits=exits)
            if kind is not EventKind.LISTED and of.key not in expected:
                with pytest.raises(ValueError, match="which is not listed"):
                    _append(connection, event(kind, of))
                continue
            made.append(_append(connection, event(kind, of)))
            if kind.ends:
                del expected[of.key]
            else:
                expected[of.key] = of
        assert verify(connection) == []
        rows = connection.execute("SELECT list, address, type, expires FROM listings ORDER BY 1, 2, 3").fetchall()
        assert rows == [(*key, expected[key].expires) for key in sorted(expected)]
        count = connection.execute("SELECT count(*) FROM exits").fetchone()[0]
        assert count == len({(of.list, of.address, exit_) for of in expected.values() for exit_ in of.exits})
        assert len({item.id for item in made}) == len({item.cursor for item in made}) == len(made)


_template: list[bytes] = []


def _memory() -> sqlite3.Connection:
    if not _template:
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "t.db"
            upgrade(path)
            with closing(connect(path)) as connection:
                _template.append(connection.serialize())
    connection = sqlite3.connect(":memory:", isolation_level=None)
    # The header's two WAL bytes: memory knows no WAL (SQLite file format, 1.3.3).
    connection.deserialize(_template[0][:18] + b"\x01\x01" + _template[0][20:])
    return connection


async def test_purge_keeps_what_holds_up_a_listing(store: Store) -> None:
    now = AT + 800 * DAY
    held = record(pieces=evidence())
    await store.conclude(held, lists(listing(visit=held.visit.id)), lease=None)
    other = ip_address("192.0.2.2")
    await store.nominate([NominationIn(other, b"old"), NominationIn(address(8))], AT)
    await store.nominate([NominationIn(address(12), b"waits")], AT)
    (leased, *_) = await store.lease("me", AT, 60, 1)
    ended = listing(str(other))
    await store.conclude(
        record(leased.target, pieces=evidence()),
        Decide(event(EventKind.LISTED, ended), then=Target(other, Reason.RESCAN, now + DAY)),
        lease=leased,
    )
    async with trio.open_nursery() as nursery:  # one after the other, each would wait for the disk
        for _ in range(1500):
            visited = record(Target(address(16), leased.target.reason, AT))
            nursery.start_soon(partial(store.conclude, visited, Decide(), lease=None))
    await store.change(str(other), Decide(event(EventKind.DELISTED, ended, AT + DAY)), AT + DAY)
    await store.change(str(other), Decide(event(EventKind.LISTED, ended, AT + 400 * DAY)), AT + 400 * DAY)
    removal = await store.request_removal(ENTRY, "owner", AT + 20)
    await store.removal_step(RemovalStep(removal.id, AT + 30, RemovalState.STILL_OPEN))

    counts = await store.purge(now - 30 * DAY, now)
    letters = {"letters": 0, "deliveries": 0}
    assert counts == {**letters, "visits": 1501, "nominations": 1, "removals": 1, "events": 2, "networks": 0}
    assert await store.verify() == []
    assert [visit.id for visit in await store.visits(ENTRY)] == [held.visit.id]
    assert (await store.visits(ENTRY))[0].evidence[1].transcript != b""
    assert await store.visits(address(16)) == []
    assert await store.removal(removal.id) is None
    assert [item.kind for item in await store.events()] == [EventKind.LISTED, EventKind.LISTED]
    assert {of.address for of in await store.listings()} == {str(ENTRY), str(other)}
    assert sorted(item.state for item in await store.nominations()) == ["review", "scheduled"]
    assert not any((await store.purge(now - 30 * DAY, now)).values())
    last = await store.last_cursor()
    await store.change(str(other), Decide(event(EventKind.DELISTED, ended, now)), now)
    (newest,) = await store.events(last)
    assert newest.kind is EventKind.DELISTED


async def test_purge_leaves_the_last_day_alone(store: Store) -> None:
    """Whatever the operator asks: the pause of 24 h between visits is counted from it."""
    await store.conclude(record(ended=AT), Decide(), lease=None)
    await store.purge(AT + 10 * DAY, AT + 100)
    assert (await store.standing(ENTRY)).last_visit == AT


async def test_backup_is_whole_while_others_write(store: Store, tmp_path: Path) -> None:
    await store.conclude(record(pieces=evidence()), lists(), lease=None)

    async def write() -> None:
        for number in range(2000):
            await store.nominate([NominationIn(address(number), b"x" * 500)], AT)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await store.backup(tmp_path / "copy.db")
        nursery.cancel_scope.cancel()
    async with open_store(f"sqlite:///{tmp_path}/copy.db") as copy:
        assert await copy.verify() == []
        assert await copy.events() == await store.events()
