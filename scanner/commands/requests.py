"""nominate: addresses that sent abuse, taken into the store, or by the server of another Proxywarden."""

from __future__ import annotations

import os
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Protocol

from cyclopts import Parameter

from scanner.commands import Refusal, config_file, print_json, say, settings
from scanner.commands import address as parsed
from scanner.commands.display import printable
from scanner.commands.nominations import COMMENT_LIMIT, LINE_LIMIT, BadLine, NominationLines, Nominee
from scanner.commands.remote import REFUSED, Refused, Remote, server
from scanner.commands.storage import NOBODY
from scanner.publish.events import iso

if TYPE_CHECKING:
    from scanner.store import Store

Flag = Annotated[bool, Parameter(negative="")]
Name = Annotated[str | None, Parameter(allow_leading_hyphen=True)]  # `-` is a name too
_CHUNK = 65536  # bytes read at once, and committed at once: a few thousand addresses
_TOLD = 100  # bad lines said one by one; the others are counted
_GOES_ON = {400, 404, 409, 413, 422}  # what a server says of one nomination, and not of all that follow


async def nominate(
    addresses: Annotated[list[str] | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    file: Name = None,
    sample: Name = None,
    comment: str = "",
    server: str | None = None,
    token_file: str | None = None,
    json: Flag = False,
) -> int:
    """Have addresses visited that sent abuse.

    What is wrong is told and skipped; the rest is accepted.

    Exit code: 0 all accepted, 2 something was wrong, 3 the server gave no answer.

    Parameters
    ----------
    addresses
        IPv4 or IPv6 addresses; `-` alone is --file -.
    file
        A file of addresses, one a line, or of JSON objects {"address", "sample"?, "comment"?}; `-` is stdin.
        Blank lines and what follows a # say nothing.
    sample
        A file with the abuse, kept with each of the nominations: an ARF message, a spam, a log line; `-` is stdin.
    comment
        For whoever reads the nomination.
    server
        Web address of a Proxywarden to nominate to, such as https://dnsbl.example.net, instead of the store here.
    token_file
        A file with the token that its operator gave you: with it no sample and no review is needed.
    json
        One JSON object a line for each nomination accepted.

    """
    if addresses == ["-"] and file is None:
        addresses, file = None, "-"
    if unknown := [text for text in addresses or () if text.startswith("-")]:
        raise Refusal(f"unknown option {unknown[0]!r}" if unknown[0] != "-" else "-: expected alone, as --file -")
    if not addresses and file is None:
        raise Refusal("nothing to nominate: expected ADDRESS or --file FILE")
    if file == "-" and sample == "-":
        raise Refusal("--file and --sample can't both be stdin")
    if len(comment) > COMMENT_LIMIT:
        raise Refusal(f"--comment: expected at most {COMMENT_LIMIT} characters")
    if token_file is not None and server is None:
        raise Refusal("--token-file needs --server: the store here is yours already")
    evidence = None if sample is None else _sample(sample)
    # The file first: a name that is wrong makes no store.
    with _stream(file, "--file") if file is not None else nullcontext() as stream:
        async with _taker(server, token_file) as taker:
            intake = _Intake(taker, evidence, comment, json, quiet=not addresses)
            try:
                if addresses:
                    await intake.take(_from_arguments(addresses), "")
                if stream is not None:
                    await _read_lines(stream, file or "", intake)
            finally:
                intake.summary()
            if intake.accepted:
                await taker.afterwards()
    return 2 if intake.wrong else 0


class _Taker(Protocol):
    """Where nominations go. most: how many at once."""

    most: int

    def refusal(self, nominee: Nominee) -> str | None: ...

    async def take(self, nominees: list[Nominee]) -> list[dict[str, str | None] | str]:
        """Of each what was accepted, as JSON shows it, or why it was not."""
        ...

    async def afterwards(self) -> None: ...


@asynccontextmanager
async def _taker(url: str | None, token_file: str | None) -> AsyncIterator[_Taker]:
    if url is not None:
        async with server(url, token_file) as remote:
            yield _ToServer(remote)
        return
    from scanner.commands.storage import opened

    async with opened(create=True) as store:
        yield _ToStore(store, await _refusals(store))


class _ToStore:
    most = _CHUNK  # all of them in one transaction

    def __init__(self, store: Store, refusal: Callable[[Nominee], str | None]) -> None:
        from scanner.commands.storage import person

        self._store = store
        self._submitter = person()
        self.refusal = refusal

    async def take(self, nominees: list[Nominee]) -> list[dict[str, str | None] | str]:
        from scanner.store import NominationIn

        items = [NominationIn(one.address, one.sample, one.comment, self._submitter, trusted=True) for one in nominees]
        return [
            {"id": taken.id, "address": str(taken.address), "state": taken.state, "due": iso(taken.due)}
            for taken in await self._store.nominate(items, time.time())
        ]

    async def afterwards(self) -> None:
        from scanner.commands.storage import alive

        if not alive(await self._store.status()):
            say(NOBODY.format("they are visited"))


class _ToServer:
    most = 1  # a call each

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def refusal(self, nominee: Nominee) -> str | None:
        """The server knows what may be visited."""
        return None

    async def take(self, nominees: list[Nominee]) -> list[dict[str, str | None] | str]:
        (nominee,) = nominees
        content = {"address": str(nominee.address), "comment": nominee.comment}
        if nominee.sample:
            content |= {"sample": b64encode(nominee.sample).decode(), "encoding": "base64"}
        try:
            found = await self._remote.ask("POST", "/api/v1/nominations", content)
        except Refused as refused:
            if refused.code == REFUSED and refused.status in _GOES_ON:
                return [str(refused)]
            raise Refused(f"{refused}; stopped at {nominee.address}", refused.code, refused.status) from None
        due = found.get("due")
        taken = {key: self._remote.text(found.get(key)) for key in ("id", "address", "state")}
        return [{**taken, "due": None if due is None else self._remote.text(due)}]

    async def afterwards(self) -> None:
        pass


@dataclass
class _Intake:
    """Hands good nominations on, and tells of the others."""

    taker: _Taker
    sample: bytes | None
    comment: str
    as_json: bool
    quiet: bool  # a file's nominations are counted, not printed
    accepted: int = 0
    wrong: int = 0

    async def take(self, lines: Iterable[Nominee | BadLine], source: str) -> None:
        """source: what a line number is a line of."""
        good: list[tuple[str, Nominee]] = []
        for line in lines:
            where = f"{source}:{line.line}: " if source else ""
            if isinstance(line, BadLine):
                self._tell(where + line.why)
                continue
            nominee = Nominee(line.line, line.address, line.sample or self.sample, line.comment or self.comment)
            why = self.taker.refusal(nominee)
            if why is not None:
                self._tell(where + why)
                continue
            good.append((where, nominee))
            if len(good) >= self.taker.most:
                await self._hand_on(good)
                good = []
        if good:
            await self._hand_on(good)

    async def _hand_on(self, good: list[tuple[str, Nominee]]) -> None:
        results = await self.taker.take([nominee for _, nominee in good])
        for (where, _), result in zip(good, results, strict=True):
            if isinstance(result, str):
                self._tell(where + result)
            else:
                self.accepted += 1
                self._show(result)

    def summary(self) -> None:
        if self.wrong > _TOLD:
            say(f"proxywarden: … and {self.wrong - _TOLD} more that are not told one by one")
        say(f"{self.accepted} nominated" + (f", {self.wrong} not" if self.wrong else ""))

    def _tell(self, text: str) -> None:
        self.wrong += 1
        if self.wrong <= _TOLD:
            say(f"proxywarden: {printable(text)}")

    def _show(self, taken: dict[str, str | None]) -> None:
        if self.as_json:
            print_json(taken)
        elif not self.quiet:
            due = f", due {taken['due']}" if taken["due"] else ""
            print(f"{taken['address']} {taken['state']}{due}", flush=True)


async def _refusals(store: Store) -> Callable[[Nominee], str | None]:
    """Why an address is not nominated, as configuration and opt-outs have it."""
    from core.cidr import CidrMap
    from scanner.config import chosen_file
    from scanner.scope import load_scope

    file = chosen_file(config_file.get())
    scope = load_scope(settings(), file.parent if file else None)
    optouts = CidrMap([(item.network, item.reason) for item in await store.exclusions()])

    def refusal(nominee: Nominee) -> str | None:
        why = scope.refusal(nominee.address)
        if why is not None:
            return f"{why}: it is never visited"
        # An opt-out yields to one visit for each nomination that brings its evidence.
        reason = None if nominee.sample else optouts.get(nominee.address)
        return None if reason is None else f"{nominee.address} is opted out ({reason}): expected a sample of the abuse"

    return refusal


def _from_arguments(texts: list[str]) -> Iterator[Nominee | BadLine]:
    for number, text in enumerate(texts, 1):
        try:
            yield Nominee(number, parsed(text))
        except Refusal as error:
            yield BadLine(number, str(error))


async def _read_lines(stream: BinaryIO, name: str, intake: _Intake) -> None:
    lines = NominationLines()
    source = "stdin" if name == "-" else name
    with _progress(stream) as advance:
        while chunk := _read(stream, name):
            await intake.take(lines.feed(chunk), source)
            advance(len(chunk))
        await intake.take(lines.end(), source)


def _sample(name: str) -> bytes:
    content = bytearray()
    with _stream(name, "--sample") as stream:
        while (chunk := _read(stream, name)) and len(content) <= LINE_LIMIT:
            content += chunk
    if not content:
        raise Refusal(f"--sample {name}: it is empty: expected the abuse that was received")
    if len(content) > LINE_LIMIT:
        raise Refusal(f"--sample {name}: longer than {LINE_LIMIT} bytes")
    return bytes(content)


@contextmanager
def _stream(name: str, option: str) -> Iterator[BinaryIO]:
    if name == "-":
        if not sys.stdin.readable():
            raise Refusal(f"{option} -: standard input is closed")
        yield sys.stdin.buffer
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 - closed below; only opening is translated here
    except OSError as error:
        raise Refusal(f"{option} {name}: {error.strerror}") from None
    with stream:
        yield stream


def _read(stream: BinaryIO, name: str) -> bytes:
    """What is there, without waiting for more: a pipe's nominations are accepted as they come."""
    try:
        return os.read(stream.fileno(), _CHUNK)
    except OSError as error:
        raise Refusal(f"{name}: {error.strerror}") from None


@contextmanager
def _progress(stream: BinaryIO) -> Iterator[Callable[[int], None]]:
    """A bar of the bytes read, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    size = os.fstat(stream.fileno()).st_size or None
    bar = Progress(
        *(BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),  # else what goes into a file would be shown above the bar instead
    )
    with bar:
        task = bar.add_task("nominating", total=size)
        yield lambda count: bar.advance(task, count)
