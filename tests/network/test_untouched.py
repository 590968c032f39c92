"""Never-scan and opt-out, held at the packet level: a capture where the packets would arrive shows none."""

from __future__ import annotations

import json
import signal
import time
import urllib.request

import pytest

from tests.network.capture import Capture
from tests.network.internet import target, target6
from tests.network.product import until
from tests.network.relays import Relay, serving

pytestmark = pytest.mark.timeout(300)

TOUCHED = target(1)  # shows that the capture sees what comes
NEVER, NEVER6 = target(80), target6(80)
OUT, OPTED_OUT, OPTED_OUT6 = "198.51.100.84/30", target(84), target6(84)
LATER_NEVER, LATER_OUT = target(82), target(85)  # listed first
YIELDS = target(86)  # opted out, and somebody brings a sample
LISTED = (LATER_NEVER, LATER_OUT)
OPTED = (OPTED_OUT, OPTED_OUT6, LATER_OUT)
UNTOUCHED = (NEVER, NEVER6, OPTED_OUT, OPTED_OUT6, *LISTED)


@pytest.fixture(scope="module")
def daemon(net, product):
    """All of them are open proxies: whoever is asked is found. Two are listed before they are out of bounds."""
    with serving(net.targets, *map(Relay, (TOUCHED, YIELDS, *UNTOUCHED))):
        never = product.folder / "never.txt"
        never.write_text(f"{NEVER}\n{NEVER6}\n")
        daemon = product.daemon()
        daemon.nominate(*LISTED)
        until(lambda: all(map(daemon.events, LISTED)), "they were not listed")
        never.write_text(f"{NEVER}\n{NEVER6}\n{LATER_NEVER}\n")
        daemon.process.send_signal(signal.SIGHUP)
        for network in (OUT, OPTED_OUT6):
            product.command("optout", "add", network, "--reason", "asked us to", code=0)
        until(lambda: "configuration reloaded" in daemon.log(), "the configuration is not reloaded")
        yield daemon
        daemon.stop()


def test_no_packet_leaves_whatever_is_asked(net, product, daemon):
    with Capture(net.targets) as capture:
        for address in (NEVER, OPTED_OUT):
            assert "not touched" in product.command("check", address, code=2).stderr
        answers = product.check([TOUCHED, *UNTOUCHED])
        assert {answers[str(address)]["verdict"] for address in UNTOUCHED} == {"never_scan"}
        assert answers[str(TOUCHED)]["verdict"] == "open"
        # By the operator and by a stranger. To a sample an opt-out yields, and a never-scan list does not.
        product.command("nominate", "--sample", product.folder / "spam.eml", NEVER, NEVER6, LATER_NEVER)
        product.command("nominate", *UNTOUCHED)
        for address in UNTOUCHED:
            sample = {} if address in OPTED else {"sample": "Received: from there"}
            assert _post(net, "nominations", {"address": str(address)} | sample) == 422
        # Owners ask for removal, and the time of the rescans has come.
        asked = {address: _post(net, "removals", {"address": str(address)}) for address in UNTOUCHED}
        daemon.time_passes(*UNTOUCHED)
        daemon.nominate(TOUCHED)
        until(lambda: daemon.states(TOUCHED), "the daemon does not go on")
        until(lambda: not _due(daemon), "what is due is not looked at")
        time.sleep(1)
    assert {asked[address] for address in LISTED} <= {409, 422}
    assert {asked[address] for address in UNTOUCHED if address not in LISTED} == {404}
    assert len(capture.sizes[TOUCHED]) > 10
    assert {address: len(capture.sizes[address]) for address in UNTOUCHED} == dict.fromkeys(UNTOUCHED, 0)
    for address in LISTED:
        assert [event["kind"] for event in daemon.events(address)] == ["listed"]


def _due(daemon):
    chosen = ", ".join(f"'{address}'" for address in LISTED)
    return daemon.rows(f"SELECT 1 FROM targets WHERE due <= 1 AND address IN ({chosen})")


def test_an_opt_out_yields_to_one_visit_for_a_sample(net, daemon):
    before = len(daemon.states(TOUCHED))
    with Capture(net.targets) as capture:
        daemon.nominate(YIELDS)
        until(lambda: daemon.events(YIELDS), "the visit that the opt-out yields to lists it")
        once = 0
        while once < len(capture.sizes[YIELDS]):  # its last packets
            once = len(capture.sizes[YIELDS])
            time.sleep(1)
        assert once > 10
        daemon.time_passes(YIELDS)
        daemon.nominate(TOUCHED)
        until(lambda: len(daemon.states(TOUCHED)) > before, "the daemon does not go on")
    assert daemon.states(YIELDS)[0] == "open"
    assert set(daemon.states(YIELDS)[1:]) <= {"never_scan"}
    assert len(capture.sizes[YIELDS]) == once


def _post(net, call, body):
    """As a stranger; the status."""
    at = f"http://127.0.0.1:8025/api/v1/{call}"
    request = urllib.request.Request(at, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def ask():
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    return net.scanner.do(ask)
