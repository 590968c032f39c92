"""What a process needs before its work begins: directory, lock, descriptors, local addresses, and the canary."""

from __future__ import annotations

import fcntl
import gc
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import Any

import trio

from scanner.canary import Bound, Keep, Tally, run_canary
from scanner.config import ConfigError
from scanner.fields import parse_host_port
from scanner.model import CanaryTarget, parse_address
from scanner.secret import MasterSecret
from scanner.settings import CanarySection, Settings
from scanner.sweep import usable

_TURN = 0.1  # seconds between looks whether it is our turn


def binds(section: CanarySection) -> Bound:
    """Where the configuration has the canary listen."""
    places = (section.listen, section.mail_listen, section.http_listen)
    return Bound(*(tuple(parse_host_port(text) for text in texts) for texts in places))


async def start_canary(
    nursery: trio.Nursery,
    settings: Settings,
    secret: MasterSecret,
    tally: Tally,
    keep: Keep,
    tls: SSLContext | None = None,
) -> Bound:
    """The canary of this process; where it listens. BindError where it can't."""
    section, wanted = settings.canary, binds(settings.canary)
    serve = partial(
        run_canary,
        section.id,
        secret.canary_keys(section.id),
        tcp=wanted.tcp,
        mail=wanted.mail,
        http=wanted.http,
        tally=tally,
        name=settings.identity.name,
        keep=keep,
        tls=tls,
    )
    bound: Bound = await nursery.start(serve)
    return bound


def advertised(section: CanarySection, bound: Bound) -> tuple[CanaryTarget, ...]:
    """Where targets are told to go: as configured, else the addresses that the canary binds."""
    if section.targets:
        return tuple(CanaryTarget(**dict(target)) for target in section.targets)
    found: dict[str, Any] = {}
    for face, places in (("tcp", bound.tcp), ("mail", bound.mail), ("http", bound.http)):
        for host, port in places:
            address = parse_address(host)
            found.setdefault("address" if address.version == 4 else "address6", address)
            found.setdefault(face, port)
    if not found:
        raise ConfigError("canary: binds nothing and names no targets: there is nothing to ask targets to reach")
    return (CanaryTarget(section.id, **found),)


def data_dir(settings: Settings) -> Path:
    """The data directory, made where it is missing; ConfigError where that can't be."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(f"data_dir = {str(settings.data_dir)!r}: a file: expected a directory") from None
    except OSError as error:
        raise ConfigError(f"data_dir = {str(settings.data_dir)!r}: {error.strerror}") from None
    return settings.data_dir


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One daemon for one data directory."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigError(f"{path}: another daemon uses this data directory") from None
    finally:
        os.close(descriptor)


@asynccontextmanager
async def turn(path: Path, wait: Callable[[], None]) -> AsyncIterator[Callable[[], None]]:
    """Those who share a file have the canary one after the other; yields what ends the turn. wait: says that we do.

    With that of another `check`, which ends when that one does, open proxies would look closed; and our letters
    would stay with it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # no directory to share, or not ours
        yield lambda: None
        return
    try:
        told = False
        while not _taken(descriptor):
            if not told:
                wait()
            told = True
            await trio.sleep(_TURN)
        yield partial(fcntl.flock, descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def require_sources(settings: Settings) -> None:
    """ConfigError where a vantage is to connect from what is no address of this machine."""
    for vantage in settings.vantages:
        for source in (vantage.source, vantage.source6):
            if source is not None and not usable(source):
                raise ConfigError(f"vantage {vantage.name}: {source} is not an address of this machine")


def calm_collector() -> None:
    """Let Python look for cycles less often, and never in what is there from the start.

    With thousands of visits under way nearly all that is young is in use: looking at every 700 objects took a quarter
    of the CPU of a sweep (benchmarks/scale.py).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def raise_descriptor_limit(sockets: int) -> None:
    """As many descriptors as the hard limit gives; said where scan.sockets does not fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and sockets + 512 > hard:
        raise ConfigError(f"scan.sockets = {sockets}: expected at most {hard - 512} with a limit of {hard} open files")
