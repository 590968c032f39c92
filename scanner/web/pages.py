"""Pages for everybody: lookup, removal and its status, policy, figures. Plain forms that work without script."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from scanner.web.problems import Problem
from scanner.web.site import STATIC, Site, named_address
from scanner.web.view import shown

_VISITS = 3  # the latest, shown to whoever showed control
_LONG = 200  # characters of a query that are looked at


def routes(site: Site) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def home(request: Request) -> Response:
        return site.page(request, "home.html", asked="", wrong="")

    @router.get("/lookup")
    async def ask(request: Request, address: Annotated[str, Query()] = "") -> Response:
        try:
            found = named_address(address[:_LONG])
        except Problem as problem:
            asked = address[:64]
            return site.page(request, "home.html", status=problem.status, asked=asked, wrong=problem.detail)
        return RedirectResponse(f"/lookup/{found}", status_code=303)

    @router.get("/lookup/{address:path}")
    async def lookup(request: Request, address: str) -> Response:
        try:
            wanted = named_address(address)
        except Problem as problem:
            return site.page(request, "home.html", status=problem.status, asked=address[:64], wrong=problem.detail)
        dossier = await site.dossier(request, wanted)
        now = dossier.at
        control = site.control.is_shown(request, wanted)
        return site.page(
            request,
            "lookup.html",
            address=wanted,
            listings=shown(dossier),
            ended=dossier.ended,
            cached=dossier.ended is not None and now < dossier.ended.at + site.cache_seconds,
            caches_clear=(dossier.ended.at if dossier.ended else now) + site.cache_seconds,
            refused=dossier.refused,
            excluded=dossier.excluded is not None,
            removal=site.removal(dossier),
            control=control,
            alone=await site.is_holder(request, wanted),
            visits=await site.store.visits(wanted, _VISITS) if control else [],
        )

    @router.get("/policy")
    async def policy(request: Request) -> Response:
        delays = [days * 86400 for days in site.settings.lists.ops.removal_delay_days]
        return site.page(request, "policy.html", rules=site.rules, settings=site.settings, delays=delays)

    @router.get("/robots.txt")
    async def robots() -> Response:
        """Listings come and go; a search engine's copy of one would outlive it."""
        return Response("User-agent: *\nDisallow: /lookup\nDisallow: /removal\n", media_type="text/plain")

    return router


def static(site: Site) -> APIRouter:
    """Style and script, from memory."""
    router = APIRouter(include_in_schema=False)

    @router.get("/static/{name}")
    async def file(name: str) -> Response:
        if name not in STATIC:
            raise Problem(404, "there is nothing here")
        media_type, content = STATIC[name]
        return Response(content, media_type=media_type, headers={"Cache-Control": "public, max-age=300"})

    return router
