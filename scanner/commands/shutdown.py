"""shutdown-plan: how to end a list without harm."""

from __future__ import annotations

import re
import time

from scanner.commands import Refusal, settings
from scanner.fields import DOMAIN


def shutdown_plan(*, zone: str | None = None) -> int:
    """Print the steps and files of a graceful end of the list (RFC 6471 section 3.4). Changes nothing.

    Parameters
    ----------
    zone
        The list's name in the DNS; where not given, publish.zone and the zones of publish.dns_update.

    """
    from scanner.publish.shutdown import plan

    if zone is not None and not re.fullmatch(DOMAIN, zone):
        raise Refusal(f"--zone {zone!r}: expected a domain name such as bl.example.net")
    config = settings()
    dynamic = config.publish.dns_update
    known = [zone] if zone else [config.publish.zone, dynamic.zone, dynamic.zone6]
    zones = dict.fromkeys(name.rstrip(".") for name in known if name)
    now, identity = time.time(), config.identity
    print(plan(identity.name, list(zones) or ["bl.example.net"], config.web.public_url, identity.contact, now), end="")
    return 0
