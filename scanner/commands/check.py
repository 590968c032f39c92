"""check: probe addresses now, without a daemon."""

from __future__ import annotations

import logging
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Annotated, Any

import trio
from cyclopts import Parameter

from scanner.agenda import EveryPort
from scanner.canary import BindError, Bound, Tally
from scanner.commands import Refusal, address, config_file, print_json, say, settings
from scanner.controls import own_connector, reach
from scanner.examine import examine
from scanner.fields import on_loopback
from scanner.log import configure
from scanner.mailroom import Mailroom
from scanner.model import (
    Address,
    CanaryTarget,
    Endpoint,
    EndpointReport,
    Evidence,
    Kind,
    Reason,
    State,
    Target,
    Verdict,
    Visit,
)
from scanner.probe import Prober
from scanner.protocols import PROTOCOLS, parse_endpoint
from scanner.publish.events import iso
from scanner.remote import remotes_of, wrong_with
from scanner.scope import Scope, load_scope
from scanner.secret import MasterSecret, newest, open_secret
from scanner.settings import Settings
from scanner.start import advertised, binds, raise_descriptor_limit, require_sources, start_canary, turn
from scanner.store import Store, database_path, open_store
from scanner.sweep import Connector
from scanner.verdict import judge

if TYPE_CHECKING:
    from rich.console import RenderableType

_AT_ONCE = 64  # addresses
_PORTS = 65535
_NO_ANSWER = frozenset({Kind.REFUSED, Kind.FILTERED, Kind.NEVER_SCAN})
_EXITS = {State.OPEN: 1, State.TESTER_BLOCKED: 3, State.INCONCLUSIVE: 3}


@dataclass(frozen=True, slots=True)
class Bench:
    """What one run of the command looks with."""

    settings: Settings
    scope: Scope
    store: Store | None  # the configured one, where there is one: opt-outs, and what is listed
    connector: Connector
    prober: Prober
    targets: tuple[CanaryTarget, ...]  # the canaries that we reach ourselves
    unreachable: str  # what is wrong with one of them, or empty


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried at each address."""

    endpoints: tuple[Endpoint, ...]
    every_port: tuple[str, ...]  # protocols to try on each port there is, instead
    thorough: bool

    @property
    def ports(self) -> int:
        return _PORTS if self.every_port else len({item.port for item in self.endpoints})


async def check(
    addresses: list[str],
    /,
    *,
    endpoint: Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)] = None,
    protocol: str | None = None,
    all_ports: Annotated[bool, Parameter(negative="")] = False,
    timeout: float | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    thorough: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Probe addresses now, without a daemon, and say what they relay.

    Exit code: 0 nothing open, 1 open, 3 inconclusive or tester_blocked, 2 usage or configuration.

    Parameters
    ----------
    addresses
        IPv4 or IPv6 addresses.
    endpoint
        PROTOCOL:PORT to try instead of the configured ones; repeatable.
    protocol
        Try only this protocol.
    all_ports
        Try every port from 1 to 65535; ports that take no connection are not reported one by one.
    timeout
        Seconds for a connection and for a conversation, instead of the configured ones.
    json
        One JSON object a line for each address.
    thorough
        Go on after the first proof and measure what each relay reaches; where that is the mail port, send a letter.

    """
    configure(logging.WARNING)
    wanted = list(dict.fromkeys(address(text) for text in addresses))
    config = settings()
    plan = _plan(config, endpoint or [], protocol, all_ports, thorough)
    if timeout is not None and not 0 < timeout <= 3600:
        raise Refusal(f"--timeout {timeout}: expected a number of seconds above 0, at most 3600")
    codes: set[int] = set()
    async with _bench(config, timeout) as bench:
        if len(wanted) == 1 and (reason := bench.scope.refusal(wanted[0])):
            raise Refusal(f"{reason}: it is not touched ({bench.scope.way_out(wanted[0])})")
        if bench.unreachable:
            say(f"proxywarden: {bench.unreachable}: " + _means(bench))
        room = trio.CapacityLimiter(_AT_ONCE)

        async def one(target: Address) -> None:
            async with room:
                started, clock = time.time(), trio.current_time()
                verdict = await _look(bench, target, plan)
                elapsed = trio.current_time() - clock
            codes.add(_EXITS.get(verdict.state, 0))
            _show(verdict, started, elapsed, as_json=json)

        with _progress(bench, len(wanted) * plan.ports * len(config.vantages)):
            async with trio.open_nursery() as nursery:
                for target in wanted:
                    nursery.start_soon(one, target)
    return next((code for code in (1, 3) if code in codes), 0)


