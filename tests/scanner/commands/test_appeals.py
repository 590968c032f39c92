"""The operator's queue on the command line."""

import json
import time

import pytest

from scanner.model import RemovalState, RemovalStep
from tests.scanner.store import make

ADDRESS = "8.8.8.1"


@pytest.fixture
def made(given):
    """An appeal that waits, of somebody whose words a terminal would obey."""

    async def work(store):
        now, address = time.time(), make.ip_address(ADDRESS)
        listing = make.listing(ADDRESS, expires=now + make.DAY)
        await store.change(ADDRESS, make.lists(listing, at=address), now)
        removal = await store.request_removal(address, "web:198.51.100.7", now)
        await store.unschedule(address)
        await store.removal_step(RemovalStep(removal.id, now, RemovalState.STILL_OPEN))
        return (await store.appeals.appeal(removal.id, "closed\x1b[31m\nlong ago", "web:x", now, a_day=1)).id

    return given(work)


def test_none(proxywarden, given):
    given(lambda store: store.figures(0))
    ended = proxywarden("appeals", "show")
    assert (ended.code, ended.out, ended.err) == (0, "", "no appeal waits\n")
    assert proxywarden("appeals", "show", "--over").err == "no appeal is over\n"


def test_shown_and_declined(proxywarden, made):
    assert made in proxywarden("appeals", "show").out
    text = proxywarden("appeals", "show", made).out
    assert "  | closed\\x1b[31m\n  | long ago\n" in text
    assert proxywarden("appeals", "decline", made, "--reason", " ").code == 2
    ended = proxywarden("appeals", "decline", made, "--reason", "it relays")
    assert (ended.code, ended.out) == (0, f"{ADDRESS}: declined\n")
    again = proxywarden("appeals", "retest", made)
    assert (again.code, again.err) == (2, "proxywarden: the appeal is answered already: declined\n")
    (line,) = proxywarden("appeals", "show", "--over", "--json").lines
    answer = json.loads(line)
    assert (answer["state"], answer["steps"][-1]["detail"]) == ("declined", "it relays")
    assert answer["steps"][-1]["by"]
    assert proxywarden("appeals", "show").out == ""


def test_retested(proxywarden, made, given):
    ended = proxywarden("appeals", "retest", made)
    assert ended.code == 0
    assert ended.out.startswith(f"{ADDRESS}: retesting, as removal request ")
    assert given(lambda store: store.figures(time.time()))["removals.running"] == 1


def test_withdrawn(proxywarden, made):
    assert proxywarden("appeals", "withdraw", made, "--reason", "mistake").code == 0
    assert proxywarden("lookup", ADDRESS).code == 0


@pytest.mark.parametrize("id_", ["x", "0" * 32, "\x1b[31m"])
def test_no_such_appeal(proxywarden, made, id_):
    for words in (("show", id_), ("retest", id_), ("decline", id_, "--reason", "x")):
        ended = proxywarden("appeals", *words)
        assert (ended.code, ended.out) == (2, "")
        (line,) = ended.said
        assert line.isprintable()
