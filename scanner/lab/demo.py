"""The demo: the daemon on an empty store against the lab, from nomination to delisting, watched live."""

from __future__ import annotations

import logging
import signal
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import trio

from scanner import log
from scanner.canary import Tally, run_canary
from scanner.daemon import Daemon
from scanner.lab.control import LabProcess
from scanner.lab.internet import Internet
from scanner.lab.kinds import RELAY
from scanner.lab.machine import Host
from scanner.lab.plan import PREFIX
from scanner.lab.truth import truth
from scanner.model import Event, EventKind, Kind, Reason, RemovalState, State, VisitRecord
from scanner.secret import open_secret
from scanner.settings import (
    CanarySection,
    CanaryTargetSection,
    ControlsSection,
    IdentitySection,
    ListsSection,
    RssSection,
    ScanSection,
    ScopeSection,
    Settings,
)
from scanner.start import advertised, binds
from scanner.store import NominationIn, Removal

CANARIES = (IPv4Address("127.0.0.25"), IPv4Address("127.0.0.26"))
MAIL_DOMAIN = "mail.main.test"  # the daemon's own canary takes the letters of mail relays
REPAIRS = 12  # hosts that are repaired and ask for removal, a mail relay among them
_UNREPAIRED = 3  # that ask although they are still open
_PACE = 0.5  # the lab's slow hosts take half their time, so that the round fits into a minute
_BATCH = 500


@dataclass(slots=True)
class Story:
    """What has happened so far; the screen draws it."""

    hosts: int
    expected: dict[IPv4Address, bool]  # whether each is open, by the lab's own word
    names: dict[str, str]  # each host's kind
    relays: frozenset[str]  # the mail servers that relay for everybody, by the same word
    started: float = field(default_factory=time.monotonic)
    stage: str = "starting"
    first_round: float | None = None  # seconds
    visited: dict[str, State] = field(default_factory=dict)
    listed: dict[str, float] = field(default_factory=dict)
    findings: list[VisitRecord] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    endpoints: int = 0
    conversations: int = 0
    proofs: int = 0

    def heard(self, record: VisitRecord, events: Sequence[Event]) -> None:
        """A visit was committed."""
        if record.visit.reason is Reason.NOMINATION:
            self.visited[str(record.visit.address)] = record.verdict.state
        self.endpoints += len({item.endpoint for item in record.evidence})
        self.conversations += sum(item.aim is not None for item in record.evidence)
        self.proofs += sum(item.kind is Kind.RELAYED for item in record.evidence)
        for event in events:
            if event.kind is EventKind.LISTED and event.listing.type == "entry":
                self.listed[event.listing.address] = event.at
                self.findings.append(record)
            elif event.kind.ends:
                self.listed.pop(event.listing.address, None)

    @property
    def found(self) -> set[str]:
        return {str(record.visit.address) for record in self.findings}

    @property
    def false_positives(self) -> set[str]:
        return self.found - {str(address) for address, open_ in self.expected.items() if open_}

    @property
    def false_negatives(self) -> set[str]:
        return {str(address) for address, open_ in self.expected.items() if open_} - self.found


Watcher = Callable[[Story], Awaitable[None]]


class Failed(Exception):
    """The demo did not end as it should."""


async def demo(hosts: int, seed: int, *, stay: bool, watch: Watcher, prefix: IPv4Network = PREFIX) -> Story:
    """Run it; `stay` serves on until Ctrl-C. The story, for its summary."""
    log.configure(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="proxywarden-demo-") as folder:
        settings = demo_settings(Path(folder))
        targets = advertised(settings.canary, binds(settings.canary))
        internet = Internet(canaries=targets, pace=_PACE)
        async with LabProcess.start(hosts, seed, internet, prefix) as lab, trio.open_nursery() as nursery:
            story = Story(
                hosts,
                {host.address: truth(host, internet).open for host in lab.plan},
                {str(host.address): host.kind.name for host in lab.plan},
                frozenset(str(host.address) for host in lab.plan if RELAY in host.kind.relays),
            )
            nursery.start_soon(watch, story)
            await nursery.start(_second_canary, settings)
            daemon: Daemon = await nursery.start(Daemon(settings, heard=story.heard).run)
            await _first_round(story, lab, daemon)
            await _removals(story, lab, daemon)
            story.stage = "done"
            if stay:
                with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    await anext(signals)
            daemon.stop()
            await trio.sleep(0.3)  # the screen draws the end
            nursery.cancel_scope.cancel()
    return story


