"""A store with a listed proxy, and the public application over it, without a socket."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import trio
from argon2 import PasswordHasher

from core.cidr import CidrSet
from scanner.model import Address, Decision, Event, EventKind, Listing, Standing
from scanner.scope import Scope
from scanner.secret import MasterSecret
from scanner.settings import Settings
from scanner.store import Store, migrate, open_store
from scanner.web import sessions as sessions_module
from scanner.web.app import Web, operator_app, public_app
from scanner.web.edge import Edge
from scanner.web.sessions import Sessions, new_secret

CLIENT = "198.51.100.7"
PASSWORD = "correct horse battery"
HERE = "http://127.0.0.1:8027"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once; each test gets a copy."""
    path = tmp_path_factory.mktemp("web") / "store.db"
    migrate.upgrade(path)
    return path


@pytest.fixture
async def store(tmp_path: Path, empty_store: Path) -> AsyncIterator[Store]:
    shutil.copy(empty_store, tmp_path / "store.db")
    with trio.fail_after(100):
        async with open_store(f"sqlite:///{tmp_path}/store.db") as opened:
            yield opened
            assert await opened.verify() == []


@pytest.fixture
def scope() -> Scope:
    """203.0.113.0/24 may not be touched."""
    never = CidrSet(["203.0.113.0/24", "127.0.0.0/8", "10.0.0.0/8", "::1/128"])
    return Scope(never, never, CidrSet([]), CidrSet([]))


@pytest.fixture
def web(settings: Settings, scope: Scope, store: Store) -> Web:
    return Web(settings, scope, store, MasterSecret({1: b"m" * 32}))


@pytest.fixture
async def browse(web: Web) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """A client at an address; a bug of ours in any of its requests fails the test."""
    edge = Edge(public_app(web.site), trusted=web.site.trusted)
    clients: list[httpx.AsyncClient] = []

    def at(address: str = CLIENT, **options: object) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(edge, client=(address, 40000))
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://dnsbl.test", **options))  # type: ignore[arg-type]
        return clients[-1]

    yield at
    for client in clients:
        await client.aclose()
    assert edge.errors == 0


@pytest.fixture
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "_HASHER", PasswordHasher(time_cost=1, memory_cost=64))
    sessions_module._nobodys.cache_clear()


@pytest.fixture
async def desk(web: Web, store: Store, quick_hashes: None) -> AsyncIterator[Callable[[], httpx.AsyncClient]]:
    """Clients of the operator's listener, each with a cookie jar of its own."""
    sessions = Sessions(store, MasterSecret({1: b"m" * 32}))
    edge = Edge(operator_app(web.site, sessions))
    clients: list[httpx.AsyncClient] = []

    def client() -> httpx.AsyncClient:
        transport = httpx.ASGITransport(edge, client=("127.0.0.1", 1))
        clients.append(httpx.AsyncClient(transport=transport, base_url=HERE))
        return clients[-1]

    yield client
    for opened in clients:
        await opened.aclose()
    assert edge.errors == 0


async def invited(store: Store, name: str = "alice", seconds: float = 60) -> str:
    link, kept = new_secret()
    await store.invite(name, kept, time.time() + seconds, time.time())
    return f"/operator/link/{link}"


@pytest.fixture
async def alice(desk: Callable[[], httpx.AsyncClient], store: Store) -> httpx.AsyncClient:
    client = desk()
    assert (await client.post(await invited(store), data={"password": PASSWORD})).status_code == 303
    return client


async def list_by_proof(store: Store, address: str, at: float, **changes: object) -> None:
    """As a proven entry is listed, without the visit."""
    listing = Listing(
        **{  # type: ignore[arg-type]
            "list": "ops",
            "address": address,
            "type": "entry",
            "criterion": "open-proxy",
            "reason": "nomination",
            "detector": "socks5/0.1",
            "vantage": "main",
            "first_listed": at,
            "last_confirmed": at,
            "expires": at + 30 * 86400,
            **changes,
        }
    )
    event = Event(EventKind.LISTED, at, listing)
    await store.change(address, lambda standing: Decision((event,), standing.watch), at)


async def delist(store: Store, address: Address | str, at: float) -> None:
    def end(standing: Standing) -> Decision:
        return Decision(tuple(Event(EventKind.DELISTED, at, listing) for listing in standing.listings))

    await store.change(str(address), end, at)


__all__ = ["CLIENT", "PASSWORD", "delist", "invited", "list_by_proof"]
