"""Webhooks: published events to other people's endpoints, as signed POSTs, in order, until each was taken.

Proxywarden-Signature: t=SECONDS,v1=HEX, with HEX the HMAC-SHA256 of `SECONDS.BODY` under the shared secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
import trio

from scanner.config import ConfigError
from scanner.fetch import FetchError, post
from scanner.publish.log import SealedLog
from scanner.publish.publisher import Store
from scanner.publish.settings import WebhookSection
from scanner.store import StoreError

_BATCH = 100  # events in one POST
_TIMEOUT = 10.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
_LOOK = 1.0  # seconds between looks at the log when nobody rings
_log = structlog.get_logger()


class Webhook:
    """One endpoint. Its cursor is in the store and moves only after a 2xx: at least once, never out of order."""

    def __init__(self, section: WebhookSection, store: Store, log: SealedLog) -> None:
        self.name = section.title
        self.error = ""
        self.cursor: int | None = None
        self._url = section.url
        self._secret = _secret(section)
        self._store = store
        self._log = log
        self._failures = 0

    async def run(self) -> None:
        """For ever; an endpoint that does not answer waits longer each time, and for nobody else."""
        pause = _FIRST_PAUSE
        while True:
            try:
                sent = await self.send_new()
            except (FetchError, OSError, ValueError, StoreError) as error:
                await self._failed(str(error))
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            pause = _FIRST_PAUSE
            if not sent:
                await trio.sleep(_LOOK)

    async def send_new(self) -> int:
        """Send what is new; how many events. A new endpoint begins where the log does."""
        if self.cursor is None:
            status = await self._store.status()
            known = status.get(self._status, ({}, 0.0))[0].get("cursor")
            self.cursor = int(known) if known is not None else 0
        sent = 0
        while batch := await trio.to_thread.run_sync(self._log.read, self.cursor, _BATCH):
            await self._post([event for _, event in batch])
            self.cursor = batch[-1][0]
            self.error, self._failures = "", 0
            await self._remember()
            sent += len(batch)
        return sent

    async def _post(self, events: list[dict[str, Any]]) -> None:
        body = json.dumps({"events": events}).encode()
        headers = {
            "Content-Type": "application/json",
            "Proxywarden-Signature": signature(self._secret, body, int(time.time())),
            "Proxywarden-Delivery": str(events[-1]["id"]),
        }
        try:
            await post(self._url, body, headers, timeout=_TIMEOUT)
        except FetchError as error:  # many an address is a secret itself
            raise FetchError(str(error).replace(self._url, self.name)) from None

    async def _failed(self, error: str) -> None:
        self._failures += 1
        if error != self.error:
            _log.error("webhook", endpoint=self.name, error=error)
        self.error = error
        with suppress(StoreError):  # it only tells what status shows
            await self._remember()

    async def _remember(self) -> None:
        value = {"cursor": self.cursor, "failures": self._failures, "error": self.error}
        await self._store.set_status(self._status, value, time.time())

    @property
    def _status(self) -> str:
        return f"webhook {self.name}"


def signature(secret: bytes, body: bytes, at: int) -> str:
    """The header's value."""
    digest = hmac.new(secret, b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _secret(section: WebhookSection) -> bytes:
    if section.secret:
        return section.secret.encode()
    try:
        secret = Path(section.secret_file).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"publish.webhooks: secret_file = {section.secret_file!r}: {error.strerror}") from None
    if len(secret) < 16:
        raise ConfigError(f"publish.webhooks: secret_file = {section.secret_file!r}: expected at least 16 bytes")
    return secret
