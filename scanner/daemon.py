"""The daemon: starts what one process runs, reloads it, reports on it, and stops it in order."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio

from core.cidr import CidrSet
from scanner import systemd
from scanner.canary import BindError, Tally
from scanner.canary.certificate import mail_tls
from scanner.config import ConfigError, doubtful, load
from scanner.controls import Controls
from scanner.exchangers import keep_known
from scanner.fields import parse_host_port
from scanner.heartbeat import Heartbeat
from scanner.insist import Insist
from scanner.mailer import Mailer
from scanner.mailroom import Mailroom
from scanner.model import CanaryTarget, Event, VisitRecord
from scanner.pipeline import Pipeline
from scanner.post import Post
from scanner.probe import Prober
from scanner.publish.events import EventLines
from scanner.publish.outputs import outputs_of
from scanner.publish.publisher import Publisher
from scanner.publish.webhooks import Webhook
from scanner.remote import remotes_of
from scanner.schedule import Scheduler
from scanner.scope import Scope, load_scope
from scanner.secret import newest, open_secret
from scanner.settings import Settings
from scanner.start import (
    advertised,
    calm_collector,
    data_dir,
    locked,
    raise_descriptor_limit,
    require_sources,
    start_canary,
)
from scanner.store import StoreError, open_store
from scanner.sweep import Connector

if TYPE_CHECKING:
    from scanner.web.app import Web
    from scanner.web.handover import Handover

_GRACE = 10.0  # seconds that conversations are given at SIGTERM
_INSISTENT_RATE = 10.0  # connections a second, of all visits that opt-outs yield to
_PUBLISH_AGAIN = 5.0  # seconds until a publisher that failed is tried again, whether anything is new or not
_WATCH_STORE = 0.2  # seconds between looks for what other processes wrote
# What a reload leaves as it was: sections, and keys of [scan].
_WHO_WE_ARE = ("data_dir", "secret_file", "identity", "vantage", "canary")
_NOT_RELOADED = (*_WHO_WE_ARE, "controls", "store", "web", "mail", "publish")
_NOT_RELOADED_SCAN = ("per_host", "sockets", "hosts")
_log = structlog.get_logger()

Heard = Callable[[VisitRecord, Sequence[Event]], None]


class Daemon:
    """What runs, for status and for those who run it inside their own nursery (the demo, the tests)."""

    def __init__(self, settings: Settings, config_file: Path | None = None, heard: Heard | None = None) -> None:
        self.grace = _GRACE
        self.ready = False
        self.insist = Insist()
        self.settings = settings
        self.config_file = config_file
        self.heard: Heard = heard or (lambda record, events: None)
        self.started = time.time()
        self.tally = Tally()
        self.publisher_error = ""
        self.web: Web | None = None
        self.handover: Handover | None = None
        self.mailer: Mailer | None = None
        self._published = trio.Event()
        self._stop = trio.Event()
        self._scope_turn = trio.Lock()
        self._applied: tuple[Scope, set[str]] | None = None  # what the connector's never-scan set is made of

    async def run(self, *, task_status: trio.TaskStatus[Daemon] = trio.TASK_STATUS_IGNORED) -> None:
        """Until stop(); then the visits under way get ten seconds."""
        settings = self.settings
        data_dir(settings)
        require_sources(settings)
        raise_descriptor_limit(settings.scan.sockets)
        with locked(settings.data_dir / "lock"):
            async with open_store(settings.store_url) as self.store, trio.open_nursery() as nursery:
                self.scope = load_scope(settings, self.config_file.parent if self.config_file else None)
                await self._start(nursery)
                self.ready = True
                systemd.notify("READY=1")
                task_status.started(self)
                await self._stop.wait()
                systemd.notify("STOPPING=1")
                await self._wind_down(nursery)

    def stop(self) -> None:
        """Take no more visits, finish what is under way, and end."""
        self._stop.set()

    def ring(self) -> None:
        """Something was written that is due: look at the schedule now."""
        self.scheduler.ring()

    async def _start(self, nursery: trio.Nursery) -> None:
        settings = self.settings
        secret = await trio.to_thread.run_sync(open_secret, settings.secret_path)
        mailroom = Mailroom()
        names = [settings.canary.id, *(target.id for target in settings.canary.targets)]
        keys_of = {name: secret.canary_keys(name) for name in names}
        self.post = Post(self.store, self.insist, mailroom, keys_of)
        try:
            tls = await trio.to_thread.run_sync(mail_tls, settings)
            bound = await start_canary(nursery, settings, secret, self.tally, self.post.keep, tls)
        except BindError as error:
            raise ConfigError(f"canary: {error}") from None
        targets = advertised(settings.canary, bound)
        keys = {target.id: newest(secret.canary_keys(target.id)) for target in targets}
        prober = Prober(settings.who, keys, mailroom=mailroom)
        self.connector = Connector(
            never=CidrSet(["0.0.0.0/0", "::/0"]),
            rate=settings.scan.rate,
            sockets=settings.scan.sockets,
            hosts=settings.scan.hosts + 128,
            timeout=settings.scan.connect_timeout,
            lanes=settings.scan.per_host,
        )
        await self._apply_scope()
        await nursery.start(self.connector.run)
        # For the visits that an opt-out yields to: few and slow, with all the rest of the never-scan set.
        self.insistent = Connector(
            never=self.scope.never_scan,
            rate=min(settings.scan.rate, _INSISTENT_RATE),
            sockets=64,
            hosts=64,
            timeout=settings.scan.connect_timeout,
        )
        await nursery.start(self.insistent.run)
        self.controls = start_controls(settings, prober, targets)
        await nursery.start(self.controls.run)
        self.pipeline = Pipeline(
            settings,
            self.scope,
            self.store,
            self.connector,
            self.insistent,
            prober,
            self.controls,
            targets,
            self._concluded,
            self.insist,
        )
        self.scheduler = Scheduler(
            self.store,
            f"{socket.gethostname()}:{settings.data_dir}",
            hosts=settings.scan.hosts,
            network_rate=settings.scan.per_network_rate,
            connections=connections_of(settings),
            insist=self.insist,
            ready=lambda: not self.controls.trouble(),
        )
        publish = settings.publish
        lines = partial(EventLines, rotate=publish.events_rotate_mb << 20, keep=publish.events_keep)
        self._lines = lines(publish.events) if publish.events else None
        self.publisher = Publisher(settings, self.scope, self.store, outputs_of(settings))
        self._visits_done = trio.Event()
        nursery.start_soon(self._visits)
        nursery.start_soon(self.pipeline.learn)
        nursery.start_soon(self.post.run, self.pipeline.late)
        domains = {target.mail_domain for target in targets if target.mail_domain}
        if domains and settings.web.resolver:
            resolver = parse_host_port(settings.web.resolver)
            nursery.start_soon(keep_known, domains, resolver, self.pipeline.exchangers_known)
        nursery.start_soon(self.pipeline.expire, self._announce)
        nursery.start_soon(self._publish)
        nursery.start_soon(self.publisher.run)
        for section in publish.webhooks:
            nursery.start_soon(Webhook(section, self.store, self.publisher.log).run)
        if settings.mail.smarthost:
            self.mailer = Mailer(settings, self.store, secret)
            nursery.start_soon(self.mailer.run)
        nursery.start_soon(self._watch_store)
        if settings.web.listen or settings.web.operator_listen:
            from scanner.web.app import Web  # half a second that `check` and the canary don't need

            self.web = Web(settings, self.scope, self.store, secret, self.ring)
            await nursery.start(self.web.run)
        if settings.canary.handover.listen:
            from scanner.web.handover import Handover, server

            self.handover = Handover(keys_of, self.post.take)
            await nursery.start(server(self.handover, settings.canary.handover.listen).run)
        self.heartbeat = Heartbeat(self.store, self.controls, self.insist, self.statistics)
        nursery.start_soon(self.heartbeat.run)
        nursery.start_soon(systemd.feed_watchdog)

    async def _visits(self) -> None:
        with trio.CancelScope() as self._visiting:
            await self.scheduler.run(self.pipeline.carry_out)
        self._visits_done.set()

    async def _wind_down(self, nursery: trio.Nursery) -> None:
        self.scheduler.stop()
        with trio.move_on_after(self.grace):
            await self._visits_done.wait()
        self._visiting.cancel()
        await self._visits_done.wait()
        await self._publish_new()
        with trio.move_on_after(self.grace):
            await self.publisher.try_release()
        await self.heartbeat.beat(running=False)
        nursery.cancel_scope.cancel()

    def _concluded(self, record: VisitRecord, events: Sequence[Event]) -> None:
        self.heard(record, events)
        self.scheduler.ring()
        if events:
            self._announce(events)

    def _announce(self, events: Sequence[Event]) -> None:
        self._published.set()
        self.publisher.ring()

    async def _publish(self) -> None:
        """Events to the JSON lines file; a publisher that fails is tried again and shown in status."""
        while True:
            await self._publish_new()
            with trio.move_on_after(_PUBLISH_AGAIN):
                await self._published.wait()
            self._published = trio.Event()

    async def _publish_new(self) -> None:
        if self._lines is None:
            return
        try:
            await self._lines.write_new(self.store)
            self.publisher_error = ""
        except (OSError, ValueError, StoreError) as error:
            self.publisher_error = str(error)
            _log.error("publisher", output=self.settings.publish.events, error=str(error))

    async def _apply_scope(self) -> None:
        """The never-scan set of configuration and opt-outs, for every connect from here on."""
        async with self._scope_turn:  # or an older set could replace a newer one
            networks = {item.network for item in await self.insist(self.store.exclusions)}
            if (self.scope, networks) != self._applied:
                never = self.scope.with_optouts(networks).never_scan
                self.connector.reconfigure(never=never, rate=self.settings.scan.rate)
                self._applied = self.scope, networks

    async def _watch_store(self) -> None:
        """What other processes wrote (a nomination, a removal, an opt-out) takes effect at once."""
        seen = await self.insist(self.store.changed)
        while True:
            await trio.sleep(_WATCH_STORE)
            changed = await self.insist(self.store.changed)
            if changed != seen:
                seen = changed
                await self._apply_scope()
                self.scheduler.ring()
                self._announce(())

    async def reload(self) -> None:
        """Read the configuration again; a wrong one changes nothing and is said."""
        if not self.ready:
            return  # it is just being read
        systemd.notify("RELOADING=1")
        try:
            settings = load(self.config_file)
            scope = load_scope(settings, self.config_file.parent if self.config_file else None)
        except ConfigError as error:
            _log.error("configuration not reloaded: the old one stays", error=str(error))
        else:
            await self._take_over(settings, scope)
        systemd.notify("READY=1")

    async def _take_over(self, settings: Settings, scope: Scope) -> None:
        old = self.settings
        later = [name for name in _NOT_RELOADED if getattr(settings, name) != getattr(old, name)]
        keep = {name: getattr(old.scan, name) for name in _NOT_RELOADED_SCAN}
        needs_restart = later + [f"scan.{name}" for name in keep if getattr(settings.scan, name) != keep[name]]
        unchanged = {name: getattr(old, name) for name in later}
        settings = settings.model_copy(update={**unchanged, "scan": settings.scan.model_copy(update=keep)})
        self.settings, self.scope = settings, scope
        self.pipeline.reconfigure(settings, scope)
        self.publisher.reconfigure(scope)
        if self.web is not None:
            self.web.site.reconfigure(settings, scope)
        self.scheduler.network_rate = settings.scan.per_network_rate
        self.scheduler.connections = connections_of(settings)
        await self._apply_scope()
        self.connector.reconfigure(never=self.connector.never, rate=settings.scan.rate)
        self.insistent.reconfigure(never=scope.never_scan, rate=min(settings.scan.rate, _INSISTENT_RATE))
        _log.info("configuration reloaded", needs_restart=needs_restart)

    def statistics(self) -> dict[str, object]:
        """What status shows: plain values only."""
        latest = self.controls.latest
        return {
            "pid": os.getpid(),
            "started": self.started,
            "schedule": {"under_way": self.scheduler.under_way, "on_demand": self.scheduler.on_demand},
            "visits": self.pipeline.visits,
            "void_visits": self.pipeline.void,
            "sweep": self.connector.statistics(),
            "controls": {
                "rounds": self.controls.rounds,
                "bad_rounds": self.controls.bad_rounds,
                "latest": latest.began if latest else None,
                "problems": {" via ".join(way): text for way, text in latest.problems.items() if text}
                if latest
                else {},
            },
            "canary": self.tally.counts(),
            "letters": self.post.statistics(),
            "handover": self.handover.statistics() if self.handover else {},
            "mail": self.mailer.statistics() if self.mailer else {},
            "web": self.web.statistics() if self.web else {},
            "publishers": {self.settings.publish.events or "none": self.publisher_error or "ok"}
            | self.publisher.statistics(),
            "last_error": self.insist.last_error,
        }


async def run_daemon(settings: Settings, config_file: Path | None) -> None:
    """The daemon as a program: signals and all."""
    daemon = Daemon(settings, config_file)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_obey, signals, daemon)
            async with trio.open_nursery() as whole:
                await whole.start(daemon.run)
                calm_collector()
                for text in doubtful(settings):
                    _log.warning(text)
                places = [*settings.web.listen, *settings.web.operator_listen]
                _log.info("ready", store=settings.store_url, web=places)
            _log.info("stopped", visits=daemon.pipeline.visits, void=daemon.pipeline.void)
            nursery.cancel_scope.cancel()


async def _obey(signals: AsyncIterator[int], daemon: Daemon) -> None:
    async for number in signals:
        if number == signal.SIGHUP:
            await daemon.reload()
        else:
            daemon.stop()


def start_controls(settings: Settings, prober: Prober, targets: Sequence[CanaryTarget]) -> Controls:
    """The controls as configured."""
    return Controls(
        prober,
        settings.vantages,
        targets,
        listen=parse_host_port(settings.controls.listen),
        interval=settings.controls.interval,
        timeout=settings.controls.timeout,
        names=settings.controls.names,
        remotes=remotes_of(settings),
    )


def connections_of(settings: Settings) -> int:
    """Of one visit, as a network's pace counts it: one for each port."""
    return max(1, len({endpoint.port for endpoint in (*settings.endpoints, *settings.relays)}))
