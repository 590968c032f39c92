"""canary: a stand-alone canary, and the key file it is given."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from scanner import systemd
from scanner.canary import BindError, Bound, Tally, run_canary
from scanner.canary.carrier import Carrier
from scanner.canary.certificate import mail_tls
from scanner.canary.spool import Spool, open_spool
from scanner.commands import Refusal, say, settings
from scanner.config import ConfigError
from scanner.log import configure
from scanner.secret import export_canary_keys, load_canary_keys, newest, open_secret
from scanner.settings import Settings
from scanner.start import binds, data_dir, locked


async def canary(*, key_file: Path | None = None, export: str | None = None) -> int:
    """Run a canary of its own, in another network than the daemon's, until SIGTERM.

    It listens where canary.listen, canary.mail_listen and canary.http_listen say, under the id in its key file. The
    letters that come to it are kept in data_dir until the daemon at canary.handover.url has taken them; without one
    it takes none.

    Parameters
    ----------
    key_file
        The keys of this canary alone, as --export wrote them. Without it the master secret's are used.
    export
        Write the keys of the canary with this id to --key-file, for its host, and end.

    """
    config = settings()
    if export is not None:
        if key_file is None:
            raise Refusal("--export ID needs --key-file FILE to write to")
        try:
            keys = open_secret(config.secret_path).canary_keys(export)
        except ValueError as error:
            raise Refusal(f"--export {export!r}: {error}") from None
        export_canary_keys(key_file, keys)
        say(f"proxywarden: keys of canary {export} written to {key_file}: carry them to its host")
        return 0
    keys = load_canary_keys(key_file) if key_file else open_secret(config.secret_path).canary_keys(config.canary.id)
    name = next(iter(keys.values())).canary
    wanted = binds(config.canary)
    if not (wanted.tcp or wanted.mail or wanted.http):
        raise ConfigError("canary.listen, canary.mail_listen and canary.http_listen are empty: nothing to run")
    configure()
    async with _spool(config) as spool, trio.open_nursery() as nursery:
        tls = await trio.to_thread.run_sync(mail_tls, config)
        serve = partial(
            run_canary,
            name,
            keys,
            tcp=wanted.tcp,
            mail=wanted.mail,
            http=wanted.http,
            tally=Tally(),
            name=config.identity.name,
            keep=None if spool is None else spool.keep,  # an empty one is false
            tls=tls,
        )
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            try:
                bound: Bound = await nursery.start(serve)
            except BindError as error:
                raise Refusal(str(error)) from None
            places = [f"{host} port {port}" for host, port in (*bound.tcp, *bound.mail, *bound.http)]
            say(f"proxywarden: canary {name} listens on {', '.join(places)}")
            systemd.notify("READY=1")
            nursery.start_soon(systemd.feed_watchdog)
            if spool is not None:
                nursery.start_soon(Carrier(spool, newest(keys), config.canary.handover.url).run)
            async for _ in signals:
                break
            systemd.notify("STOPPING=1")
        nursery.cancel_scope.cancel()
    return 0


@asynccontextmanager
async def _spool(config: Settings) -> AsyncIterator[Spool | None]:
    """Where letters are kept until the daemon has them; None where there is no daemon to hand them to."""
    if not config.canary.handover.url:
        yield None
        return
    folder = data_dir(config)
    with locked(folder / "canary.lock"):
        try:
            spool = await trio.to_thread.run_sync(open_spool, folder / "spool", config.canary.handover.spool)
        except OSError as error:
            raise ConfigError(f"{folder / 'spool'}: {error.strerror or error}") from None
        yield spool
