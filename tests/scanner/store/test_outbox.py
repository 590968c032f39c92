"""Messages about outcomes: queued with the outcome, sent at least once, and then forgotten."""

from __future__ import annotations

import pytest

from scanner.model import EventKind, RemovalState, RemovalStep
from scanner.store import Store, open_store
from scanner.store.outbox import A_DAY, Recipient
from tests.scanner.store import make
from tests.scanner.store.test_appeals import NOW, listed

WHO = Recipient("you@example.org", ("0" * 32, "1" * 32))


async def asked(store: Store, to: Recipient = WHO, at: float = NOW, address: object = make.ENTRY):
    if not await store.lookup(address):
        await store.change(str(address), make.lists(make.listing(str(address)), at=address), make.AT)
    return await store.request_removal(address, "web:198.51.100.7", at, tell=to)


async def finished(store: Store, removal: str, at: float = NOW + 20) -> None:
    await store.removal_step(RemovalStep(removal, at, RemovalState.STILL_OPEN))


def rows(store: Store) -> list[tuple[object, ...]]:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(store.path)) as connection:
        return connection.execute("SELECT recipient, state, due, tries, error FROM outbox").fetchall()


async def test_it_waits_for_the_outcome(store: Store) -> None:
    removal = await asked(store)
    assert removal.told
    assert await store.outbox.take(NOW + 100, 60) is None
    await store.removal_step(RemovalStep(removal.id, NOW + 1, RemovalState.CONFIRMING))
    assert await store.outbox.take(NOW + 100, 60) is None
    await store.unschedule(make.ENTRY)
    await finished(store, removal.id)
    out = await store.outbox.take(NOW + 100, 60)
    assert (out.removal, out.recipient, out.mark, out.at, out.tries) == (
        removal.id,
        "you@example.org",
        "1" * 32,
        NOW + 20,
        1,
    )
    assert (out.address, out.requester, out.outcome) == ("192.0.2.1", "web:198.51.100.7", RemovalState.STILL_OPEN)


async def test_it_is_queued_with_the_outcome_or_not_at_all(store: Store) -> None:
    """In the transaction that delists: one that fails leaves neither."""
    await listed(store)
    removal = await store.request_removal(make.ENTRY, "web:x", NOW, tell=WHO)
    step = RemovalStep(removal.id, NOW + 5, RemovalState.DELISTED)
    wrong = make.Decide(make.event(EventKind.DELISTED, make.listing()), watch=make.watch(make.address(9)), removal=step)
    with pytest.raises(ValueError, match="watch"):
        await store.change(str(make.ENTRY), wrong, NOW + 5)
    assert await store.outbox.take(NOW + 10, 60) is None
    await store.change(
        str(make.ENTRY), make.Decide(make.event(EventKind.DELISTED, make.listing()), removal=step), NOW + 5
    )
    assert (await store.outbox.take(NOW + 10, 60)).outcome is RemovalState.DELISTED
    await store.unschedule(make.ENTRY)


async def test_a_lease_passes_with_a_crash(store: Store, url: str) -> None:
    removal = await asked(store)
    await store.unschedule(make.ENTRY)
    await finished(store, removal.id)
    assert (await store.outbox.take(NOW + 100, 60)).tries == 1
    async with open_store(url) as other:
        assert await other.outbox.take(NOW + 159, 60) is None
        assert (await other.outbox.take(NOW + 160, 60)).tries == 2


async def test_what_was_sent_is_forgotten(store: Store) -> None:
    removal = await asked(store)
    await store.unschedule(make.ENTRY)
    await finished(store, removal.id)
    await store.outbox.take(NOW + 100, 60)
    await store.outbox.sent(removal.id)
    assert rows(store) == [(None, "sent", None, 1, "")]
    assert await store.outbox.take(NOW + make.DAY, 60) is None
    assert (await store.figures(NOW))["mail.sent"] == 1


async def test_what_failed_is_tried_again_or_given_up_and_later_forgotten(store: Store) -> None:
    removal = await asked(store)
    await store.unschedule(make.ENTRY)
    await finished(store, removal.id)
    await store.outbox.take(NOW + 100, 60)
    await store.outbox.failed(removal.id, "451 later", again=NOW + 500)
    assert await store.outbox.take(NOW + 499, 60) is None
    assert (await store.outbox.take(NOW + 500, 60)).tries == 2
    await store.outbox.failed(removal.id, "550 no", again=None)
    assert rows(store) == [("you@example.org", "dead", None, 2, "550 no")]
    assert await store.outbox.forget(NOW) == 0
    assert await store.outbox.forget(NOW + make.DAY) == 1
    assert rows(store) == [(None, "dead", None, 2, "550 no")]
    assert await store.outbox.count() == {"dead": 1}


async def test_whoever_wants_none_gets_none(store: Store) -> None:
    removal = await asked(store)
    await store.outbox.stop("1" * 32, NOW)
    await store.unschedule(make.ENTRY)
    await finished(store, removal.id)
    assert rows(store)[0][:2] == (None, "stopped")
    assert await store.outbox.take(NOW + 100, 60) is None
    again = await asked(store, at=NOW + 1000)
    assert not again.told
    await store.outbox.stop("1" * 32, NOW)


@pytest.mark.parametrize("mark", WHO.marks)
async def test_a_stop_outlives_a_change_of_secret(store: Store, mark: str) -> None:
    await store.outbox.stop(mark, NOW)
    assert not (await asked(store)).told


async def test_a_stop_between_taking_and_failing_stays(store: Store) -> None:
    removal = await asked(store)
    await store.unschedule(make.ENTRY)
    await finished(store, removal.id)
    await store.outbox.take(NOW + 100, 60)
    await store.outbox.stop("1" * 32, NOW)
    await store.outbox.failed(removal.id, "451", again=NOW + 200)
    assert rows(store)[0][:3] == (None, "stopped", None)


async def test_one_recipient_gets_so_many_a_day(store: Store) -> None:
    told = [(await asked(store, address=make.address(number))).told for number in range(A_DAY + 1)]
    assert told == [True] * A_DAY + [False]
    other = Recipient("me@example.org", ("2" * 32,))
    assert (await asked(store, other, address=make.address(A_DAY + 2))).told


async def test_it_goes_with_its_removal(store: Store) -> None:
    removal = await asked(store)
    await store.unschedule(make.ENTRY)
    await finished(store, removal.id)
    await store.purge(NOW + make.DAY, NOW + 30 * make.DAY)
    assert await store.outbox.count() == {}
