"""Removal: the request, and its status step by step; pages, stream and API."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, BeforeValidator, Field

from scanner.appeal import TEXT_LIMIT, Appeal
from scanner.model import Address, RemovalState
from scanner.pipeline import removal_rule
from scanner.publish.events import iso
from scanner.store import Removal, RemovalRefused
from scanner.store.intake import REMOVAL_PAUSE
from scanner.web import appeal
from scanner.web.docs import answers
from scanner.web.edge import requester_of
from scanner.web.live import EventStream, message, news
from scanner.web.notice import EMAIL, LONGEST, NO_EMAIL, mail_address
from scanner.web.problems import Problem
from scanner.web.site import Site, known_removal, named_address
from scanner.web.view import why_refused

_TAKEN = {
    "id": "7f1d0c7a2b9e4a5f8c3d6e1f0a9b8c7d",
    "state": "requested",
    "status_url": "https://dnsbl.example.net/removal/7f1d0c7a2b9e4a5f8c3d6e1f0a9b8c7d",
    "email": False,
}
_STATUS = {
    "id": "7f1d0c7a2b9e4a5f8c3d6e1f0a9b8c7d",
    "address": "192.0.2.1",
    "state": "delisted",
    "steps": [
        {"at": "2026-11-22T10:00:00Z", "state": "requested", "detail": ""},
        {"at": "2026-11-22T10:00:01Z", "state": "retesting", "detail": ""},
        {"at": "2026-11-22T10:00:01Z", "state": "confirming", "detail": "closed; asking once more to be sure"},
        {"at": "2026-11-22T10:00:12Z", "state": "delisted", "detail": "closed twice: removed from the list"},
    ],
    "outcome": "delisted",
}


def _in_words(email: Any) -> Any:
    """The pattern is for the schema's readers; whoever wrote something else is told what was expected."""
    if isinstance(email, str) and not re.fullmatch(EMAIL, email):
        raise ValueError(NO_EMAIL)
    return email


class RemovalRequest(BaseModel):
    """Ask to have a listed address retested at once, and removed where it is closed."""

    address: Annotated[str, Field(max_length=64, examples=["192.0.2.1"])]
    email: Annotated[str, Field(max_length=LONGEST, pattern=EMAIL), BeforeValidator(_in_words)] | None = None


def pages(site: Site) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.post("/removal")
    async def ask(
        request: Request, address: Annotated[str, Form(max_length=64)], email: Annotated[str, Form(max_length=500)] = ""
    ) -> Response:
        try:
            removal = await take(site, request, named_address(address), _told(email))
        except Problem as problem:
            if "id" not in problem.extra:
                raise
            return RedirectResponse(f"/removal/{problem.extra['id']}", status_code=303)  # one is running: watch it
        return RedirectResponse(f"/removal/{removal.id}", status_code=303)

    @router.get("/removal/{id_}")
    async def status(request: Request, id_: str) -> Response:
        removal = await known_removal(site, id_)
        return site.page(request, "removal.html", **await _shown(site, removal))

    @router.get("/removal/{id_}/appeal")
    async def back(id_: str) -> Response:
        """Whoever reloads or keeps the page of an appeal that was refused."""
        return RedirectResponse(f"/removal/{(await known_removal(site, id_)).id}", status_code=303)

    @router.post("/removal/{id_}/appeal")
    async def disagree(
        request: Request, id_: str, text: Annotated[str, Form(max_length=4 * TEXT_LIMIT)] = ""
    ) -> Response:
        removal = await known_removal(site, id_)
        try:
            await appeal.take(site, request, id_, text)
        except Problem as problem:
            shown = await _shown(site, removal) | {"wrong": problem.detail, "text": text}
            return site.page(request, "removal.html", status=problem.status, headers=problem.headers, **shown)
        return RedirectResponse(f"/removal/{id_}#appeal", status_code=303)

    @router.get("/no-mail/{token}")
    async def no_mail(request: Request, token: str) -> Response:
        _mark(site, token)
        return site.page(request, "no_mail.html", token=token, done=False)

    @router.post("/no-mail/{token}")
    async def stop_mail(request: Request, token: str) -> Response:
        await site.store.outbox.stop(_mark(site, token), time.time())
        return site.page(request, "no_mail.html", token=token, done=True)

    @router.get("/removal/{id_}/stream")
    async def stream(request: Request, id_: str) -> Response:
        await known_removal(site, id_)
        return EventStream(request, site.streams, _follow(site, id_))

    return router


