"""lab: the simulated network."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from scanner.commands import Refusal, settings
from scanner.lab.control import main
from scanner.lab.internet import Internet, LabError


async def lab(
    *,
    hosts: int = 2000,
    seed: int = 1,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
    control: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run a simulated network on 127.0.0.0/8 until Ctrl-C: open proxies, closed ones, liars, ordinary services.

    Every host has its own address and dials from it. Only the canaries of the configuration can be reached.

    Parameters
    ----------
    hosts
        How many.
    seed
        The same seed gives the same network.
    list_
        Print the truth about every host as JSON lines, and run nothing.
    control
        Obey JSON lines on standard input: {"do": "repair", "address": "127.1.0.7"}, reopen, quit.

    """
    from scanner.start import advertised, binds

    section = settings().canary
    try:
        await main(hosts, seed, list_, control, Internet(canaries=advertised(section, binds(section))))
    except LabError as error:
        raise Refusal(str(error)) from None
    return 0
