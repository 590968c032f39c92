"""The publisher from the store to files: restarts, failures, other processes, and what is served equals the store."""

import hashlib
import json
import os
import random
import re
import time
from datetime import datetime
from ipaddress import ip_network

import pytest
import trio

from core.cidr import CidrSet
from scanner.config import load
from scanner.publish.log_check import check
from scanner.publish.outputs import outputs_of, served
from scanner.publish.publisher import GOOD_CONTROLS, OutputError, Publisher
from scanner.publish.views import LISTS
from scanner.publish.zone_text import read_zone
from scanner.scope import Scope
from scanner.store import StoreError
from tests.scanner.publish.source import Memory

NONE = CidrSet([])
FORMATS = ("plain", "csv", "jsonl", "nft", "ipset", "postfix", "haproxy", "nginx", "rpz", "rbldnsd", "crowdsec")


def settings_of(home, text="", check=""):
    file = home / "proxywarden.toml"
    file.write_text(
        f'data_dir = "{home}"\n[publish]\ninterval = 0.1\n[publish.rbldnsd]\n'
        f'directory = "{home}/zones"\ncheck = "{check}"\n'
        f'[publish.exports]\ndirectory = "{home}/exports"\nformats = {json.dumps(FORMATS)}\ninterval = 1e-9\n{text}'
    )
    return load(file)


def publisher_of(home, store, text="", never=NONE):
    settings = settings_of(home, text)
    return Publisher(settings, Scope(NONE, never, NONE, NONE), store, outputs_of(settings))


def listed(home, list_):
    """What the files list, test entries apart."""
    four, six = (read_zone(home / "zones" / f"{list_}{version}.zone") for version in (4, 6))
    assert four.last == "127.0.0.2"
    assert six.last == "::ffff:7f00:2/128"
    return (four.covered() | six.covered()) - CidrSet(["127.0.0.0/8", "::ffff:127.0.0.2"])


def in_store(store, list_):
    return CidrSet([address for of_list, address, _ in store.standing if of_list == list_])


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch):
    for name in list(os.environ):
        if name.startswith("PROXYWARDEN_"):
            monkeypatch.delenv(name)


async def test_what_others_serve_they_can_read_whatever_our_umask(tmp_path):
    """The unit sets 0077, and rbldnsd and web servers are other users."""
    store = Memory()
    store.list("11.0.0.1")
    before = os.umask(0o077)
    try:
        assert await publisher_of(tmp_path, store).release() == {}
    finally:
        os.umask(before)
    for folder in (tmp_path / "zones", tmp_path / "exports", tmp_path / "exports" / "objects"):
        assert folder.stat().st_mode & 0o777 == 0o755
        assert {file.stat().st_mode & 0o777 for file in folder.iterdir() if file.is_file()} == {0o644}


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_served_equals_the_store(tmp_path, seed):
    rng, store = random.Random(seed), Memory()
    pool = [f"{11 + rng.randrange(200)}.{rng.randrange(256)}.7.{rng.randrange(256)}" for _ in range(40)]
    pool += [f"2a00:{rng.randrange(9)}::{rng.randrange(65536):x}" for _ in range(20)] + ["2a00:7::/64"]
    ranges = [f"{rng.randrange(16, 200)}.{16 * rng.randrange(16)}.0.0/{rng.randrange(12, 17)}" for _ in range(6)] + [
        "2a0a::/32"
    ]
    publisher = publisher_of(tmp_path, store)
    with trio.fail_after(60):
        for turn in range(8):
            for _ in range(rng.randrange(12)):
                list_ = rng.choice(LISTS)
                address = rng.choice(
                    ranges
                    if list_ == "dul" and rng.random() < 0.6
                    else [a for a in pool if "/" not in a or list_ == "ops"]
                )
                type_ = "exit" if "/64" in address else "entry"
                if (list_, address, type_) in store.standing and rng.random() < 0.7:
                    store.end(address, list_=list_, type_=type_)
                elif "/" not in address or ip_network(address, strict=False).with_prefixlen == address:
                    store.list(address, list_=list_, type_=type_, detector=rng.choice(("socks5/1", "http-get/1")))
            if turn == 4:
                publisher = publisher_of(tmp_path, store)
            assert await publisher.release() == {}
            for list_ in LISTS:
                assert listed(tmp_path, list_) == in_store(store, list_)
                lines = (tmp_path / "exports" / f"{list_}.plain").read_text().splitlines()
                assert CidrSet([line for line in lines if line[0] != "#"]) == in_store(store, list_)
                assert lines[-1] == f"# END {len(lines) - 6} entries"
    assert check(tmp_path / "log").problem == ""
    told = [event for _, event in publisher.log.read(0, 10**6)]
    assert len({event["id"] for event in told}) == len(told)
    replayed = {}
    for event in told:
        key = (event["list"], event["address"], event["type"])
        if event["kind"] in ("listed", "confirmed"):
            assert (key in replayed) == (event["kind"] == "confirmed")
            replayed[key] = event["detector"]
        else:
            del replayed[key]
    assert replayed == {key: listing.detector for key, listing in store.standing.items()}


