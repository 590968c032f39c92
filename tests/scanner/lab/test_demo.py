"""The demo's story, small: what was found is what is there, and who repaired is delisted."""

import json
from ipaddress import IPv4Network

import pytest
import trio

from scanner.lab.demo import Story, demo, demo_settings
from scanner.model import RemovalState


async def _nobody_watches(story: Story) -> None:
    await trio.sleep(0)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_it_finds_what_is_there_and_delists_what_was_repaired():
    story = await demo(110, 3, stay=False, watch=_nobody_watches, prefix=IPv4Network("127.83.0.0/16"))
    assert story.stage == "done"
    assert len(story.visited) == story.hosts == 110
    assert (story.false_positives, story.false_negatives) == (set(), set())
    assert story.proofs >= len(story.found) > 5
    assert len(story.found & story.relays) >= 6
    assert any(r.state is RemovalState.DELISTED and str(r.address) in story.relays for r in story.removals)
    states = [removal.state for removal in story.removals]
    assert states.count(RemovalState.DELISTED) >= 5
    assert set(states) <= {RemovalState.DELISTED, RemovalState.STILL_OPEN, RemovalState.TESTER_BLOCKED}
    took = [removal.steps[-1].at - removal.at for removal in story.removals]
    assert max(took) < 60  # the promise to owners


def test_its_settings_stay_on_this_machine(tmp_path):
    settings = demo_settings(tmp_path)
    assert settings.scope.allow == ("127.0.0.0/8",)
    places = (*settings.canary.listen, *settings.canary.mail_listen, *settings.canary.http_listen)
    assert all(place.startswith("127.") for place in places)
    assert all(target.address.is_loopback for target in settings.canary.targets)
    assert settings.relays  # mail servers are asked, too
    json.dumps(settings.model_dump(mode="json"))