def _plan(config: Settings, texts: Sequence[str], protocol: str | None, all_ports: bool, thorough: bool) -> Plan:
    if protocol is not None and protocol not in PROTOCOLS:
        raise Refusal(f"--protocol {protocol!r}: known are {', '.join(PROTOCOLS)}")
    if texts and all_ports:
        raise Refusal("--endpoint and --all-ports exclude each other")
    if all_ports:
        _require_letters(config, (protocol,) if protocol else ())
        return Plan((), (protocol,) if protocol else tuple(PROTOCOLS), thorough)
    try:
        chosen = [parse_endpoint(text) for text in texts]
    except ValueError as error:
        raise Refusal(f"--endpoint {error}") from None
    for item in chosen:
        if protocol not in (None, item.protocol):
            raise Refusal(f"--endpoint {item} contradicts --protocol {protocol}")
    if not chosen and protocol:
        ports = dict.fromkeys(item.port for item in config.endpoints)
        usual = [item for item in (*config.relays, *config.endpoints) if item.protocol == protocol]
        chosen = usual or [Endpoint(protocol, port) for port in ports]
    endpoints = tuple(chosen) or (*config.relays, *config.endpoints)
    _require_letters(config, [item.protocol for item in chosen])
    if not endpoints:
        raise Refusal("scan.endpoints is empty: expected --endpoint PROTOCOL:PORT or --all-ports")
    return Plan(endpoints, (), thorough)


def _require_letters(config: Settings, protocols: Iterable[str]) -> None:
    """Who asks for mail relays by name needs an answer, or the reason why there is none."""
    if any(PROTOCOLS[name].forms for name in protocols) and not config.relays:
        raise Refusal("mail relays are proven by a letter to ourselves: that needs canary.targets with a mail_domain")


@asynccontextmanager
async def _bench(config: Settings, timeout: float | None) -> AsyncIterator[Bench]:
    """Canary, connector and prober of our own; the daemon's canary where that has the ports already."""
    require_sources(config)
    sockets = min(config.scan.sockets, 2 * _AT_ONCE * config.scan.per_host)
    raise_descriptor_limit(sockets)
    file = config_file.get()
    scope = load_scope(config, file.parent if file else None)
    async with (
        _store(config) as store,
        turn(config.data_dir / "check.lock", _wait) as end_turn,
        trio.open_nursery() as nursery,
    ):
        if store is not None:
            scope = scope.with_optouts([item.network for item in await store.exclusions()])
        mailroom = Mailroom(store.delivery if store else None)  # the daemon may have the canary, and its store
        secret, bound = await _canary(nursery, config, mailroom, end_turn)
        targets = advertised(config.canary, bound)
        prober = Prober(
            config.who,
            {target.id: newest(secret.canary_keys(target.id)) for target in targets},
            timeout=timeout or config.scan.conversation_timeout,
            max_read=config.scan.max_read,
            mail_timeout=timeout or config.lists.rss.timeout,
            receipt_wait=config.lists.rss.receipt_wait,
            mailroom=mailroom,
        )
        connector = Connector(
            never=scope.never_scan,
            rate=config.scan.rate,
            sockets=sockets,
            hosts=2 * _AT_ONCE,
            timeout=timeout or config.scan.connect_timeout,
            lanes=config.scan.per_host,
        )
        await nursery.start(connector.run)
        problems = await _learn_egress(nursery, config, prober, targets)
        reached = tuple(target for target in targets if target.id not in problems)
        yield Bench(config, scope, store, connector, prober, reached, next(iter(problems.values()), ""))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _store(config: Settings) -> AsyncIterator[Store | None]:
    """The configured store, where there is one."""
    path = database_path(config.store_url)
    try:
        there = path.exists()
    except OSError as error:
        raise Refusal(f"store {path}: {error.strerror}") from None
    if not there:
        yield None
        return
    async with open_store(config.store_url, migrate=False) as store:
        yield store


async def _canary(
    nursery: trio.Nursery, config: Settings, mailroom: Mailroom, end_turn: Callable[[], None]
) -> tuple[MasterSecret, Bound]:
    # Without a data directory there is no daemon to share a secret with: one for this run will do.
    there = config.data_dir.is_dir() or bool(config.secret_file)
    secret = open_secret(config.secret_path) if there else MasterSecret({1: secrets.token_bytes(32)})

    async def keep(letter: str, signed: bytes) -> bool:
        mailroom.hand_over(letter, signed)
        return True

    try:
        return secret, await start_canary(nursery, config, secret, Tally(), keep)
    except BindError as error:
        if not there:
            raise Refusal(f"{error}, and there is no secret to share with whoever listens there") from None
        end_turn()  # we have the daemon's
        return secret, binds(config.canary)


async def _learn_egress(
    nursery: trio.Nursery, config: Settings, prober: Prober, targets: Sequence[CanaryTarget]
) -> dict[str, str]:
    """Reach each canary directly, which shows our own addresses, and each remote control. What is wrong, by canary."""
    remotes, timeout = remotes_of(config), config.controls.timeout
    connector = own_connector(targets, timeout, *(remote.address for remote in remotes))
    await nursery.start(connector.run)
    problems: dict[str, str] = {}
    egress: set[Address] = set()
    for vantage in config.vantages:
        for target in targets:
            seen = await reach(prober, connector, vantage, target, timeout)
            if isinstance(seen, str):
                problems[target.id] = seen
            else:
                egress |= seen
    prober.egress.update(egress)  # only now: while we look, our own address is no sign of interception
    for vantage in config.vantages:
        for target in targets:
            if target.id not in problems:
                wrong = await wrong_with(remotes, prober, connector, vantage, target, timeout)
                problems |= {target.id: wrong} if wrong else {}
    return problems


