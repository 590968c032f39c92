"""What the tests of the sweep share."""

import pytest

import core.sweep
from tests.core.driving import connections, descriptors
from tests.core.loopback import Loopback
from tests.oracle import sweep as oracle


@pytest.fixture(params=[core.sweep.Sweep, oracle.Sweep], ids=["core", "twin"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def loopback():
    peers = Loopback()
    yield peers
    peers.close()


@pytest.fixture
def no_descriptor_stays(loopback):
    loopback.forget()
    before = descriptors()
    yield
    loopback.forget()  # and it closes nothing while its descriptors are looked at
    left = set(descriptors().values()) - set(before.values())
    assert not [what for what in left if "eventfd" in what or "eventpoll" in what]
    assert connections(loopback.open) == []
