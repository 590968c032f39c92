"""The daemon on real packets: what it lists, under which entry and exit, in IPv4 and IPv6."""

from __future__ import annotations

import signal
import time

import pytest

from tests.network.internet import CANARY, CANARY6, MAIN, far, target, target6
from tests.network.product import until
from tests.network.relays import Relay, serving

pytestmark = pytest.mark.timeout(300)

HOP = far(20)
ROTATING = tuple(target(number) for number in (106, 107, 108))  # one for each face of the canary, and again
RELAYS = {
    target6(2): Relay(target6(2), (target(2),)),
    target(3): Relay(target(3), (target6(3),)),
    target6(4): Relay(target6(4)),
    target(5): Relay(target(5), (target(105),)),
    target(6): Relay(target(6), ROTATING),
    target(7): Relay(target(7), hop=HOP),
    target(20): Relay(target(20)),
    target(21): Relay(target(21), refuses=frozenset({CANARY, CANARY6})),
}
EXITS = {  # as they are listed: IPv6 by its /64
    target6(2): {"198.51.100.2"},
    target(3): {"2001:db8:2::/64"},
    target(5): {"198.51.100.105"},
    target(6): set(map(str, ROTATING)),
    target(7): {"203.0.113.20"},
}
UNLISTED = [target(51), target6(51), target(52)]  # dropped, dropped, nobody
APART = 1.0  # seconds between the two conversations that an exit needs


@pytest.fixture(scope="module")
def daemon(net, product):
    """All nominated, and all that was found visited once more, later."""
    product.configure(connect_timeout=1.5)
    hook = "type filter hook forward priority 0"
    drops = [
        f"ip daddr {target(51)} drop",
        f"ip6 daddr {target6(51)} drop",
        f"ip saddr {MAIN} ip daddr {target(20)} drop",
    ]
    servers = serving(net.targets, *RELAYS.values()), serving(net.far, Relay(HOP))
    with servers[0], servers[1], net.rules("\n".join(["chain forward {", hook, *drops, "}"])):
        made = product.daemon()
        made.nominate(*RELAYS, *UNLISTED)
        until(lambda: all(map(made.events, RELAYS)), "not all were listed")
        until(lambda: all(map(made.states, UNLISTED)), "not all were visited")
        made.before = made.events()
        # Not from the start, or one slow visit would have two conversations so far apart.
        product.configure(more=f"[lists.ops]\nexit_interval_minutes = {APART / 60}\n", connect_timeout=1.5)
        made.process.send_signal(signal.SIGHUP)
        until(lambda: "configuration reloaded" in made.log(), "the configuration is not reloaded")
        time.sleep(APART)
        made.time_passes(*RELAYS)
        until(lambda: all(len(made.events(address)) > 1 for address in RELAYS), "not all were confirmed")
        until(lambda: len(_exits(made.events())) >= len(EXITS), "not all exits were listed")
        yield made
        made.stop()
    product.command("db", "verify", code=0)


def _exits(events):
    return {event["entry"] for event in events if event["type"] == "exit"}


@pytest.mark.parametrize("entry", RELAYS, ids=str)
def test_an_entry_is_listed_at_once_and_says_its_exits(entry, daemon):
    first = next(event for event in daemon.before if event["address"] == str(entry))
    assert (first["kind"], first["list"], first["type"]) == ("listed", "ops", "entry")
    assert set(first["exits"]) <= EXITS.get(entry, {str(entry)})
    assert first["exits"]
    if entry == target(6):
        assert len(first["exits"]) > 1, "each conversation came out elsewhere"


@pytest.mark.parametrize("entry", EXITS, ids=str)
def test_an_exit_is_listed_after_two_conversations_apart(entry, daemon):
    assert _exits(daemon.before) == set()
    of_entry = [event for event in daemon.events() if event["type"] == "exit" and event["entry"] == str(entry)]
    assert {event["address"] for event in of_entry} <= EXITS[entry]
    assert {event["kind"] for event in of_entry} == {"listed"}


def test_what_shows_nothing_is_not_listed(daemon):
    assert [daemon.states(address)[-1] for address in UNLISTED] == ["filtered", "filtered", "closed"]
    assert not any(map(daemon.events, UNLISTED))


@pytest.mark.parametrize("address", [target(20), target(21)], ids=["first vantage", "first canary"])
def test_who_hides_from_one_of_ours_is_listed_all_the_same(address, daemon):
    assert daemon.states(address)[0] == "tester_blocked"
    assert [event["kind"] for event in daemon.events(address)] == ["listed", "confirmed"]
