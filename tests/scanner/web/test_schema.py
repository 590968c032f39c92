"""Whatever the OpenAPI description allows, and much that it forbids, sent to the live server by schemathesis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case

from core.cidr import CidrSet
from scanner.scope import Scope
from scanner.secret import MasterSecret
from scanner.settings import Settings, WebSection
from scanner.store import open_store
from scanner.web.app import Web
from tests.scanner.web.conftest import list_by_proof

pytestmark = pytest.mark.timeout(110)
_LOOK = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The web side in a thread; schemathesis blocks."""
    folder = tmp_path_factory.mktemp("schema")
    up, over, told = Event(), Event(), []
    thread = Thread(target=trio.run, args=(_serve, folder, up, over, told))
    thread.start()
    assert up.wait(60)
    yield told[0]
    over.set()
    thread.join(60)
    assert told[1:] == [0], "requests that ended in a bug of ours"


async def _serve(folder: Path, up: Event, over: Event, told: list[object]) -> None:
    section = WebSection(listen=("127.0.0.1:0",), operator_listen=(), rate=5000, nominations_per_requester=100_000)
    made = Settings(data_dir=folder, web=section)
    nothing = CidrSet([])
    async with open_store(f"sqlite:///{folder}/store.db") as store, trio.open_nursery() as nursery:
        await list_by_proof(store, "192.0.2.1", time.time())
        web = Web(made, Scope(CidrSet(["127.0.0.0/8"]), nothing, nothing, nothing), store, MasterSecret({1: b"m" * 32}))
        await nursery.start(web.run)
        host, port = web.servers[0].binds[0]
        told.append(f"http://{host}:{port}")
        up.set()
        while not over.is_set():
            await trio.sleep(0.05)
        told.append(web.edges[0].errors)
        assert await store.verify() == []
        nursery.cancel_scope.cancel()


def test_every_call_answers_as_it_is_described(server: str) -> None:
    checks = schemathesis.checks
    as_described = [checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance]
    schema = schemathesis.openapi.from_dict(httpx.get(f"{server}/api/openapi.json").json())
    tried = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/stream"):
            continue  # has no end
        tried.append(operation.label)

        @given(case=operation.as_strategy())
        @_LOOK
        def look(case: Case) -> None:
            answer = case.call(base_url=server, timeout=10)
            case.validate_response(answer, checks=as_described)
            assert b"Traceback" not in answer.content

        look()
    assert len(tried) >= 7, tried
