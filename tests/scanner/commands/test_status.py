"""status: is a daemon at work, and on what?"""

import json
import time

BROKEN = {"main via main": "broken\x1b[31m"}


def beaten(given, age, *, running=True, problems=BROKEN, latest=1_800_000_000.0):
    async def work(store):
        value = {
            "running": running,
            "pid": 4711,
            "started": 1_800_000_000.0,
            "controls": {"latest": latest, "problems": problems},
            "last_error": "",
        }
        await store.set_status("daemon", value, time.time() - age)
        await store.set_status("feed", {"lines": 5}, 1_800_000_000.0)

    given(work)


def test_a_daemon_at_work(proxywarden, given):
    beaten(given, 1)
    ended = proxywarden("status")
    assert (ended.code, ended.err) == (0, "")
    assert ended.lines[0].startswith("the daemon is running, last seen 20")
    for words in (["pid", "4711"], ["started", "2027-01-15T08:00:00Z"], ["last_error", "-"], ["feed.lines", "5"]):
        assert words in [line.split() for line in ended.lines]
    assert "\x1b" not in ended.out


def test_whether_the_controls_are_good_is_said_first(proxywarden, given):
    bad = "controls: bad, so nothing that is found changes a list: main via main: broken"
    for known, words in (
        ({}, bad),
        ({"problems": {}}, "controls: good"),
        ({"latest": None, "problems": {}}, "controls: not asked yet"),
    ):
        beaten(given, 1, **known)
        assert proxywarden("status").lines[1].startswith(words)


def test_json(proxywarden, given):
    beaten(given, 1)
    (line,) = proxywarden("status", "--json").lines
    answer = json.loads(line)
    assert answer["running"] is True
    assert answer["daemon"]["controls"]["latest"] == "2027-01-15T08:00:00Z"
    assert answer["figures"]["listings"] == 0
    assert answer["other"]["feed"] == {"lines": 5, "at": "2027-01-15T08:00:00Z"}


def test_a_daemon_that_is_gone(proxywarden, given):
    for age, running in ((11, True), (1, False)):
        beaten(given, age, running=running)
        ended = proxywarden("status")
        assert ended.code == 0
        assert ended.lines[0].startswith("no daemon is running: the last sign of one is of 20")
        assert json.loads(proxywarden("status", "--json").out)["running"] is False


def test_never_a_daemon(proxywarden, given):
    given(lambda store: store.figures(0))
    assert proxywarden("status").lines[0] == "no daemon is running, nor has one ever run on this store"


def test_no_store(proxywarden, home):
    ended = proxywarden("status")
    assert (ended.code, ended.out) == (2, "")
    assert ended.said == [
        f"proxywarden: store {home}/data/proxywarden.sqlite: not there yet;"
        " `proxywarden run` makes it, or `proxywarden db upgrade`"
    ]
