import tempfile
from pathlib import Path

import pytest

from tests.network.internet import internet
from tests.peers.fleet import fleet, relays

__all__ = ["fleet", "relays"]


@pytest.fixture
def net():
    """An internet of the test's own."""
    with internet() as made:
        yield made


@pytest.fixture
def folder():
    """Which nobody can read. Not pytest's: who else runs it takes away what others may read there."""
    with tempfile.TemporaryDirectory(prefix="peers-") as made:
        Path(made).chmod(0o755)
        yield Path(made)
