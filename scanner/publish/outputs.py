"""The outputs that are files: zone files for rbldnsd, exports with their manifest; and a look at the servers."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from ipaddress import IPv4Address
from itertools import product
from pathlib import Path
from typing import Any, Final

import trio

from scanner.dnsbl import DnsblError, ask, behind, serial
from scanner.fields import parse_host_port as host_port
from scanner.model import parse_address
from scanner.publish import exports
from scanner.publish.events import iso
from scanner.publish.gate import random_addresses
from scanner.publish.image import Image, text_of
from scanner.publish.ledger import Changes
from scanner.publish.publisher import Output, OutputError, Publisher
from scanner.publish.rbldnsd import (
    PUBLIC,
    ZoneFile,
    public_directory,
    put_in_place,
    replace_file,
    sync,
    write_beside,
)
from scanner.publish.views import LISTS
from scanner.publish.zone_text import differences, read_zone
from scanner.settings import Settings

_RENEW = 3600.0  # seconds until a file is written again although nothing changed: it carries its own expiry
_MANY = 1000  # changes from which on a file is shown to the real server before it is published
_LOOK_PAUSE = 600.0  # seconds between two such looks when less changed
_CHECK_SECONDS = 120.0
_A_RECORD = b"\tA\t"
_PIECE = 1 << 20  # bytes read at once
_COMPLAINTS = 4096  # bytes kept of what it says
_ASK_PAUSE = 60.0  # seconds between two looks at the servers
_COPY_LAG = 3600  # seconds that a server's copy of the files may be behind: mirrors fetch them twice an hour
_KEPT_MANIFESTS = 3
MANIFEST: Final = "manifest.json"


@contextmanager
def _alone() -> Iterator[None]:
    """The first error of a nursery's tasks by itself, as outputs are to raise them."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors = group.subgroup((OutputError, ValueError, OSError))
        if errors is None or group.split((OutputError, ValueError, OSError))[1] is not None:
            raise
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


