"""nominate, beside a daemon that is played here."""

import json
import resource
import sys
import time
from functools import partial

import pytest
import trio

from scanner.commands import requests
from scanner.model import Reason
from scanner.store import open_store
from tests.scanner.commands.conftest import ROOT

NOBODY = "no daemon is running"
COMMAND = (sys.executable, "-m", "scanner")


def nominated(given):
    found = given(lambda store: store.nominations())
    return {str(item.address): item for item in found}


async def beat(store):
    await store.set_status("daemon", {"running": True}, time.time())


def test_addresses_are_taken(proxywarden, given):
    ended = proxywarden("nominate", "8.8.8.1", "2600::1", "--comment", "seen in our logs")
    assert ended.code == 0
    assert [line.split()[:2] for line in ended.lines] == [["8.8.8.1", "scheduled,"], ["2600::1", "scheduled,"]]
    assert ended.said[0] == "2 nominated"
    found = nominated(given)
    assert set(found) == {"8.8.8.1", "2600::1"}
    assert found["8.8.8.1"].comment == "seen in our logs"
    assert found["8.8.8.1"].trusted
    assert found["8.8.8.1"].submitter.startswith("operator:")
    (first, second) = given(lambda store: store.lease("me", time.time() + 1, 60, 10))
    assert {first.target.reason, second.target.reason} == {Reason.NOMINATION}


def test_json(proxywarden):
    ended = proxywarden("nominate", "8.8.8.1", "--json")
    (found,) = map(json.loads, ended.lines)
    assert found.keys() == {"id", "address", "state", "due"}
    assert (found["address"], found["state"]) == ("8.8.8.1", "scheduled")


def test_a_bad_address_does_not_lose_the_good_ones(proxywarden, given):
    ended = proxywarden("nominate", "8.8.8.1", "x", "10.0.0.1", "198.41.0.4", "8.8.8.2")
    assert ended.code == 2
    assert ended.said[:3] == [
        "proxywarden: 'x' is not an IPv4 or IPv6 address",
        "proxywarden: 10.0.0.1 is special-use (private use, RFC 1918): it is never visited",
        "proxywarden: 198.41.0.4 is in the never-scan set: it is never visited",
    ]
    assert "2 nominated, 3 not" in ended.said
    assert set(nominated(given)) == {"8.8.8.1", "8.8.8.2"}


def test_a_laboratory_is_excepted(proxywarden, home):
    with (home / "proxywarden.toml").open("a") as file:
        file.write('[scope]\nallow = ["127.0.0.0/8"]\n')
    assert proxywarden("nominate", "127.1.0.7").code == 0


def test_a_file(proxywarden, home, given):
    file = home / "list"
    file.write_bytes(b'8.8.8.1\nrubbish\n{"address": "8.8.8.2", "sample": "spam", "comment": "own"}\n\xff\n8.8.8.3\n')
    ended = proxywarden("nominate", "--file", file, "--comment", "all")
    assert ended.code == 2
    assert ended.out == ""
    assert [line.rpartition(" ")[0][: len(f"proxywarden: {file}:2:")] for line in ended.said[:2]] == [
        f"proxywarden: {file}:2:",
        f"proxywarden: {file}:4:",
    ]
    assert ended.said[2] == "3 nominated, 2 not"
    found = nominated(given)
    assert found["8.8.8.2"].sample == b"spam"
    assert [found[f"8.8.8.{n}"].comment for n in (1, 2, 3)] == ["all", "own", "all"]


def test_a_sample_is_kept(proxywarden, home, given):
    (home / "spam").write_bytes(b"From: x\r\n\r\n\xff\x00")
    assert proxywarden("nominate", "8.8.8.1", "--sample", home / "spam").code == 0
    assert nominated(given)["8.8.8.1"].sample == b"From: x\r\n\r\n\xff\x00"


