"""The controls: what they notice, who waits for them, and that strangers get nothing out of them."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest
import structlog
import trio

from scanner import controls as module
from scanner import known
from scanner.controls import Controls
from scanner.model import Endpoint, Evidence, Identity, Kind, Reason, Target, Vantage, Visit
from scanner.probe import Prober
from scanner.remote import RemoteControl
from scanner.secret import newest, open_secret
from tests.scanner.live import CANARY, canary, forbid, peer, relay, until

LISTEN = ("127.82.0.26", 0)
MAIN = ("here", "main")


@pytest.fixture(autouse=True)
def _quickly():
    with structlog.testing.capture_logs():
        yield


async def good_from_now(controls, ways):
    return await controls.good_since(controls.mark() + 1, ways)


@asynccontextmanager
async def controlling(*canaries, vantages=("here",), interval=30.0, timeout=10.0, **more):
    keys = {one.target.id: newest(open_secret(one.secret).canary_keys(one.target.id)) for one in canaries}
    prober = Prober(Identity("test", "http://test/"), keys, reraise=True)
    controls = Controls(
        prober,
        [Vantage(name) for name in vantages],
        [one.target for one in canaries],
        listen=LISTEN,
        interval=interval,
        timeout=timeout,
        **more,
    )
    controls.prober = prober
    async with trio.open_nursery() as nursery:
        await nursery.start(controls.run)
        yield controls
        nursery.cancel_scope.cancel()


async def test_where_all_works_a_round_is_good_and_learns_our_own_address(tmp_path, nursery):
    one = canary(tmp_path)
    await one.work(nursery)
    async with controlling(one) as controls:
        assert controls.latest.problems == {MAIN: ""}
        assert controls.trouble() == ""
        assert await good_from_now(controls, [MAIN])
        assert (controls.rounds, controls.bad_rounds) == (2, 0)
        assert controls.prober.egress == {ip_address("127.0.0.1")}


async def test_a_dead_canary_makes_the_round_bad_until_it_works_again(tmp_path, nursery):
    one = canary(tmp_path)
    await one.work(nursery)
    async with controlling(one) as controls:
        await one.kill()
        assert not await good_from_now(controls, [MAIN])
        assert "does not answer" in controls.trouble()
        assert "refused" in controls.trouble()
        await one.work(nursery)
        assert await good_from_now(controls, [MAIN])
        assert controls.trouble() == ""


async def test_what_was_bad_in_between_was_not_good_all_the_time(tmp_path, nursery):
    one = canary(tmp_path)
    await one.work(nursery)
    async with controlling(one) as controls:
        before = controls.mark()
        assert await controls.good_since(before, [MAIN])
        await one.kill()
        assert not await controls.good_since(before, [MAIN])
        during = controls.mark()
        await one.work(nursery)
        assert await good_from_now(controls, [MAIN])
        assert not await controls.good_since(before, [MAIN])
        assert not await controls.good_since(during, [MAIN]), "who begins after a bad round begins on a bad way"
        assert await controls.good_since(controls.mark(), [MAIN])


async def test_a_canary_that_takes_connections_and_is_silent_is_bad(tmp_path, nursery):
    one = canary(tmp_path)
    await one.hang(nursery)
    async with controlling(one, timeout=0.5) as controls:
        assert controls.latest.problems[MAIN].endswith("(silent)") or "pretends" in controls.latest.problems[MAIN]
        assert controls.trouble()


async def test_a_canary_with_another_key_is_bad(tmp_path, nursery):
    one = canary(tmp_path)
    await one.work(nursery, wrong_key=True)
    async with controlling(one) as controls:
        assert "does not answer" in controls.trouble()


@pytest.mark.parametrize("face", ["tcp", "mail", "http"])
async def test_one_dead_face_of_a_canary_makes_it_bad(face, tmp_path, nursery):
    one = canary(tmp_path)
    told = one.target
    one.target = replace(told, **{face: None})
    await one.work(nursery)
    one.target = told
    async with controlling(one) as controls:
        assert f"as {face} (refused)" in controls.latest.problems[MAIN]


async def test_a_dead_control_proxy_makes_the_round_bad(tmp_path, nursery, monkeypatch):
    one = canary(tmp_path)
    await one.work(nursery)

    async def dead(stream, *, allowed):
        await stream.aclose()

    monkeypatch.setattr(known, "answer", dead)
    async with controlling(one) as controls:
        assert "known-open control gives hung_up" in controls.trouble()


async def test_a_control_that_relays_although_it_must_not_makes_the_round_bad(tmp_path, nursery, monkeypatch):
    one = canary(tmp_path)
    await one.work(nursery)
    answer, to = known.answer, frozenset([(str(CANARY), one.target.tcp)])

    async def always(stream, *, allowed):
        await answer(stream, to)

    monkeypatch.setattr(known, "answer", always)
    async with controlling(one) as controls:
        assert "known-closed control gives relayed" in controls.trouble()


class Names(dict[str, str], trio.abc.HostnameResolver):
    """What this machine's resolver knows."""

    async def getaddrinfo(self, host, port, *_, **__):
        name = host.decode()
        if name not in self:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (self[name], port))]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def test_a_canary_whose_name_leads_elsewhere_or_nowhere_is_bad(tmp_path, nursery):
    names = Names({"canary.test": str(CANARY)})
    trio.socket.set_custom_hostname_resolver(names)
    one = canary(tmp_path)
    await one.work(nursery)
    one.target = replace(one.target, name="canary.test")
    async with controlling(one) as controls:
        assert controls.trouble() == ""
        del names["canary.test"]
        assert not await good_from_now(controls, [MAIN])
        assert controls.trouble() == "canary main: its name canary.test does not lead to it from here (hung_up)"
        names["canary.test"] = "127.82.0.99"
        assert not await good_from_now(controls, [MAIN])
        names["canary.test"] = str(CANARY)
        assert await good_from_now(controls, [MAIN])
    del names["canary.test"]
    async with controlling(one, names=False) as controls:
        assert controls.trouble() == ""


