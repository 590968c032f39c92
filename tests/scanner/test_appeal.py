from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.appeal import TEXT_LIMIT, Answer, AppealState, answered, refused, retested, unlisted
from scanner.model import RemovalState

FINAL = [state for state in RemovalState if state.final]


@pytest.mark.parametrize("outcome", [RemovalState.STILL_OPEN, RemovalState.TESTER_BLOCKED, RemovalState.INCONCLUSIVE])
def test_what_left_it_listed_can_be_appealed_against(outcome: RemovalState) -> None:
    assert refused(outcome, listed=True, appealed=False, another=False) is None
    assert refused(outcome, listed=True, appealed=True, another=True) == "appealed"
    assert refused(outcome, listed=True, appealed=False, another=True) == "open"
    assert refused(outcome, listed=False, appealed=False, another=False) == "not_listed"


def test_what_runs_or_was_granted_can_not() -> None:
    for state in RemovalState:
        if not state.final:
            assert refused(state, listed=True, appealed=False, another=False) == "running"
    assert refused(RemovalState.DELISTED, listed=True, appealed=False, another=False) == "not_listed"


@given(st.sampled_from(AppealState), st.sampled_from(Answer), st.text(max_size=TEXT_LIMIT + 5))
def test_an_answer_moves_on_or_says_why_not(state: AppealState, answer: Answer, text: str) -> None:
    silent = answer is not Answer.RETEST and not text.strip()
    twice = answer is Answer.RETEST and state is AppealState.RETESTING
    if state.final or silent or twice or len(text) > TEXT_LIMIT:
        with pytest.raises(ValueError, match=r"\w"):
            answered(state, answer, text)
    else:
        assert answered(state, answer, text).final is (answer is not Answer.RETEST)


@given(st.lists(st.sampled_from([*FINAL, *Answer]), max_size=8), st.booleans())
def test_an_end_is_an_end(happenings: list[RemovalState | Answer], listed: bool) -> None:
    state, ended = AppealState.OPEN, None
    for happens in happenings:
        if isinstance(happens, Answer):
            try:
                state = answered(state, happens, "reason")
            except ValueError:
                continue
        else:
            state = retested(state, happens, listed=listed)
        assert ended in (None, state)
        ended = state if state.final else None
        assert unlisted(state).final


def test_a_retest_that_leaves_it_listed_asks_the_operator_again() -> None:
    assert retested(AppealState.RETESTING, RemovalState.STILL_OPEN, listed=True) is AppealState.OPEN
    assert retested(AppealState.RETESTING, RemovalState.DELISTED, listed=False) is AppealState.REMOVED
    assert retested(AppealState.RETESTING, RemovalState.CONFIRMING, listed=True) is AppealState.RETESTING
    assert retested(AppealState.OPEN, RemovalState.STILL_OPEN, listed=True) is AppealState.OPEN
