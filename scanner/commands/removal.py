"""remove: ask for removal, here or at the server of another Proxywarden, and follow the retest to its end."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import trio
from cyclopts import Parameter

from scanner.commands import Refusal, print_json, say, settings
from scanner.commands import address as parsed
from scanner.commands.display import printable
from scanner.commands.remote import UNKNOWN, Refused, Remote, server
from scanner.commands.storage import HEARTBEAT, NOBODY, alive, opened, person
from scanner.model import RemovalState
from scanner.publish.events import iso

if TYPE_CHECKING:
    from scanner.model import Address
    from scanner.store import Removal, Store

Flag = Annotated[bool, Parameter(negative="")]
_POLL = 0.2  # seconds between looks at the store
_ASK = 1.0  # seconds between questions to a server: a retest takes ten at least
_OUTAGE = 60.0  # seconds without an answer of the server until we give up: it may be starting again
_NO_NEWS = 900.0  # seconds without a step until we give up: its schedule may be full, or it may be lying
_MOST_STEPS = 2000  # an exit takes two or three for each of its entries
_ID = re.compile(r"[0-9a-f]{32}")
_OUTCOMES = {
    RemovalState.DELISTED: 0,
    RemovalState.STILL_OPEN: 1,
    RemovalState.TESTER_BLOCKED: 3,
    RemovalState.INCONCLUSIVE: 3,
}


async def remove(
    address: str,
    /,
    *,
    server: str | None = None,
    email: str | None = None,
    wait: bool = True,
    json: Flag = False,
) -> int:
    """Ask for the removal of a listed address, and follow its retest to the end.

    Exit code: 0 delisted, 1 still open, 3 tester_blocked, inconclusive, no daemon or no answer, 2 refused.

    Parameters
    ----------
    address
        IPv4 or IPv6 address.
    server
        Web address of a Proxywarden to ask, such as https://dnsbl.example.net, instead of the store here.
    email
        Where that server sends word of the outcome.
    wait
        Follow the retest; --no-wait only asks for it.
    json
        One JSON object a line for each step.

    """
    wanted = parsed(address)
    if email is not None and server is None:
        raise Refusal("--email needs --server: it is for who does not wait here")
    if server is not None:
        return await _remove_there(wanted, server, email, wait=wait, as_json=json)
    return await _remove_here(wanted, wait=wait, as_json=json)


class _Steps:
    """Shows each step once, as it comes."""

    def __init__(self, id_: str, address: Address, *, as_json: bool) -> None:
        self._who = {"id": id_, "address": str(address)}
        self._as_json = as_json
        self.count = 0

    def show(self, steps: list[dict[str, str]]) -> bool:
        """steps: all so far. Whether there were new ones."""
        fresh = steps[self.count :]
        self.count = len(steps)
        for step in fresh:
            if self._as_json:
                print_json({**self._who, **step})
            else:
                detail = f": {printable(step['detail'])}" if step["detail"] else ""
                print(f"{step['at']} {step['state']}{detail}", flush=True)
        return bool(fresh)


async def _remove_here(wanted: Address, *, wait: bool, as_json: bool) -> int:
    from scanner.pipeline import removal_rule
    from scanner.store import RemovalRefused

    async with opened() as store:
        try:
            not_before = removal_rule(settings())
            removal = await store.request_removal(wanted, person(), time.time(), not_before=not_before)
        except RemovalRefused as refused:
            raise Refusal(_why_refused(wanted, refused)) from None
        return await _follow_store(store, removal, wait=wait, as_json=as_json)


async def _follow_store(store: Store, removal: Removal, *, wait: bool, as_json: bool) -> int:
    """Print each step as it comes; the exit code of the outcome."""
    steps, told = _Steps(removal.id, removal.address, as_json=as_json), False
    seen_alive = trio.current_time()  # a daemon that is just being started gets its time
    with _waiting() as waiting:
        while True:
            steps.show(
                [{"at": str(iso(step.at)), "state": str(step.state), "detail": step.detail} for step in removal.steps]
            )
            if removal.state.final:
                return _OUTCOMES[removal.state]
            if not wait:
                return 0
            waiting(str(removal.state))
            if alive(await store.status()):
                seen_alive = trio.current_time()
            elif not told:
                told = True
                say(NOBODY.format("the retest starts"))
            elif trio.current_time() - seen_alive > HEARTBEAT:
                raise Refusal(f"still no daemon: the request is kept, and {removal.address} stays listed until then", 3)
            await trio.sleep(_POLL)
            latest = await store.removal(removal.id)
            if latest is None:
                raise Refusal(f"request {removal.id} is not in the store any more", 3)
            removal = latest


async def _remove_there(wanted: Address, url: str, email: str | None, *, wait: bool, as_json: bool) -> int:
    content = {"address": str(wanted)} | ({} if email is None else {"email": email})
    async with server(url) as remote:
        asked = await remote.ask("POST", "/api/v1/removals", content)
        id_ = asked.get("id")
        if not isinstance(id_, str) or not _ID.fullmatch(id_):
            raise remote.stranger()
        steps = _Steps(id_, wanted, as_json=as_json)
        if not wait:
            state, where = remote.text(asked.get("state")), remote.text(asked.get("status_url"))
            steps.show([{"at": str(iso(time.time())), "state": state, "detail": where}])
            return 0
        return await _follow_server(remote, id_, steps)


async def _follow_server(remote: Remote, id_: str, steps: _Steps) -> int:
    """The same by asking again and again, for as long as there are answers and steps."""
    heard = news = trio.current_time()
    where = f"{remote.base}/removal/{id_}"
    with _waiting() as waiting:
        while True:
            now = trio.current_time()
            try:
                found, state = _understood(remote, await remote.ask("GET", f"/api/v1/removals/{id_}"))
            except Refused as refused:
                if not refused.passing or now - heard > _OUTAGE:
                    raise Refusal(f"{refused}; the request is kept: {where}", UNKNOWN) from None
                waiting("no answer just now")
            else:
                heard = trio.current_time()
                if steps.show(found):
                    news = heard
                if state.final:
                    return _OUTCOMES[state]
                waiting(str(state))
            if now - news > _NO_NEWS:
                raise Refusal(f"no news for {_NO_NEWS / 60:.0f} minutes; the request is kept: {where}", UNKNOWN)
            await trio.sleep(_ASK)


def _understood(remote: Remote, answer: dict[str, Any]) -> tuple[list[dict[str, str]], RemovalState]:
    """The steps and the state that a server tells of."""
    steps = answer.get("steps")
    if not isinstance(steps, list) or len(steps) > _MOST_STEPS or not all(isinstance(step, dict) for step in steps):
        raise remote.stranger()
    try:
        state = RemovalState(str(answer.get("state")))
    except ValueError:
        raise remote.stranger() from None
    return [{key: remote.text(step.get(key)) for key in ("at", "state", "detail")} for step in steps], state


@contextmanager
def _waiting() -> Iterator[Callable[[str], None]]:
    """Tells what is being waited for and for how long, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    line = Progress(
        *(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else what goes into a file would be shown above the line instead
    )
    with line:
        task = line.add_task("asking", total=None)
        yield lambda text: line.update(task, description=text)


def _why_refused(address: Address, refused: Exception) -> str:
    from scanner.store import RemovalRefused

    assert isinstance(refused, RemovalRefused)
    if refused.reason == "running":
        where = f"{settings().web.public_url.rstrip('/')}/removal/{refused.running}"
        return f"a removal request for {address} is running already: {where}"
    if refused.reason == "too_soon":
        return f"the last removal request for {address} was just now: come back at {iso(refused.not_before)} or later"
    if refused.reason == "relisted":
        moment = iso(refused.not_before)
        return f"{address} was listed again too often within a year: its retest can be asked for at {moment} or later"
    if refused.reason == "excluded":
        return f"{address} is opted out of being probed: `proxywarden optout remove` first, then it can be retested"
    return (
        f"{address} is not listed by a probe, so there is nothing to retest:"
        " `proxywarden lookup` shows what is listed, `proxywarden listing withdraw` ends it by hand"
    )