def api(site: Site) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["removal"])

    @router.post(
        "/removals",
        status_code=202,
        summary="Ask for a retest, and removal where it is closed",
        responses=answers(_TAKEN, 202),
    )
    async def ask(request: Request, asked: RemovalRequest) -> dict[str, Any]:
        removal = await take(site, request, named_address(asked.address), asked.email)
        return {
            "id": removal.id,
            "state": str(removal.state),
            "status_url": site.url(f"/removal/{removal.id}"),
            "email": removal.told,
        }

    @router.get("/removals/{id}", summary="Where a request stands", responses=answers(_STATUS))
    async def status(id: str) -> dict[str, Any]:  # noqa: A002 - the name in the path
        return _public(await known_removal(site, id), await site.store.appeals.against(id))

    return router


async def take(site: Site, request: Request, address: Address, email: str | None = None) -> Removal:
    """Accept a request, which is on disk then, or say with a Problem why not and when to come back.

    email: who is told the outcome, where messages are sent at all.
    """
    now = time.time()
    why = site.untouchable(address)
    if why is not None and (await site.store.lookup(address)):
        raise Problem(422, f"{why}: it can't be retested; write to the operator", field="address")
    terms = site.terms(request, address)
    requester = f"web:{requester_of(request.state.client)}"
    try:
        removal = await site.store.request_removal(
            address,
            requester,
            now,
            not_before=removal_rule(site.settings),
            terms=terms,
            tell=site.marks.recipient(email) if email and site.settings.mail.smarthost else None,
        )
    except RemovalRefused as refused:
        raise _problem(site, refused, now, listed=bool(await site.store.lookup(address))) from None
    site.ring()
    return removal


def _mark(site: Site, token: str) -> str:
    mark = site.marks.mark(token)
    if mark is None:
        raise Problem(404, "the link is none of ours, or cut short")
    return mark


def _told(email: str) -> str | None:
    """Of a form's field, which may be empty."""
    try:
        return mail_address(email) if email.strip() else None
    except ValueError as error:
        raise Problem(422, str(error), field="email") from None


def _problem(site: Site, refused: RemovalRefused, now: float, *, listed: bool) -> Problem:
    why = why_refused(refused, now, listed=listed)
    if refused.reason == "not_listed":
        return Problem(404, why)
    if refused.reason == "running":
        return Problem(409, why, id=refused.running, status_url=site.url(f"/removal/{refused.running}"))
    if refused.not_before is None:
        return Problem(409, why)
    return Problem(429, why, retry_after=refused.not_before - now, not_before=iso(refused.not_before))


def _public(removal: Removal, made: Appeal | None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": removal.id,
        "address": str(removal.address),
        "state": str(removal.state),
        "steps": [{"at": iso(step.at), "state": str(step.state), "detail": step.detail} for step in removal.steps],
    }
    if removal.state.final:
        answer["outcome"] = str(removal.state)
    if made is not None:
        answer["appeal"] = appeal.public(made)
    return answer


async def _shown(site: Site, removal: Removal) -> dict[str, Any]:
    """What the status page and its live piece are made of."""
    again, opted_out = removal.at + REMOVAL_PAUSE, False
    if removal.state.final and removal.state is not RemovalState.DELISTED:
        again, opted_out = await _again(site, removal.address, again)
    return {
        "removal": removal,
        "again": again,
        "opted_out": opted_out,
        "caches_clear": removal.steps[-1].at + site.cache_seconds,
        "appeal": await site.store.appeals.against(removal.id) if removal.state.final else None,
        "limit": TEXT_LIMIT,
        "wrong": "",  # of an appeal that was refused, and what it said
        "text": "",
    }


async def _again(site: Site, address: Address, again: float) -> tuple[float, bool]:
    """When a stranger may ask again, at the earliest; whether an opt-out has to end first.

    What an exit's next request retests may have to wait for longer than the exit.
    """
    rule, now = removal_rule(site.settings), time.time()
    while True:
        refused = (await site.store.dossier(address, max(now, again), not_before=rule)).refused
        if refused is None or refused.not_before is None:
            break
        again = refused.not_before
    if refused is not None and refused.running is not None:
        other = await site.store.removal(refused.running)
        again = max(again, other.at + REMOVAL_PAUSE) if other else again
    return again, refused is not None and refused.reason == "excluded"


async def _follow(site: Site, id_: str) -> AsyncIterator[str]:
    """The status as a piece of HTML whenever it changed, up to the outcome."""
    shown = 0
    while True:
        since = site.changes.next
        removal = await known_removal(site, id_)
        if len(removal.steps) > shown:
            shown = len(removal.steps)
            yield message(
                site.fragment("removal_steps.html", **await _shown(site, removal)),
                id=str(shown),
            )
        if removal.state.final:
            yield message("", event="end")
            return
        ping = await news(site.changes, since)
        if ping:
            yield ping
