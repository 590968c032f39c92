"""The daemon: as a program with its signals, and inside our own nursery where that shows more."""

from __future__ import annotations

import json
import signal
import socket
import time
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
import structlog
import trio

from scanner.canary import Bound
from scanner.config import ConfigError
from scanner.daemon import Daemon, connections_of
from scanner.listing import resume
from scanner.model import Reason, Target
from scanner.settings import CanarySection, VantageSection
from scanner.start import advertised, locked, raise_descriptor_limit, require_sources
from scanner.store import open_store
from tests.scanner.live import (
    CANARY,
    OTHER_PORT,
    PORT,
    canary,
    command,
    lab,
    lab_host,
    mute,
    nominate,
    peer,
    settings,
    until,
)
from tests.scanner.program import ends, log_of, program, written

pytestmark = pytest.mark.timeout(300)

HOSTS = [lab_host(f"7.{n}", "connect" if n % 3 == 0 else "http-403") for n in range(1, 61)]


async def test_invariant_8_killed_at_any_moment_it_visits_all_that_was_nominated_and_repeats_no_event(tmp_path):
    one = canary(tmp_path)
    file = written(tmp_path, one, hosts=4, per_network_rate=50)
    async with lab(HOSTS, one):
        visited = 0
        async with program(file) as (process, store):
            await nominate(store, [host.address for host in HOSTS], time.time())

            async def some():
                return (await store.figures(time.time()))["visits.day"] >= 10

            await until(some)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            visited = (await store.figures(time.time()))["visits.day"]
            assert await store.verify() == []
        assert 10 <= visited < len(HOSTS)
        async with program(file) as (process, store):

            async def all_():
                return [host for host in HOSTS if not await store.visits(host.address, 1)] == []

            await until(all_)
            process.send_signal(signal.SIGTERM)
            assert await ends(process) == 0
            assert await store.verify() == []
            events = await store.events()
            assert {event.listing.address for event in events if event.listing.type == "entry"} == {
                str(host.address) for host in HOSTS if host.kind.name == "connect"
            }
            lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
            assert [line["cursor"] for line in lines] == [event.cursor for event in events]
            assert len({line["id"] for line in lines}) == len(lines)


async def test_sigterm_ends_it_with_exit_0_and_what_was_under_way_is_due_again(tmp_path, nursery):
    one = canary(tmp_path)
    file = written(tmp_path, one, conversation_timeout=3600.0)
    slow = await peer(nursery, "127.82.7.101", mute, ports=[PORT])
    async with program(file) as (process, store):
        await nominate(store, [slow.address], time.time())

        async def met():
            return slow.total

        await until(met)
        began = trio.current_time()
        process.send_signal(signal.SIGTERM)
        assert await ends(process) == 0
        assert trio.current_time() - began >= 10  # conversations are given these, and not the hour that this one wants
        assert (await store.status())["daemon"][0]["running"] is False
        (visit,) = await store.visits(IPv4Address(slow.address))  # it was touched: a complaint finds out why
        assert visit.why == "void: cut short by us: it will be asked again"
        assert await store.next_due() is not None
        assert await store.verify() == []


