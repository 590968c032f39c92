"""demo: the whole of it on this machine alone, to watch."""

from __future__ import annotations

import resource
import sys
import time
from typing import Annotated

import trio
from cyclopts import Parameter
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scanner.commands import Refusal
from scanner.lab.demo import Failed, Story, Watcher
from scanner.lab.demo import demo as run_demo
from scanner.lab.internet import LabError
from scanner.model import RemovalState, VisitRecord

_LATEST = 12  # findings on the screen
_STYLES = {
    RemovalState.DELISTED: "green",
    RemovalState.STILL_OPEN: "red",
    RemovalState.CONFIRMING: "cyan",
    RemovalState.RETESTING: "yellow",
}


async def demo(
    *,
    hosts: int = 2000,
    seed: int = 1,
    exit_: Annotated[bool, Parameter(name="--exit", negative="")] = False,
) -> int:
    """Start a simulated network and the daemon on an empty store, and watch what it finds.

    Nothing leaves this machine. Exit code: 0 when what was found is what the simulated network says is there.

    Parameters
    ----------
    hosts
        How many hosts the simulated network has.
    seed
        The same seed gives the same network.
    exit_
        End when the first round and the removals are done, instead of serving on until Ctrl-C.

    """
    if not 10 <= hosts <= 20_000:
        raise Refusal(f"--hosts {hosts}: expected a number from 10 to 20000")
    console = Console(stderr=True)
    watch = _live(console) if console.is_terminal else _lines
    try:
        story = await run_demo(hosts, seed, stay=not exit_, watch=watch)
    except* Failed as group:
        raise Refusal(str(group.exceptions[0]), 1) from None
    except* LabError as group:
        raise Refusal(str(group.exceptions[0])) from None
    return _summary(story)


def _summary(story: Story) -> int:
    """What was found against what is there; 0 where they agree."""
    expected = sum(story.expected.values())
    delisted = [removal for removal in story.removals if removal.state is RemovalState.DELISTED]
    took = sorted(removal.steps[-1].at - removal.at for removal in delisted)
    seconds = story.first_round or 0.0
    usage = resource.getrusage(resource.RUSAGE_SELF)
    micros = usage.ru_utime + usage.ru_stime
    for line in (
        f"found {len(story.found)}, expected {expected}, false positives {len(story.false_positives)}, "
        f"false negatives {len(story.false_negatives)}",
        f"first round: {story.hosts:,} hosts in {seconds:.1f} s, {story.conversations:,} conversations, "
        f"{story.proofs:,} proofs",
        f"{len(story.found - story.relays):,} open proxies, {len(story.found & story.relays):,} open mail relays",
        f"delisted {len(delisted)} repaired hosts, {took[-1] if took else 0:.1f} s at the longest from "
        f"request to delisting; {len(story.removals) - len(delisted)} still open stay listed",
        f"{1e6 * micros / max(1, story.endpoints):.0f} µs of CPU for each of {story.endpoints:,} endpoints, "
        f"{usage.ru_maxrss / 1024:.0f} MiB at most",
    ):
        print(line, flush=True)
    for name, addresses in (("positive", story.false_positives), ("negative", story.false_negatives)):
        for address in sorted(addresses):
            print(f"false {name}: {address}", flush=True)
    return 1 if story.false_positives or story.false_negatives else 0


async def _lines(story: Story) -> None:
    """For a log: a line whenever there is something to say, at most one a second."""
    before = ""
    while True:
        line = _line(story)
        if line != before:
            print(line, file=sys.stderr, flush=True)
            before = line
        await trio.sleep(1)


def _line(story: Story) -> str:
    if story.stage == "removals":
        done = sum(removal.state.final for removal in story.removals)
        return f"{story.stage}: {done} of {len(story.removals)} done"
    return f"{story.stage}: visited {len(story.visited):,} of {story.hosts:,}, listed {len(story.listed):,}"


def _live(console: Console) -> Watcher:
    async def watch(story: Story) -> None:
        with Live(console=console, auto_refresh=False, transient=False) as live:
            try:
                while True:
                    live.update(_screen(story), refresh=True)
                    await trio.sleep(0.1)
            finally:
                live.update(_screen(story), refresh=True)

    return watch


def _screen(story: Story) -> Panel:
    parts: list[Table | Text] = [_head(story), _findings(story)]
    if story.removals:
        parts.append(_removal_table(story))
    if story.stage == "done":
        parts.append(Text("lookup and status: http://127.0.0.1:8025/   Ctrl-C ends", style="bold"))
    return Panel(Group(*parts), title="Proxywarden: simulated network on 127.0.0.0/8", border_style="blue")


def _head(story: Story) -> Table:
    seconds = story.first_round or time.monotonic() - story.started
    grid = Table.grid(padding=(0, 2), expand=True)
    states: dict[str, int] = {}
    for state in story.visited.values():
        states[state] = states.get(state, 0) + 1
    counts = "  ".join(f"{state} {count:,}" for state, count in sorted(states.items()))
    grid.add_row(
        ProgressBar(total=story.hosts, completed=len(story.visited), width=30),
        f"{len(story.visited):,} of {story.hosts:,} hosts",
        f"{seconds:.0f} s",
        Text(f"{len(story.listed):,} listed", style="bold red"),
        f"{story.proofs:,} proofs",
        Text(counts, style="dim"),
    )
    return grid


def _findings(story: Story) -> Table:
    table = Table(expand=True, box=None, header_style="dim")
    for name in ("address", "it is", "proven", "exit", "reaches", "took"):
        table.add_column(name, no_wrap=True)
    for record in story.findings[-_LATEST:]:
        table.add_row(*_row(story, record))
    return table


def _row(story: Story, record: VisitRecord) -> tuple[str | Text, ...]:
    address, verdict = record.visit.address, record.verdict
    report = next(report for report in verdict.endpoints if report.exit is not None)
    foreign = report.exit != address
    return (
        Text(str(address), style="bold red"),
        Text(story.names[str(address)], style="dim"),
        str(report.endpoint),
        Text(str(report.exit), style="magenta" if foreign else ""),
        ", ".join(report.capabilities or ()),
        f"{record.ended - record.started:.1f} s",
    )


def _removal_table(story: Story) -> Table:
    table = Table(expand=True, box=None, header_style="dim")
    for name in ("removal asked for", "state", "", "after"):
        table.add_column(name, no_wrap=True)
    for removal in story.removals:
        step = removal.steps[-1]
        table.add_row(
            str(removal.address),
            Text(str(removal.state), style=_STYLES.get(removal.state, "")),
            step.detail,
            f"{step.at - removal.at:.1f} s",
        )
    return table