async def test_the_manifest_names_what_is_there(tmp_path):
    store = Memory()
    for type_ in ("entry", "exit"):  # of one address: twice in what tells more than where
        store.list("11.0.0.1", type_=type_)
    store.list("2a00::1")
    await publisher_of(tmp_path, store).release()
    manifest = json.loads((tmp_path / "exports" / "manifest.json").read_text())
    assert manifest["cursor"] == await store.last_cursor()
    counts = {name: entry["entries"] for name, entry in manifest["files"].items() if entry["entries"]}
    twos = ("plain", "nft", "ipset", "postfix", "haproxy", "nginx", "rpz", "crowdsec")
    assert counts == {f"ops.{name}": 2 for name in twos} | {
        "ops.csv": 3,
        "ops.jsonl": 3,
        "ops4.zone": 2,
        "ops6.zone": 1,
    }
    assert "\n2a00::1/128 :127.1.0.8:" in (tmp_path / "exports" / "ops6.zone").read_text()
    for name, count in counts.items():
        if name.endswith((".plain", ".csv", ".nft", ".rpz")):
            lines = (tmp_path / "exports" / name).read_text().splitlines()
            assert lines[-1][1:] == f" END {count} entries"
            assert lines[3][1:] == f" entries {count}"
    assert set(manifest["files"]) >= {"ops.plain", "ops.nft", "ops4.zone", "dul6.zone", "rbl.jsonl"}
    for name, entry in manifest["files"].items():
        path, etag = served(tmp_path / "exports", name)
        assert path.read_bytes() == (tmp_path / "exports" / name).read_bytes()
        assert etag == f'"{hashlib.sha256(path.read_bytes()).hexdigest()}"' == f'"{entry["sha256"]}"'
    for name in ("../proxywarden.toml", "manifest.json", "", "objects"):
        assert served(tmp_path / "exports", name) is None


async def test_held_additions_are_in_no_output_and_removals_go(tmp_path):
    store = Memory()
    store.list("11.0.0.1")
    store.list("11.0.0.2")
    publisher = publisher_of(tmp_path, store, "[publish.gate]\ngrowth_floor = 3\n")
    await publisher.release()
    store.end("11.0.0.1")
    for number in range(3, 9):
        store.list(f"11.0.0.{number}")
    assert list(await publisher.release()) == ["ops"]
    assert listed(tmp_path, "ops") == CidrSet(["11.0.0.2"])
    for name in ("plain", "csv", "jsonl", "nft", "ipset", "postfix", "haproxy", "rpz", "crowdsec"):
        text = (tmp_path / "exports" / f"ops.{name}").read_text()
        assert "0.0.2" in text or "2.0.0" in text
        assert not re.search(r"11\.0\.0\.[1345678]\b|\b[1345678]\.0\.0\.11", text), name
    assert {event["address"] for _, event in publisher.log.read(0, 99)} == {"11.0.0.1", "11.0.0.2"}
    assert "held.ops" in store.shown["publish"][0]
    assert await publisher_of(tmp_path, store, "[publish.gate]\ngrowth_floor = 3\n").release(accept=True) == {}
    assert await publisher.release() == {}  # it sees that another process was here
    assert listed(tmp_path, "ops") == in_store(store, "ops")
    assert len(publisher.log.read(0, 99)) == 9
    assert check(tmp_path / "log").problem == ""


async def test_a_removal_is_published_within_a_second(tmp_path):
    store = Memory()
    for number in range(50):
        store.list(f"11.0.{number}.1")
    publisher = publisher_of(tmp_path, store)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            while not (tmp_path / "zones" / "rbl6.zone").exists() or publisher.states.get("rbldnsd") is None:
                await trio.sleep(0.01)
            await trio.sleep(0.3)
            store.end("11.0.7.1")
            began = trio.current_time()
            publisher.ring()
            while CidrSet(["11.0.7.1"]) <= listed(tmp_path, "ops"):
                await trio.sleep(0.01)
            assert trio.current_time() - began < 8, "a second on a machine that does nothing else"
            nursery.cancel_scope.cancel()


async def test_an_output_that_fails_is_shown_tried_again_and_keeps_no_other(tmp_path):
    store = Memory()
    store.list("11.0.0.1")
    publisher = publisher_of(tmp_path, store)
    (tmp_path / "zones").write_text("in the way")
    await publisher.release()
    assert publisher.states["rbldnsd"].startswith("failed: ")
    assert (tmp_path / "exports" / "ops.plain").exists()
    (tmp_path / "zones").unlink()
    publisher._retry["rbldnsd"] = (0.0, 1.0)
    await publisher.release()
    assert listed(tmp_path, "ops") == CidrSet(["11.0.0.1"])
    assert publisher._retry == {}


