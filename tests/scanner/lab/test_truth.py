"""The truth about each kind is what our own conversations find, with a real canary behind real lab hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network, ip_address
from itertools import product

import pytest
import trio

from scanner.agenda import Question
from scanner.canary import Tally, run_canary
from scanner.lab.internet import Internet
from scanner.lab.kinds import HTTP, RELAY
from scanner.lab.machine import Host, Repair
from scanner.lab.network import serve
from scanner.lab.plan import POPULATION, plan
from scanner.lab.truth import as_json, truth
from scanner.mailroom import Mailroom
from scanner.model import (
    Aim,
    CanaryTarget,
    Endpoint,
    Evidence,
    Face,
    Identity,
    Kind,
    Opening,
    Reason,
    State,
    Target,
    Vantage,
    Visit,
)
from scanner.probe import Prober, no_conversation
from scanner.proof import CanaryKey
from scanner.protocols.forms import FEW
from scanner.verdict import judge

ELSEWHERE = IPv4Network("127.80.0.0/16")
KEYS = {name: CanaryKey.from_master(b"m" * 32, name) for name in ("one", "two")}
MAILROOM = Mailroom()
PACE = 0.03  # slow hosts then take a quarter of a second
PATIENCE, LETTERS = 30.0, 30.0  # seconds for a conversation, and for a letter: what comes comes, on a busy machine too
SILENCE, NO_LETTER = 2.5, 0.5  # the same where nothing is to come
VAIN = (Kind.SILENT, Kind.PRETENDS, Kind.ACCEPTED)
ANOTHER_WAY = (Kind.DENIED, Kind.PRETENDS, Kind.UNREACHABLE, Kind.ACCEPTED, Kind.TLS_FAILED)


class Scan:
    """Asks hosts on every endpoint, one connection each, at most so many at once."""

    def __init__(self, internet: Internet) -> None:
        self.internet = internet
        self.patient, self.brief = self._prober(PATIENCE, LETTERS), self._prober(SILENCE, NO_LETTER)
        self.room = trio.CapacityLimiter(20)

    def _prober(self, patience: float, letters: float) -> Prober:
        return Prober(
            Identity("lab-test", "http://lab.test/"),
            KEYS,
            {ip_address("127.0.0.1")},
            timeout=patience,
            mail_timeout=patience,
            receipt_wait=letters,
            mailroom=MAILROOM,
            reraise=True,
        )

    def visit(self, host: Host) -> Visit:
        endpoints = tuple(truth(host, self.internet).evidence)
        return Visit("0" * 32, Target(host.address, Reason.OPERATOR, 0.0), endpoints, (Vantage("here"),))

    async def ask(self, host: Host, endpoint: Endpoint, expected: Kind) -> list[Evidence]:
        """One way after the other, until the answer comes or the host is nothing of the kind."""
        evidence: list[Evidence] = []
        prober = self.brief if expected in VAIN else self.patient
        async with self.room:
            for aim, clear in product(self.aims(endpoint.protocol), (False, True)):
                if clear and evidence[-1].kind is not Kind.TLS_FAILED:
                    continue
                question = Question(endpoint, aim, clear)
                sock = trio.socket.socket()
                try:
                    with trio.fail_after(1):
                        await sock.connect((str(host.address), endpoint.port))
                except (trio.TooSlowError, ConnectionRefusedError) as failure:
                    sock.close()
                    kind = Kind.FILTERED if isinstance(failure, trio.TooSlowError) else Kind.REFUSED
                    return [no_conversation(endpoint, kind, "here", question)]
                opening = Opening(endpoint.port, sock.detach(), 0)
                evidence.append(await prober.converse(self.visit(host), "here", question, opening))
                if evidence[-1].kind not in ANOTHER_WAY:
                    break
        return evidence

    def aims(self, protocol: str) -> Iterator[Aim]:
        for canary in self.internet.canaries:
            if protocol == RELAY:
                assert canary.mail_domain is not None
                yield from (Aim(canary.id, canary.mail_domain, 25, Face.MAIL, form) for form in FEW)
                continue
            for face, port in ((Face.TCP, canary.tcp), (Face.MAIL, canary.mail), (Face.HTTP, canary.http)):
                if face is Face.HTTP or protocol not in HTTP[1:]:
                    assert port is not None
                    assert canary.address is not None
                    assert canary.name is not None
                    if protocol != "socks4a":
                        yield Aim(canary.id, canary.address, port, face)
                    if protocol != "socks4":
                        yield Aim(canary.id, canary.name, port, face)

    async def all(self, host: Host, expected: Mapping[Endpoint, Kind]) -> list[Evidence]:
        found: list[Evidence] = []

        async def one(endpoint: Endpoint) -> None:
            found.extend(await self.ask(host, endpoint, expected[endpoint]))

        async with trio.open_nursery() as nursery:
            for endpoint in truth(host, self.internet).evidence:
                nursery.start_soon(one, endpoint)
        return found


async def canary(nursery: trio.Nursery, name: str, address: str, domain: str | None = None) -> CanaryTarget:
    async def keep(letter: str, signed: bytes) -> bool:
        MAILROOM.hand_over(letter, signed)
        return True

    here = [(address, 0)]
    start = partial(run_canary, name, {1: KEYS[name]}, tcp=here, mail=here, http=here, tally=Tally(), name="c.test")
    bound = await nursery.start(partial(start, keep=keep))
    return CanaryTarget(
        name,
        IPv4Address(address),
        name=f"{name}.test",
        tcp=bound.tcp[0][1],
        mail=bound.mail[0][1],
        http=bound.http[0][1],
        mail_domain=domain,
    )


@pytest.mark.slow
async def test_every_kind_is_found_to_be_what_it_is() -> None:
    """Evidence of each endpoint, verdict and exits; then the same of those that are repaired."""
    async with trio.open_nursery() as nursery:
        internet = Internet((await canary(nursery, "one", "127.0.0.1", "mail.one.test"),), pace=PACE)
        planned = plan(len(POPULATION) + 20, 5, ELSEWHERE)
        lab = await nursery.start(serve, planned, internet)
        scan = Scan(internet)
        wrong: list[str] = []

        async def check(host: Host, repaired: bool) -> None:
            expected = truth(host, internet, repaired=repaired)
            evidence = await scan.all(host, expected.evidence)
            verdict = judge(scan.visit(host), evidence)
            found = {report.endpoint: report.kind for report in verdict.endpoints}
            name = f"{host.kind.name}{' repaired: ' + str(host.repair) if repaired else ''}"
            wrong.extend(
                f"{name}: {endpoint} is {found[endpoint]}, not {kind}"
                for endpoint, kind in expected.evidence.items()
                if found[endpoint] is not kind
            )
            if (verdict.state, verdict.exits) != (expected.state, expected.exits):
                wrong.append(f"{name}: {verdict.state} {verdict.exits}, not {expected.state} {expected.exits}")

        with trio.fail_after(100):
            async with trio.open_nursery() as checks:
                for host in planned:
                    checks.start_soon(check, host, False)
            repairable = [host for host in planned if host.repair]
            for host in repairable:
                lab.repair(host.address)
            async with trio.open_nursery() as checks:
                for host in repairable:
                    checks.start_soon(check, host, True)
        assert not wrong, "\n".join(wrong)
        assert {host.repair for host in repairable} == set(Repair)
        nursery.cancel_scope.cancel()


async def test_a_host_that_blocks_one_canary_needs_two_to_be_seen() -> None:
    async with trio.open_nursery() as nursery:
        canaries = (await canary(nursery, "one", "127.0.0.1"), await canary(nursery, "two", "127.0.0.2"))
        host = next(host for host in plan(100, 5, ELSEWHERE) if host.kind.name == "blocks-us")
        await nursery.start(serve, [host], Internet(canaries))
        endpoint = Endpoint("socks5", host.ports[0])
        for internet in (Internet(canaries[:1]), Internet(canaries)):
            scan = Scan(internet)
            expected = truth(host, internet)
            verdict = judge(scan.visit(host), await scan.ask(host, endpoint, expected.evidence[endpoint]))
            assert (verdict.state, verdict.exits) == (expected.state, expected.exits)
            assert verdict.endpoints[0].kind is expected.evidence[endpoint]
        assert truth(host, Internet(canaries[:1])).state is State.CLOSED
        assert truth(host, Internet(canaries)).state is State.TESTER_BLOCKED
        nursery.cancel_scope.cancel()


def test_both_verdicts_are_in_the_list() -> None:
    host = next(host for host in plan(100, 5) if host.kind.name == "blocks-us")
    line = as_json(host, Internet())
    assert (line["verdict"], line["open"]) == ("closed", False)
    assert line["verdict_with_two_canaries"] == "tester_blocked"
    others = [other for other in plan(100, 5) if other.kind is not host.kind]
    assert not any("verdict_with_two_canaries" in as_json(other, Internet()) for other in others)


def test_the_truth_depends_on_what_the_canaries_offer() -> None:
    hosts = {host.kind.name: host for host in plan(len(POPULATION), 5)}
    bare = Internet((CanaryTarget("one", IPv4Address("127.0.0.1"), tcp=4000),))  # no name, mail or HTTP
    assert truth(hosts["socks5"], bare).state is State.OPEN
    for name in ("connect-names-only", "connect-mail-port-only", "forward", "post"):
        assert truth(hosts[name], Internet()).open
        assert truth(hosts[name], bare).state is State.CLOSED
    for name in ("socks5-names-only", "socks5-mail-port-only"):
        (port,) = hosts[name].ports
        assert truth(hosts[name], bare).evidence[Endpoint("socks5", port)] is Kind.DENIED
    assert truth(hosts["filtered"], bare).state is State.FILTERED
    assert truth(hosts["closed"], bare).evidence == {}


def test_a_mail_relay_is_one_to_a_canary_that_takes_mail() -> None:
    hosts = {host.kind.name: host for host in plan(len(POPULATION), 5)}
    (usual,) = Internet().canaries
    post = Internet((replace(usual, mail_domain="mail.test"),))
    for name in ("relay", "relay-percent", "relay-late", "relay-other-exit"):
        assert truth(hosts[name], Internet()).state is State.CLOSED
        assert truth(hosts[name], post).open
        assert truth(hosts[name], post).exits == (hosts[name].exit,)
        assert not truth(hosts[name], post, repaired=True).open
    for name in ("relay-bang", "relay-greylists", "mail-discards", "smtp", "http"):
        assert truth(hosts[name], post).open == (name == "http")
    port = hosts["mail-discards"].ports[0]
    assert truth(hosts["mail-discards"], post).evidence[Endpoint(RELAY, port)] is Kind.ACCEPTED


def test_a_replayer_is_open_and_then_a_pretender() -> None:
    host = next(host for host in plan(len(POPULATION), 5) if host.kind.name == "replay")
    rows = {row["protocol"]: row for row in as_json(host, Internet())["endpoints"]}
    assert (rows["http-connect"]["evidence"], rows["http-connect"]["later"]) == ("relayed", "pretends")
    assert "later" not in rows["http-get"]