def remote(at, open_):
    return RemoteControl(ip_address(at.address), Endpoint("http-connect", at.ports[0]), open_)


async def test_remote_controls_belong_to_every_round(tmp_path, nursery):
    one = canary(tmp_path)
    await one.work(nursery)
    what = [relay]

    async def talk(stream):
        await what[0](stream)

    open_, closed = await peer(nursery, "127.82.2.1", relay), await peer(nursery, "127.82.2.2", forbid)
    changes = await peer(nursery, "127.82.2.3", talk)
    remotes = [remote(open_, True), remote(changes, True), remote(closed, False)]
    async with controlling(one, remotes=remotes) as controls:
        assert controls.trouble() == ""
        assert min(open_.total, closed.total) > 0
        what[0] = forbid
        assert not await good_from_now(controls, [MAIN])
        assert controls.trouble() == (
            f"known-open remote control 127.82.2.3 http-connect:{changes.ports[0]} gives denied"
        )
        what[0] = relay
        assert await good_from_now(controls, [MAIN])


async def test_of_two_canaries_the_dead_one_is_bad_alone(tmp_path, nursery):
    one = canary(tmp_path)
    two = canary(tmp_path, CANARY + 5, "second")
    await one.work(nursery)
    async with controlling(one, two, vantages=("here", "there")) as controls:
        assert {way: bool(problem) for way, problem in controls.latest.problems.items()} == {
            ("here", "main"): False,
            ("there", "main"): False,
            ("here", "second"): True,
            ("there", "second"): True,
        }
        assert controls.trouble() == ""  # something can be shown
        assert await good_from_now(controls, [("there", "main")])
        assert not await good_from_now(controls, [("here", "main"), ("here", "second")])


async def test_a_way_that_was_bad_is_looked_at_again_soon_though_nobody_asks(tmp_path, nursery, monkeypatch):
    monkeypatch.setattr(module, "_TROUBLED", 0.1)
    one, two = canary(tmp_path), canary(tmp_path, CANARY + 5, "second")
    await one.work(nursery)
    async with controlling(one, two) as controls:
        assert controls.latest.problems["here", "second"]
        await two.work(nursery)

        async def works():
            return not controls.latest.problems["here", "second"]

        await until(works)


async def test_a_way_that_is_no_control_is_never_good(tmp_path, nursery):
    one = canary(tmp_path)
    await one.work(nursery)
    async with controlling(one) as controls:
        assert not await good_from_now(controls, [("here", "gone")])


async def test_only_a_round_that_begins_after_the_question_answers_it(tmp_path, nursery, monkeypatch):
    one = canary(tmp_path)
    await one.work(nursery)
    gate, entered, answers = trio.Event(), trio.Event(), []
    look = Controls._look

    async def slow(self, *arguments):
        if self.rounds:
            entered.set()
            await gate.wait()
        return await look(self, *arguments)

    monkeypatch.setattr(Controls, "_look", slow)
    async with controlling(one) as controls:

        async def ask():
            answers.append((await good_from_now(controls, [MAIN]), controls.rounds))

        nursery.start_soon(ask)
        await entered.wait()
        nursery.start_soon(ask)  # while the second round is under way: that one is not good enough
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
        while len(answers) < 2:
            await trio.sleep(0.01)
    assert answers == [(True, 2), (True, 3)]


async def test_without_anybody_who_waits_there_is_a_round_each_interval(tmp_path, nursery, monkeypatch):
    one = canary(tmp_path)
    await one.work(nursery)
    began, ended, look = [], [], Controls._look

    async def noted(self, *arguments):
        began.append(trio.current_time())
        problem = await look(self, *arguments)
        ended.append(trio.current_time())
        return problem

    monkeypatch.setattr(Controls, "_look", noted)
    async with controlling(one, interval=0.05) as controls:

        async def several():
            return controls.rounds >= 4

        await until(several)
    pauses = [later - earlier for earlier, later in zip(ended[1:], began[2:], strict=False)]
    assert min(pauses) >= 0.2, "whatever interval is asked for"


async def test_what_a_visit_depends_on_is_what_it_aimed_at(tmp_path, nursery):
    one, two = canary(tmp_path), canary(tmp_path, CANARY + 5, "second")
    await one.work(nursery)
    async with controlling(one, two) as controls:
        target = Target(CANARY, Reason.OPERATOR, 0.0)
        visit = Visit("ab" * 16, target, (), (Vantage("here"),))
        refused = Evidence(Endpoint("socks5", 1), Kind.REFUSED, vantage="here")
        assert controls.ways_of(visit, [refused]) == {MAIN}
        aim = module.ways(two.target, module.PROTOCOLS["socks5"])[0]
        denied = replace(refused, kind=Kind.DENIED, aim=aim)
        assert controls.ways_of(visit, [refused, denied]) == {("here", "second")}
        elsewhere = replace(refused, vantage="there")
        ways = controls.ways_of(visit, [denied, elsewhere])
        assert ways == {("here", "second"), ("there", "main")}, "a closed port says nothing where the path is bad"