async def test_a_store_that_fails_is_shown_and_nothing_is_lost(tmp_path):
    store = Memory()
    publisher = publisher_of(tmp_path, store)
    assert await publisher.try_release()
    store.list("11.0.0.1")
    store.broken = StoreError("store x: the disk is full")
    assert not await publisher.try_release()
    assert publisher.statistics()["error"] == "store x: the disk is full"
    store.broken = None
    assert await publisher.try_release()
    assert listed(tmp_path, "ops") == CidrSet(["11.0.0.1"])
    assert "error" not in publisher.statistics()


async def test_a_log_that_cannot_be_written_keeps_no_output_and_catches_up(tmp_path):
    store = Memory()
    publisher = publisher_of(tmp_path, store)
    await publisher.release()
    store.list("11.0.0.1")
    (tmp_path / "log").rename(tmp_path / "aside")
    (tmp_path / "log").write_text("in the way")
    await publisher.release()
    assert publisher.states["log"].startswith("failed: ")
    assert listed(tmp_path, "ops") == CidrSet(["11.0.0.1"])
    (tmp_path / "log").unlink()
    store.end("11.0.0.1")
    await publisher.release()
    assert [event["kind"] for _, event in publisher.log.read(0, 9)] == ["listed", "delisted"]


async def test_a_crash_before_the_state_is_written_repeats_no_event(tmp_path, monkeypatch):
    store = Memory()
    publisher = publisher_of(tmp_path, store)
    await publisher.release()
    store.list("11.0.0.1")
    monkeypatch.setattr(publisher, "_write_state", lambda *_, **__: trio.lowlevel.checkpoint())
    await publisher.release()
    again = publisher_of(tmp_path, store)
    store.end("11.0.0.1")
    await again.release()
    assert [event["kind"] for _, event in again.log.read(0, 9)] == ["listed", "delisted"]
    assert listed(tmp_path, "ops") == NONE


@pytest.mark.parametrize("left", [None, b"", b'{"generation": 1, "li'])
async def test_a_state_that_was_lost_is_in_the_store_as_well(tmp_path, left):
    """Else a long list would be taken for a new one, and the files emptied until somebody accepts it."""
    store, gate, file = Memory(), "[publish.gate]\ngrowth_floor = 2\n", tmp_path / "publish.json"
    for number in range(9):
        store.list(f"11.{number}.0.1")
    first = publisher_of(tmp_path, store, gate)
    await first.release(accept=True)
    for publisher in (first, publisher_of(tmp_path, store, gate)):
        file.unlink() if left is None else file.write_bytes(left)
        store.end(store.history[len(store.history) - 9].listing.address)
        assert await publisher.release() == {}
        assert listed(tmp_path, "ops") == in_store(store, "ops")
        assert json.loads(file.read_text()) == store.shown["publish.json"][0]
    for number in range(20, 23):
        store.list(f"11.{number}.0.1")
    file.unlink()
    assert list(await publisher_of(tmp_path, store, gate).release()) == ["ops"]
    store.shown.clear()
    file.write_bytes(b"{")
    with pytest.raises(ValueError, match="damaged"):
        await publisher_of(tmp_path, store, gate).release()


async def test_a_new_never_list_takes_effect_at_reload(tmp_path):
    store = Memory()
    store.list("11.0.0.1")
    store.list("11.0.0.2")
    publisher = publisher_of(tmp_path, store)
    await publisher.release()
    publisher.reconfigure(Scope(NONE, CidrSet(["11.0.0.1"]), NONE, NONE))
    await publisher.release()
    assert listed(tmp_path, "ops") == CidrSet(["11.0.0.2"])


# Tells a name for each entry, as `rbldnsd -d` does.
CHECKER = """#!/bin/sh
awk '/^[^!#$].* :127/ {{ print "name\tA\tvalue" }} END {{ {end} }}' "${{2##*:}}"
"""


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ('print "rbldnsd: file x(3): invalid address" > "/dev/stderr"', "invalid address"),
        ('print "\\tA\\tvalue"', "finds 6 names, expected 5"),
        ("exit 3", "exit code 3"),
    ],
)
async def test_a_checker_that_complains_keeps_the_last_good_file(tmp_path, end, said):
    checker = tmp_path / "checker"
    checker.write_text(CHECKER.format(end=""))
    checker.chmod(0o755)
    store = Memory()
    store.list("11.0.0.1")
    settings = settings_of(tmp_path, check=str(checker))
    publisher = Publisher(settings, Scope(NONE, NONE, NONE, NONE), store, outputs_of(settings))
    await publisher.release()
    assert publisher.states["rbldnsd"].startswith("ok")
    good = (tmp_path / "zones" / "ops4.zone").read_bytes()
    checker.write_text(CHECKER.format(end=end))
    store.list("11.0.0.2")
    again = Publisher(settings, Scope(NONE, NONE, NONE, NONE), store, outputs_of(settings))
    await again.release()
    assert said in again.states["rbldnsd"]
    assert (tmp_path / "zones" / "ops4.zone").read_bytes() == good
    assert not [path.name for path in (tmp_path / "zones").iterdir() if path.name.startswith(".")]


