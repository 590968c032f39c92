"""The public application, and the listeners that serve it."""

from __future__ import annotations

from collections.abc import Callable

import trio
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from scanner.scope import Scope
from scanner.secret import MasterSecret
from scanner.settings import Settings
from scanner.store import Store
from scanner.version import __version__
from scanner.web import (
    api,
    appeal,
    docs,
    events,
    exports,
    health,
    holder,
    metrics,
    nominate,
    operator,
    pages,
    problems,
    removal,
)
from scanner.web.edge import Edge
from scanner.web.server import Server
from scanner.web.sessions import Sessions
from scanner.web.site import Site
from scanner.web.turns import Turns


class Web:
    """The listeners of one process. ring: called when something was written that is due."""

    def __init__(
        self,
        settings: Settings,
        scope: Scope,
        store: Store,
        secret: MasterSecret,
        ring: Callable[[], None] = lambda: None,
    ) -> None:
        self.site = Site(settings, scope, store, secret, ring)
        self.servers: list[Server] = []
        self.edges: list[Edge] = []
        if settings.web.listen:
            self._add("web", public_app(self.site), settings.web.listen, Turns(settings.web.rate))
        if settings.web.operator_listen:
            sessions = Sessions(store, secret)
            self._add("operator web", operator_app(self.site, sessions), settings.web.operator_listen)

    def _add(self, name: str, app: FastAPI, binds: tuple[str, ...], turns: Turns | None = None) -> None:
        trusted = self.site.trusted
        edge = Edge(app, trusted=trusted, turns=turns)
        self.edges.append(edge)
        self.servers.append(Server(name, edge, binds, most=self.site.settings.web.connections, trusted=trusted))

    async def run(self, *, task_status: trio.TaskStatus[Web] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Started when every listener listens, or has said why it does not."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.site.changes.run)
            for server in self.servers:
                await nursery.start(server.run)
            task_status.started(self)

    def statistics(self) -> dict[str, object]:
        """For status: plain values only."""
        return {
            server.name: {
                "listens": [f"{host}:{port}" for host, port in server.binds] if not server.error else [],
                "error": server.error,
                "connections": server.connections.now,
                "refused": server.connections.refused,
                "troubles": server.troubles,
                "errors": edge.errors,
                "sent_away": edge.turns.refused if edge.turns else 0,
            }
            for server, edge in zip(self.servers, self.edges, strict=True)
        }


def public_app(site: Site) -> FastAPI:
    """Everything that strangers may see."""
    app = FastAPI(
        title="Proxywarden",
        version=__version__,
        description="Lookup, removal with instant retest, nominations and events of a blocklist of open proxies.",
        docs_url=None,  # the usual ones load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,  # problems.py does it, without the Host header
    )
    problems.install(app, site)
    app.add_middleware(api.Lookups, site=site)
    for router in (
        api.routes(site),  # routes are tried in this order: what is asked most comes first
        pages.routes(site),
        removal.api(site),
        appeal.api(site),
        events.api(site),
        nominate.api(site),
        holder.api(site),
        pages.static(site),
        removal.pages(site),
        nominate.pages(site),
        holder.pages(site),
        exports.routes(site),
        health.routes(site),
        docs.routes(site, app),
    ):
        app.include_router(router, responses=problems.DESCRIBED)
    return app


def operator_app(site: Site, sessions: Sessions) -> FastAPI:
    """What the operator sees and does, and what a monitor reads."""
    app = FastAPI(
        title="Proxywarden operator",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # as above
    )
    app.state.sessions = sessions
    problems.install(app, site)

    async def to_the_door(request: Request, error: Exception) -> Response:
        return RedirectResponse("/operator/sign-in", status_code=303)

    app.add_exception_handler(operator.NotSignedIn, to_the_door)
    for router in (
        operator.routes(site),
        appeal.operator(site),
        operator.doors(site, sessions),
        metrics.routes(site),
        pages.static(site),
    ):
        app.include_router(router)
    return app
