"""The configurable part of the policy, and the words that its lists are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.cidr import CidrSet

HOUR = 3600.0
DAY = 24 * HOUR
OPS, RSS = "ops", "rss"
ENTRY, EXIT, OUTPUT, MANUAL = "entry", "exit", "relay-output", "manual"


@dataclass(frozen=True, slots=True)
class Rules:
    """Durations in seconds."""

    list: str = OPS
    criterion: str = "open-proxy"
    require_mail: bool = False
    expiry: float = 30 * DAY
    exit_expiry: float = 7 * DAY
    dynamic_expiry: float = 5 * DAY  # of an address inside the DUL: tomorrow it is somebody else's
    expiry_cap: float = 90 * DAY
    relisting_factors: tuple[float, ...] = (1, 1, 2, 3)
    exits_per_entry: int = 16
    exit_interval: float = 600
    rescan: float = 24 * HOUR
    rescan_max: float = 168 * HOUR
    rescan_max_with_exits: float = 72 * HOUR
    clean_rescans: int = 2
    gone_rescans: int = 3
    recheck: float = 48 * HOUR
    removal_gap: float = 10
    vantages: int = 1
    canaries: int = 1
    never_list: CidrSet = CidrSet([])
    never_list_soft: CidrSet = CidrSet([])  # needs a person's word
    near: CidrSet = CidrSet([])  # where a relayed letter proves nothing: our networks, our domain's mail exchangers
    relay_expiry: float = 30 * DAY
    list_outputs: bool = False  # of mail relays
    letter_tries: int = 3  # visits that bring a letter which is to be brought later

    @property
    def of_relays(self) -> Rules:
        """The same for mail relays."""
        return replace(self, list=RSS, criterion="open-relay", require_mail=False, expiry=self.relay_expiry)

    @property
    def can_be_hidden_from(self) -> bool:
        """One vantage or one canary alone can be blocked: a sign of repair may be a lie."""
        return self.vantages < 2 or self.canaries < 2
