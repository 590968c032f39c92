"""Appeals against the outcome of a removal request: which are taken, and where an operator's answer leads. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from scanner.model import Address, RemovalState

TEXT_LIMIT = 1000  # characters of an appeal, and of an answer


class AppealState(StrEnum):
    """Where an appeal stands; the last three are its ends."""

    OPEN = "open"  # waits for an operator
    RETESTING = "retesting"  # an operator has it retested once more
    REMOVED = "removed"  # nothing is listed any more: by a retest, or by itself
    WITHDRAWN = "withdrawn"  # an operator ended the listing
    DECLINED = "declined"

    @property
    def final(self) -> bool:
        return self not in (AppealState.OPEN, AppealState.RETESTING)


class Answer(StrEnum):
    """What an operator can do about it."""

    RETEST = "retest"
    WITHDRAW = "withdraw"
    DECLINE = "decline"


@dataclass(frozen=True, slots=True)
class AppealStep:
    """by: the operator's name, empty where nobody's word was needed. detail: for the requester to read."""

    at: float
    state: AppealState
    by: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Appeal:
    """removal: the request whose outcome it is against. retest: the request that an operator made, if any."""

    id: str  # 32 hex digits
    removal: str
    address: Address
    requester: str
    at: float
    text: str
    state: AppealState
    retest: str | None
    steps: tuple[AppealStep, ...]


def refused(outcome: RemovalState, *, listed: bool, appealed: bool, another: bool) -> str | None:
    """Why an appeal is not taken, None where it is: running, not_listed, appealed (already), or open (another is)."""
    if not outcome.final:
        return "running"
    if appealed:
        return "appealed"
    if outcome is RemovalState.DELISTED or not listed:
        return "not_listed"
    return "open" if another else None


def answered(state: AppealState, answer: Answer, text: str) -> AppealState:
    """Where an operator's answer leads. ValueError says why it can't be given."""
    if state.final:
        raise ValueError(f"is answered already: {state}")
    if len(text) > TEXT_LIMIT:
        raise ValueError(f"an answer has at most {TEXT_LIMIT} characters")
    if answer is Answer.RETEST:
        if state is AppealState.RETESTING:
            raise ValueError("is being retested already")
        return AppealState.RETESTING
    if not text.strip():
        raise ValueError("needs a reason that the requester can read")
    return AppealState.WITHDRAWN if answer is Answer.WITHDRAW else AppealState.DECLINED


def retested(state: AppealState, outcome: RemovalState, *, listed: bool) -> AppealState:
    """After a retest's outcome: what still stands needs an operator's word again."""
    if state is not AppealState.RETESTING or not outcome.final:
        return state
    return AppealState.OPEN if listed else AppealState.REMOVED


def unlisted(state: AppealState) -> AppealState:
    """After the last listing that it is about ended."""
    return state if state.final else AppealState.REMOVED