class ZoneFiles:
    """rbldnsd's files: written anew when anything of their list and family changed, and read back each time."""

    name = "rbldnsd"

    def __init__(self, settings: Settings) -> None:
        self._section = settings.publish.rbldnsd
        self._directory = Path(self._section.directory)
        self._sample = settings.publish.gate.sample
        self._files: dict[tuple[str, int], ZoneFile] = {}
        self._written: dict[tuple[str, int], float] = {}
        self._shown: dict[tuple[str, int], float] = {}

    async def update(self, publisher: Publisher, changes: Changes, *, whole: bool) -> str:
        ledger = publisher.ledger
        assert ledger is not None
        public_directory(self._directory)
        changed = Counter((list_, 4 if len(item) <= 5 else 6) for list_, item in changes.items)
        renewed, problems = False, []
        for key in product(LISTS, (4, 6)):
            due = time.monotonic() - self._written.get(key, -_RENEW) >= _RENEW
            if not (whole or due or changed[key]):
                continue
            if key not in self._files:
                self._files[key] = ZoneFile(publisher.zone, *key)
            look = time.monotonic() - self._shown.get(key, -_LOOK_PAUSE) >= _LOOK_PAUSE
            now = publisher.vouched(key[0], time.time())
            try:
                await self._write(self._files[key], ledger.published, now, show=whole or look or changed[key] > _MANY)
            except (OutputError, ValueError) as error:
                problems.append(str(error))  # of this file: the others' removals go on
                continue
            self._written[key] = time.monotonic()
            renewed = True
        if renewed:
            try:
                self._signal()
            except OutputError as error:
                problems.append(str(error))
        if problems:
            raise OutputError("; ".join(problems))
        # rbldnsd's serial is the moment of the newest file of its zone, which may have one list's only.
        publisher.serials[self.name] = min(self._newest(list_) for list_ in LISTS) - _COPY_LAG
        return f"ok, {len(ledger.published)} entries"

    async def _write(self, file: ZoneFile, image: Image, now: float, *, show: bool) -> None:
        path = self._directory / file.name
        beside = await trio.to_thread.run_sync(write_beside, path, file.render(image, now))
        try:
            with _alone():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.to_thread.run_sync, sync, beside)
                    nursery.start_soon(trio.to_thread.run_sync, self._read_back, file, image, beside)
                    if show:
                        nursery.start_soon(self._show, file, file.names(image), beside)
            if show:
                self._shown[file.list, file.version] = time.monotonic()
            await trio.to_thread.run_sync(put_in_place, beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def _read_back(self, file: ZoneFile, image: Image, path: Path) -> None:
        rng = random.Random()  # noqa: S311 - a sample, no secret
        asked = list(random_addresses(self._sample, rng))
        problems = list(differences(file.name, read_zone(path), file.content(image), asked))
        if problems:
            raise OutputError("; ".join(problems))

    async def _show(self, file: ZoneFile, expected: range | None, path: Path) -> None:
        """Have the real server read it, where there is one: it must find as many names as were meant."""
        program = self._section.check and shutil.which(self._section.check)
        if not program:
            return
        with trio.move_on_after(_CHECK_SECONDS) as scope:
            names, said = await _dumped(program, file.version, path)
        if scope.cancelled_caught:
            raise OutputError(f"{file.name}: {program} did not finish reading it in {_CHECK_SECONDS:g} s")
        if said:
            raise OutputError(f"{file.name}: {program}: {said.splitlines()[0]}")
        if expected is not None and names not in expected:
            span = "" if len(expected) == 1 else f"{expected[0]} to "
            raise OutputError(f"{file.name}: {program} finds {names} names, expected {span}{expected[-1]}")

    def _newest(self, list_: str) -> int:
        return max(int((self._directory / f"{list_}{version}.zone").stat().st_mtime) for version in (4, 6))

    def _signal(self) -> None:
        if not self._section.pid_file:
            return
        try:
            os.kill(int(Path(self._section.pid_file).read_text("ascii")), signal.SIGHUP)
        except (OSError, ValueError) as error:
            raise OutputError(f"{self._section.pid_file}: {error}: rbldnsd was not told to reload") from None


async def _dumped(program: str, version: int, path: Path) -> tuple[int, str]:
    """How many names rbldnsd tells of a file, and what it complains of: it exits with 0 all the same."""
    kind = "ip4set" if version == 4 else "ip6trie"
    names, said, before = 0, bytearray(), b""
    process = await trio.lowlevel.open_process(
        [program, "-d", f"check:{kind}:{path.name}"],
        cwd=path.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None

    async def complaints(stream: trio.abc.ReceiveStream) -> None:
        async for piece in stream:
            said.extend(piece[: _COMPLAINTS - len(said)])

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(complaints, process.stderr)
            while piece := await process.stdout.receive_some(_PIECE):
                names += piece.count(_A_RECORD) + (before + piece[:2]).count(_A_RECORD)
                before = (before + piece)[-2:]
            await process.wait()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
    text = said.decode("ascii", "replace").strip()
    return names, text or (f"exit code {process.returncode}" if process.returncode else "")


class Exports:
    """Files for other programs: each under its hash, with its name a link to it, and a manifest of all."""

    name = "exports"

    def __init__(self, settings: Settings) -> None:
        self._section = settings.publish.exports
        self._settings = settings
        self._directory = Path(self._section.directory)
        self._written = -self._section.interval
        self._stale = True

    async def update(self, publisher: Publisher, changes: Changes, *, whole: bool) -> str:
        self._stale = self._stale or whole or bool(changes.items or changes.events)
        age = time.monotonic() - self._written
        if age < self._section.interval or not (self._stale or age >= _RENEW):
            return f"ok, {len(self._section.formats)} formats"
        ledger = publisher.ledger
        assert ledger is not None
        public_directory(self._directory)
        public_directory(self._directory / "objects")
        files: dict[str, dict[str, Any]] = {}
        now = time.time()
        expires = now + self._section.expires_hours * 3600
        for format_ in self._section.formats:
            for list_ in LISTS:
                for name in export_names(format_, list_):
                    made = publisher.vouched(list_, now) if format_ == "rbldnsd" else now
                    meta = exports.Meta(name, made, expires, (list_,), publisher.zone.lookup)
                    pieces = exports.render(
                        format_,
                        ledger.published,
                        lambda list_=list_: publisher.listings([list_]),  # type: ignore[misc]
                        meta,
                        publisher.zone,
                    )
                    files[name] = await self._write(name, pieces)
                    files[name]["entries"] = meta.entries
        manifest = {"generated": iso(now), "expires": iso(expires), "cursor": ledger.cursor, "files": files}
        text = json.dumps(manifest, indent=1).encode() + b"\n"
        await trio.to_thread.run_sync(self._finish, text, {item["sha256"] for item in files.values()})
        self._written, self._stale = time.monotonic(), False
        return f"ok, {len(self._section.formats)} formats"

    async def _write(self, name: str, pieces: Any) -> dict[str, Any]:
        """One export, on disk under its hash; its line of the manifest."""
        objects = self._directory / "objects"
        beside = objects / f".{name}.{os.getpid()}"
        hashed, size = hashlib.sha256(), 0
        try:
            async with aclosing(pieces):
                with beside.open("wb") as file:
                    os.fchmod(file.fileno(), PUBLIC)
                    async for piece in pieces:
                        data = piece.encode()
                        hashed.update(data)
                        size += file.write(data)
                        await trio.lowlevel.checkpoint()
                    file.flush()
                    await trio.to_thread.run_sync(os.fsync, file.fileno())
            beside.replace(objects / hashed.hexdigest())
            link = self._directory / f".{name}.{os.getpid()}"
            link.unlink(missing_ok=True)
            link.hardlink_to(objects / hashed.hexdigest())
            link.replace(self._directory / name)
        finally:
            beside.unlink(missing_ok=True)
        return {"sha256": hashed.hexdigest(), "size": size}

    def _finish(self, manifest: bytes, current: set[str]) -> None:
        """The manifest last: what it names is there. Objects of the last few stay for readers that are slow."""
        replace_file(self._directory / MANIFEST, [manifest])
        old = sorted(
            (path for path in (self._directory / "objects").iterdir() if path.name not in current),
            key=lambda path: path.stat().st_mtime,
            reverse=True,
        )
        for path in old[len(current) * (_KEPT_MANIFESTS - 1) :]:
            path.unlink()


def export_names(format_: str, list_: str) -> Iterator[str]:
    """The files of a format and a list."""
    if format_ == "rbldnsd":
        yield from (f"{list_}{version}.zone" for version in (4, 6))
    else:
        yield f"{list_}.{format_}"


def served(directory: Path, name: str) -> tuple[Path, str] | None:
    """An export to serve: the file under its hash, and its ETag. None for a name that the manifest does not have."""
    try:
        entry = json.loads((directory / MANIFEST).read_bytes())["files"].get(name)
    except (OSError, ValueError, KeyError):
        return None
    return None if entry is None else (directory / "objects" / entry["sha256"], f'"{entry["sha256"]}"')


class Servers:
    """The look at what the servers say after a release: test entry there, 127.0.0.1 not, a listed address listed, one
    at random not, and the zone no older than what was published by the last look.
    """

    name = "servers"

    def __init__(self, settings: Settings) -> None:
        self._zone = settings.publish.zone.rstrip(".").lower()
        self._servers = [host_port(text) for text in settings.publish.servers]
        self._asked = -_ASK_PAUSE
        self._told: str | None = None
        self._due: int | None = None  # the serial that servers should have by now
        self._seen: dict[tuple[str, int], int] = {}  # that they had

    async def update(self, publisher: Publisher, changes: Changes, *, whole: bool) -> str:
        if self._told is not None and _any_single(publisher) != self._told:
            self._told = None  # it went, or another came before it
        if time.monotonic() - self._asked < _ASK_PAUSE:
            return publisher.states.get(self.name, "not asked yet")
        self._asked = time.monotonic()
        listed = self._told  # since the last look: servers take their time
        unlisted = _any_unlisted(publisher)
        self._told = _any_single(publisher)
        due, self._due = self._due, publisher.serials.get(self._zone, publisher.serials.get(ZoneFiles.name))
        problems = [
            f"{server[0]} port {server[1]}: {problem}"
            for server in self._servers
            if (problem := await self._look(server, listed, unlisted, due))
        ]
        if problems:
            raise OutputError("; ".join(problems))
        return f"ok, {len(self._servers)} servers"

    async def _look(self, server: tuple[str, int], listed: str | None, unlisted: str, due: int | None) -> str:
        """What is wrong with one; empty where nothing is."""

        async def lists(text: str) -> bool:
            return (await ask(parse_address(text), self._zone, server)).listed

        try:
            number = await serial(self._zone, server)
            before, self._seen[server] = self._seen.get(server, number), number
            if behind(number, before):
                return f"serial {number}, it had {before}: an old copy"
            if due is not None and behind(number, due):
                return f"serial {number}, published is {due}: it takes nothing"
            if await lists("127.0.0.1"):
                return "lists 127.0.0.1"
            if await lists(unlisted):
                return f"lists {unlisted}, which is not listed"
            if not await lists("127.0.0.2"):
                return "the test entry 127.0.0.2 is not there"
            if listed is not None and not await lists(listed):
                return f"{listed} is published, and not there"
        except DnsblError as error:
            return str(error).removeprefix(f"{server[0]} port {server[1]}: ")
        return ""


def _any_single(publisher: Publisher) -> str | None:
    """An address that is published: always the same one, as long as it is."""
    assert publisher.ledger is not None
    for list_ in LISTS:
        for _, shelf in publisher.ledger.published.of_list(list_):
            if shelf.blocks:
                return text_of(shelf.blocks[min(shelf.blocks)].addresses[0].to_bytes(4, "big"))
    return None


def _any_unlisted(publisher: Publisher) -> str:
    """An IPv4 address at random that is not published: a server that lists it may list the world."""
    assert publisher.ledger is not None
    rng = random.Random()  # noqa: S311 - a sample, no secret
    while True:
        address = rng.randrange(1 << 24, 224 << 24)
        prefixes = [(address >> 32 - n << 32 - n).to_bytes(4, "big") + bytes((n,)) for n in range(1, 32)]
        shelves = publisher.ledger.published.shelves.values()
        if address >> 24 != 127 and not any(
            address.to_bytes(4, "big") in shelf or not shelf.networks4.items.isdisjoint(prefixes) for shelf in shelves
        ):
            return str(IPv4Address(address))


def outputs_of(settings: Settings) -> list[Output]:
    """The outputs that are configured."""
    publish = settings.publish
    found: list[Output] = []
    if publish.rbldnsd.directory:
        found.append(ZoneFiles(settings))
    if publish.exports.directory and publish.exports.formats:
        found.append(Exports(settings))
    if publish.dns_update.server:
        from scanner.publish.dns_update import DnsUpdate  # a tenth of a second that others need not wait

        found.append(DnsUpdate(settings))
    if publish.servers and publish.zone:
        found.append(Servers(settings))
    return found
