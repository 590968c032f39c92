"""A Proxywarden elsewhere, asked through its API; what it says is checked, and harmless to a terminal."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scanner.commands import Refusal
from scanner.commands.display import printable
from scanner.publish.events import iso

if TYPE_CHECKING:
    from scanner.fetch import Answer, Caller

REFUSED, UNKNOWN = 2, 3  # exit codes
_LONGEST = 500  # characters of a text that are shown
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{8,200}")
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")


class Refused(Refusal):
    """The server took it not. status: of HTTP, 0 where there was no answer."""

    def __init__(self, text: str, code: int, status: int = 0) -> None:
        super().__init__(text, code)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same may be taken a moment later."""
        return self.status == 0 or self.status >= 500


class Remote:
    """One server. Raises Refused for whatever is not the answer of a Proxywarden that says yes."""

    def __init__(self, base: str, caller: Caller) -> None:
        self.base = base
        self._caller = caller

    async def ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object of a 2xx."""
        from scanner.fetch import FetchError

        url = self.base + path
        try:
            answer = await self._caller.ask(method, url, content)
        except FetchError as error:
            raise Refused(printable(str(error)), UNKNOWN) from None
        if answer.good and answer.value is not None:
            return answer.value
        if answer.good:
            raise self.stranger()
        raise _refused(self.base, url, answer)

    def stranger(self) -> Refused:
        """What answers there is something else."""
        return Refused(f"{self.base}: the answer is not that of a Proxywarden", UNKNOWN, 200)

    def text(self, value: object) -> str:
        """A text of the server's, fit to be shown."""
        if not isinstance(value, str):
            raise self.stranger()
        return shown(value)


@asynccontextmanager
async def server(url: str, token_file: str | None = None) -> AsyncIterator[Remote]:
    """The Proxywarden at a web address. token_file: holds the token of a trusted submitter."""
    from scanner.fetch import FetchError, calling

    base = base_of(url)
    token = None if token_file is None else _token(token_file, base)
    async with AsyncExitStack() as stack:
        try:
            caller = await stack.enter_async_context(calling(token=token))
        except FetchError as error:
            raise Refused(printable(str(error)), UNKNOWN) from None
        yield Remote(base, caller)


def shown(text: str) -> str:
    """On one line, at most so long, harmless to a terminal."""
    return printable(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")


def base_of(url: str) -> str:
    """What --server names, without a slash at its end."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        good = False
    if not good:
        raise Refusal(f"--server {url!r}: expected a web address such as https://dnsbl.example.net")
    return url.rstrip("/")


def _token(name: str, base: str) -> str:
    """From a file, not from the command line, which every user of the machine can read."""
    parts = urlsplit(base)
    if parts.scheme != "https" and not _LOOPBACK.fullmatch(parts.hostname or ""):
        raise Refusal(f"--token-file: {base} would get the token in clear: expected https://")
    try:
        with Path(name).open("rb") as stream:
            text = stream.read(1024).decode("ascii", "replace").strip()
    except OSError as error:
        raise Refusal(f"--token-file {name}: {error.strerror}") from None
    if not _TOKEN.fullmatch(text):
        raise Refusal(f"--token-file {name}: expected one token, as `proxywarden operator add NAME --submitter` prints")
    return text


def _refused(base: str, url: str, answer: Answer) -> Refused:
    detail = (answer.value or {}).get("detail")
    if not isinstance(detail, str) or not 400 <= answer.status < 500:
        line = f"{url}: answered {answer.status} {answer.phrase}".rstrip()
        if 300 <= answer.status < 400:
            line += ": redirects are not followed"
        return Refused(printable(line), UNKNOWN, answer.status)
    line = f"{base}: {shown(detail)}"
    where = (answer.value or {}).get("status_url")
    if isinstance(where, str):
        line += f" {shown(where)}"
    if answer.retry_after is not None:
        line = f"{line.removesuffix('.')}; come back at {iso(time.time() + answer.retry_after)} or later"
    return Refused(line, REFUSED, answer.status)
