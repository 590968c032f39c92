"""What every page and every call works with, and how a page is made."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.cidr import CidrSet
from scanner.fields import parse_host_port
from scanner.listing import Rules, strangers_may_send
from scanner.model import Address, parse_address
from scanner.pipeline import removal_rule, rules_of
from scanner.publish.events import iso
from scanner.scope import Scope
from scanner.secret import MasterSecret
from scanner.settings import Settings
from scanner.store import Removal, Store, Terms
from scanner.store.dossier import Dossier
from scanner.version import __version__
from scanner.web import words
from scanner.web.control import Control
from scanner.web.edge import requester_of
from scanner.web.figures import FigureKeeper
from scanner.web.live import Changes, Streams
from scanner.web.notice import Marks
from scanner.web.problems import Problem
from scanner.web.view import removal_answer

_FOLDER = Path(__file__).parent
TOKEN_MARK = "pws_"  # noqa: S105 - how a submitter's token begins
_ID = re.compile(r"[0-9a-f]{32}")
_LONGEST = 64  # characters of an address
STATIC = {
    "style.css": ("text/css; charset=utf-8", (_FOLDER / "static/style.css").read_bytes()),
    "icon.svg": ("image/svg+xml", (_FOLDER / "static/icon.svg").read_bytes()),
    "live.js": ("text/javascript; charset=utf-8", (_FOLDER / "static/live.js").read_bytes()),
}


class Site:
    """The configuration and the store, as the web sees them."""

    def __init__(
        self, settings: Settings, scope: Scope, store: Store, secret: MasterSecret, ring: Callable[[], None]
    ) -> None:
        self.store = store
        self.ring = ring
        self.changes = Changes(store)
        self.streams = Streams()
        self.figures = FigureKeeper(store)
        resolver = settings.web.resolver
        self.marks = Marks(secret)
        self.control = Control(secret, parse_host_port(resolver) if resolver else None)
        self.reconfigure(settings, scope)
        self._pages = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.filters |= {
            "moment": words.moment,
            "clock": words.clock,
            "duration": words.duration,
            "iso": iso,
            "flat": words.flat,
            "dated": words.dated,
        }
        self._pages.globals |= {"version": __version__, "words": words, "site": self}

    def reconfigure(self, settings: Settings, scope: Scope) -> None:
        """Holds for every request from here on."""
        self.settings = settings
        self.scope = scope
        self.rules: Rules = rules_of(settings, scope, canaries=max(1, len(settings.canary.targets)))
        self.cache_seconds = settings.cache_seconds
        self.trusted = CidrSet(settings.web.trusted_proxies)

    def page(
        self,
        request: Request,
        template: str,
        /,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        **values: Any,
    ) -> HTMLResponse:
        """An HTML page. Templates get `client`, the address that asks."""
        text = self._pages.get_template(template).render(
            client=request.state.client, path=request.url.path, now=time.time(), **values
        )
        # A form can have half of a surrogate pair in it, where it names a charset such as unicode_escape.
        return HTMLResponse(text.encode("utf-8", "replace"), status_code=status, headers=headers)

    def fragment(self, template: str, **values: Any) -> str:
        """A piece of a page, for live updates."""
        return self._pages.get_template(template).render(now=time.time(), **values)

    def url(self, path: str) -> str:
        """As the world reaches it."""
        return self.settings.web.public_url.rstrip("/") + path

    def terms(self, request: Request, address: Address) -> Terms:
        """What a removal request of this client is measured by."""
        limits = self.settings.removal
        return Terms(
            control=self.control.by_record(request, address),
            from_it=self.control.asked_from(request, address),
            per_requester=limits.per_requester,
            per_network=limits.per_network,
        )

    async def is_holder(self, request: Request, address: Address) -> bool:
        """Whether nobody but the holder could have sent this request."""
        if self.control.by_record(request, address):
            return True
        asked_from = self.control.asked_from(request, address)
        return asked_from and not strangers_may_send(await self.store.lookup(address))

    async def submitter(self, request: Request) -> str | None:
        """The name of the trusted submitter whose token the request brings; Problem 401 for a wrong one."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.startswith(TOKEN_MARK):
            return None
        name = await self.store.submitter(sha256(token.strip()[:200].encode("utf-8", "replace")).hexdigest())
        if name is None:
            raise Problem(401, "the token is none of ours, or no more")
        return f"submitter:{name}"

    async def dossier(self, request: Request, address: Address) -> Dossier:
        """What is known of an address, as this client may ask about it."""
        return await self.store.dossier(
            address,
            time.time(),
            f"web:{requester_of(request.state.client)}",
            not_before=removal_rule(self.settings),
            terms=self.terms(request, address),
        )

    def removal(self, dossier: Dossier) -> dict[str, Any]:
        """Whether a removal request would be taken, and if not, why and until when."""
        why = None if dossier.refused else self.untouchable(dossier.address)
        return removal_answer(dossier.refused, dossier.at, listed=bool(dossier.listings), untouchable=why)

    def untouchable(self, address: Address) -> str | None:
        """Why an address may not be probed, as the configuration has it; opt-outs are the store's."""
        return self.scope.refusal(address)


async def known_removal(site: Site, id_: str) -> Removal:
    """The removal request that a stranger names; Problem 404 for anything else."""
    removal = await site.store.removal(id_) if _ID.fullmatch(id_) else None
    if removal is None:
        raise Problem(404, "there is no such request")
    return removal


def named_address(text: str, field: str = "address") -> Address:
    """The address that a stranger names, in any of the usual forms; Problem 422 names the field."""
    if len(text) > _LONGEST:
        raise Problem(422, "expected an IPv4 or IPv6 address", field=field)
    try:
        return parse_address(text)
    except ValueError as error:
        raise Problem(422, str(error), field=field) from None
