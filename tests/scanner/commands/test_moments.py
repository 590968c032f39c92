"""Moments as a command line gives them."""

import pytest

from scanner.commands import Refusal
from scanner.commands.moments import moment


def test_moments_as_people_give_them():
    now = 1_800_000_000.0
    assert moment("90m", now) == now - 5400
    assert moment("2026-11-22T10:00:00Z", now) == moment("2026-11-22T11:00:00+01:00", now) == 1795341600.0
    assert moment("2026-11-22", now) == 1795305600.0
    for text in ("999999w", "0001-01-01T00:00:00+14:00", "1969-12-31"):
        assert moment(text, now) == 0


@pytest.mark.parametrize("text", ["", "yesterday", "5", "5y", "-3d", "2026-13-01", "2099-01-01"])
def test_what_is_no_moment_that_is_over_is_said(text):
    with pytest.raises(Refusal, match="expected"):
        moment(text, 1_800_000_000.0)
