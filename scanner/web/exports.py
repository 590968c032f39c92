"""The exports, for whoever fetches them: what the manifest names, each under a tag that is its hash."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import trio
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from scanner.publish.outputs import MANIFEST, served
from scanner.web.problems import Problem
from scanner.web.site import Site

_MEDIA_TYPES = {".csv": "text/csv", ".jsonl": "application/jsonl"}


def routes(site: Site) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/export/{name}")
    async def export(request: Request, name: str) -> Response:
        directory = site.settings.publish.exports.directory
        found = await trio.to_thread.run_sync(_found, Path(directory), name) if directory else None
        if found is None:
            raise Problem(404, "there is no such export")
        content, etag = found
        # A cache on the way has to ask each time, so that it keeps nobody listed; the answer is a short one mostly.
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if _names(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        if isinstance(content, bytes):
            return Response(content, media_type="application/json", headers=headers)
        return FileResponse(content, media_type=_MEDIA_TYPES.get(Path(name).suffix, "text/plain"), headers=headers)

    return router


def _found(directory: Path, name: str) -> tuple[Path | bytes, str] | None:
    """An export, or the manifest, which has no name by its hash and is read at once; and the tag."""
    if name != MANIFEST:
        return served(directory, name)
    try:
        text = (directory / MANIFEST).read_bytes()
    except OSError:
        return None
    return text, f'"{sha256(text).hexdigest()}"'


def _names(asked: str, etag: str) -> bool:
    """Whether `If-None-Match` has the tag (RFC 9110 13.1.2), also as a server in front that compresses weakens it."""
    return asked.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in asked.split(","))
