"""The API's own description as a page: made from OpenAPI, without a script from elsewhere."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from scanner.web.site import Site


def answers(example: Any, status: int = 200, kind: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: what its answer looks like. None has no place in it: FastAPI leaves such names out."""
    return {status: {"content": {kind: {"example": example}}}}


def routes(site: Site, app: FastAPI) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/api/docs")
    async def docs(request: Request) -> Response:
        return site.page(request, "docs.html", calls=list(_calls(app.openapi())))

    return router


def _calls(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "method": method.upper(),
            "path": path,
            "summary": call.get("summary", ""),
            "parameters": [
                {"name": item["name"], "in": item["in"], "needed": item.get("required", False)}
                for item in call.get("parameters", ())
            ],
            "body": _body(schema, call),
            "status": min(call["responses"]),
            "answer": _answer(call),
        }
        for path, methods in schema["paths"].items()
        for method, call in methods.items()
    ]


def _answer(call: dict[str, Any]) -> str:
    """Of a call that went well, as an example."""
    (content,) = call["responses"][min(call["responses"])]["content"].values()
    example = content["example"]
    return example if isinstance(example, str) else json.dumps(example, indent=1, ensure_ascii=False)


def _body(schema: dict[str, Any], call: dict[str, Any]) -> str:
    """What to send, as an example."""
    content = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = content.get("$ref", "").rpartition("/")[2]
    fields = schema.get("components", {}).get("schemas", {}).get(name, {}).get("properties", {})
    return (
        json.dumps({key: (value.get("examples") or ["…"])[0] for key, value in fields.items()}, ensure_ascii=False)
        if fields
        else ""
    )
