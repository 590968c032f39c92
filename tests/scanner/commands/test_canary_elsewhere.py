"""A stand-alone canary and the daemon, each a process, a mail relay between them, and both killed in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import trio

from scanner.lab import mail as lab_mail
from scanner.lab.internet import Internet
from scanner.lab.machine import Host
from scanner.lab.mail import RELAYS, mail
from scanner.lab.network import serve
from scanner.model import CanaryTarget, EventKind, Kind
from tests.scanner.live import command, free_port, nominate, until
from tests.scanner.program import log_of, program

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[3]
CANARY = IPv4Address("127.82.11.25")
DOMAIN = "mail.second.test"
SMTP = free_port("0.0.0.0")
RELAY = Host(IPv4Address("127.82.11.1"), RELAYS["relay"], (SMTP,), IPv4Address("127.82.11.2"))


class Place:
    """Two hosts' worth of configuration: the daemon's, and the canary's in another directory."""

    def __init__(self, folder: Path) -> None:
        ports = {face: free_port(CANARY) for face in ("tcp", "mail", "http")}
        self.target = CanaryTarget("second", CANARY, mail_domain=DOMAIN, **ports)
        self.handover = free_port("127.82.11.26")
        self.daemon, self.there = folder / "here" / "daemon.toml", folder / "there" / "canary.toml"
        for file in (self.daemon, self.there):
            file.parent.mkdir()
        (folder / "here" / "data").mkdir(mode=0o700)
        self.keys = self.there.parent / "second.key"
        faces = "".join(f", {face} = {port}" for face, port in ports.items())
        self.daemon.write_text(
            f"""
data_dir = "{self.daemon.parent}/data"
[canary]
listen = []
mail_listen = []
http_listen = []
targets = [{{id = "second", address = "{CANARY}", mail_domain = "{DOMAIN}"{faces}}}]
[canary.handover]
listen = ["127.82.11.26:{self.handover}"]
[scope]
never_scan = []
never_list = []
allow = ["127.0.0.0/8"]
[scan]
endpoints = []
connect_timeout = 1.0
conversation_timeout = 2.0
[controls]
listen = "127.82.11.27:0"
[lists.rss]
endpoints = ["smtp-relay:{SMTP}"]
forms = ["plain"]
receipt_wait = 0.5
[web]
listen = []
operator_listen = []
"""
        )
        self.there.write_text(
            f"""
data_dir = "{self.there.parent}/data"
[canary]
listen = ["{CANARY}:{ports["tcp"]}"]
mail_listen = ["{CANARY}:{ports["mail"]}"]
http_listen = ["{CANARY}:{ports["http"]}"]
[canary.handover]
url = "http://127.82.11.26:{self.handover}"
spool = 2
"""
        )

    @property
    def spool(self) -> list[Path]:
        folder = self.there.parent / "data" / "spool"
        return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []

    @asynccontextmanager
    async def canary(self):
        """`proxywarden canary`, from the moment it listens; killed at the end where it still runs."""
        if not self.keys.exists():
            code, _, err = await command(
                "--config", self.daemon, "canary", "--export", "second", "--key-file", self.keys
            )
            assert code == 0, err
        arguments = [
            sys.executable,
            "-m",
            "scanner",
            "--config",
            str(self.there),
            "canary",
            "--key-file",
            str(self.keys),
        ]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PROXYWARDEN_")}
        process = await trio.lowlevel.open_process(arguments, stderr=subprocess.PIPE, cwd=ROOT, env=clean)
        try:
            with trio.fail_after(60):
                said = await process.stderr.receive_some()
            assert b"canary second listens on" in said, said
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await process.stderr.aclose()


@asynccontextmanager
async def held(place, monkeypatch):
    """The lab's relay, which delivers what it took when the event is set."""
    go, deliver = trio.Event(), lab_mail._deliver

    async def when_told(*letter):
        await go.wait()
        await deliver(*letter)

    monkeypatch.setattr(lab_mail, "_deliver", when_told)
    async with trio.open_nursery() as nursery:
        network = await nursery.start(serve, [RELAY], Internet(canaries=(place.target,), pace=0.05))
        network.machines[RELAY.address].behaviour = partial(mail, late=0.01)
        yield go
        nursery.cancel_scope.cancel()


async def killed(process):
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def test_both_are_killed_and_the_letter_counts_once(tmp_path, monkeypatch):
    place = Place(tmp_path)
    async with held(place, monkeypatch) as go:
        async with place.canary() as canary:
            async with program(place.daemon) as (daemon, store):
                await nominate(store, [RELAY.address], time.time())
                (visit,) = await until(partial(store.visits, RELAY.address))
                assert [item.kind for item in visit.evidence] == [Kind.ACCEPTED]
                await killed(daemon)
            go.set()

            async def spooled():
                return place.spool

            (letter,) = await until(spooled)
            await killed(canary)
        assert place.spool == [letter], "what was said to be kept survives"
        async with place.canary() as canary:
            await trio.sleep(1.5)  # it tries, and nobody is there
            assert place.spool == [letter]
            async with program(place.daemon) as (_, store):
                (listing,) = await until(partial(store.lookup, RELAY.address))
                assert (listing.list, listing.type, listing.visit) == ("rss", "entry", visit.id)
                assert listing.exits == ("127.82.11.2",)

                async def handed():
                    return not place.spool

                await until(handed)
                assert await store.delivery(letter.name) is not None
                assert [event.kind for event in await store.events()] == [EventKind.LISTED]
                assert await store.verify() == []

                async def counted():
                    status = (await store.status())["daemon"][0]
                    return status["handover"].get("taken"), status["letters"]

                async def settled():
                    taken, letters = await counted()
                    return taken == {"second": 1} and letters["late"] == 1

                await until(settled)
            canary.send_signal(signal.SIGTERM)
            with trio.fail_after(60):
                assert await canary.wait() == 0


async def test_a_letter_reaches_the_conversation_that_waits_for_it(tmp_path, monkeypatch):
    place = Place(tmp_path)
    place.daemon.write_text(place.daemon.read_text().replace("receipt_wait = 0.5", "receipt_wait = 30.0"))
    async with held(place, monkeypatch) as go:
        go.set()
        async with place.canary(), program(place.daemon) as (_, store):
            await nominate(store, [RELAY.address], time.time())
            (visit,) = await until(partial(store.visits, RELAY.address))
            assert [item.kind for item in visit.evidence] == [Kind.RELAYED], visit.evidence
            assert visit.evidence[0].detail.startswith("letter arrived at canary second from 127.82.11.2")


async def test_a_key_that_is_not_ours_is_logged_once_and_nothing_is_lost(tmp_path, monkeypatch):
    place = Place(tmp_path)
    async with held(place, monkeypatch) as go, place.canary():
        async with program(place.daemon) as (daemon, store):
            await nominate(store, [RELAY.address], time.time())
            await until(partial(store.visits, RELAY.address))
            await killed(daemon)
        secret = place.daemon.parent / "data" / "secret"
        kept = secret.read_text()
        secret.write_text("1 " + "0" * 64 + "\n")
        go.set()

        async def refused():
            return [line for line in log_of(place.daemon) if line["event"] == "hand-over refused"]

        async with program(place.daemon) as (daemon, _):
            (line,) = await until(refused)
            assert (line["canary"], line["why"]) == ("second", "mac")
            await trio.sleep(3)
            assert len(await refused()) == 1
            await killed(daemon)
        assert len(place.spool) == 1
        secret.write_text(kept)
        async with program(place.daemon) as (_, store):
            (listing,) = await until(partial(store.lookup, RELAY.address))
            assert listing.list == "rss"
