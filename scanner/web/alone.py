"""The web as a process of its own, on the store of a daemon: `proxywarden run --role web`."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
import trio

from scanner import systemd
from scanner.config import ConfigError, load
from scanner.scope import load_scope
from scanner.secret import open_secret
from scanner.settings import Settings
from scanner.start import calm_collector
from scanner.store import open_store
from scanner.web.app import Web

_log = structlog.get_logger()


async def run_web(settings: Settings, config_file: Path | None) -> None:
    """Until SIGTERM. What is asked for here the daemon sees in the store at once."""
    folder = config_file.parent if config_file else None
    secret = await trio.to_thread.run_sync(open_secret, settings.secret_path)
    async with open_store(settings.store_url) as store, trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            web: Web = await nursery.start(Web(settings, load_scope(settings, folder), store, secret).run)
            nursery.start_soon(systemd.feed_watchdog)
            calm_collector()
            systemd.notify("READY=1")
            await _obey(signals, web, config_file)
            systemd.notify("STOPPING=1")
            nursery.cancel_scope.cancel()


async def _obey(signals: AsyncIterator[int], web: Web, config_file: Path | None) -> None:
    """Reload at SIGHUP; return at any other."""
    async for number in signals:
        if number != signal.SIGHUP:
            return
        systemd.notify("RELOADING=1")
        try:
            settings = load(config_file)
            web.site.reconfigure(settings, load_scope(settings, config_file.parent if config_file else None))
            _log.info("configuration reloaded")
        except ConfigError as error:
            _log.error("configuration not reloaded: the old one stays", error=str(error))
        systemd.notify("READY=1")