async def test_sigterm_while_nothing_is_under_way_ends_it_and_systemd_hears_of_each_step(tmp_path, nursery):
    file = written(tmp_path, canary(tmp_path))
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        await manager.bind(str(tmp_path / "notify"))
        said = []

        async def hear():  # all the time: the kernel keeps ten datagrams for us
            while True:
                said.append((await manager.recv(200)).decode().splitlines()[0])

        async def fed():
            return said.count("WATCHDOG=1") >= 2

        async def stopping():
            return "STOPPING=1" in said

        nursery.start_soon(hear)
        async with program(file, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000") as (process, _):
            await until(fed)
            process.send_signal(signal.SIGHUP)

            async def reloaded():
                return any(line["event"] == "configuration reloaded" for line in log_of(file))

            await until(reloaded)
            file.write_text(file.read_text().replace("rate = 20000", 'rate = "fast"'))
            process.send_signal(signal.SIGHUP)

            async def refused():
                return [line for line in log_of(file) if line["event"].startswith("configuration not reloaded")]

            (line,) = await until(refused)
            assert "scan.rate = 'fast'" in line["error"]
            code, out, err = await command("--config", written(tmp_path, canary(tmp_path)), "run")
            assert (code, out) == (2, "")
            assert err == f"proxywarden: {tmp_path}/data/lock: another daemon uses this data directory\n"
            process.send_signal(signal.SIGTERM)
            assert await ends(process) == 0
        await until(stopping)
        nursery.cancel_scope.cancel()
        ready, *_, stopped = [line for line in log_of(file) if line["level"] == "info"]
        assert (ready["event"], stopped["event"]) == ("ready", "stopped")
        (doubt, *_) = [line["event"] for line in log_of(file) if line["level"] == "warning"]
        assert "for a laboratory only" in doubt or "placeholder" in doubt
    without = [state for state in said if state != "WATCHDOG=1"]
    assert without == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


# In our own nursery


@asynccontextmanager
async def running(config, config_file=None, grace=0.5):
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            daemon = Daemon(config, config_file)
            daemon.grace = grace
            daemon.logs = logs
            await nursery.start(daemon.run)
            yield daemon
            daemon.stop()


async def test_while_nothing_is_under_way_the_end_waits_for_nothing(tmp_path):
    with trio.fail_after(60):
        async with running(settings(tmp_path), grace=3600.0):
            pass


async def test_invariant_5_an_opt_out_holds_from_the_moment_it_is_written_by_another_process(tmp_path, nursery):
    one = await peer(nursery, "127.82.7.110", ports=[PORT])
    async with running(settings(tmp_path)) as daemon, open_store(f"sqlite:///{daemon.store.path}") as other:
        await other.exclude("127.82.7.0/24", "asked", "test", time.time())

        async def effective():
            return IPv4Address(one.address) in daemon.connector.never

        await until(effective)
        await other.schedule(Target(IPv4Address(one.address), Reason.OPERATOR, time.time()))

        async def visited():
            return await daemon.store.visits(IPv4Address(one.address))

        (visit,) = await until(visited)
        assert {item.kind for item in visit.evidence} == {"never_scan"}
        assert one.total == 0
        await other.unexclude("127.82.7.0/24", resume, time.time())

        async def over():
            return IPv4Address(one.address) not in daemon.connector.never

        await until(over)


async def test_invariant_5_special_use_is_never_touched_whoever_asks(tmp_path, nursery):
    one = await peer(nursery, "127.82.7.111", ports=[PORT])
    config = settings(tmp_path)
    config = config.model_copy(update={"scope": config.scope.model_copy(update={"allow": ("127.82.0.0/24",)})})
    async with running(config) as daemon:
        await daemon.store.schedule(Target(IPv4Address(one.address), Reason.OPERATOR, time.time()))

        async def visited():
            return await daemon.store.visits(IPv4Address(one.address))

        await until(visited)
        assert daemon.connector.statistics()["never"] >= 1
    assert one.total == 0


async def test_what_several_lanes_touched_is_kept_where_the_end_cuts_them_short(tmp_path, nursery):
    one = await peer(nursery, "127.82.7.112", mute, ports=[PORT, OTHER_PORT])
    config = settings(tmp_path, scan={"per_host": 2, "conversation_timeout": 60.0})
    async with running(config) as daemon:
        await daemon.store.schedule(Target(IPv4Address(one.address), Reason.OPERATOR, time.time()))

        async def met():
            return one.total == 2

        await until(met)
        path = daemon.store.path
    async with open_store(f"sqlite:///{path}") as store:
        (visit,) = await store.visits(IPv4Address(one.address))
    assert visit.why == "void: cut short by us: it will be asked again"


async def test_a_reload_changes_what_it_can_and_says_what_needs_a_restart(tmp_path):
    one = canary(tmp_path)
    file = written(tmp_path, one, web=f'"{CANARY}:0"')
    from scanner.config import load

    async with running(load(file), file) as daemon:
        changed = written(tmp_path, one, web=f'"{CANARY}:0"', rate=777.0, sockets=5000, per_host=3, connect_timeout=0.5)
        changed.write_text(changed.read_text().replace('allow = ["127.0.0.0/8"]', 'allow = ["127.0.0.0/9"]'))
        await daemon.reload()
        assert daemon.settings.scan.rate == 777
        assert daemon.connector.timeout == 0.5
        assert IPv4Address("127.200.0.1") in daemon.connector.never
        assert IPv4Address("127.82.7.1") not in daemon.connector.never
        assert daemon.web.site.scope is daemon.scope  # what strangers are told follows
        (line,) = [line for line in daemon.logs if line["event"] == "configuration reloaded"]
        assert set(line["needs_restart"]) == {"scan.sockets", "scan.per_host"}
        assert daemon.connector.lanes == 1
        changed.write_text("nonsense = 1\n")
        await daemon.reload()
        assert daemon.settings.scan.rate == 777


async def test_a_publisher_that_fails_is_shown_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("scanner.daemon._PUBLISH_AGAIN", 0.05)
    place = tmp_path / "absent" / "events.jsonl"
    config = settings(tmp_path)
    config = config.model_copy(update={"publish": config.publish.model_copy(update={"events": str(place)})})
    host = lab_host("7.120", "connect")
    one = canary(tmp_path)
    async with running(config) as daemon:
        target = daemon.controls._targets[0]
        one.target = target
        async with lab([host], one):
            await nominate(daemon.store, [host.address], time.time())

            async def failed():
                return daemon.publisher_error

            assert "No such file" in await until(failed)
            place.parent.mkdir()

            async def works():
                return not daemon.publisher_error

            await until(works)
        assert json.loads(place.read_text())["address"] == str(host.address)


def test_two_daemons_on_one_data_directory(tmp_path):
    with locked(tmp_path / "lock"), pytest.raises(ConfigError, match="another daemon uses"), locked(tmp_path / "lock"):
        pass
    with pytest.raises(ConfigError, match="No such file"), locked(tmp_path / "absent" / "lock"):
        pass


def test_what_targets_are_told_is_what_is_bound_unless_configured():
    bound = Bound((("127.82.0.1", 1), ("::1", 2)), (("127.82.0.1", 25),), ())
    (target,) = advertised(CanarySection(), bound)
    assert (str(target.address), str(target.address6), target.tcp, target.mail) == ("127.82.0.1", "::1", 1, 25)
    with pytest.raises(ConfigError, match="nothing to ask"):
        advertised(CanarySection(), Bound())


def test_mistakes_of_the_machine_are_one_line(tmp_path):
    config = settings(tmp_path)
    away = config.model_copy(update={"vantage": (VantageSection(name="x", source="192.0.2.1"),)})
    with pytest.raises(ConfigError, match=r"vantage x: 192\.0\.2\.1 is not an address of this machine"):
        require_sources(away)
    require_sources(config)
    with pytest.raises(ConfigError, match=r"scan\.sockets"):
        raise_descriptor_limit(10**9)
    assert connections_of(config) == 2
