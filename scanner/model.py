"""What flows: one frozen type for each arrow of the pipeline (ARCHITECTURE.md draws it).

Moments are seconds since the epoch, UTC. Nothing here does I/O or reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scanner.proof import Proof
    from scanner.receipt import Receipt

Address = IPv4Address | IPv6Address
THROUGH = "through"  # the form of a whole letter that is sent through a proxy, to the canary's mail face


class Reason(StrEnum):
    """Why an address is visited; nothing is probed without one."""

    NOMINATION = "nomination"  # someone received abuse from it
    REMOVAL = "removal"  # its owner asked for a retest
    RESCAN = "rescan"  # it is listed
    OPERATOR = "operator"  # a person asked by name
    OWN_NETWORK = "own_network"  # the operator declared the network as theirs

    @property
    def on_demand(self) -> bool:
        """Somebody is waiting for the answer: such visits go ahead of all others."""
        return self in (Reason.REMOVAL, Reason.OPERATOR)


class Kind(StrEnum):
    """What one conversation, or the attempt at one, showed."""

    RELAYED = "relayed"  # the canary's signed answer came back: proof
    ACCEPTED = "accepted"  # an SMTP server took the message; not proof
    DEFERRED = "deferred"  # an SMTP server asks us to come back later (4xx)
    INTERCEPTED = "intercepted"  # the answer came, and shows our own address as the exit
    PRETENDS = "pretends"  # granted, but the canary's answer did not come
    TURNED_AWAY = "turned_away"  # an SMTP server refuses us (5xx) before it was asked to relay; no repair
    DENIED = "denied"
    AUTH_REQUIRED = "auth_required"
    WRONG_PROTOCOL = "wrong_protocol"
    SILENT = "silent"
    HUNG_UP = "hung_up"
    TLS_FAILED = "tls_failed"  # STARTTLS was agreed and came to nothing: it is asked again in the clear
    UNREACHABLE = "unreachable"  # ICMP on our way to it, or it says that it could not reach the canary
    FILTERED = "filtered"  # no answer to the connection
    REFUSED = "refused"  # RST
    NEVER_SCAN = "never_scan"  # not touched


class State(StrEnum):
    """What all the evidence means for the address; of several endpoints the first that applies."""

    OPEN = "open"
    TESTER_BLOCKED = "tester_blocked"  # open for one canary or vantage, not for another
    INCONCLUSIVE = "inconclusive"
    FILTERED = "filtered"
    CLOSED = "closed"
    NEVER_SCAN = "never_scan"


class Face(StrEnum):
    """The three dresses of the canary's answer."""

    TCP = "tcp"  # a line
    HTTP = "http"  # a body
    MAIL = "mail"  # the answer to EHLO


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """A protocol on a port, written `socks5:1080`."""

    protocol: str
    port: int

    def __str__(self) -> str:
        return f"{self.protocol}:{self.port}"


@dataclass(frozen=True, slots=True)
class Aim:
    """What a target is told to reach: one face of one canary, by address or by name.

    form: of a mail relay, how sender and recipient are written; its host is the canary's mail domain. Else THROUGH.
    """

    canary: str
    host: Address | str
    port: int
    face: Face
    form: str = ""

    @property
    def capability(self) -> str:
        """What the target can do if it relays for this aim; `mail` only where it saw destination port 25."""
        if self.face is Face.MAIL and self.port == 25:
            return "mail-delivered" if self.form == THROUGH else "mail"
        if isinstance(self.host, str):
            return "name"
        if self.host.version == 6:
            return "ipv6"
        return "http" if self.face is Face.HTTP else "tcp"

    def __str__(self) -> str:
        host = f"[{self.host}]" if isinstance(self.host, IPv6Address) else str(self.host)
        return f"{self.canary}/{self.face}/{host}:{self.port}" + (f"/{self.form}" if self.form else "")


@dataclass(frozen=True, slots=True)
class Identity:
    """How every conversation names us."""

    name: str
    url: str
    contact: str = ""


