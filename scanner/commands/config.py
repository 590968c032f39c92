"""config check and show: is the configuration right, and what does it come to?"""

from __future__ import annotations

import json as json_
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from scanner.commands import config_file, print_json, say
from scanner.config import ConfigError, chosen_file, doubtful, leaves, load, load_with_origins
from scanner.scope import load_scope
from scanner.settings import Settings


def check() -> int:
    """Check the configuration and the files that it names; says everything that is wrong at once.

    Exit code: 0 right, 2 wrong.
    """
    file = chosen_file(config_file.get())
    config = load(file)
    wrong = list(_unreadable(config))
    try:
        load_scope(config, file.parent if file else None)
    except ConfigError as error:
        wrong.append(str(error))
    if wrong:
        raise ConfigError("\n".join(wrong))
    for warning in doubtful(config):
        say(f"proxywarden: warning: {warning}")
    print(f"{file or 'no file, and the defaults'}: right")
    return 0


def _unreadable(config: Settings) -> Iterator[str]:
    """A line for each file with a password, a key or a certificate that can't be opened."""
    canary, mail, publish = config.canary, config.mail, config.publish
    named = {
        "canary.tls_certificate": canary.tls_certificate,
        "canary.tls_key": canary.tls_key,
        "mail.ca_file": mail.ca_file,
        "mail.password_file": mail.password_file,
        "publish.dns_update.key_file": publish.dns_update.key_file,
        "publish.gate.as_file": publish.gate.as_file,
    }
    for number, hook in enumerate(publish.webhooks):
        named[f"publish.webhooks.{number}.secret_file"] = hook.secret_file
    for key, path in named.items():
        if not path:
            continue
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            yield f"{key} = {path!r}: {error.strerror}"


def show(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Show every effective setting, and where it came from.

    Parameters
    ----------
    json
        One JSON object a line for each setting.

    """
    config, origins = load_with_origins(config_file.get())
    for key, value in (dict(leaves(config)) | _effective(config)).items():
        origin = origins.get(key, "default")
        if json:
            print_json({"key": key, "value": value, "origin": origin})
        else:
            print(f"{key} = {json_.dumps(value, ensure_ascii=False)}  # {origin}")
    return 0


def _effective(config: Settings) -> dict[str, Any]:
    """What an empty setting comes to; and secrets as stars, since this is what people send who ask for help."""
    found: dict[str, Any] = {"store.url": config.store_url, "secret_file": str(config.secret_path)}
    if hooks := config.publish.webhooks:
        stars = [hook.model_dump() | {"secret": "***" if hook.secret else ""} for hook in hooks]
        found["publish.webhooks"] = stars
    return found
