"""proxywarden.toml and the environment -> Settings, with every mistake in them at once."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from scanner.fields import on_loopback, parse_host_port
from scanner.mistakes import explained, mistyped
from scanner.settings import ENVIRONMENT, IdentitySection, Settings

DEFAULT_FILE = Path("/etc/proxywarden/proxywarden.toml")
_NOT_SETTINGS = {"PROXYWARDEN_CONFIG", "PROXYWARDEN_TRACE"}


class ConfigError(Exception):
    """What an operator wrote wrongly: one line for each mistake, each naming key, value and what was expected."""


def load(path: str | Path | None = None) -> Settings:
    """Settings from `path`, else $PROXYWARDEN_CONFIG, else /etc/proxywarden, else defaults; ConfigError."""
    return load_with_origins(path)[0]


def load_with_origins(path: str | Path | None = None) -> tuple[Settings, dict[str, str]]:
    """Settings, and for each dotted key that is not a default where it came from: a file, or a variable."""
    file, written = _read(path)
    defaults = dict(leaves(Settings()))
    surroundings = _with_empty_lists(_Environment(Settings)(), defaults)
    origins = {".".join(key): str(file) for key, _ in _leaves(written)}
    origins |= {".".join(key): _variable(key) for key, _ in _leaves(surroundings)}
    mistakes = mistyped({".".join(key): value for key, value in _leaves(written)}, defaults)
    try:
        settings = Settings(**_merged(written, surroundings))
    except ValidationError as error:
        known = [*defaults, *Settings.model_fields]
        mistakes = explained(error.errors(), known) | mistakes  # one line for each key
    lines = [f"{_origin(key, origins, file)}: {line}" for key, line in mistakes.items()]
    lines += _unknown_variables(os.environ)
    if lines:
        raise ConfigError("\n".join(lines))
    return settings, origins


def chosen_file(path: str | Path | None = None) -> Path | None:
    """The configuration file that load(path) reads; None where there is none and defaults hold."""
    named = path or os.environ.get("PROXYWARDEN_CONFIG")
    if named:
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def reference_file(name: str) -> Path:
    """A file of config/, from a source tree or as the wheel installed it."""
    for folder in (Path(__file__).parent.parent / "config", Path(sys.prefix) / "share" / "proxywarden"):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"{name} is not installed: expected in {sys.prefix}/share/proxywarden")


def leaves(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Every effective setting as dotted key and plain value."""
    for key, value in _leaves(settings.model_dump(mode="json")):
        yield ".".join(key), value


def _read(path: str | Path | None) -> tuple[Path | None, dict[str, Any]]:
    file = chosen_file(path)
    if file is None:
        return None, {}
    try:
        return file, tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from None


class _Environment(EnvSettingsSource):
    """Variables such as PROXYWARDEN_SCAN__RATE. A list is JSON, or words with commas between them."""

    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
        try:
            return json.loads(value)
        except ValueError:
            return [word.strip() for word in value.split(",") if word.strip()]


def _with_empty_lists(surroundings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with [] where a variable for a list is empty: pydantic-settings decodes only what is not."""
    for key, value in list(_leaves(surroundings)):
        if value == "" and isinstance(defaults.get(".".join(key)), list):
            empty: Any = []
            for part in reversed(key):
                empty = {part: empty}
            surroundings = _merged(surroundings, empty)
    return surroundings


def _origin(key: str, origins: Mapping[str, str], file: Path | None) -> str:
    """Where a value was written, that of its list or section where it has no origin of its own."""
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return str(file or "configuration")


def _variable(key: tuple[str, ...]) -> str:
    return "environment variable " + ENVIRONMENT + "__".join(key).upper()


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _leaves(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    known = {key.split(".")[0] for key, _ in leaves(Settings())}
    names = (name for name in environment if name.startswith(ENVIRONMENT) and name not in _NOT_SETTINGS)
    wrong = sorted(name for name in names if name.removeprefix(ENVIRONMENT).split("__")[0].lower() not in known)
    return [f"environment variable {name}: no such setting" for name in wrong]


def doubtful(settings: Settings) -> list[str]:
    """What is allowed, but hardly meant."""
    found = []
    names = [key for key, value in IdentitySection() if getattr(settings.identity, key) == value]
    if names:
        found.append(f"identity.{', identity.'.join(names)}: still the placeholder; say who you are before you scan")
    canary = settings.canary
    listens = [parse_host_port(text)[0] for text in (*canary.listen, *canary.mail_listen, *canary.http_listen)]
    told = [host for target in canary.targets for host in (target.address, target.address6, target.name) if host]
    places = told or listens
    if places and all(map(on_loopback, places)) and not settings.scope.allow:
        found.append("canary: only on loopback, which no other machine can reach: say in canary.targets where it is")
    if settings.scope.allow:
        found.append(f"scope.allow excepts {', '.join(settings.scope.allow)} from never-scan: for a laboratory only")
    return found
