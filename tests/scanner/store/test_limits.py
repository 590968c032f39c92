from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.store import migrate
from scanner.store.engine import connect
from scanner.store.limits import HOUR, take


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> sqlite3.Connection:
    path = tmp_path_factory.mktemp("limits") / "store.db"
    migrate.upgrade(path)
    return connect(path)


@given(st.lists(st.floats(0, 600), max_size=60), st.integers(1, 8))
def test_an_hour_and_a_bit_never_gives_more_than_the_limit_twice(
    connection: sqlite3.Connection, pauses: list[float], limit: int
) -> None:
    """In any window no more than the burst and what flowed in meanwhile; and the moment it names is the right one."""
    connection.execute("DELETE FROM allowances")
    at, taken = 1e9, []
    for pause in pauses:
        at += pause
        later = take(connection, "k", at, limit)
        if later is None:
            taken.append(at)
        else:
            assert at < later <= at + HOUR / limit + 0.001
            assert take(connection, "k", later + 0.001, limit) is None
            at = later + 0.001
            taken.append(at)
    for index, start in enumerate(taken):
        inside = [moment for moment in taken[index:] if moment < start + HOUR]
        assert len(inside) <= 2 * limit


def test_a_burst_is_the_limit_and_keys_are_apart(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM allowances")
    assert [take(connection, "a", 1e9, 3) is None for _ in range(5)] == [True, True, True, False, False]
    assert take(connection, "b", 1e9, 3) is None


def test_what_is_full_again_is_forgotten(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM allowances")
    for number in range(200):
        take(connection, str(number), 1e9, 10)
    for number in range(20):
        take(connection, f"later {number}", 1e9 + 2 * HOUR, 10)
    assert connection.execute("SELECT count(*) FROM allowances").fetchone()[0] <= 20


def test_the_table_is_as_large_as_what_is_in_use(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM allowances")
    for number in range(2000):
        take(connection, str(number), 1e9 + number * 60, 60)
    assert connection.execute("SELECT count(*) FROM allowances").fetchone()[0] < 10
