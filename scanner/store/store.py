"""Store: what the rest of the program sees of the database; each method runs a function in the right thread."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import trio

from scanner.model import Address, Decision, Event, Listing, RemovalStep, Standing, Target, VisitRecord
from scanner.store import accounts, conclude, intake, letters, limits, migrate, reading, schedule, verify
from scanner.store.accounts import Account, Deed, JournalEntry
from scanner.store.desk import Desk
from scanner.store.dossier import Dossier, dossier
from scanner.store.engine import Job, Readers, T, Writer, connect, translated
from scanner.store.history import History, history
from scanner.store.intake import NotBefore
from scanner.store.outbox import Outbox, Recipient
from scanner.store.rows import canonical, dumps
from scanner.store.types import (
    Exclusion,
    Leased,
    Nomination,
    NominationIn,
    PortStatistic,
    Posted,
    Removal,
    StoredVisit,
    StoreError,
    Terms,
)

Decide = Callable[[Standing], Decision]


def database_path(url: str) -> Path:
    """The file that a store URL names. ValueError says what is supported."""
    scheme, separator, path = url.partition(":///")
    if scheme != "sqlite" or not separator or not path or path == ":memory:" or "?" in path:
        raise ValueError(f"store URL {url!r}: expected sqlite:///PATH")
    return Path(path)


@asynccontextmanager
async def open_store(url: str, *, migrate: bool = True) -> AsyncIterator[Store]:
    """Open the store, made and migrated where needed. ValueError for the URL, StoreError for the file."""
    path = database_path(url)
    await trio.to_thread.run_sync(partial(_prepare, path, upgrade=migrate))
    with translated(path):
        store = Store(path)
    try:
        yield store
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(store._close)


def _prepare(path: Path, *, upgrade: bool) -> None:
    if upgrade:
        try:
            # Made here, as samples are nobody else's. A file that is there is not opened: closing it would drop the
            # locks that other connections of this process hold on it (sqlite.org/howtocorrupt.html 2.2).
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            if not os.access(path, os.R_OK | os.W_OK):
                raise StoreError(f"store {path}: cannot be written") from None
        except OSError as error:
            raise StoreError(f"store {path}: {error.strerror}") from error
        migrate.upgrade(path)
    elif path.exists():
        migrate.require(path)
    else:
        raise StoreError(f"store {path}: there is no such file")


class Store:
    """The database of one daemon or command. `at` is always now, in seconds since the epoch.

    What a writing method returned is on disk. StoreError: it is not, and may be tried again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = Writer(path)
        self._readers = Readers(path)
        self._bell = connect(path)
        self._bell_limiter = trio.CapacityLimiter(1)
        self.appeals = Desk(self._read, self._write)
        self.outbox = Outbox(self._read, self._write)

    @property
    def commits(self) -> int:
        """Transactions of this process so far."""
        return self._writer.commits

    def _close(self) -> None:
        self._writer.close()
        self._readers.close()
        self._bell.close()

    async def _write(self, work: Callable[..., T], *args: Any, by: Deed | None = None, at: float = 0.0) -> T:
        """by: an operator's deed, written down together with what it does, or not at all."""
        if by is not None:
            return await self._writer.run(lambda connection: accounts.signed(connection, by, at, work, *args))
        return await self._writer.run(lambda connection: work(connection, *args))

    async def _read(self, work: Callable[..., T], *args: Any) -> T:
        job: Job[T] = lambda connection: work(connection, *args)  # noqa: E731
        return await self._readers.run(job)

    # What people ask

    async def nominate(self, items: Sequence[NominationIn], at: float, *, an_hour: int = 0) -> list[Nomination]:
        """Accept nominations, all or none. Due at once, but for strangers 24 h after the last visit.

        an_hour: as many as one submitter may make, 0 for any number; raises TooMany.
        """
        return await self._write(intake.nominate, items, at, an_hour)

    async def review(self, nomination: str, accept: bool, at: float, *, by: Deed | None = None) -> Nomination | None:
        """The operator's word on a nomination in state `review`; None where there is none of this id."""
        return await self._write(intake.review, nomination, accept, at, by=by, at=at)

    async def nominations(self, state: str | None = None, limit: int = 100) -> list[Nomination]:
        return await self._read(reading.nominations, state, limit)

    async def request_removal(
        self,
        address: Address,
        requester: str,
        at: float,
        *,
        not_before: NotBefore = intake.at_once,
        terms: Terms = intake.NO_TERMS,
        tell: Recipient | None = None,
    ) -> Removal:
        """Raises RemovalRefused. A retest is due at once: of the address, of an exit that of its entries in turn.

        not_before: policy's word on a relisted address; pure, runs in the writer's thread. tell: of the outcome.
        """
        return await self._write(intake.request_removal, address, requester, at, not_before, terms, tell)

    async def removal(self, id_: str) -> Removal | None:
        return await self._read(reading.removal, id_)

    async def removal_step(self, step: RemovalStep) -> None:
        """Append a step; after the outcome nothing is appended any more."""
        await self._write(intake.add_step, step)

    async def exclude(self, network: str, reason: str, by: str, at: float, *, deed: Deed | None = None) -> Exclusion:
        """An opt-out of an address or a CIDR without host bits; ValueError for anything else."""
        canonical(network)
        return await self._write(intake.exclude, network, reason, by, at, by=deed, at=at)

    async def unexclude(self, network: str, resume: conclude.Resume, at: float, *, by: Deed | None = None) -> bool:
        """End an opt-out; resume: what becomes of the expiries that stood still. False where there was none."""
        canonical(network)
        return await self._write(conclude.end_exclusion, network, resume, at, by=by, at=at)

    async def exclusions(self) -> list[Exclusion]:
        return await self._read(reading.exclusions)

    # The schedule

    async def schedule(self, target: Target) -> float:
        """Have an address visited; what already waits and goes ahead of it stays. The moment it is due."""
        return await self._write(schedule.schedule, target)

    async def unschedule(self, address: Address) -> None:
        await self._write(schedule.unschedule, address)

    async def lease(
        self, owner: str, at: float, ttl: float, limit: int, *, on_demand_only: bool = False
    ) -> list[Leased]:
        """Due targets for this owner to visit within `ttl` seconds, on demand first, then by due."""
        return await self._write(schedule.lease, owner, at, ttl, limit, on_demand_only)

    async def release(self, owner: str) -> int:
        """Give back all that an owner holds, at its start after a crash; the number of targets."""
        return await self._write(schedule.release, owner)

    async def give_back(self, address: Address, due: float, *, lease: Leased | None = None) -> bool:
        """End a void visit: due again then. False where nothing was, or where the lease counts no more."""
        return await self._write(schedule.give_back, address, due, lease)

    async def next_due(self) -> float | None:
        """Nothing is ready for lease() before this moment; None where nothing waits."""
        return await self._read(schedule.next_due)

    # Decisions

    async def conclude(
        self,
        record: VisitRecord,
        decide: Decide,
        *,
        lease: Leased | None,
        not_before: NotBefore = intake.at_once,
    ) -> tuple[Event, ...]:
        """Commit a visit and all that follows from it, or nothing. decide: pure; runs in the writer's thread.

        () where the visit is there already; also where the lease counts no more: it is kept as void. not_before: as
        of request_removal(), for the next entry of an exit whose removal was asked for.
        """
        return await self._write(conclude.conclude, record, decide, lease, not_before)

    async def change(self, address: str, decide: Decide, at: float, *, by: Deed | None = None) -> tuple[Event, ...]:
        """A decision without a visit: the operator's word. address: or a CIDR."""
        return await self._write(conclude.change, address, decide, at, by=by, at=at)

    async def expire(self, at: float, limit: int, decide: Decide) -> tuple[Event, ...]:
        """A decision for each address with a listing whose expiry has come, opt-outs excepted."""
        return await self._write(conclude.expire, at, limit, decide)

    # Letters

    async def deliver(self, letter: str, signed: bytes, at: float) -> None:
        """Keep a signed delivery, at: when the canary got it; it waits for its visit to be over."""
        await self._write(letters.deliver, letter, signed, at)

    async def delivery(self, letter: str) -> bytes | None:
        return await self._read(letters.delivery, letter)

    async def pending_letters(self, at: float, limit: int = 100, skip: int = 0) -> list[Posted]:
        """Those that arrived after their visit and within five days, and that nothing came of yet, the oldest first."""
        return await self._read(letters.pending, at, limit, skip)

    async def receive(self, letter: str, late: VisitRecord, decide: Decide) -> tuple[Event, ...]:
        """What such a letter changes. () where that is done, or a later conversation was refused: it is void."""
        return await self._write(conclude.receive, letter, late, decide)

    async def discard_letter(self, letter: str) -> None:
        """Nothing comes of its delivery."""
        await self._write(letters.settle_delivery, letter)

    # What it knows

    async def standing(self, address: Address | str, at: float | None = None) -> Standing:
        """What policy would decide on. at: `ends` are those of the 365 days before; None gives all."""
        return await self._read(reading.standing, canonical(str(address)), at)

    async def listings(
        self, list_: str | None = None, after: tuple[str, str, str] | None = None, limit: int = 1000
    ) -> list[Listing]:
        """In the order of their keys. after: the key of the last one seen."""
        return await self._read(reading.listings, list_, after, limit)

    async def entries(
        self, after: tuple[str, str, str] | None = None, limit: int = 50_000
    ) -> list[tuple[str, str, str, str, str, str]]:
        """List, address, type, detector, reason and vantage of each listing, in the order of their keys."""
        return await self._read(reading.entries, after, limit)

    async def lookup(self, address: Address | IPv4Network | IPv6Network) -> list[Listing]:
        """Every listing of the address, or of the network, or of one that covers it."""
        return await self._read(reading.lookup, address)

    async def dossier(
        self,
        address: Address,
        at: float,
        requester: str = "",
        *,
        not_before: NotBefore = intake.at_once,
        terms: Terms = intake.NO_TERMS,
    ) -> Dossier:
        """All that the lookup page says of an address, and whether request_removal() would refuse."""
        return await self._readers.at_once(
            lambda connection: dossier(connection, address, at, not_before, requester, terms)
        )

    async def take(self, key: str, at: float, limit: int, window: float) -> float | None:
        """One of `limit` in each `window` seconds: None where it is allowed, else from when on it is."""
        return await self._write(limits.take, key, at, limit, window)

    async def events(self, after: str | None = None, limit: int = 1000) -> list[Event]:
        """In the order of commit. after: the cursor of the last one seen; ValueError for another text."""
        return await self._read(reading.events, after, limit)

    async def last_cursor(self) -> str | None:
        return await self._read(reading.last_cursor)

    async def check_cursor(self, cursor: str) -> None:
        """ValueError for a cursor that this store never gave."""
        await self._read(reading.check_cursor, cursor)

    async def visits(self, address: Address, limit: int = 100) -> list[StoredVisit]:
        """With their evidence, the latest first."""
        return await self._read(reading.visits, address, limit)

    async def port_statistics(self) -> list[PortStatistic]:
        """What relays most first."""
        return await self._read(reading.port_statistics)

    async def figures(self, at: float) -> dict[str, int]:
        return await self._read(reading.figures, at)

    async def history(self, at: float, days: int) -> History:
        """The last days, today included. Looks at many rows: cache it."""
        return await self._read(history, at, days)

    async def set_status(self, name: str, value: dict[str, Any], at: float) -> None:
        await self._write(intake.set_status, name, dumps(value), at)

    async def status(self) -> dict[str, tuple[dict[str, Any], float]]:
        return await self._read(reading.status)

    # Operators

    async def journal(self, limit: int = 100) -> list[JournalEntry]:
        """What operators did, the latest first."""
        return await self._read(accounts.journal, limit)

    async def invite(self, name: str, link: str, until: float | None, at: float) -> None:
        """An account with the hash of a one-time link, or, until None, of a token for nominations."""
        await self._write(accounts.invite, name, link, until, at)

    async def invited(self, link: str, at: float) -> str | None:
        """Whose one-time link this is the hash of, while it is good."""
        return await self._read(accounts.invited, link, at)

    async def set_password(self, link: str, password: str, at: float) -> str | None:
        """Use up a one-time link; the account's name, None where there is none."""
        return await self._write(accounts.set_password, link, password, at)

    async def end_sessions(self, name: str, at: float) -> None:
        await self._write(accounts.end_sessions, name, at)

    async def remove_account(self, name: str) -> bool:
        """False where there is none of this name."""
        return await self._write(accounts.remove, name)

    async def accounts(self) -> list[Account]:
        return await self._read(accounts.accounts)

    async def submitter(self, token: str) -> str | None:
        """Whose token for nominations this is the hash of."""
        return await self._read(accounts.submitter, token)

    # Upkeep

    async def changed(self) -> int:
        """Another number than before wherever something was committed since, by this process or another."""

        def version() -> int:
            with translated(self.path):
                return int(self._bell.execute("PRAGMA data_version").fetchone()[0])

        return await trio.to_thread.run_sync(version, limiter=self._bell_limiter)

    async def verify(self) -> list[str]:
        """Replay the events against the listings, and more; a line for each thing that is wrong."""
        return await self._read(verify.verify)

    async def purge(self, before: float, at: float) -> dict[str, int]:
        """Delete what ended before that moment and holds up nothing; how many rows of what."""
        counts = {"networks": 0}
        for table in verify.PURGED:
            counts[table] = 0
            while rows := await self._write(verify.purge, table, min(before, at - intake.DAY), at):
                counts[table] += rows
        while rows := await self._write(verify.purge_networks, at):
            counts["networks"] += rows
        return counts

    async def backup(self, path: Path) -> None:
        """A whole copy as of one moment, while the store goes on working."""

        def copy() -> None:
            with translated(path), closing(connect(self.path)) as connection:
                verify.backup(connection, path)

        await trio.to_thread.run_sync(copy)
