"""May we touch this address, and may it be published? The answer is a set; core.sweep asks it last thing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from core.cidr import CidrSet
from scanner.config import ConfigError, chosen_file, reference_file
from scanner.model import Address
from scanner.settings import Settings
from scanner.special_use import SPECIAL_USE


@dataclass(frozen=True, slots=True)
class Scope:
    """The sets that decide. never_scan is what the sweep is given: special use less `allow`, files and opt-outs."""

    never_scan: CidrSet
    never_list: CidrSet
    never_list_soft: CidrSet  # published only by a person's word
    own_networks: CidrSet
    optouts: CidrSet = CidrSet([])  # what never_scan has beyond special use and files
    allow: CidrSet = CidrSet([])  # what special use does not hold for

    def with_optouts(self, networks: Iterable[str]) -> Scope:
        """The same with the networks whose holders do not want to be probed."""
        optouts = CidrSet(networks)
        return replace(self, never_scan=self.never_scan | optouts, optouts=optouts)

    def refusal(self, address: Address) -> str | None:
        """Why this address may not be touched, or None."""
        if address not in self.never_scan:
            return None
        if address in self.optouts:
            return f"{address} has opted out of being probed"
        for network, source in SPECIAL_USE if address not in self.allow else ():
            if address in CidrSet([network]):
                return f"{address} is special-use ({source})"
        return f"{address} is in the never-scan set"

    def way_out(self, address: Address) -> str:
        """What the operator can do about a refusal."""
        if address in self.optouts:
            return "`proxywarden optout remove` ends that"
        if address not in self.allow and any(address in CidrSet([network]) for network, _ in SPECIAL_USE):
            return "scope.allow excepts networks for a laboratory"
        return "a file of scope.never_scan names it"


def load_scope(settings: Settings, config_dir: Path | None = None) -> Scope:
    """The sets of a configuration; ConfigError names file and line.

    config_dir: where the configuration file is, else that of the file that would be read.
    """
    if config_dir is None and (file := chosen_file()) is not None:
        config_dir = file.parent
    special = CidrSet([network for network, _ in SPECIAL_USE])
    allow = CidrSet(settings.scope.allow)
    never_scan = special - allow
    for name in settings.scope.never_scan:
        path = _path("scope.never_scan", name, config_dir)
        hard, soft = _networks(path)
        if soft:
            raise ConfigError(f"{path}: `soft` is for a never-list: what is here is never touched, without exception")
        never_scan |= hard
    never_list, never_list_soft = special - allow, CidrSet([])
    for name in settings.scope.never_list:
        hard, soft = _networks(_path("scope.never_list", name, config_dir))
        never_list |= hard
        never_list_soft |= soft
    own = CidrSet([str(remote.address) for remote in settings.controls.remote])  # a known-open one is an open proxy
    return Scope(never_scan, never_list | own, never_list_soft, CidrSet(settings.scope.own_networks), allow=allow)


def _path(key: str, name: str, config_dir: Path | None) -> Path:
    """An absolute path, a file beside the configuration, or one that is shipped."""
    if Path(name).is_absolute():
        return Path(name)
    if config_dir is not None and (config_dir / name).is_file():
        return config_dir / name
    try:
        return reference_file(name)
    except ConfigError:
        raise ConfigError(f"{key} = {name!r}: no such file beside the configuration, nor among those shipped") from None


def _networks(path: Path) -> tuple[CidrSet, CidrSet]:
    """The networks of a file and those marked `soft`: one a line, `#` comments."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    found: dict[bool, list[str]] = {False: [], True: []}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        soft = words[0] == "soft"
        if len(words) != 1 + soft:
            raise ConfigError(f"{path}:{number}: {line.strip()!r}: expected a network, or `soft` and a network")
        try:
            CidrSet([words[-1]])
        except ValueError as error:
            raise ConfigError(f"{path}:{number}: {error}") from None
        found[soft].append(words[-1])
    return CidrSet(found[False]), CidrSet(found[True])
