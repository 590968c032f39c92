"""The one place that signs: what it saw, for our challenges alone."""

from __future__ import annotations

import pytest

from scanner.canary.caller import Stranger
from scanner.model import Face
from scanner.proof import Forged, Proof
from tests.scanner.canary.calls import CHALLENGE, FORGED, KEY, TOKEN, caller, sighting


@pytest.mark.parametrize("face", Face)
def test_it_signs_what_it_saw(face: Face) -> None:
    visitor = caller(face)
    answer = visitor.answer(b"..." + TOKEN + b"...", "c.example")
    assert Proof(KEY, CHALLENGE, TOKEN, answer).sighting == sighting(face, "c.example")
    assert visitor.answered


@pytest.mark.parametrize(
    ("line", "error"), [(b"", Stranger), (TOKEN[4:], Stranger), (FORGED, Forged), (TOKEN[:-1], Forged)]
)
def test_it_signs_for_nobody_else(line: bytes, error: type[Exception]) -> None:
    visitor = caller(Face.TCP)
    with pytest.raises(error):
        visitor.answer(line)
    assert not visitor.answered
