"""A peer: a program, a configuration, and what the scanner must see there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.peers.place import PORT, PROTOCOLS, Place
from tests.peers.programs import needed, program
from tests.peers.site import Site

Start = Callable[[Site], None]

TUNNELS = ("http-connect", "socks4", "socks4a", "socks5")
FORWARDS = ("http-get", "http-post")
HTTP = ("http-connect", *FORWARDS)
SOCKS4 = ("socks4", "socks4a")
SOCKS = (*SOCKS4, "socks5")
OWN, SYSTEM, UPSTREAM = "own", "system", "upstream"  # where it dials from: its address, the kernel's choice, another


@dataclass(frozen=True)
class Then:
    """What the owner does about it: the other configuration, and how the removal that he asks for ends."""

    configuration: str
    start: Start
    outcome: str = "delisted"


@dataclass(frozen=True, eq=False)
class Peer:
    """One row. evidence: by protocol; where several kinds are as right, a tuple of them."""

    name: str
    package: str
    program: str
    configuration: str
    start: Start
    evidence: Mapping[str, str | tuple[str, ...]]
    dials_from: str = OWN
    lacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # capabilities it has not, by protocol
    then: Then | None = None  # None: it stays as it is
    folder: str = "root"  # of .peers, where its program is unpacked
    port: int = PORT
    also: tuple[str, ...] = ()  # other programs that it needs
    returns: bool = False  # a mail server that wants to be asked again later, and relays then

    @property
    def id(self) -> str:
        return f"{self.name}-{self.configuration}".replace(" ", "_").replace(",", "")

    @property
    def there(self) -> bool:
        return all(program(name, self.folder) for name in (self.program, *self.also))

    def require(self) -> None:
        """The test is skipped where a program is absent, and fails where peers are required."""
        for name in (self.program, *self.also):
            needed(name, self.folder)

    def kinds(self, protocol: str) -> tuple[str, ...]:
        """Of evidence, any of which is right."""
        kinds = self.evidence[protocol]
        return (kinds,) if isinstance(kinds, str) else kinds

    def exit(self, site: Site) -> str:
        """Where its traffic comes out."""
        return {OWN: str(site.address), SYSTEM: "127.0.0.1", UPSTREAM: site.upstream}[self.dials_from]

    @property
    def relays(self) -> tuple[str, ...]:
        return tuple(protocol for protocol, kind in self.evidence.items() if kind == "relayed")

    @property
    def open(self) -> bool:
        return bool(self.relays)

    @property
    def listed(self) -> bool:
        """Whether the daemon comes to list it."""
        return self.open

    def capabilities(self, protocol: str, place: Place) -> set[str]:
        """What a relay reaches by this protocol, as agenda.ways() asks for it."""
        if protocol in FORWARDS:
            found = {"http", "name"}
        elif protocol == "socks4a":
            found = {"name", "mail", "tcp"}
        else:
            found = {"tcp", "mail", "http", "name"}
        found -= {"name"} if protocol == "socks4" or place.wrapper is None else set()
        found |= {"http"} if protocol == "socks4a" and place.wrapper is None else set()
        found -= set() if place.privileged else {"mail"}
        found -= set(self.lacks.get(protocol, ()))
        return found | ({"mail-delivered"} if "mail" in found else set())


def seen(*pairs: tuple[tuple[str, ...] | str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
    """Evidence by protocol, from pairs of protocols and kinds. Every protocol must be among them."""
    evidence = {protocol: kind for names, kind in pairs for protocol in ((names,) if isinstance(names, str) else names)}
    assert set(evidence) == set(PROTOCOLS), evidence
    return evidence


def stopped(site: Site) -> None:
    """Nothing listens any more."""
