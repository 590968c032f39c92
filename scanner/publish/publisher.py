"""The publisher: takes the store's events through the gate and brings every configured output up to date.

One release at a time in all processes: a lock file, and a state file that says how far it got. A crash in between
repeats work, never loses any.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
import trio

from core.cidr import CidrMap
from scanner.config import ConfigError
from scanner.model import Event, Listing
from scanner.publish.events import iso
from scanner.publish.gate import system_map
from scanner.publish.ledger import PROBED, Changes, Ledger, Source
from scanner.publish.log import SealedLog
from scanner.publish.rbldnsd import Zone, replace_file
from scanner.publish.views import view
from scanner.scope import Scope
from scanner.settings import Settings
from scanner.store import StoreError

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds until an output that failed is tried again: removals wait for it
_LOCK_PAUSE = 0.05  # seconds between looks whether another process is done
_IDLE = 5.0  # seconds between looks for events when nobody rings
_PURGE_PAUSE = 3600.0  # seconds between looks whether a file of the log is old
_PAGE = 1000
_QUIET = 3600.0  # seconds without good controls that status says nothing about
GOOD_CONTROLS: Final = "good_controls"  # the row of status whose moment tells when controls were good last
STATE: Final = "publish.json"  # the row of status with what that file says
_log = structlog.get_logger()


class Store(Source, Protocol):
    """What the publisher needs of the store."""

    async def listings(
        self, list_: str | None = None, after: tuple[str, str, str] | None = None, limit: int = 1000
    ) -> Sequence[Listing]: ...
    async def set_status(self, name: str, value: dict[str, Any], at: float) -> None: ...
    async def status(self) -> dict[str, tuple[dict[str, Any], float]]: ...


class Output(Protocol):
    """One place where the list is published."""

    name: str

    async def update(self, publisher: Publisher, changes: Changes, *, whole: bool) -> str:
        """Bring it up to date; a word on how it stands. whole: changes are not all that is new.

        OSError, StoreError or OutputError where it can't; it is called again then, with whole.
        """
        ...


class OutputError(Exception):
    """Why an output is not up to date: one line."""


class Publisher:
    """Of one configuration and store. release() is all it does; run() does it whenever there is something new."""

    def __init__(self, settings: Settings, scope: Scope, store: Store, outputs: Sequence[Output]) -> None:
        self.settings = settings
        self.store = store
        self.outputs = {output.name: output for output in outputs}
        self.scope = scope
        self.ledger: Ledger | None = None
        directory = settings.publish.log_directory
        self.log = SealedLog(
            Path(directory) if directory else settings.data_dir / "log", settings.publish.log_rotate_mb << 20
        )
        self.states: dict[str, str] = {}
        self.serials: dict[str, int] = {}  # zone, or output of many -> what its servers should have in a minute
        self.error = ""
        self._origins: tuple[int, CidrMap[str]] | None = None  # of the file at that moment
        self._good: float | None = None  # when the controls were good last; None: nobody has ever told
        self._generation = -1
        self._purged = 0.0
        self._retry: dict[str, tuple[float, float]] = {}  # output -> when it is tried again, and the pause by then
        self._reported: dict[str, Any] = {}
        self._bell = trio.Event()
        self._directory = settings.data_dir

    def ring(self) -> None:
        """Something may be new."""
        self._bell.set()

    def reconfigure(self, scope: Scope) -> None:
        """Another never-list: what it names goes with the next release."""
        self.scope, self._generation = scope, -1
        self.ring()

    async def run(self) -> None:
        """Release at once after the first change, then at most every publish.interval seconds."""
        pause = _FIRST_PAUSE
        while True:
            if await self.try_release():
                pause = _FIRST_PAUSE
            else:
                await trio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            await trio.sleep(self.settings.publish.interval)
            with trio.move_on_after(_IDLE):
                await self._bell.wait()
            self._bell = trio.Event()

    async def try_release(self) -> bool:
        """One release; False, with the error in status, where it failed before it came to the outputs."""
        try:
            await self.release()
            self.error = ""
        except (OSError, StoreError, ValueError, ConfigError) as error:
            self.error = str(error)
            self._generation = -1
            _log.error("publisher", error=self.error)
        return not self.error

    async def release(self, *, accept: bool = False) -> dict[str, list[str]]:
        """Publish what is new, as far as the gate lets it; why additions are held, by list."""
        async with self._locked():
            state = await self._read_state()
            fresh = self.ledger is None or state.get("generation", 0) != self._generation
            if fresh:
                self.log.reopen()
                self.ledger = await self.load(state)
            assert self.ledger is not None
            await self._look_at_controls()
            changes = await self.ledger.advance(self.store)
            await self.ledger.settle(self.store, time.time(), changes, accept=accept)
            logged = await self._log_events(state, changes, whole=fresh)
            await self._update(changes, whole=fresh or changes.whole)
            if logged:
                await self._write_state(state, changed=fresh or accept or bool(changes.items or changes.events))
            else:
                self._generation = -1  # the events are to be told again, and only the state knows which
        await self._report()
        return self.ledger.trips

    async def preview(self) -> dict[str, list[str]]:
        """What release() would let through, without publishing or remembering it."""
        await self._look_at_controls()
        self.ledger = await self.load(await self._read_state())
        await self.ledger.settle(self.store, time.time(), Changes())
        return self.ledger.trips

    async def _look_at_controls(self) -> None:
        self._good = (await self.store.status()).get(GOOD_CONTROLS, ({}, None))[1]

    async def load(self, state: dict[str, Any]) -> Ledger:
        """The ledger as of that state."""
        gate = self.settings.publish.gate
        ledger = Ledger(
            gate,
            self.scope.never_list,
            self.scope.never_list_soft,
            vantages=len(self.settings.vantages),
            systems=await self._systems(gate.as_file) if gate.as_file else None,
        )
        await ledger.load(self.store, state.get("lists", {}), time.time())
        return ledger

    async def listings(self, lists: Sequence[str]) -> AsyncGenerator[Listing, None]:
        """The published listings, whole."""
        ledger = self.ledger
        assert ledger is not None
        for list_ in lists:
            after = None
            while page := await self.store.listings(list_, after, _PAGE):
                after = page[-1].key
                for listing in page:
                    if ledger.publishes(listing.list, listing.type, listing.address):
                        yield listing

    def vouched(self, list_: str, now: float) -> float:
        """The moment that a list's zone files are good as of, from which on their service is counted.

        It is now, except where they stand on proofs and nobody has been able to find any.
        """
        return now if self._good is None or list_ not in PROBED else min(now, self._good)

    @property
    def zone(self) -> Zone:
        """What zone files have in common."""
        section = self.settings.publish.rbldnsd
        return zone_of(self.settings, section.view)

    def statistics(self) -> dict[str, Any]:
        """What status shows."""
        shown: dict[str, Any] = dict(self.states)
        if self.error:
            shown["error"] = self.error
        if self._good is not None and time.time() - self._good > _QUIET:
            hours = self.settings.publish.rbldnsd.expires_hours
            ends = ", ".join(f"{list_} at {iso(self._good + hours[list_] * 3600)}" for list_ in PROBED)
            shown["controls"] = f"not good since {iso(self._good)}: zone files end their service, {ends}"
        if self.ledger is not None:
            shown |= {f"held.{list_}": "; ".join(trips) for list_, trips in self.ledger.trips.items()}
            shown["entries"] = len(self.ledger.published)
            shown["entries_held"] = len(self.ledger.held)
            shown["entries_barred"] = len(self.ledger.barred)
            shown["entries_stale"] = len(self.ledger.stale)
        return shown

    async def _log_events(self, state: dict[str, Any], changes: Changes, *, whole: bool) -> bool:
        """Append what is published to the sealed log; False where that failed. Outputs go on all the same."""
        try:
            if whole and state:
                await self._catch_up(state.get("cursor"))
            await trio.to_thread.run_sync(self.log.append, changes.events, time.time())
        except (OSError, ValueError) as error:
            self.states["log"] = f"failed: {error}"
            _log.error("publisher", output="log", error=str(error))
            return False
        self.states["log"] = f"ok, {self.log.number} events"
        await self._purge_log()
        return True

    async def _purge_log(self) -> None:
        """Delete what nobody needs any longer: old enough, and taken by every webhook."""
        days, now = self.settings.publish.log_keep_days, time.time()
        if not days or now - self._purged < _PURGE_PAUSE:
            return
        self._purged = now
        try:
            status = await self.store.status()
            hooks = [status.get(f"webhook {hook.title}", ({}, 0.0))[0] for hook in self.settings.publish.webhooks]
            taken = min((hook.get("cursor") or 0 for hook in hooks), default=self.log.number)
            deleted = await trio.to_thread.run_sync(self.log.purge, now - days * 86400, taken)
        except (OSError, ValueError, StoreError) as error:
            self.states["log"] = f"failed to delete old files: {error}"
        else:
            _log.info("publisher", output="log", files_deleted=deleted)

    async def _catch_up(self, cursor: str | None) -> None:
        """Events that an earlier process took and did not live to log."""
        assert self.ledger is not None
        while events := await self.store.events(cursor, _PAGE):
            cursor = events[-1].cursor
            told = [event for event in events if not self.ledger.waits(*_where(event))]
            await trio.to_thread.run_sync(self.log.append, told, time.time())

    async def _update(self, changes: Changes, *, whole: bool) -> None:
        now = time.monotonic()
        async with trio.open_nursery() as nursery:
            for name, output in self.outputs.items():
                when, _ = self._retry.get(name, (0.0, 0.0))
                if when <= now:
                    nursery.start_soon(self._update_one, output, changes, whole or name in self._retry)

    async def _update_one(self, output: Output, changes: Changes, whole: bool) -> None:
        """A failing output waits, longer each time, and keeps nobody else."""
        try:
            self.states[output.name] = await output.update(self, changes, whole=whole)
            self._retry.pop(output.name, None)
        except (OSError, StoreError, OutputError, ValueError) as error:
            self.states[output.name] = f"failed: {error}"
            pause = min(_LONGEST_PAUSE, 2 * self._retry.get(output.name, (0.0, _FIRST_PAUSE / 2))[1])
            self._retry[output.name] = (time.monotonic() + pause, pause)
            _log.error("publisher", output=output.name, error=str(error), again_in=pause)

    async def _report(self) -> None:
        shown = self.statistics()
        if shown != self._reported:  # each write would ring whoever watches the store, us among them
            await self.store.set_status("publish", shown, time.time())
            self._reported = shown

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """One release at a time, of all processes that use this data directory."""
        descriptor = os.open(self._directory / "publish.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await trio.sleep(_LOCK_PAUSE)
            yield
        finally:
            os.close(descriptor)

    async def _systems(self, path: str) -> CidrMap[str]:
        """Whose networks are, read again where the file is another: a million lines take five seconds."""
        try:
            mark = Path(path).stat().st_mtime_ns
            if self._origins is None or self._origins[0] != mark:
                self._origins = (mark, await trio.to_thread.run_sync(_read_systems, path))
        except OSError as error:
            raise ConfigError(f"publish.gate.as_file = {path!r}: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"publish.gate.as_file = {path!r}: {error}") from None
        return self._origins[1]

    async def _read_state(self) -> dict[str, Any]:
        """What the last release left: in a file, and where that was lost in the store, so that nothing has to wait."""
        path = self._directory / "publish.json"
        try:
            state: dict[str, Any] = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError) as error:
            state = (await self.store.status()).get(STATE, ({}, 0.0))[0]
            if not state and isinstance(error, ValueError):
                raise ValueError(
                    f"{path}: damaged; without it every entry waits for `proxywarden publish --accept`"
                ) from None
        return state

    async def _write_state(self, state: dict[str, Any], *, changed: bool) -> None:
        assert self.ledger is not None
        lists = self.ledger.state()
        if not changed and state.get("lists") == lists:
            return
        self._generation = state.get("generation", 0) + 1
        made = {"generation": self._generation, "cursor": self.ledger.cursor, "lists": lists}
        await self.store.set_status(STATE, made, time.time())
        replace_file(self._directory / "publish.json", [json.dumps(made).encode()])


def _where(event: Event) -> tuple[str, str, str]:
    return event.listing.list, event.listing.type, event.listing.address


def zone_of(settings: Settings, view_name: str) -> Zone:
    """What zone files of that view have in common."""
    publish = settings.publish
    return Zone(
        view(view_name, publish.views),
        f"{settings.web.public_url.rstrip('/')}/lookup/",
        settings.identity.name,
        settings.identity.contact,
        publish.rbldnsd.name_servers,
        publish.rbldnsd.ttl,
        publish.rbldnsd.expires_hours,
        publish.gate.prefix4,
    )


def _read_systems(path: str) -> CidrMap[str]:
    with Path(path).open(encoding="utf-8") as file:
        return system_map(file)
