"""remove, beside a daemon that is played here."""

import json
import signal
import sys
import time
from functools import partial

import pytest
import trio

from scanner.model import RemovalState, RemovalStep
from scanner.store import RemovalRefused, open_store
from tests.scanner.commands.conftest import ROOT
from tests.scanner.store import make


async def beat(store):
    await store.set_status("daemon", {"running": True}, time.time())


def listed(given, *others):
    async def work(store):
        await store.change(
            "8.8.8.1",
            make.lists(make.listing("8.8.8.1", first_listed=1_700_000_000.0), at=make.ip_address("8.8.8.1")),
            time.time(),
        )
        for other in others:
            await other(store)

    given(work)


COMMAND = (sys.executable, "-m", "scanner")


async def play_daemon(store, *outcome):
    """Takes the first removal request through these states, and beats, however long the command takes to start."""
    while not (taken := [item for item in await store.lease("me", time.time(), 60, 5) if item.target.removal]):
        await beat(store)
        await trio.sleep(0.05)
    removal = taken[0].target.removal
    for state, detail in outcome:
        await trio.sleep(0.3)
        await beat(store)
        await store.removal_step(RemovalStep(removal, time.time(), state, detail))


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (RemovalState.DELISTED, 0),
        (RemovalState.STILL_OPEN, 1),
        (RemovalState.TESTER_BLOCKED, 3),
        (RemovalState.INCONCLUSIVE, 3),
    ],
)
async def test_a_removal_is_followed_to_its_end(home, url, outcome, code):
    (home / "data").mkdir()
    with trio.fail_after(60):
        async with open_store(url) as store, trio.open_nursery() as nursery:
            address = make.ip_address("8.8.8.1")
            await store.change(
                "8.8.8.1", make.lists(make.listing("8.8.8.1", first_listed=1_700_000_000.0), at=address), time.time()
            )
            await beat(store)
            nursery.start_soon(
                play_daemon, store, (RemovalState.RETESTING, ""), (RemovalState.CONFIRMING, ""), (outcome, "so it is")
            )
            ended = await trio.run_process(
                [*COMMAND, "remove", "8.8.8.1", "--json"],
                cwd=ROOT,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
    assert ended.stderr == b""
    steps = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [step["state"] for step in steps] == ["requested", "retesting", "confirming", str(outcome)]
    assert steps[-1]["detail"] == "so it is"
    assert {step["address"] for step in steps} == {"8.8.8.1"}
    assert len({step["id"] for step in steps}) == 1
    assert ended.returncode == code


def test_only_asked_for(proxywarden, given):
    listed(given, beat)
    ended = proxywarden("remove", "8.8.8.1", "--no-wait")
    assert (ended.code, ended.err) == (0, "")
    (line,) = ended.lines
    assert line.split()[1].startswith("requested")


def test_refused_for_what_is_not_listed(proxywarden, given):
    given(beat)
    ended = proxywarden("remove", "8.8.8.9")
    assert (ended.code, ended.out) == (2, "")
    assert ended.said[0].startswith("proxywarden: 8.8.8.9 is not listed by a probe")
    assert len(ended.said) == 1


def test_refused_while_one_runs_and_soon_after(proxywarden, given):
    listed(given, beat)
    assert proxywarden("remove", "8.8.8.1", "--no-wait").code == 0
    ended = proxywarden("remove", "8.8.8.1")
    assert ended.code == 2

    async def finish(store):
        with pytest.raises(RemovalRefused) as refused:
            await store.request_removal(make.ip_address("8.8.8.1"), "", time.time())
        running = refused.value.running
        assert ended.said == [
            f"proxywarden: a removal request for 8.8.8.1 is running already: http://127.0.0.1:8025/removal/{running}"
        ]
        await store.removal_step(RemovalStep(running, time.time(), RemovalState.STILL_OPEN))

    given(finish)
    again = proxywarden("remove", "8.8.8.1")
    assert again.code == 2
    assert again.said[0].startswith("proxywarden: the last removal request for 8.8.8.1 was just now: come back at 20")


def test_without_a_daemon_it_says_so_and_ends(proxywarden, given, monkeypatch):
    monkeypatch.setattr("scanner.commands.removal.HEARTBEAT", 0.5)
    listed(given)
    ended = proxywarden("remove", "8.8.8.1")
    assert ended.code == 3
    assert ended.said == [
        "no daemon is running: the retest starts when one does;"
        " start it with `proxywarden run` or `systemctl start proxywarden`",
        "proxywarden: still no daemon: the request is kept, and 8.8.8.1 stays listed until then",
    ]
    assert given(lambda store: store.verify()) == []


async def test_interrupted(home, url):
    (home / "data").mkdir()
    with trio.fail_after(60):
        async with open_store(url) as store, trio.open_nursery() as nursery:
            address = make.ip_address("8.8.8.1")
            await store.change(
                "8.8.8.1", make.lists(make.listing("8.8.8.1", first_listed=1_700_000_000.0), at=address), time.time()
            )
            await beat(store)
            process = await nursery.start(
                partial(
                    trio.run_process,
                    [*COMMAND, "remove", "8.8.8.1"],
                    cwd=ROOT,
                    stdout=-1,
                    stderr=-1,
                    check=False,
                )
            )
            said = await process.stdout.receive_some(100)
            assert b"requested" in said
            process.send_signal(signal.SIGINT)
            err = b"".join([piece async for piece in process.stderr])
            assert await process.wait() == 130
            assert err == b""
