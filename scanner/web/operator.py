"""The operator's pages, on a listener of their own: signed in, and every deed in the journal under a name."""

from __future__ import annotations

import time
from functools import partial
from ipaddress import ip_network
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from scanner.listing import DAY, add_by_hand, resume, withdraw
from scanner.publish.publisher import STATE
from scanner.store.accounts import Deed
from scanner.web.problems import Problem
from scanner.web.sessions import SHORTEST, Sessions
from scanner.web.site import Site, named_address

_NOMINATIONS, _JOURNAL = 50, 50  # shown at once
_REASON = 300  # characters
_DAYS = 3650.0
List = Literal["ops", "rss", "dul", "rbl"]
Reason = Annotated[str, Form(min_length=1, max_length=_REASON)]
Network = Annotated[str, Form(max_length=64)]


class NotSignedIn(Exception):
    pass


async def signed_in(request: Request) -> str:
    """The operator's name; NotSignedIn where nobody is signed in."""
    sessions: Sessions = request.app.state.sessions
    name = await sessions.operator(request)
    if name is None:
        raise NotSignedIn
    return name


Operator = Annotated[str, Depends(signed_in)]


def routes(site: Site) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    back = partial(RedirectResponse, status_code=303)

    @router.get("/")
    async def root() -> Response:
        return back("/operator")

    @router.get("/operator")
    async def overview(request: Request, name: Operator) -> Response:
        known = await site.store.status()
        value, seen = known.pop("daemon", ({}, 0.0))
        by_hand, at = known.pop("publish", ({}, 0.0))  # what the daemon publishes its heartbeat has, and is later
        return site.page(
            request,
            "operator.html",
            name=name,
            daemon=value,
            seen=seen,
            publishers=by_hand if at > seen else value.get("publishers", {}),
            others={key: item for key, (item, _) in known.items() if key != STATE},
            figures=await site.store.figures(time.time()),
            waiting=await site.store.nominations("review", _NOMINATIONS),
            journal=await site.store.journal(_JOURNAL),
        )

    @router.post("/operator/nominations/{id_}")
    async def review(id_: str, name: Operator, accept: Annotated[bool, Form()]) -> Response:
        deed = Deed(name, "accept nomination" if accept else "dismiss nomination", id_[:32])
        if await site.store.review(id_, accept, time.time(), by=deed) is None:
            raise Problem(404, "no nomination of this id waits for a word")
        site.ring()
        return back("/operator")

    @router.get("/operator/listings")
    async def listings(request: Request, name: Operator, address: str = "") -> Response:
        found = await site.store.lookup(named_address(address)) if address.strip() else []
        return site.page(request, "operator_listings.html", name=name, address=address.strip()[:64], listings=found)

    @router.post("/operator/listings")
    async def add(
        name: Operator,
        address: Network,
        reason: Reason,
        list_: Annotated[List, Form(alias="list")] = "rbl",
        days: Annotated[float | None, Form(gt=0, le=_DAYS)] = None,
    ) -> Response:
        where, now = _network(address), time.time()
        length = site.settings.lists.rbl.expiry_days if days is None else days
        decide = partial(
            add_by_hand, list_=list_, address=where, reason=reason, at=now, expiry=length * DAY, rules=site.rules
        )
        try:
            await site.store.change(where, decide, now, by=Deed(name, f"list on {list_}", where, reason))
        except ValueError as error:
            raise Problem(422, str(error), field="address") from None
        return back("/operator/listings?address=" + where.partition("/")[0])

    @router.post("/operator/listings/withdraw")
    async def end(
        name: Operator, address: Network, reason: Reason, list_: Annotated[List | None, Form(alias="list")] = None
    ) -> Response:
        where, now = _network(address), time.time()
        decide = partial(withdraw, address=where, list_=list_, at=now, reason=reason)
        try:
            await site.store.change(where, decide, now, by=Deed(name, "withdraw", where, reason))
        except ValueError as error:
            raise Problem(404, f"{where} is {error}") from None
        return back("/operator/listings?address=" + where.partition("/")[0])

    @router.get("/operator/exclusions")
    async def exclusions(request: Request, name: Operator) -> Response:
        return site.page(request, "operator_exclusions.html", name=name, exclusions=await site.store.exclusions())

    @router.post("/operator/exclusions")
    async def exclude(name: Operator, network: Network, reason: Reason) -> Response:
        where = _network(network)
        deed = Deed(name, "exclude", where, reason)
        await site.store.exclude(where, reason, f"operator:{name}", time.time(), deed=deed)
        return back("/operator/exclusions")

    @router.post("/operator/exclusions/end")
    async def include(name: Operator, network: Network) -> Response:
        where = _network(network)
        if where not in {item.network for item in await site.store.exclusions()}:
            raise Problem(404, f"{where} is not excluded")
        await site.store.unexclude(where, resume, time.time(), by=Deed(name, "end exclusion", where))
        return back("/operator/exclusions")

    return router


def doors(site: Site, sessions: Sessions) -> APIRouter:
    """The pages that need no session: signing in and out, and the first password."""
    router = APIRouter(include_in_schema=False)

    def enter(request: Request, name: str) -> Response:
        answer = RedirectResponse("/operator", status_code=303)
        sessions.begin(answer, name, secure=request.url.scheme == "https")
        return answer

    @router.get("/operator/sign-in")
    async def form(request: Request) -> Response:
        return site.page(request, "sign_in.html", name=None, wrong="")

    @router.post("/operator/sign-in")
    async def sign_in(
        request: Request,
        name: Annotated[str, Form(max_length=64)],
        password: Annotated[str, Form(max_length=200)],
    ) -> Response:
        if await sessions.sign_in(request, name, password):
            return enter(request, name)
        return site.page(request, "sign_in.html", status=403, name=None, wrong="Name or password is wrong.")

    @router.post("/operator/sign-out")
    async def sign_out(request: Request) -> Response:
        answer = RedirectResponse("/operator/sign-in", status_code=303)
        name = await sessions.operator(request)
        if name is not None:
            await sessions.end(answer, name)
        return answer

    @router.get("/operator/link/{link}")
    async def first(request: Request, link: str) -> Response:
        name = await sessions.invited(link)
        if name is None:
            raise Problem(404, "the link is used up, too old, or none")
        return site.page(request, "password.html", name=None, account=name, shortest=SHORTEST, link=link, wrong="")

    @router.post("/operator/link/{link}")
    async def set_password(request: Request, link: str, password: Annotated[str, Form(max_length=200)]) -> Response:
        name = await sessions.set_password(link, password)
        if name is None:
            raise Problem(404, "the link is used up, too old, or none")
        return enter(request, name)

    return router


def _network(text: str) -> str:
    """An address or a CIDR, as the store writes it."""
    if "/" not in text:
        return str(named_address(text, "network"))
    try:
        found = ip_network(text.strip())
    except ValueError:
        raise Problem(422, "expected an address, or a CIDR without host bits", field="network") from None
    return str(found.network_address) if found.num_addresses == 1 else str(found)
