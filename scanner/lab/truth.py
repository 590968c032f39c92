"""The truth about a lab host: what a scan of it should find, for these canaries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from scanner.lab.internet import Destination, Internet
from scanner.lab.kinds import HTTP, PROTOCOLS, RELAY
from scanner.lab.machine import Host
from scanner.model import Address, CanaryTarget, Endpoint, Kind, State

_RELAYING = (State.OPEN, State.TESTER_BLOCKED)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a scan should find, as long as the address is not listed."""

    state: State
    evidence: dict[Endpoint, Kind]
    exits: tuple[Address, ...] = ()

    @property
    def open(self) -> bool:
        """It relays to one of these canaries at least."""
        return bool(self.exits)


def truth(host: Host, internet: Internet, *, repaired: bool = False) -> Expected:
    """Follow the verdict rules: relayed makes open, filtered filtered, all else closed while not listed."""
    kind = host.kind
    post = any(canary.mail_domain for canary in internet.canaries)
    asked = (*PROTOCOLS, RELAY) if post and RELAY in (*kind.relays, *kind.evidence) else PROTOCOLS
    if repaired and host.repair is not None:
        behaviour, shows = kind.repairs[host.repair]
        others = kind.evidence if behaviour is not None and RELAY in kind.relays else {}
        return Expected(State.CLOSED, {Endpoint(p, port): others.get(p, shows) for port in host.ports for p in asked})
    states = {protocol: _state(host, protocol, internet) for protocol in kind.relays}
    by_protocol = {
        protocol: Kind.RELAYED if states.get(protocol) in _RELAYING else kind.evidence.get(protocol, Kind.DENIED)
        for protocol in asked
    }
    evidence = {Endpoint(p, port): by_protocol[p] for port in host.ports for p in asked}
    if kind.filtered:
        return Expected(State.FILTERED, evidence)
    state = next((state for state in _RELAYING if state in states.values()), State.CLOSED)
    return Expected(state, evidence, (host.exit,) if state in _RELAYING else ())


def _state(host: Host, protocol: str, internet: Internet) -> State:
    """What the protocol shows where one canary is asked for after the other until one answers."""
    refused = False
    for canary in internet.canaries:
        aims = list(_aims(protocol, canary))
        if any(host.kind.allows(internet, target, port) for target, port in aims):
            return State.TESTER_BLOCKED if refused else State.OPEN
        refused = refused or bool(aims)
    return State.CLOSED


def _aims(protocol: str, canary: CanaryTarget) -> Iterator[tuple[Destination, int]]:
    if protocol == RELAY:
        if canary.mail_domain:
            yield canary.mail_domain, 25
        return
    targets: list[Destination | None] = []
    if protocol != "socks4":
        targets.append(canary.name)
    targets.append(canary.address)
    ports = (canary.http,) if protocol in HTTP[1:] else (canary.tcp, canary.mail, canary.http)
    for target in targets:
        for port in ports:
            if target is not None and port is not None:
                yield target, port


def as_json(host: Host, internet: Internet) -> dict[str, Any]:
    """One line of `lab --list`. later: the evidence of every conversation after the first."""
    expected = truth(host, internet)
    endpoints = []
    for at, kind in expected.evidence.items():
        row: dict[str, Any] = {"protocol": at.protocol, "port": at.port, "evidence": str(kind)}
        if kind is Kind.RELAYED and host.kind.later:
            row["later"] = str(host.kind.later)
        endpoints.append(row)
    line: dict[str, Any] = {
        "address": str(host.address),
        "kind": host.kind.name,
        "open": expected.open,
        "verdict": str(expected.state),
        "endpoints": endpoints,
        "exits": [str(address) for address in expected.exits],
        "repairable": host.repair is not None,
    }
    if host.repair is not None:
        line["repair"] = str(host.repair)
    if (other := truth(host, _with_two_canaries(internet)).state) is not expected.state:
        line["verdict_with_two_canaries"] = str(other)
    return line


def _with_two_canaries(internet: Internet) -> Internet:
    """The same with a second canary at another address."""
    if len(internet.canaries) > 1:
        return internet
    first = internet.canaries[0]
    address = first.address + 1 if first.address else None
    name = f"second.{first.name}" if first.name else None
    return replace(internet, canaries=(first, replace(first, id="second", address=address, name=name)))
