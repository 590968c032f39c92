"""What only the holder of an address may do: show that it is theirs, and opt out of being probed."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from scanner.listing import resume
from scanner.model import Address
from scanner.store import Exclusion
from scanner.web.control import COOKIE, SHOWN_FOR, CannotTell, Ticket
from scanner.web.docs import answers
from scanner.web.edge import requester_of
from scanner.web.problems import Problem
from scanner.web.site import Site, named_address
from scanner.web.words import wait

_CHECKS = 30  # looks into the DNS an hour, for one requester
_NOT_SHOWN = "To opt it out, show control of it first."
_NOT_ALONE = (
    "It is listed as an open proxy, so anybody may have sent this from it: show control by a TXT record, close the"
    " proxy first, or write to the operator."
)
_TICKET = {
    "address": "192.0.2.1",
    "ticket": "…",
    "names": ["_proxywarden.1.2.0.192.in-addr.arpa"],
    "record": "proxywarden=7f1d0c7a2b9e4a5f8c3d6e1f0a9b8c7d",
    "by_dns": True,
}
_BY = "web:"  # who declared an opt-out here, and not the operator


class ControlRequest(BaseModel):
    """Get a ticket, and the TXT record to publish for it."""

    address: Annotated[str, Field(max_length=64, examples=["192.0.2.1"])]


class ControlCheck(BaseModel):
    """Have the record looked for."""

    ticket: Annotated[str, Field(max_length=500)]


def pages(site: Site) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/control/{address}")
    async def show(request: Request, address: str) -> Response:
        wanted = named_address(address)
        ticket = site.control.ticket(wanted)
        return await _control_page(site, request, ticket, "")

    @router.post("/control")
    async def check(request: Request, ticket: Annotated[str, Form(max_length=500)]) -> Response:
        known = _known(site, ticket)
        try:
            found = await look(site, request, known)
        except Problem as problem:
            return await _control_page(site, request, known, problem.detail, problem)
        if not found:
            wrong = "The record is not there yet. A change in the DNS can take some minutes to be seen."
            return await _control_page(site, request, known, wrong)
        answer = RedirectResponse(f"/lookup/{known.address}", status_code=303)
        answer.set_cookie(
            COOKIE,
            site.control.show(known.address),
            max_age=SHOWN_FOR,
            httponly=True,
            samesite="lax",
            secure=site.settings.web.public_url.startswith("https:"),
        )
        return answer

    @router.get("/opt-out")
    async def form(request: Request) -> Response:
        return site.page(
            request,
            "opt_out.html",
            excluded=await _excluded(site, request.state.client),
            own=_own(site, request),
            alone=await site.is_holder(request, request.state.client),
        )

    @router.post("/opt-out")
    async def opt_out(request: Request, address: Annotated[str, Form(max_length=64)]) -> Response:
        wanted = named_address(address)
        if not await site.is_holder(request, wanted):
            problem = Problem(403, _NOT_ALONE if site.control.is_shown(request, wanted) else _NOT_SHOWN)
            return await _control_page(site, request, site.control.ticket(wanted), problem.detail, problem)
        by = f"{_BY}{requester_of(request.state.client)}"
        await site.store.exclude(str(wanted), "its holder asked", by, time.time())
        return RedirectResponse("/opt-out", status_code=303)

    @router.post("/opt-out/end")
    async def opt_in(request: Request, address: Annotated[str, Form(max_length=64)]) -> Response:
        wanted = _held(site, request, address)  # a removal needs the end of it: whoever may ask for one may end it
        found = await _excluded(site, wanted)
        if found is None or found.network != str(wanted) or not found.by.startswith(_BY):
            raise Problem(404, f"{wanted} was not opted out here")
        await site.store.unexclude(str(wanted), resume, time.time())
        return RedirectResponse("/opt-out", status_code=303)

    return router


def api(site: Site) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["control"])

    @router.post("/control", summary="A TXT record by which you show control of an address", responses=answers(_TICKET))
    async def ticket(asked: ControlRequest) -> dict[str, Any]:
        made = site.control.ticket(named_address(asked.address))
        return {
            "address": str(made.address),
            "ticket": made.text,
            "names": list(made.names),
            "record": made.record,
            "by_dns": site.control.by_dns,
        }

    @router.post(
        "/control/check",
        summary="Have the record looked for; the token is good as a bearer's",
        responses=answers({"address": "192.0.2.1", "shown": True, "token": "…"}),
    )
    async def check(request: Request, asked: ControlCheck) -> dict[str, Any]:
        known = _known(site, asked.ticket)
        found = await look(site, request, known)
        return {
            "address": str(known.address),
            "shown": found,
            "token": site.control.show(known.address) if found else None,
        }

    return router


async def look(site: Site, request: Request, ticket: Ticket) -> bool:
    """Whether the record is there; Problem where that can't be told."""
    if not site.control.by_dns:
        raise Problem(409, "no name server is configured here: open the page from the address itself")
    now = time.time()
    later = await site.store.take(f"control:{requester_of(request.state.client)}", now, _CHECKS, 3600)
    if later is not None:
        raise Problem(429, f"those were many looks: the next one in {wait(later - now)}", retry_after=later - now)
    try:
        return await site.control.published(ticket)
    except CannotTell as error:
        raise Problem(503, f"{error}: try again in a minute", retry_after=60) from None


def _known(site: Site, text: str) -> Ticket:
    ticket = site.control.known_ticket(text)
    if ticket is None:
        raise Problem(422, "the ticket is too old, or none of ours: get a new one", field="ticket")
    return ticket


async def _control_page(
    site: Site, request: Request, ticket: Ticket, wrong: str, problem: Problem | None = None
) -> Response:
    return site.page(
        request,
        "control.html",
        status=problem.status if problem else 200,
        headers=problem.headers if problem else None,
        ticket=ticket,
        by_dns=site.control.by_dns,
        shown=site.control.by_record(request, ticket.address),
        own=site.control.asked_from(request, ticket.address),
        alone=await site.is_holder(request, ticket.address),
        wrong=wrong,
    )


def _own(site: Site, request: Request) -> bool:
    return site.control.is_shown(request, request.state.client)


def _held(site: Site, request: Request, text: str) -> Address:
    address = named_address(text)
    if not site.control.is_shown(request, address):
        raise Problem(403, f"show control of {address} first: {site.url(f'/control/{address}')}")
    return address


async def _excluded(site: Site, address: Address) -> Exclusion | None:
    return next((item for item in await site.store.exclusions() if item.network == str(address)), None)