def test_an_optout_yields_to_a_sample_alone(proxywarden, home, given):
    assert proxywarden("optout", "add", "8.8.8.0/24", "--reason", "asked by mail").code == 0
    ended = proxywarden("nominate", "8.8.8.1")
    assert ended.code == 2
    assert ended.said[0] == "proxywarden: 8.8.8.1 is opted out (asked by mail): expected a sample of the abuse"
    (home / "spam").write_bytes(b"spam")
    assert proxywarden("nominate", "8.8.8.1", "--sample", home / "spam").code == 0
    assert set(nominated(given)) == {"8.8.8.1"}


def test_many_bad_lines_are_counted(proxywarden, home):
    (home / "list").write_text("bad\n" * (requests._TOLD + 5))
    ended = proxywarden("nominate", "--file", home / "list")
    assert len(ended.said) == requests._TOLD + 2
    assert ended.said[-2] == "proxywarden: … and 5 more that are not told one by one"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "nothing to nominate: expected ADDRESS or --file FILE"),
        (("--file", "-", "--sample", "-"), "--file and --sample can't both be stdin"),
        (("8.8.8.1", "-"), "-: expected alone, as --file -"),
        (("8.8.8.1", "--samples", "x"), "unknown option '--samples'"),
        (("--file", "/nowhere"), "--file /nowhere: No such file or directory"),
        (("--file", "/"), "--file /: Is a directory"),
        (("8.8.8.1", "--sample", "/nowhere"), "--sample /nowhere: No such file or directory"),
        (("8.8.8.1", "--sample", "/dev/null"), "--sample /dev/null: it is empty"),
        (("8.8.8.1", "--sample", "/dev/zero"), "--sample /dev/zero: longer than 1048576 bytes"),
        (("8.8.8.1", "--comment", "x" * 1001), "--comment: expected at most 1000 characters"),
    ],
)
def test_nominate_said_wrongly(proxywarden, arguments, expected):
    ended = proxywarden("nominate", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.said[0].startswith(f"proxywarden: {expected}")


def test_who_waits_for_a_daemon_is_told(proxywarden, given):
    assert NOBODY in proxywarden("nominate", "8.8.8.1").err
    given(beat)
    assert NOBODY not in proxywarden("nominate", "8.8.8.1").err


def test_stdin(process, given):
    ended = process("nominate", "--file", "-", stdin=b"8.8.8.1\nbad\n8.8.8.2")
    assert (ended.code, ended.out) == (2, "")
    assert ended.said[:2] == [
        "proxywarden: stdin:2: 'bad' is not an IPv4 or IPv6 address",
        "2 nominated, 1 not",
    ]
    assert process("nominate", "-", stdin=b"8.8.8.4\n").code == 0
    assert process("nominate", "8.8.8.3", "--sample", "-", stdin=b"spam").code == 0
    found = nominated(given)
    assert set(found) == {"8.8.8.1", "8.8.8.2", "8.8.8.3", "8.8.8.4"}
    assert found["8.8.8.3"].sample == b"spam"


async def test_a_pipe_is_taken_as_it_comes(home, url):
    """What was said is accepted before the pipe ends."""
    (home / "data").mkdir()
    with trio.fail_after(60):
        async with open_store(url) as store, trio.open_nursery() as nursery:
            process = await nursery.start(
                partial(
                    trio.run_process,
                    [*COMMAND, "nominate", "--file", "-"],
                    cwd=ROOT,
                    stdin=-1,
                    stderr=-3,
                )
            )
            await process.stdin.send_all(b"8.8.8.1\n8.8.8.2")
            while not await store.nominations():
                await trio.sleep(0.05)
            await process.stdin.aclose()
        async with open_store(url) as store:
            assert len(await store.nominations()) == 2


def test_a_large_file_of_rubbish_takes_little_memory(home, process):
    file = home / "rubbish"
    with file.open("wb") as stream:
        for number in range(20):
            stream.write(b"\x80rubbish\n" * 25_000 + b"8.8.8.%d\n" % number)
        stream.write(b"x" * 60_000_000)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert process("nominate", "8.8.8.1").code == 0
    plain = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    ended = process("nominate", "--file", file)
    assert ended.code == 2
    assert "20 nominated, 500001 not" in ended.said
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < max(before, plain) + 40_000  # KiB
