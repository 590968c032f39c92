from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from scanner.store import Store
from tests.scanner.web.conftest import list_by_proof

Browse = Callable[..., httpx.AsyncClient]


async def test_lookup_of_a_listed_address(browse: Browse, store: Store) -> None:
    await list_by_proof(store, "192.0.2.1", time.time())
    answer = await browse().get("/api/v1/lookup/192.0.2.1")
    assert answer.status_code == 200
    value = answer.json()
    assert (value["address"], value["listed"], len(value["listings"])) == ("192.0.2.1", True, 1)
    assert {"list", "type", "criterion", "first_listed", "last_confirmed", "expires", "next_step", "how_to_fix"} <= set(
        value["listings"][0]
    )
    assert value["removal"] == {"possible": True, "not_before": None, "why": ""}


async def test_lookup_of_an_exit_through_its_64(browse: Browse, store: Store) -> None:
    now = time.time()
    await list_by_proof(store, "192.0.2.1", now, exits=("2001:db8:0:1::/64",))
    await list_by_proof(store, "2001:db8:0:1::/64", now, type="exit", entry="192.0.2.1")
    value = (await browse().get("/api/v1/lookup/2001:db8:0:1::5")).json()
    assert value["listings"][0]["type"] == "exit"
    assert "ends with the proxy 192.0.2.1" in value["listings"][0]["next_step"]


async def test_lookup_of_an_address_that_is_not_listed(browse: Browse) -> None:
    value = (await browse().get("/api/v1/lookup/2001:DB8::1")).json()
    assert (value["address"], value["listed"], value["listings"]) == ("2001:db8::1", False, [])
    assert value["removal"]["possible"] is False


@pytest.mark.parametrize(
    "text", ["xx", "192.0.2", "192.0.2.1:80", "192.0.2.0%2F24", "192.0.2.1/", "..%2F", "fe80::1%25lo"]
)
async def test_a_bad_address_is_a_problem_that_names_the_field(browse: Browse, text: str) -> None:
    answer = await browse().get(f"/api/v1/lookup/{text}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "address")
    page = await browse().get(f"/lookup/{text}")
    assert (page.status_code, 'aria-invalid="true"' in page.text) == (422, True)
