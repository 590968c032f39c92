"""appeals show, retest, withdraw, decline: the operator's queue, without a browser."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from scanner.appeal import Answer
from scanner.commands import Refusal, print_json, say
from scanner.commands.display import columns, printable, wrapped
from scanner.publish.events import iso

if TYPE_CHECKING:
    from scanner.appeal import Appeal

Flag = Annotated[bool, Parameter(negative="")]


async def show(appeal: str | None = None, /, *, over: Flag = False, json: Flag = False) -> int:
    """Show the appeals that wait for an answer, the oldest first, or one of them with all its steps.

    Parameters
    ----------
    appeal
        The id of one.
    over
        Those that are over, the latest first.
    json
        One JSON object a line for each appeal.

    """
    from scanner.commands.storage import opened

    async with opened() as store:
        if appeal is None:
            found = await store.appeals.list(waiting=not over)
        else:
            found = [_known(await store.appeals.find(appeal), appeal)]
    if json:
        for item in found:
            print_json(_as_json(item))
    elif appeal is not None:
        print("\n".join(_lines(found[0])))
    elif found:
        rows = [("ID", "ADDRESS", "SINCE", "STATE")]
        rows += [(item.id, str(item.address), str(iso(item.at)), str(item.state)) for item in found]
        print("\n".join(columns(rows)))
    else:
        say("no appeal is over" if over else "no appeal waits")
    return 0


async def retest(appeal: str, /, *, note: str = "") -> int:
    """Have the address retested once more, past all limits. What is closed is delisted; else the appeal comes back.

    Parameters
    ----------
    appeal
        Its id, as `appeals show` prints it.
    note
        For the requester to read.

    """
    return await _answer(appeal, Answer.RETEST, note)


async def withdraw(appeal: str, /, *, reason: str) -> int:
    """End the listings that it is about.

    Parameters
    ----------
    appeal
        Its id, as `appeals show` prints it.
    reason
        For everybody to read.

    """
    return await _answer(appeal, Answer.WITHDRAW, reason)


async def decline(appeal: str, /, *, reason: str) -> int:
    """Leave the listing as it is.

    Parameters
    ----------
    appeal
        Its id, as `appeals show` prints it.
    reason
        For the requester to read.

    """
    return await _answer(appeal, Answer.DECLINE, reason)


async def _answer(id_: str, answer: Answer, text: str) -> int:
    from scanner.commands.storage import opened, person

    by = person().removeprefix("operator:")
    async with opened() as store:
        try:
            done = _known(await store.appeals.answer(id_, answer, text.strip(), by, time.time()), id_)
        except ValueError as error:
            raise Refusal(f"the appeal {error}") from None
    print(f"{done.address}: {done.state}" + (f", as removal request {done.retest}" if answer is Answer.RETEST else ""))
    return 0


def _known(found: Appeal | None, id_: str) -> Appeal:
    if found is None:
        raise Refusal(f"{printable(id_[:80])!r}: no such appeal: `proxywarden appeals show` lists them")
    return found


def _as_json(appeal: Appeal) -> dict[str, Any]:
    return {
        "id": appeal.id,
        "address": str(appeal.address),
        "removal": appeal.removal,
        "requester": appeal.requester,
        "at": iso(appeal.at),
        "text": appeal.text,
        "state": str(appeal.state),
        "retest": appeal.retest,
        "steps": [
            {"at": iso(step.at), "state": str(step.state), "by": step.by, "detail": step.detail}
            for step in appeal.steps
        ],
    }


def _lines(appeal: Appeal) -> list[str]:
    lines = [f"appeal {appeal.id} about {appeal.address}, by {printable(appeal.requester)}: {appeal.state}"]
    lines.append(f"  against removal request {appeal.removal}")
    for part in appeal.text.splitlines():
        lines += wrapped(printable(part), "  | ")
    for step in appeal.steps:
        said = ": ".join(filter(None, (step.by, " ".join(step.detail.split()))))
        lines.append(f"  {iso(step.at)}  {step.state}" + (f", {printable(said)}" if said else ""))
    return lines
