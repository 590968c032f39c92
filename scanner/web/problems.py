"""What goes wrong, as problem details (RFC 9457) for programs and as a page for people."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from scanner.store import StoreError
from scanner.web.words import PROBLEMS

if TYPE_CHECKING:
    from scanner.web.site import Site

_log = structlog.get_logger()
_DETAILS = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
# For the OpenAPI description, of every call.
DESCRIBED: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {"application/problem+json": {"schema": _DETAILS}}}
    for code, text in (("4XX", "What was wrong, and when to come back"), ("5XX", "Out of order just now"))
}


class Problem(Exception):
    """An answer that is no success. field: what in the request was wrong. retry_after: seconds."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.extra = status, detail, extra
        if field is not None:
            self.extra["errors"] = [{"field": field, "detail": detail}]
        self.headers = {} if retry_after is None else {"Retry-After": str(max(1, round(retry_after + 0.5)))}
        if status == HTTPStatus.UNAUTHORIZED:
            self.headers["WWW-Authenticate"] = "Bearer"  # RFC 9110 15.5.2 wants one


class ProblemResponse(JSONResponse):
    media_type = "application/problem+json"


def install(app: FastAPI, site: Site) -> None:
    """Have an application answer with problems: JSON below /api, pages elsewhere."""

    def answer(request: Request, problem: Problem) -> Response:
        if request.url.path.startswith("/api/"):
            return problem_response(problem)
        return site.page(
            request,
            "problem.html",
            status=problem.status,
            headers=problem.headers,
            title=PROBLEMS.get(problem.status, HTTPStatus(problem.status).phrase),
            detail=problem.detail,
        )

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return answer(request, error)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allow = {"Allow": ", ".join(_methods(app, request))}
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=allow)
            error = HTTPException(error.status_code, headers=allow)
        if error.status_code == HTTPStatus.NOT_FOUND and (elsewhere := _slashed(app, request)):
            return RedirectResponse(elsewhere, status_code=HTTPStatus.TEMPORARY_REDIRECT)
        text = "there is nothing here" if error.status_code == 404 else str(error.detail)
        problem = Problem(error.status_code, text)
        problem.headers = dict(error.headers or {})
        return answer(request, problem)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = [_one(item) for item in error.errors()[:10]]
        first = found[0]
        return answer(request, Problem(422, f"{first['field']}: {first['detail']}", errors=found))

    async def on_store(request: Request, error: Exception) -> Response:
        _log.error("web: store", error=str(error))
        return answer(request, Problem(503, "the database is out of order just now", retry_after=10))

    async def on_bug(request: Request, _: Exception) -> Response:
        return answer(request, Problem(500, "this is our mistake, not yours; it is logged"))

    app.add_exception_handler(Exception, on_bug)  # the edge counts and logs it
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(StoreError, on_store)


def problem_response(problem: Problem) -> ProblemResponse:
    content = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }
    return ProblemResponse(content, status_code=problem.status, headers=problem.headers)


def _slashed(app: FastAPI, request: Request) -> str:
    """Where a path with one slash too many or too few leads; "" where nowhere.

    A path alone: the framework's own redirect names what the Host header says, and http where TLS ends before us.
    """
    path = request.scope["path"]
    other = path.rstrip("/") if path.endswith("/") else path + "/"
    if not any(route.matches({**request.scope, "path": other})[0] is not Match.NONE for route in app.routes):
        return ""
    query = request.scope["query_string"].decode("latin-1")
    return quote(other) + ("?" + query if query else "")


def _methods(app: FastAPI, request: Request) -> list[str]:
    """What a path may be asked for: the framework names the methods of the first route only, and the edge adds HEAD."""
    taken = [
        method
        for method in ("GET", "POST")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]
    return [*taken, *(["HEAD"] if "GET" in taken else []), "OPTIONS"]


def _one(error: Any) -> dict[str, str]:
    """What was wrong where; never what was sent."""
    if error["type"] == "json_invalid":  # its place is a number of characters, which is no field
        return {"field": "body", "detail": "expected JSON"}
    place = [str(part) for part in error["loc"] if part not in ("body", "query", "path")]
    return {"field": ".".join(place)[:80] or "body", "detail": str(error["msg"]).removeprefix("Value error, ")[:200]}
