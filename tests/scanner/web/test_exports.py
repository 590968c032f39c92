"""The exports over HTTP: what is in the folder, and nothing else of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trio

from core.cidr import CidrSet
from scanner.publish.outputs import outputs_of
from scanner.publish.publisher import Publisher
from scanner.scope import Scope
from scanner.settings import Settings
from scanner.store import Store
from scanner.web.app import Web
from scanner.web.server import Server
from tests.scanner.web.conftest import delist, list_by_proof

Browse = Callable[..., httpx.AsyncClient]
NONE = CidrSet([])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    exports = {"directory": str(tmp_path / "exports"), "formats": ("plain", "csv", "rbldnsd"), "interval": 1e-9}
    return Settings(data_dir=tmp_path, publish={"exports": exports})


@pytest.fixture
def release(settings: Settings, store: Store) -> Callable[[], object]:
    return Publisher(settings, Scope(NONE, NONE, NONE, NONE), store, outputs_of(settings)).release


async def test_an_export_is_served_under_its_hash_until_it_changes(
    browse: Browse, store: Store, release: Callable[[], object], tmp_path: Path
) -> None:
    await list_by_proof(store, "192.0.2.1", time.time())
    await release()
    client = browse()
    page = await client.get("/export/ops.plain")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert page.content == (tmp_path / "exports" / "ops.plain").read_bytes()
    assert "\n192.0.2.1\n" in page.text
    etag = page.headers["etag"]
    assert etag == f'"{hashlib.sha256(page.content).hexdigest()}"'
    manifest = await client.get("/export/manifest.json")
    assert json.loads(manifest.text)["files"]["ops.plain"]["sha256"] == etag.strip('"')
    for name, tag in (("ops.plain", etag), ("manifest.json", manifest.headers["etag"])):
        for asked in (tag, f'"other", W/{tag}', "*"):
            again = await client.get(f"/export/{name}", headers={"If-None-Match": asked})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    await delist(store, "192.0.2.1", time.time())
    await release()
    after = await client.get("/export/ops.plain", headers={"If-None-Match": etag})
    assert (after.status_code, "192.0.2.1" in after.text) == (200, False)
    head = await client.head("/export/ops.csv")
    assert (head.status_code, head.content, head.headers["content-type"]) == (200, b"", "text/csv; charset=utf-8")


async def test_it_arrives_whole_over_a_socket(
    web: Web, store: Store, release: Callable[[], object], tmp_path: Path
) -> None:
    for number in range(300):
        await list_by_proof(store, f"192.0.{number // 250}.{number % 250}", time.time())
    await release()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(Server("web", web.edges[0], ["127.0.0.1:0"], most=8).run)
        async with httpx.AsyncClient() as client:
            host, port = server.binds[0]
            for _ in range(2):
                page = await client.get(f"http://{host}:{port}/export/ops.csv")
                assert page.content == (tmp_path / "exports" / "ops.csv").read_bytes()
                assert len(page.headers["etag"]) == 66
            part = await client.get(f"http://{host}:{port}/export/ops.csv", headers={"Range": "bytes=0-9"})
            assert (part.status_code, part.content) == (206, page.content[:10])
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("name", ["ops.nft", "objects", "", "%2e%2e%2fstore.db", "..%2Fstore.db", ".lock", "a%00"])
async def test_nothing_else_is(browse: Browse, release: Callable[[], object], name: str) -> None:
    await release()
    assert (await browse().get(f"/export/{name}")).status_code == 404


async def test_before_the_first_release_there_is_none(browse: Browse) -> None:
    assert (await browse().get("/export/ops.plain")).status_code == 404
    assert (await browse().get("/export/manifest.json")).status_code == 404
