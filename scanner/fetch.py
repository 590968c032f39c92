"""Ordinary fetches over HTTP, for everything but probing: documents of JSON, bounded in size and in time.

Whoever answers may be hostile: redirects are not followed, since the user named a server and no other is asked;
content codings are neither asked for nor taken, since 64 KiB of gzip are 64 MiB.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import trio

from scanner.version import __version__

_SIZE_LIMIT = 1 << 20  # bytes; answers of the API take a few thousand
_TIMEOUT = 10.0  # seconds
_LONGEST_PAUSE = 10**7  # seconds of a Retry-After that is believed
_AGENT = {"User-Agent": f"proxywarden/{__version__}"}


class FetchError(Exception):
    """Why there is no answer: one line that names the address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """value: the JSON object, None where the body was none. retry_after: seconds."""

    status: int
    phrase: str
    value: dict[str, Any] | None
    retry_after: int | None

    @property
    def good(self) -> bool:
        return httpx.codes.is_success(self.status)


class Caller:
    """Asks an API, over one connection where the server keeps it. Made by calling()."""

    def __init__(self, client: httpx.AsyncClient, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    async def ask(
        self,
        method: str,
        url: str,
        content: dict[str, Any] | bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Whatever the server answers, whole, within the timeout. Raises FetchError."""
        body = json.dumps(content).encode() if isinstance(content, dict) else content
        kind = {"Content-Type": "application/json"} if isinstance(content, dict) else {}
        try:
            with trio.fail_after(self._timeout):
                return await self._ask(method, url, body, {**kind, **(headers or {})})
        except trio.TooSlowError:
            raise FetchError(f"{url}: no answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise FetchError(f"{url}: {str(error) or type(error).__name__}") from None

    async def _ask(self, method: str, url: str, content: bytes | None, headers: dict[str, str]) -> Answer:
        async with self._client.stream(method, url, content=content, headers=headers) as answer:
            coding = answer.headers.get("content-encoding", "identity")
            body = bytearray()
            # Cancelled where it reads, and not left in the middle: httpx's generators inside would stay open.
            with trio.CancelScope() as reading:
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) > _SIZE_LIMIT:
                        reading.cancel()
            if reading.cancel_called:
                raise FetchError(f"{url}: the answer is longer than {_SIZE_LIMIT} bytes")
            value = _object(body) if coding == "identity" else None
            return Answer(answer.status_code, answer.reason_phrase, value, _seconds(answer.headers))


@asynccontextmanager
async def calling(*, timeout: float | None = None, token: str | None = None) -> AsyncIterator[Caller]:
    """timeout: seconds for all of one question and its answer. token: sent with each question."""
    timeout = timeout or _TIMEOUT
    headers = {**_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        asking = httpx.AsyncClient(timeout=timeout, headers=headers)
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchError(f"the proxy that the environment names ($HTTP_PROXY and the like): {error}") from None
    async with asking as client:
        yield Caller(client, timeout)


async def get_json(url: str, *, timeout: float = 10.0) -> dict[str, Any]:
    """The JSON object at `url`, in at most `timeout` seconds for all of it. Raises FetchError."""
    async with calling(timeout=timeout) as caller:
        answer = await caller.ask("GET", url)
    if answer.status != httpx.codes.OK:
        raise FetchError(f"{url}: answered {answer.status} {answer.phrase}".rstrip())
    if answer.value is None:
        raise FetchError(f"{url}: expected a JSON object")
    return answer.value


async def post(url: str, body: bytes, headers: dict[str, str], *, timeout: float = 10.0) -> None:
    """Deliver `body`, in at most `timeout` seconds. Raises FetchError for all but a 2xx; redirects are not followed."""
    try:
        with trio.fail_after(timeout):
            async with (
                httpx.AsyncClient(timeout=timeout, headers={**_AGENT, **headers}, trust_env=False) as client,
                client.stream("POST", url, content=body) as answer,
            ):
                if not answer.is_success:
                    raise FetchError(f"{url}: answered {answer.status_code} {answer.reason_phrase}".rstrip())
    except trio.TooSlowError:
        raise FetchError(f"{url}: no answer within {timeout:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise FetchError(f"{url}: {str(error) or type(error).__name__}") from None


def _object(body: bytearray) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _seconds(headers: httpx.Headers) -> int | None:
    """A Retry-After in seconds; as a date it is not taken, for the clocks may differ."""
    text = headers.get("retry-after", "")
    return min(int(text), _LONGEST_PAUSE) if text.isascii() and text.isdigit() and len(text) < 12 else None
