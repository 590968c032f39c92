"""The daemon and real servers: all are nominated, some are configured otherwise, and who is listed asks for removal."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.peers.fleet import Fleet, proxywarden
from tests.peers.place import Place
from tests.peers.programs import ROOT
from tests.peers.servers.peer import Peer
from tests.peers.site import takes_connections
from tests.peers.table import ROWS

_EXITS = {"delisted": 0, "still_open": 1, "inconclusive": 3}
_DAY = 86_400.0


@dataclass
class Story:
    """What happened to each address, by the peer's id."""

    listed: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    removals: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    kinds: dict[str, list[str]] = field(default_factory=dict)  # of all events of the entry
    log: str = ""


def lived_through(fleet: Fleet, peers: Sequence[Peer]) -> Story:
    """The story of those peers that run."""
    place, result = fleet.place, Story()
    peers = [peer for peer in peers if peer.id in fleet.reports]
    if not peers:
        return result
    with (place.folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "scanner", "run"], stdout=log, stderr=log, env=place.command(), cwd=ROOT
        )
    try:
        _nominated_and_listed(fleet, peers, result)
        _closed_and_removed(fleet, peers, result)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
    finally:
        result.log = (place.folder / "daemon.log").read_text("utf-8")
        daemon.kill()
        daemon.wait()
    assert "Traceback" not in result.log
    verified = proxywarden(place, "db", "verify")
    assert verified.returncode == 0, verified.stderr
    return result


def _nominated_and_listed(fleet: Fleet, peers: Sequence[Peer], result: Story) -> None:
    place = fleet.place
    address = {peer: str(fleet.sites[peer.id].address) for peer in peers}
    _until(lambda: takes_connections(str(place.canary), place.tcp), "the daemon does not start")
    nominated = proxywarden(place, "nominate", *address.values())
    assert nominated.returncode == 0, nominated.stderr
    visited = lambda: {row[0] for row in _rows(place, "SELECT address FROM visits")}  # noqa: E731
    _until(lambda: visited() >= set(address.values()), "not all were visited")
    _brought_forward(place, [address[peer] for peer in peers if peer.returns])
    wanted = {address[peer] for peer in peers if peer.listed}
    _until(lambda: wanted <= _events(place).keys(), "not all that is open was listed")
    listed = _events(place)
    result.listed = {peer.id: listed[address[peer]] for peer in peers}


def _brought_forward(place: Place, addresses: Sequence[str]) -> None:
    """Who said "later" is visited again by the schedule, a day later; the test can't wait for that."""
    # A visit that our own controls made void comes again much sooner.
    soon = lambda: {row[0] for row in _rows(place, f"SELECT address FROM targets WHERE due < {time.time() + _DAY / 2}")}  # noqa: E731
    _until(lambda: soon().isdisjoint(addresses), 'not all who said "later" are left in peace for a day')
    with closing(sqlite3.connect(place.folder / "data/proxywarden.sqlite", timeout=10)) as store, store:
        for address in addresses:
            ((due, network),) = store.execute("SELECT due, network FROM targets WHERE address = ?", [address])
            assert abs(due - time.time() - _DAY) < _DAY / 24
            store.execute("UPDATE targets SET due = ? WHERE address = ?", [time.time(), address])
            store.execute("UPDATE networks SET ready_at = ? WHERE id = ?", [time.time(), network])


def _closed_and_removed(fleet: Fleet, peers: Sequence[Peer], result: Story) -> None:
    place = fleet.place
    for peer in peers:
        if peer.then is not None:
            fleet.restart(peer)
    fleet.settled()
    asked = {
        peer: subprocess.Popen(
            [sys.executable, "-m", "scanner", "remove", str(fleet.sites[peer.id].address), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=place.command(),
            cwd=ROOT,
        )
        for peer in peers
        if peer.listed
    }
    for peer, process in asked.items():
        out, err = process.communicate(timeout=120)
        result.removals[peer.id] = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    # An event is published once it was written.
    happened = lambda: _rows(place, "SELECT count(*) FROM events WHERE type = 'entry'")[0][0]  # noqa: E731
    _until(lambda: sum(map(len, _events(place).values())) >= happened(), "not all events were published")
    ended = _events(place)
    for peer in peers:
        result.kinds[peer.id] = [str(event["kind"]) for event in ended[str(fleet.sites[peer.id].address)]]


def check_listing(peer: Peer, fleet: Fleet, story: Story, list_: str) -> None:
    """It is listed with its exit, if it is open, and else nothing is."""
    assert peer.id not in fleet.failures, fleet.failures[peer.id]
    kinds = [(event["kind"], event["list"], event["exits"]) for event in story.listed[peer.id]]
    assert kinds[:1] == ([("listed", list_, [peer.exit(fleet.sites[peer.id])])] if peer.listed else [])
    # A queue that runs late brings one letter after the other, and each is a proof.
    assert {kind for kind, *_ in kinds[1:]} <= {"confirmed"}


def check_removal(peer: Peer, fleet: Fleet, story: Story) -> None:
    """The removal ends as the server is by then, within a minute, and the table says how."""
    assert peer.id not in fleet.failures, fleet.failures[peer.id]
    outcome = peer.then.outcome if peer.then else "still_open"
    removal, site = story.removals[peer.id], fleet.sites[peer.id]
    steps = [json.loads(line) for line in removal.stdout.splitlines()]
    assert steps, removal.stderr
    if row := ROWS.get(peer.id):  # absent where these tests run alone
        row.then = f"{peer.then.configuration if peer.then else 'left as it was'}: {steps[-1]['state']}"
    assert steps[-1]["state"] == outcome, f"{steps}\n{site.said()}"
    assert removal.returncode == _EXITS[outcome]
    asked, ended = (datetime.fromisoformat(step["at"]) for step in (steps[0], steps[-1]))
    assert ended - asked < timedelta(minutes=1)
    assert story.kinds[peer.id][-1] == {"delisted": "delisted", "still_open": "confirmed"}.get(outcome, "listed")


def _rows(place: Place, query: str) -> list[tuple[Any, ...]]:
    """Of its store: `status` takes a second for each question."""
    with closing(sqlite3.connect(f"file:{place.folder}/data/proxywarden.sqlite?mode=ro", uri=True)) as store:
        return store.execute(query).fetchall()


def _events(place: Place) -> dict[str, list[dict[str, object]]]:
    """Of entries, by address. A line without its end is just being written."""
    found = defaultdict(list)
    if place.events.exists():
        for line in place.events.read_text("utf-8").rpartition("\n")[0].splitlines():
            event = json.loads(line)
            if event["type"] == "entry":
                found[event["address"]].append(event)
    return found


def _until(condition: Callable[[], bool], complaint: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)
