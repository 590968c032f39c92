"""Somebody on our own path who answers for others: never proof, and nothing that he shows changes a list."""

from __future__ import annotations

import pytest

from tests.network.interceptor import intercepting
from tests.network.internet import CANARY, ROUTER, far, target
from tests.network.product import NAME, until
from tests.network.relays import PORT, Relay, serving

pytestmark = pytest.mark.timeout(300)

NOBODY = [target(90), target(91)]  # nothing listens there
CLOSED, OPEN = far(40), far(41)  # remote controls
EVERYWHERE = ("198.51.100.0/24", "203.0.113.0/24")
REMOTE = f"""
[controls]
interval = 1000.0
timeout = 10.0
remote = [
  {{address = "{CLOSED}", port = {PORT}, protocol = "socks5", expect = "closed"}},
  {{address = "{OPEN}", port = {PORT}, protocol = "socks5", expect = "open"}},
]
"""


@pytest.fixture(scope="module", autouse=True)
def servers(net):
    proxies = [Relay(target(number)) for number in (1, 2, 3)]
    with serving(net.targets, *proxies, Relay(target(4), denies=True)), serving(net.far, Relay(OPEN)):
        yield


def test_one_that_dials_from_our_own_address_is_intercepted(net, product):
    product.configure(only_second=True)
    with intercepting(net, EVERYWHERE[0], as_client=True) as someone:
        answers = product.check([*NOBODY, target(1)])
    assert someone.taken > 0
    for answer in answers.values():
        assert (answer["verdict"], answer["exits"]) == ("closed", [])
        assert {item["evidence"] for item in answer["endpoints"]} == {"intercepted"}
        assert "192.0.2." in answer["endpoints"][0]["detail"]


def test_one_that_dials_from_his_own_is_shown_by_a_remote_control(net, product):
    with intercepting(net, *EVERYWHERE):
        product.configure()
        alone = product.check(NOBODY[:1])[str(NOBODY[0])]
        # Without remote controls there is no telling: the reason for them.
        assert (alone["verdict"], alone["exits"]) == ("open", [str(ROUTER)])
        product.configure(more=REMOTE)
        answers = product.check([*NOBODY, target(1)])
    for answer in answers.values():
        assert (answer["verdict"], answer["exits"], answer["endpoints"]) == ("inconclusive", [], [])
        assert answer["why"] == f"known-closed remote control {CLOSED} socks5:{PORT} gives relayed"


@pytest.fixture(scope="module")
def daemon(product):
    product.configure(more=REMOTE)
    made = product.daemon()
    made.nominate(LISTED)
    until(lambda: made.events(LISTED), "the open proxy was not listed")
    yield made
    made.stop()
    product.command("db", "verify", code=0)


LISTED = target(1)
RELAYS = f"known-closed remote control {CLOSED} socks5:{PORT} gives relayed"
DENIES = f"known-open remote control {OPEN} socks5:{PORT} gives denied"


@pytest.mark.parametrize(
    ("denies", "later", "closed", "gives"),
    [
        (False, target(2), (target(4), target(92), target(93)), RELAYS),
        (True, target(3), (target(94), target(95), target(96)), DENIES),
    ],
    ids=["relays", "denies"],
)
def test_one_that_appears_while_the_daemon_works_changes_no_list(denies, later, closed, gives, net, product, daemon):
    """He relays for all, which would list them, or denies all, which would delist them; and then he goes again."""
    until(lambda: _rests(daemon), "the daemon does not come to rest")  # or a round would notice him before any visit
    touched, before = (later, *closed), daemon.events()
    with intercepting(net, *EVERYWHERE, denies=denies) as someone:
        daemon.nominate(*touched)
        if denies:
            product.command("remove", LISTED, "--no-wait", code=0)
        until(lambda: any(map(daemon.states, touched)), "nobody is visited")
        problems = until(lambda: daemon.status()["controls"]["problems"], "the controls do not notice him")
        assert set(problems.values()) == {gives}
        assert someone.taken > 0
        rounds = daemon.status()["controls"]["rounds"]
        until(lambda: daemon.status()["controls"]["rounds"] > rounds, "no further rounds")
        # Void: those that were under way when he appeared. The others wait.
        assert {state for address in touched for state in daemon.states(address)} == {"inconclusive"}
        assert daemon.events() == before
    until(lambda: not daemon.status()["controls"]["problems"], "the controls do not notice that he is gone")
    until(lambda: daemon.time_passes(*touched) or daemon.events(later), "what is open is listed once he is gone")
    for address in closed:
        until(lambda its=address: daemon.time_passes(its) or daemon.states(its)[-1:] == ["closed"], "it ends as closed")
        assert daemon.events(address) == []
    if denies:
        until(lambda: not daemon.rows("SELECT 1 FROM removals WHERE running"), "the removal request ends")
        assert daemon.rows("SELECT state FROM removals") == [("still_open",)]
    assert {event["kind"] for event in daemon.events(LISTED)} <= {"listed", "confirmed"}


def _rests(daemon):
    """Nothing between two heartbeats, and nothing that the second one says is under way."""
    done, at = until(daemon.idle, "the daemon does not come to rest")
    later, _ = until(lambda: (found := daemon.idle()) and found[1] > at and found, "the daemon does not come to rest")
    return done == later


def test_a_canary_name_that_stops_resolving_is_noticed(product, daemon):
    def problems():
        return daemon.status()["controls"]["problems"]

    assert problems() == {}
    product.resolve({})
    daemon.nominate(target(97))  # who depends on a round gets one
    until(lambda: problems().keys() >= {"main via main", "second via main"}, "nobody notices")
    found = problems()
    assert set(found) == {"main via main", "second via main"}
    for why in found.values():
        assert why.startswith(f"canary main: its name {NAME} does not lead to it from here")
    product.resolve({NAME: CANARY})
    until(lambda: not problems(), "nobody notices that it resolves again")
