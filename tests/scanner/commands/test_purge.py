"""purge, as users run it."""

import json
import time

from core.cidr import CidrSet
from scanner.model import EventKind


def test_purge_withdraws_what_one_detector_listed(proxywarden, configured, holding, given):
    holding(["198.51.100.1", "198.51.100.2"])
    holding(["198.51.100.3"], "http-get/1")
    assert proxywarden("publish").code == 0
    dry = json.loads(proxywarden("purge", "--detector", "socks5", "--since", "1h", "--dry-run", "--json").out)
    assert (dry["matching"], dry["withdrawn"]) == (2, 0)
    ended = proxywarden("purge", "--detector", "socks5/1", "--since", "1h")
    assert ended.code == 0
    assert "We have withdrawn all 2" in ended.out
    assert proxywarden("publish").code == 0
    assert "198.51.100.3" in proxywarden("export", "plain").out
    assert CidrSet(["198.51.100.3"]) == CidrSet(
        [line for line in proxywarden("export", "plain").lines if line[0] != "#"]
    )

    async def last(store):
        return [(event.kind, event.reason) for event in await store.events()][-2:], await store.verify()

    assert given(last) == ([(EventKind.WITHDRAWN, "purge")] * 2, [])


def test_purge_leaves_what_is_older(proxywarden, configured, holding):
    holding(["198.51.100.1"])
    time.sleep(1.1)
    assert json.loads(proxywarden("purge", "--detector", "socks5", "--since", "1s", "--json").out)["withdrawn"] == 0


def test_purge_names_the_detectors_that_there_are(proxywarden, configured, holding):
    holding(["198.51.100.1"])
    holding(["198.51.100.3"], "http-get/1")
    ended = proxywarden("purge", "--detector", "sock5", "--since", "1h")
    assert ended.said[-2:] == [
        "no listing is of 'sock5': there are http-get/1, socks5/1",
        "0 listings were withdrawn",
    ]
    assert "there are" not in proxywarden("purge", "--detector", "socks5/1", "--since", "0s").err
