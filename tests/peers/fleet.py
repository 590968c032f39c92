"""The fleet: every peer that the chosen tests need, started once, each on its own address, and looked at by `check`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.peers.place import Place
from tests.peers.programs import AS_ROOT, ROOT, lacking
from tests.peers.servers import PEERS
from tests.peers.servers.mail import RELAYS
from tests.peers.servers.peer import Peer
from tests.peers.site import Site

_PATIENCE = 3  # seconds for one conversation: many a server is silent to what it does not speak


@dataclass
class Fleet:
    """Peers by their id. failures: what kept one from starting."""

    place: Place
    peers: Sequence[Peer]
    sites: dict[str, Site] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)

    def start(self, peer: Peer) -> None:
        site = Site(self.place, self.place.address(self.peers.index(peer)), peer.id, peer.port)
        self.sites[peer.id] = site
        self._try(peer, partial(peer.start, site))

    def settled(self) -> None:
        """Return when all of them take connections."""
        for peer in self.peers:
            if peer.id in self.sites and peer.id not in self.failures:
                self._try(peer, self.sites[peer.id].settled)

    def _try(self, peer: Peer, step: Callable[[], None]) -> None:
        try:
            step()
        except (AssertionError, OSError) as error:
            self.failures[peer.id] = str(error)

    def restart(self, peer: Peer) -> None:
        """As its owner has it then."""
        assert peer.then is not None
        site = self.sites[peer.id]
        site.stop()
        self._try(peer, partial(peer.then.start, site))

    def check(self, *options: object) -> None:
        """What `check --json` says of all of them."""
        addresses = {str(site.address): name for name, site in self.sites.items() if name not in self.failures}
        if not addresses:
            return
        ended = proxywarden(self.place, "check", "--json", *options, *addresses)
        assert ended.returncode in (0, 1), ended.stderr
        for line in ended.stdout.splitlines():
            report = json.loads(line)
            self.reports[addresses[report["address"]]] = report

    def stop(self) -> None:
        for site in self.sites.values():
            site.stop()


def proxywarden(place: Place, *arguments: object, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "scanner", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=place.command(),
        cwd=ROOT,
        timeout=timeout,
        check=False,
    )


@contextmanager
def started(request: pytest.FixtureRequest, peers: Sequence[Peer], **place: bool) -> Iterator[Fleet]:
    """Those that the session's tests of this fixture ask for, of which the machine has the programs."""
    folder = Path(tempfile.mkdtemp(prefix="peers-"))
    folder.chmod(0o755)
    chosen = [
        item.callspec.params["peer"]  # type: ignore[attr-defined]
        for item in request.session.items
        if request.fixturename in getattr(item, "fixturenames", ()) and hasattr(item, "callspec")
    ]
    fleet = Fleet(Place(folder, **place), peers)
    try:
        for peer in dict.fromkeys(chosen):
            if peer.there:
                fleet.start(peer)
        fleet.settled()
        yield fleet
    finally:
        fleet.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """The proxies."""
    with started(request, PEERS) as fleet:
        fleet.check("--thorough", "--timeout", _PATIENCE)
        yield fleet


@pytest.fixture(scope="package")
def relays(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """The mail servers."""
    if not AS_ROOT:
        lacking("mail servers start as root and become somebody else")
    with started(request, RELAYS, mail_servers=True) as fleet:
        fleet.check()
        yield fleet
