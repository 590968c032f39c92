"""Who is woken when something was written, and when."""

from __future__ import annotations

import pytest
import trio

from scanner.web.live import Changes, news


class Counted:
    """A store that something is written to."""

    def __init__(self) -> None:
        self.writes = 0

    async def changed(self) -> int:
        await trio.lowlevel.checkpoint()
        return self.writes


@pytest.fixture
async def changes(nursery: trio.Nursery) -> Changes:
    made = Changes(Counted())  # type: ignore[arg-type]
    nursery.start_soon(made.run)
    await made.wait(made.next, 1)  # the first look is news to everybody
    return made


async def test_what_is_written_while_somebody_sends_what_it_saw_is_not_missed(
    changes: Changes, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    since = changes.next
    nursery.start_soon(changes.wait, changes.next, 60)  # another one, for whom the store is looked at
    changes._store.writes += 1  # type: ignore[attr-defined]
    await trio.sleep(5)  # a slow client takes what was seen before
    with trio.fail_after(0.1):
        assert await changes.wait(since, 60)


async def test_nobody_is_woken_for_nothing(changes: Changes, autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    assert await news(changes, changes.next) == ": still here\n\n"
    assert trio.current_time() - began == pytest.approx(15)


async def test_what_was_written_is_news_within_a_look(changes: Changes, autojump_clock: trio.testing.MockClock) -> None:
    began, since = trio.current_time(), changes.next
    changes._store.writes += 1  # type: ignore[attr-defined]
    assert await news(changes, since) is None
    assert trio.current_time() - began <= 0.26