@dataclass(frozen=True, slots=True)
class CanaryTarget:
    """A canary as targets are told to reach it; ports as seen from outside, None where it has no such face."""

    id: str
    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    name: str | None = None
    tcp: int | None = None
    mail: int | None = None
    http: int | None = None
    mail_domain: str | None = None


@dataclass(frozen=True, slots=True)
class Vantage:
    """A place to look from: local addresses to connect from, None for the kernel's choice."""

    name: str
    source: IPv4Address | None = None
    source6: IPv6Address | None = None

    def source_for(self, address: Address) -> Address | None:
        return self.source if address.version == 4 else self.source6


@dataclass(frozen=True, slots=True)
class Target:
    """An address that is due for a visit."""

    address: Address
    reason: Reason
    due: float
    removal: str | None = None  # id of the removal request that asked
    pass_number: int = 1  # of a removal's retest


@dataclass(frozen=True, slots=True)
class Proven:
    """An endpoint that was proven open, and every aim that was reached through it."""

    endpoint: Endpoint
    aims: tuple[Aim, ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """A target whose turn has come, with the endpoints to try, in order.

    proven: with the aims that all have to be refused before the endpoint counts as repaired.
    """

    id: str  # 32 hex digits
    target: Target
    endpoints: tuple[Endpoint, ...]
    vantages: tuple[Vantage, ...]
    proven: tuple[Proven, ...] = ()  # tried first
    thorough: bool = False  # go on after the first proof
    capabilities: bool = True  # measure what the relay reaches, on the endpoint that relayed
    connect_timeout: float | None = None  # seconds, for endpoints that are not proven
    listed: bool = False
    mail: bool = False  # goes on until a conversation reached the mail port: the list asks for it
    despite_optout: bool = False  # a nomination brought a sample: the opt-out yields to this one visit
    forms: tuple[str, ...] = ()  # of a mail relay that are tried; empty for all
    letters: tuple[tuple[Endpoint, Aim, bytes], ...] = ()  # ids that were deferred before and are tried once more

    @property
    def address(self) -> Address:
        return self.target.address

    @property
    def reason(self) -> Reason:
        return self.target.reason


@dataclass(frozen=True, slots=True)
class Opening:
    """A port that took our connection. The receiver owns the descriptor."""

    port: int
    fd: int
    micros: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one conversation, or the attempt at one, showed about one endpoint."""

    endpoint: Endpoint
    kind: Kind
    detail: str = ""  # for people; printable, at most 200 characters
    vantage: str = ""
    aim: Aim | None = None  # None where no conversation came about
    proof: Proof | Receipt | None = None  # exactly where kind is relayed
    elapsed: float = 0.0  # seconds
    at: float = 0.0
    transcript: bytes = b""  # both directions, marked, truncated
    letter: str = ""  # id in hex of the one that a mail relay was given

    def __post_init__(self) -> None:
        if (self.kind is Kind.RELAYED) != (self.proof is not None):
            raise ValueError("evidence is relayed if and only if it carries a proof")


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """All the evidence about one endpoint in one line."""

    endpoint: Endpoint
    kind: Kind
    detail: str
    exit: Address | None = None
    capabilities: tuple[str, ...] | None = None  # None where not measured
    elapsed: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all the evidence of a visit means for its address."""

    address: Address
    state: State
    why: str
    endpoints: tuple[EndpointReport, ...] = ()
    proofs: tuple[Evidence, ...] = ()  # the evidence that relayed, each with its proof
    exits: tuple[Address, ...] = ()
    mail: bool | None = None  # None where not measured
    repaired: bool = False  # every proven endpoint gave a positive sign of repair
    filtered: bool = False  # every proven endpoint was filtered


class EventKind(StrEnum):
    """What changed on a list."""

    LISTED = "listed"
    CONFIRMED = "confirmed"
    DELISTED = "delisted"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"

    @property
    def ends(self) -> bool:
        return self in (EventKind.DELISTED, EventKind.EXPIRED, EventKind.WITHDRAWN)


@dataclass(frozen=True, slots=True)
class Listing:
    """An entry of a list as it stands. Replaying the events gives exactly these."""

    list: str  # ops, rss, dul, rbl
    address: str  # an address, or a CIDR
    type: str  # entry, exit, manual, …
    criterion: str
    reason: str
    detector: str  # with version
    vantage: str
    first_listed: float
    last_confirmed: float
    expires: float
    entry: str | None = None  # of an exit: the entry it was reached through
    exits: tuple[str, ...] = ()  # of an entry: where its conversations came out
    visit: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.list, self.address, self.type)


