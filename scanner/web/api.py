"""The API, as programs use it. Names and shapes are fixed; errors are problem details."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from scanner.commands.display import visit_json
from scanner.store import StoreError
from scanner.web.docs import answers
from scanner.web.edge import Application, Receive, Scope, Send
from scanner.web.problems import Problem, problem_response
from scanner.web.site import Site, named_address
from scanner.web.view import shown

_VISITS = 3  # the latest, with port and transcript, for whoever showed control
_LOOKUP = "/api/v1/lookup/"
_EXAMPLE = {
    "address": "192.0.2.1",
    "listed": True,
    "listings": [
        {
            "list": "ops",
            "address": "192.0.2.1",
            "type": "entry",
            "criterion": "open-proxy",
            "first_listed": "2026-11-22T10:00:00Z",
            "last_confirmed": "2026-11-22T10:00:00Z",
            "expires": "2026-12-22T10:00:00Z",
            "next_step": "It is looked at again on 2026-11-23 10:00 UTC. …",
            "how_to_fix": "Let the proxy serve your own addresses only, or require a password, or stop it. …",
        }
    ],
    "opted_out": False,
    "removal": {"possible": False, "not_before": "2026-11-22T10:15:00Z", "why": "… Ask again in 15 minutes."},
}


def routes(site: Site) -> APIRouter:
    router = APIRouter(prefix="/api/v1")

    @router.get("/lookup/{address:path}", summary="What the lists say about an address", responses=answers(_EXAMPLE))
    async def lookup(request: Request, address: str) -> dict[str, Any]:
        return await looked_up(site, request, address)

    return router


class Lookups:
    """Answers lookups before the framework, whose routing and validation would cost as much as the lookup itself."""

    def __init__(self, app: Application, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head, _, text = scope["path"].partition(_LOOKUP) if scope["type"] == "http" else ("", "", "")
        if head or not text or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        answer: Response
        try:
            answer = JSONResponse(await looked_up(self._site, Request(scope), text))
        except Problem as problem:
            answer = problem_response(problem)
        except StoreError:
            await self._app(scope, receive, send)  # which knows what to say of it
            return
        await answer(scope, receive, send)


async def looked_up(site: Site, request: Request, address: str) -> dict[str, Any]:
    """The answer of a lookup; Problem 422 for what is no address."""
    wanted = named_address(address)
    dossier = await site.dossier(request, wanted)
    answer = {
        "address": str(wanted),
        "listed": bool(dossier.listings),
        "listings": [item.public for item in shown(dossier)],
        "opted_out": dossier.excluded is not None,
        "removal": site.removal(dossier),
    }
    if site.control.is_shown(request, wanted):
        answer["visits"] = [visit_json(visit) for visit in await site.store.visits(wanted, _VISITS)]
    return answer
