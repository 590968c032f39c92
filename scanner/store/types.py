"""What goes into the store and comes out of it, beyond the types of scanner/model.py."""

from __future__ import annotations

from dataclasses import dataclass

from scanner.model import Address, Aim, Endpoint, Kind, Reason, RemovalState, RemovalStep, State, Target
from scanner.proof import Sighting


class StoreError(Exception):
    """The store cannot do its work: one line that says which file and why."""


class RemovalRefused(Exception):
    """A removal request that is not taken.

    reason: not_listed, excluded (opted out of being probed), running (`running`: the id of the one that is), too_soon
    after the last request, relisted (too often within a year), paused (the requester's last ones were still open),
    or busy (more than an hour allows). `not_before`: the moment from which on the last four are taken.
    """

    def __init__(self, reason: str, *, not_before: float | None = None, running: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.not_before = not_before
        self.running = running


class TooMany(Exception):
    """One more than somebody may ask for. not_before: the moment from which on it is allowed again."""

    def __init__(self, not_before: float) -> None:
        super().__init__("too many")
        self.not_before = not_before


@dataclass(frozen=True, slots=True)
class Terms:
    """What a removal request is measured by. The numbers are requests an hour; 0 is no limit."""

    control: bool = False  # control of the address was shown: then nobody else's requests stand in the way
    from_it: bool = False  # it came from the address: that shows control where strangers can't send from there
    per_requester: int = 0
    per_network: int = 0


@dataclass(frozen=True, slots=True)
class NominationIn:
    """A word that an address sends abuse.

    known: its submitter is, so that a sample is not needed. trusted: a person at this machine, who waits for nothing.
    """

    address: Address
    sample: bytes | None = None
    comment: str = ""
    submitter: str = ""
    trusted: bool = False
    known: bool = False


@dataclass(frozen=True, slots=True)
class Nomination:
    """An accepted nomination. state: scheduled, review (the operator must say) or dismissed (the operator did).

    due: of the visit that answers it, as it was when it was accepted; None where there is none.
    """

    id: str  # 32 hex digits
    address: Address
    state: str
    due: float | None
    at: float = 0.0
    comment: str = ""
    submitter: str = ""
    trusted: bool = False
    sample: bytes | None = None


NEXT = "now that one is retested"  # ends the step with which the next entry's turn comes


@dataclass(frozen=True, slots=True)
class Removal:
    """A removal request and its steps so far. target: the address that is retested; of an exit, one of its entries.

    partly: that entry was repaired, but the exit has another, which can't be retested yet: the next request does.
    """

    id: str  # 32 hex digits
    address: Address
    state: RemovalState
    steps: tuple[RemovalStep, ...]
    target: Address
    requester: str
    at: float
    told: bool = False  # a message about the outcome will be sent; known where it was asked for
    partly: bool = False

    @property
    def turn(self) -> tuple[RemovalStep, ...]:
        """The steps since the target's turn came."""
        began = [number for number, step in enumerate(self.steps) if step.detail.endswith(NEXT)]
        return self.steps[began[-1] if began else 0 :]


@dataclass(frozen=True, slots=True)
class Leased:
    """A target that is ours to visit until `until`. lease: the network's fencing token."""

    target: Target
    network: str
    lease: int
    until: float


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """Evidence as it is kept: in place of the proof, which only a verification can make, what the canary saw."""

    endpoint: Endpoint
    kind: Kind
    detail: str
    vantage: str
    aim: Aim | None
    sighting: Sighting | None
    nonce: str  # of the proof's challenge, 32 hex digits; empty without a proof
    elapsed: float
    at: float
    transcript: bytes


@dataclass(frozen=True, slots=True)
class StoredVisit:
    """A visit as a complaint about it would ask: when, why, from where, what was sent, what came back."""

    id: str
    address: Address
    reason: Reason
    removal: str | None
    started: float
    ended: float
    vantages: tuple[str, ...]
    state: State
    why: str
    mail: bool | None
    exits: tuple[Address, ...]
    evidence: tuple[StoredEvidence, ...]


@dataclass(frozen=True, slots=True)
class Posted:
    """A letter that arrived after its visit. at: when the server took it. signed: the delivery."""

    letter: str  # id in hex
    address: Address
    visit: str
    reason: Reason
    vantage: str
    endpoint: Endpoint
    aim: Aim
    at: float
    signed: bytes


@dataclass(frozen=True, slots=True)
class PortStatistic:
    """How often an endpoint was conversed with, and relayed: the port order is learned from these."""

    endpoint: Endpoint
    tried: int
    relayed: int
    last_relayed: float | None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """An opt-out: a network whose holder does not want to be probed."""

    network: str
    reason: str
    by: str
    at: float