async def _first_round(story: Story, lab: LabProcess, daemon: Daemon) -> None:
    """Nominate every host, each with a sample of the abuse, and wait until all have been visited."""
    story.stage = "scanning"
    story.started = time.monotonic()
    for start in range(0, len(lab.plan), _BATCH):
        batch = [
            NominationIn(host.address, sample=b"a spam that came from there", submitter="demo")
            for host in lab.plan[start : start + _BATCH]
        ]
        await daemon.store.nominate(batch, time.time())
        daemon.ring()
    while len(story.visited) < story.hosts:
        await trio.sleep(0.1)
    story.first_round = time.monotonic() - story.started


async def _removals(story: Story, lab: LabProcess, daemon: Daemon) -> None:
    """Some owners repair their proxy or mail server, some only say so; all ask for removal."""
    story.stage = "removals"
    listed = [host for host in lab.plan if host.repair is not None and str(host.address) in story.listed]
    hides = [host for host in listed if truth(host, lab.internet).state is State.TESTER_BLOCKED][:1]
    # One that relays once and only pretends from then on is no example of "still open".
    plain = [host for host in listed if host not in hides and host.kind.later is None]
    plain.sort(key=lambda host: str(host.address) not in story.relays)
    first = plain[:1] + [host for host in plain[1:] if str(host.address) not in story.relays]
    repaired, unrepaired = first[:REPAIRS], hides + first[REPAIRS : REPAIRS + _UNREPAIRED - len(hides)]
    for host in repaired:
        await lab.repair(host.address)
    asked = [
        await daemon.store.request_removal(host.address, f"owner of {host.address}", time.time())
        for host in (*repaired, *unrepaired)
    ]
    daemon.ring()
    while True:
        now = [await daemon.store.removal(removal.id) for removal in asked]
        story.removals = [removal for removal in now if removal is not None]
        if all(removal.state.final for removal in story.removals):
            break
        await trio.sleep(0.1)
    _check(story, lab, repaired, unrepaired)


def _check(story: Story, lab: LabProcess, repaired: Sequence[Host], unrepaired: Sequence[Host]) -> None:
    """Who repaired is off the list; who did not stays, and one who blocks a canary of ours is told so."""
    expected = {str(host.address): RemovalState.DELISTED for host in repaired}
    for host in unrepaired:
        hides = truth(host, lab.internet).state is State.TESTER_BLOCKED
        expected[str(host.address)] = RemovalState.TESTER_BLOCKED if hides else RemovalState.STILL_OPEN
    wrong = [
        f"{removal.address} {removal.state}"
        for removal in story.removals
        if removal.state is not expected[str(removal.address)]
    ]
    if wrong:
        raise Failed(f"removals ended wrongly: {', '.join(wrong)}")


async def _second_canary(settings: Settings, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
    """A stand-alone canary, as it would run in another network."""
    second = settings.canary.targets[1]
    keys = open_secret(settings.secret_path).canary_keys(second.id)
    await run_canary(
        second.id,
        keys,
        tcp=[(str(second.address), second.tcp or 0)],
        mail=[(str(second.address), second.mail or 0)],
        http=[(str(second.address), second.http or 0)],
        tally=Tally(),
        name=settings.identity.name,
        task_status=task_status,
    )


def demo_settings(folder: Path) -> Settings:
    """Everything on loopback, and faster than is polite outside of a lab."""
    tcp, mail, http = _ports()
    first = CANARIES[0]
    return Settings(
        data_dir=folder,
        identity=IdentitySection(name="proxywarden.test", url="http://127.0.0.1:8025/"),
        canary=CanarySection(
            listen=(f"{first}:{tcp}",),
            mail_listen=(f"{first}:{mail}",),
            http_listen=(f"{first}:{http}",),
            targets=tuple(
                CanaryTargetSection(
                    id=id_, address=address, name=f"{id_}.test", tcp=tcp, mail=mail, http=http, mail_domain=domain
                )
                for id_, address, domain in zip(("main", "second"), CANARIES, (MAIL_DOMAIN, None), strict=True)
            ),
        ),
        lists=ListsSection(rss=RssSection(receipt_wait=2.0, timeout=5.0)),
        scope=ScopeSection(never_scan=(), never_list=(), allow=("127.0.0.0/8",)),
        controls=ControlsSection(names=False),  # only the lab's hosts know the canaries' names
        # With all at once every conversation waits for two thousand others: on a busy machine until its time is over.
        scan=ScanSection(
            rate=20_000, per_network_rate=10_000, hosts=800, connect_timeout=2.0, conversation_timeout=5.0
        ),
    )


def _ports() -> tuple[int, int, int]:
    """443, 25 and 80, as public canaries have them, where this user may bind them; else any that are free."""
    usual = (443, 25, 80)
    with suppress(OSError):
        for address in CANARIES:
            for port in usual:
                _try(address, port)
        return usual
    return _try(CANARIES[0], 0), _try(CANARIES[0], 0), _try(CANARIES[0], 0)


def _try(address: IPv4Address, port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((str(address), port))
        return int(probe.getsockname()[1])
