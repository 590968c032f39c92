"""status: the daemon at a glance."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from scanner.commands import print_json
from scanner.commands.display import printable
from scanner.publish.events import iso

_MOMENTS = {"started", "latest", "at"}  # keys of the heartbeat that hold seconds since the epoch


async def status(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Show the daemon at a glance: schedule, controls, canary, publishers, last errors, and the lists in figures.

    Parameters
    ----------
    json
        One JSON object.

    """
    from scanner.commands.storage import alive, opened
    from scanner.publish.publisher import STATE

    now = time.time()
    async with opened() as store:
        known = await store.status()
        figures = await store.figures(now)
        path = store.path
    value, at = known.get("daemon", ({}, None))
    answer = {
        "running": alive(known, now),
        "last_seen": iso(at),
        "store": str(path),
        "daemon": _readable(value),
        "figures": figures,
        "other": {
            name: _readable(item) | {"at": iso(then)}
            for name, (item, then) in known.items()
            if name not in ("daemon", STATE)
        },
    }
    if json:
        print_json(answer)
    else:
        print("\n".join(_lines(answer)))
    return 0


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    seen = answer["last_seen"]
    if answer["running"]:
        yield f"the daemon is running, last seen {seen}"
    elif seen is None:
        yield "no daemon is running, nor has one ever run on this store"
    else:
        yield f"no daemon is running: the last sign of one is of {seen}"
    if answer["running"]:
        yield _controls(answer["daemon"].get("controls", {}))
    yield f"store {answer['store']}"
    for heading in ("daemon", "figures", "other"):
        rows = [(name, text) for name, text in _flat(answer[heading]) if name != "running"]
        if rows:
            width = max(len(name) for name, _ in rows)
            yield heading if heading != "daemon" or answer["running"] else "daemon, when it was last seen"
            yield from (f"  {name.ljust(width)}  {text}" for name, text in rows)


def _controls(seen: Mapping[str, Any]) -> str:
    if not seen.get("latest"):
        return "controls: not asked yet, so nothing that is found changes a list"
    wrong = [f"{way}: {text}" for way, text in seen.get("problems", {}).items()]
    if wrong:
        return printable(f"controls: bad, so nothing that is found changes a list: {'; '.join(wrong)}")
    return "controls: good"


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            yield printable(above + name), "-" if value in (None, "", []) else printable(text)


def _readable(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same with moments as people read them."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found[name] = _readable(value)
        elif name in _MOMENTS and isinstance(value, int | float):
            found[name] = iso(value)
        else:
            found[name] = value
    return found