@dataclass(frozen=True, slots=True)
class Event:
    """A change to a list: the listing as it stands after it, or as it stood when it ended."""

    kind: EventKind
    at: float
    listing: Listing
    id: str = ""  # 32 hex digits
    cursor: str = ""  # opaque; given by the store
    reason: str = ""  # why it changed; else the listing's own reason


@dataclass(frozen=True, slots=True)
class Watch:
    """What policy remembers of an entry it watches, from one visit to the next."""

    list: str
    address: Address
    proven: tuple[Proven, ...]
    next_visit: float
    clean: tuple[float, ...] = ()  # moments of the latest rescans in a row with signs of repair
    filtered: tuple[float, ...] = ()  # likewise filtered from every vantage
    recheck: float | None = None  # the one visit after a delisting
    exits_seen: tuple[tuple[str, float, str], ...] = ()  # exit, moment, face of the conversation
    confirming: str | None = None  # the removal request whose latest pass saw it repaired


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store knows of an address when policy decides."""

    listings: tuple[Listing, ...] = ()
    watch: Watch | None = None
    # List and moment of each end of a probed listing in the last 365 days; a reopening at a recheck is one more.
    ends: tuple[tuple[str, float], ...] = ()
    exit_entries: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)  # by list, exit: other entries
    excluded: str | None = None  # reason of an opt-out
    last_visit: float | None = None
    sampled: bool = False  # under an opt-out: a nomination with a sample came after the last visit
    dynamic: bool = False  # inside the DUL
    relay: Watch | None = None  # of the address as a mail relay; `watch` is that of the open proxy
    deferred: tuple[tuple[Endpoint, Aim, bytes, int], ...] = ()  # letters to bring again, and how often they were
    withdrawn: dict[str, float] = field(default_factory=dict)  # by list, where the last of the ends was by hand: when
    nominated: float = 0.0  # where something was withdrawn: the latest nomination, which a rescan may answer


def parse_address(text: str) -> Address:
    """An address as a person writes it; IPv4-mapped IPv6 becomes IPv4. ValueError names the text."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv4 or IPv6 address") from None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            raise ValueError(f"{text!r} has a zone id: give the bare address")
        return address.ipv4_mapped or address
    return address


class RemovalState(StrEnum):
    """Where a removal request stands; the last four are its outcomes."""

    REQUESTED = "requested"
    RETESTING = "retesting"
    CONFIRMING = "confirming"  # the first pass was clean; the second comes at least 10 s later
    DELISTED = "delisted"
    STILL_OPEN = "still_open"
    TESTER_BLOCKED = "tester_blocked"
    INCONCLUSIVE = "inconclusive"

    @property
    def final(self) -> bool:
        return self not in (RemovalState.REQUESTED, RemovalState.RETESTING, RemovalState.CONFIRMING)


@dataclass(frozen=True, slots=True)
class RemovalStep:
    """One step of a removal request, as its owner sees it."""

    removal: str
    at: float
    state: RemovalState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy makes of a visit, an expiry or an operator's word; the store commits it whole."""

    events: tuple[Event, ...] = ()
    watch: Watch | None = None  # as it stands afterwards; None ends the watch
    next_target: Target | None = None  # the address's next visit; None where there is none
    removal: RemovalStep | None = None
    held: str = ""  # why a listing waits for a person: the soft never-list
    barred: str = ""  # why there never is one: the hard never-list
    relay: Watch | None = None  # like watch, of the mail relay


@dataclass(frozen=True, slots=True)
class VisitRecord:
    """A visit that is over, with all that a complaint about it would ask."""

    visit: Visit
    started: float
    ended: float
    evidence: tuple[Evidence, ...]
    verdict: Verdict