async def test_a_file_that_is_refused_keeps_no_other_list_back(tmp_path):
    checker = tmp_path / "checker"
    checker.write_text('#!/bin/sh\ncase "$2" in *ops6*) echo "ops6: no" >&2;; esac\n' + CHECKER.format(end="")[10:])
    checker.chmod(0o755)
    store = Memory()
    store.list("11.0.0.1")
    store.list("12.0.0.1", list_="rss")
    settings = settings_of(tmp_path, check=str(checker))
    publisher = Publisher(settings, Scope(NONE, NONE, NONE, NONE), store, outputs_of(settings))
    await publisher.release()
    assert publisher.states["rbldnsd"].endswith(": ops6: no")
    assert "\n11.0.0.1 " in (tmp_path / "zones" / "ops4.zone").read_text()
    store.end("12.0.0.1", list_="rss")
    publisher._retry.clear()
    await publisher.release()
    assert "12.0.0.1 " not in (tmp_path / "zones" / "rss4.zone").read_text()
    assert not (tmp_path / "zones" / "ops6.zone").exists()

    def gone():
        raise OutputError("rbldnsd was not told")

    publisher.outputs["rbldnsd"]._signal = gone
    store.list("13.0.0.1")
    publisher._retry.clear()
    await publisher.release()
    assert publisher.states["rbldnsd"].endswith("rbldnsd was not told")
    assert ": ops6: no" in publisher.states["rbldnsd"], "one trouble hides no other"


async def test_the_share_of_a_system_is_by_the_file_that_says_whose_networks_are(tmp_path):
    origins, store = tmp_path / "origins", Memory()
    text = f'[publish.gate]\nas_file = "{origins}"\nshare_floor = 4\ndetector_share = 1.0\n'
    publisher = publisher_of(tmp_path, store, text)
    assert not await publisher.try_release()
    assert publisher.error.endswith("origins': No such file or directory")
    origins.write_text("11.0.0.0/8 64500\n11.4.0.0/99 64501\n")
    assert not await publisher.try_release()
    assert "11.4.0.0/99" in publisher.error
    origins.write_text("11.0.0.0/8 64500\n2a00::/16 64501\n")
    for number in range(3):
        store.list(f"11.{number}.0.1")
        store.list(f"2a00:{number}::1")
    (why,) = (await publisher.release())["ops"]
    assert why.startswith("system: 3 of 6 additions are of AS64500, expected at most 30% (publish.gate.network_share)")
    origins.write_text("".join(f"11.{number}.0.0/16 {number}\n2a00:{number}::/32 1{number}\n" for number in range(3)))
    store.end("11.0.0.1")
    assert await publisher_of(tmp_path, store, text).release() == {}


async def test_zone_files_of_proofs_serve_as_long_as_controls_were_good(tmp_path):
    """Renewing them hides nothing: where nobody could prove anything for days, their time runs out."""
    store, now = Memory(), time.time()
    publisher = publisher_of(tmp_path, store)

    def stamps(folder="zones"):
        texts = [(tmp_path / folder / f"{list_}4.zone").read_text() for list_ in LISTS]
        found = [re.search(r"^\$TIMESTAMP (\S+) \+(\d+)h$", text, re.MULTILINE) for text in texts]
        return [datetime.strptime(match[1] + "+0000", "%Y:%m:%d:%H:%M:%S%z").timestamp() + 60 for match in found]

    await publisher.release()
    assert all(abs(stamp - now) < 60 for stamp in stamps())
    store.shown[GOOD_CONTROLS] = ({}, now - 5 * 86400)
    await publisher_of(tmp_path, store).release()
    ops, rss, dul, rbl = stamps()
    assert ops == rss == int(now - 5 * 86400)
    assert stamps("exports")[:2] == [ops, rss]
    assert abs(dul - now) < 60
    assert abs(rbl - now) < 60
    assert "zone files end their service, ops at " in store.shown["publish"][0]["controls"]
    store.shown[GOOD_CONTROLS] = ({}, now)
    await publisher.release()
    assert "controls" not in publisher.statistics()
