"""The player's assertions explain themselves, as the tests' own do."""

import pytest

pytest.register_assert_rewrite("tests.protocols.player")