async def _look(bench: Bench, target: Address, plan: Plan) -> Verdict:
    """What all the evidence about one address means; an address that may not be touched is not."""
    visit = Visit(
        id=secrets.token_hex(16),
        target=Target(target, Reason.OPERATOR, time.time()),
        endpoints=plan.endpoints,
        vantages=bench.settings.vantages,
        thorough=plan.thorough,
        forms=() if plan.thorough else bench.settings.lists.rss.forms,
    )
    if bench.scope.refusal(target):
        first = plan.endpoints[0] if plan.endpoints else Endpoint(plan.every_port[0], 1)
        return judge(visit, [Evidence(first, Kind.NEVER_SCAN)])
    evidence: tuple[Evidence, ...] = ()
    if bench.targets:
        agenda = EveryPort(visit, bench.targets, plan.every_port) if plan.every_port else None
        # Every port takes hours where a firewall answers none, and nobody else waits for the place.
        longest = inf if plan.every_port else None
        evidence = await examine(visit, bench.connector, bench.prober, bench.targets, agenda=agenda, longest=longest)
    verdict = judge(await _as_known(bench.store, visit), evidence)
    if plan.every_port:
        asked = {item.endpoint for item in evidence if item.aim}
        shown = tuple(report for report in verdict.endpoints if report.endpoint in asked)
        verdict = replace(verdict, endpoints=shown)
    if bench.unreachable and not verdict.proofs:
        return replace(verdict, state=State.INCONCLUSIVE, why=bench.unreachable)
    return _doubted(verdict, bench.targets)


def _doubted(verdict: Verdict, targets: Sequence[CanaryTarget]) -> Verdict:
    """The same, but inconclusive where something answered that had no way to our canary: out of the box it is here."""
    places = [host for target in targets for host in (target.address, target.address6, target.name) if host]
    if verdict.address.is_loopback or not all(map(on_loopback, places)):
        return verdict
    if _EXITS.get(verdict.state) or all(report.kind in _NO_ANSWER for report in verdict.endpoints):
        return verdict
    why = f"the canary is on loopback, where {verdict.address} can't reach it: canary.targets says where it can"
    return replace(verdict, state=State.INCONCLUSIVE, why=why)


async def _as_known(store: Store | None, visit: Visit) -> Visit:
    """The visit with what the store knows of its address: doubt weighs more where it was proven before."""
    if store is None:
        return visit
    standing = await store.standing(visit.address, time.time())
    listed = any(listing.type == "entry" for listing in standing.listings)
    watches = [watch for watch in (standing.watch, standing.relay) if watch is not None]
    return replace(visit, listed=listed, proven=tuple(known for watch in watches for known in watch.proven))


def _wait() -> None:
    say("proxywarden: another `check` has the canary of this data directory: waiting for its end")


def _means(bench: Bench) -> str:
    return "what is not proven open stays open to doubt" if bench.targets else "nothing can be proven"


def _show(verdict: Verdict, started: float, elapsed: float, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "address": str(verdict.address),
                "verdict": str(verdict.state),
                "why": verdict.why,
                "mail": verdict.mail,
                "exits": [str(item) for item in verdict.exits],
                "started": iso(started),
                "elapsed_ms": round(elapsed * 1000),
                "endpoints": [_endpoint(report) for report in verdict.endpoints],
            }
        )
        return
    print(f"{verdict.address}  {verdict.state}: {verdict.why}", flush=True)
    for report in verdict.endpoints:
        if report.kind is Kind.RELAYED:
            print(
                f"  {report.endpoint}  exit {report.exit}, reaches {', '.join(report.capabilities or ())}",
                flush=True,
            )


def _endpoint(report: EndpointReport) -> dict[str, Any]:
    return {
        "protocol": report.endpoint.protocol,
        "port": report.endpoint.port,
        "evidence": str(report.kind),
        "detail": report.detail,
        "exit": str(report.exit) if report.exit else None,
        "capabilities": list(report.capabilities) if report.capabilities else None,
        "elapsed_ms": round(report.elapsed * 1000),
    }


@contextmanager
def _progress(bench: Bench, total: int) -> Iterator[None]:
    """A bar of the connections tried, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Connections(Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            for task in self.task_ids:
                self.update(task, completed=min(total, bench.connector.statistics()["connects"]))
            return super().get_renderables()

    columns = (TextColumn("ports"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Without redirect_stdout=False what goes to stdout would be drawn above the bar, on stderr.
    progress = Connections(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    progress.add_task("ports", total=total)
    with progress:
        yield
