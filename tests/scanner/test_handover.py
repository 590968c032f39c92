"""The seal: only this canary, this body, now; and the daemon's word that it took it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.handover import SKEW, seal, taken, unseal
from scanner.proof import CanaryKey, Forged

OLD, NEW = (CanaryKey.from_master(b"m" * 32, "second", number) for number in (1, 2))
OTHER = CanaryKey.from_master(b"m" * 32, "main")
KEYS = {"second": {1: OLD, 2: NEW}, "main": {1: OTHER}}
BODY, AT = b"one\ntwo\n", 1_800_000_000.0


@pytest.mark.parametrize("key", [OLD, NEW, OTHER])
def test_every_good_key_seals(key: CanaryKey) -> None:
    assert unseal(KEYS, seal(key, BODY, AT), BODY, AT + SKEW - 1) == key


@pytest.mark.parametrize(
    ("sealed", "body", "at", "why"),
    [
        (seal(NEW, BODY, AT), b"one\ntwo", AT, "mac"),
        (seal(NEW, BODY, AT).replace("second", "main"), BODY, AT, "mac"),
        (seal(NEW, BODY, AT).replace("second 2", "second 1"), BODY, AT, "mac"),
        (seal(NEW, BODY, AT).replace("second 2", "second 3"), BODY, AT, "mac"),
        (seal(NEW, BODY, AT).replace("1800000000", "1800000001"), BODY, AT, "mac"),
        (seal(CanaryKey.from_master(b"x" * 32, "second"), BODY, AT), BODY, AT, "mac"),
        (seal(NEW, BODY, AT).replace("second", "third"), BODY, AT, "mac"),
        (seal(NEW, BODY, AT), BODY, AT + SKEW + 1, "clock"),
        (seal(NEW, BODY, AT), BODY, AT - SKEW - 1, "clock"),
        (seal(NEW, BODY, AT) + " ", BODY, AT, "header"),
        ("", BODY, AT, "header"),
    ],
)
def test_nothing_else_is_one(sealed: str, body: bytes, at: float, why: str) -> None:
    with pytest.raises(Forged, match=f"^{why}$"):
        unseal(KEYS, sealed, body, at)


@given(st.text(max_size=200), st.binary(max_size=50))
def test_no_garbage_is_one(sealed: str, body: bytes) -> None:
    with pytest.raises(Forged):
        unseal(KEYS, sealed, body, AT)


def test_what_was_taken_is_said_of_this_body_and_these_lines() -> None:
    said = {taken(key, body, lines) for key in (OLD, NEW) for body in (BODY, b"") for lines in ([], [1], [1, 2], [12])}
    assert len(said) == 16
    assert taken(NEW, BODY, []) not in seal(NEW, BODY, AT)
