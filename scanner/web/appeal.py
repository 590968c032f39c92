"""Appeals: taken from the requester, by page or call, and the operator's queue and answers."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from scanner.appeal import TEXT_LIMIT, Answer, Appeal
from scanner.publish.events import iso
from scanner.store import AppealRefused
from scanner.web.docs import answers
from scanner.web.edge import requester_of
from scanner.web.operator import Operator
from scanner.web.problems import Problem
from scanner.web.site import Site, known_removal
from scanner.web.words import wait

_VISITS = 3  # the latest, as evidence for the operator
_OVER = 20  # appeals that are over, shown below those that wait
_REASONS = {
    "running": (409, "The retest is not over yet."),
    "appealed": (409, "There is an appeal against this request already."),
    "open": (409, "Another appeal about this address is waiting for an answer."),
    "not_listed": (409, "Nothing is listed any more that the operator could withdraw."),
}
_TAKEN = {
    "id": "7f1d0c7a2b9e4a5f8c3d6e1f0a9b8c7d",
    "state": "open",
    "status_url": "https://dnsbl.example.net/removal/0a9b8c7d7f1d0c7a2b9e4a5f8c3d6e1f",
}
Text = Annotated[str, Field(min_length=1, max_length=TEXT_LIMIT, examples=["The port is closed, see …"])]


class AppealRequest(BaseModel):
    """Have a person look at the outcome of a removal request."""

    text: Text


def api(site: Site) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["removal"])

    @router.post(
        "/removals/{id}/appeal",
        status_code=202,
        summary="Have a person look at a request's outcome",
        responses=answers(_TAKEN, 202),
    )
    async def ask(request: Request, id: str, asked: AppealRequest) -> dict[str, Any]:  # noqa: A002 - name in the path
        made = await take(site, request, id, asked.text)
        return {"id": made.id, "state": str(made.state), "status_url": site.url(f"/removal/{id}")}

    return router


def operator(site: Site) -> APIRouter:
    router = APIRouter(include_in_schema=False, prefix="/operator/appeals")

    @router.get("")
    async def queue(request: Request, name: Operator) -> Response:
        waiting = await site.store.appeals.list(waiting=True)
        over = await site.store.appeals.list(waiting=False, limit=_OVER)
        return site.page(request, "operator_appeals.html", name=name, waiting=waiting, over=over)

    @router.get("/{id_}")
    async def one(request: Request, name: Operator, id_: str) -> Response:
        found = _known(await site.store.appeals.find(id_[:32]))
        removal = await known_removal(site, found.removal)
        return site.page(
            request,
            "operator_appeal.html",
            name=name,
            appeal=found,
            removal=removal,
            listings=await site.store.lookup(found.address),
            visits=await site.store.visits(removal.target, _VISITS),
            limit=TEXT_LIMIT,
        )

    @router.post("/{id_}")
    async def answer(
        id_: str, name: Operator, answer: Annotated[Answer, Form()], text: Annotated[str, Form(max_length=4000)] = ""
    ) -> Response:
        try:
            _known(await site.store.appeals.answer(id_[:32], answer, _plain(text), name, time.time()))
        except ValueError as error:
            raise Problem(422, f"the appeal {error}", field="text") from None
        site.ring()
        return RedirectResponse(f"/operator/appeals/{id_}", status_code=303)

    return router


async def take(site: Site, request: Request, removal: str, text: str) -> Appeal:
    """Accept an appeal, which is on disk then, or say with a Problem why not."""
    await known_removal(site, removal)
    now, plain = time.time(), _plain(text)
    if not 1 <= len(plain) <= TEXT_LIMIT:
        raise Problem(422, f"expected 1 to {TEXT_LIMIT} characters that say why", field="text")
    requester = f"web:{requester_of(request.state.client)}"
    try:
        made = await site.store.appeals.appeal(
            removal, plain, requester, now, a_day=site.settings.removal.appeals_per_requester
        )
    except AppealRefused as refused:
        if refused.not_before is not None:
            left = refused.not_before - now
            raise Problem(429, f"Those were many appeals: the next one in {wait(left)}.", retry_after=left) from None
        raise Problem(*_REASONS[refused.reason]) from None
    return _known(made)


def public(appeal: Appeal) -> dict[str, Any]:
    """As whoever has the request's address may see it: the answers, not who gave them."""
    return {
        "state": str(appeal.state),
        "text": appeal.text,
        "retest": appeal.retest,
        "steps": [{"at": iso(step.at), "state": str(step.state), "detail": step.detail} for step in appeal.steps],
    }


def _known(found: Appeal | None) -> Appeal:
    if found is None:
        raise Problem(404, "there is no such appeal")
    return found


def _plain(text: str) -> str:
    """What a person wrote, without what no person writes; lines stay lines."""
    lines = (
        "".join(char for char in line if char.isprintable() or char == "\t").rstrip() for line in text.splitlines()
    )
    return "\n".join(lines).strip()
