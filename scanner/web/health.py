"""Liveness, readiness, and the public figures."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from scanner.store import StoreError
from scanner.web.site import Site

_HEARTBEAT = 10.0  # seconds: a daemon that was not seen for longer is not running


def routes(site: Site) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @router.get("/readyz")
    async def readyz() -> Response:
        problems = await unready(site)
        return JSONResponse({"ready": not problems, "problems": problems}, status_code=503 if problems else 200)

    @router.get("/status")
    async def status(request: Request) -> Response:
        return site.page(request, "status.html", figures=await site.figures.get(), problems=await unready(site))

    return router


async def unready(site: Site) -> dict[str, str]:
    """What is out of order, by what it is: empty where all is well. Nothing of it names addresses or ports."""
    try:
        known = await site.store.status()
    except StoreError:
        return {"store": "does not answer"}
    value, at = known.get("daemon", ({}, 0.0))
    if not value.get("running") or time.time() - at > _HEARTBEAT:
        return {"daemon": "is not running"}
    return _of_heartbeat(value)


def _of_heartbeat(value: dict[str, Any]) -> dict[str, str]:
    controls = value.get("controls", {})
    if controls.get("latest") is None:
        return {"controls": "have not been probed yet"}
    if controls.get("problems"):
        return {"controls": "do not answer as they should: nothing is listed or delisted meanwhile"}
    return {}
