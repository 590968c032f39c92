"""run: the daemon, whole or a part of it."""

from __future__ import annotations

from typing import Literal


async def run(*, role: Literal["all", "scan", "web"] = "all") -> int:
    """Run the daemon: visits what is due, keeps the lists, serves the pages, until SIGTERM.

    SIGHUP reloads the configuration; a wrong one changes nothing.

    Parameters
    ----------
    role
        all; scan, which is all but the web; or web alone, beside a daemon on the same data directory.

    """
    from scanner.commands import config_file, settings
    from scanner.log import configure

    configure()
    chosen = settings()
    if role == "web":
        from scanner.web.alone import run_web

        await run_web(chosen, config_file.get())
        return 0
    from scanner.daemon import run_daemon

    if role == "scan":
        chosen = chosen.model_copy(update={"web": chosen.web.model_copy(update={"listen": (), "operator_listen": ()})})
    await run_daemon(chosen, config_file.get())
    return 0
