"""The command line: names, where each command lives, and what an error becomes. Parsing only; commands/ do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from scanner.commands import Refusal, config_file, drop, say
from scanner.version import __version__

USAGE, INTERNAL, INTERRUPTED = 2, 70, 130  # sysexits.h calls 70 EX_SOFTWARE

app = App(
    name="proxywarden",
    version=__version__,
    help="Finds open proxies and open relays, proves each one, and runs the blocklist that says so.",
    help_format="plaintext",
)
# Each is imported when it is called: `check` needs neither the web nor the migrations.
_COMMANDS = {
    "check": ("scanner.commands.check:check", "Probe addresses now, without a daemon."),
    "run": ("scanner.commands.run:run", "Run the daemon."),
    "lookup": ("scanner.commands.lookup:lookup", "Say whether an address is listed, and why."),
    "visits": ("scanner.commands.lookup:visits", "Say what was ever sent to an address, when and why."),
    "status": ("scanner.commands.status:status", "Show the daemon at a glance."),
    "nominate": ("scanner.commands.requests:nominate", "Say that addresses send abuse: they are looked at."),
    "remove": ("scanner.commands.removal:remove", "Ask for removal, and follow the retest to its end."),
    "publish": ("scanner.commands.publish:publish", "Write every configured output once, through the gate."),
    "export": ("scanner.commands.export:export", "Write one export to standard output."),
    "purge": ("scanner.commands.purge:purge", "Withdraw all that a misfiring detector listed."),
    "shutdown-plan": ("scanner.commands.shutdown:shutdown_plan", "Print the steps of a graceful end of a list."),
    "canary": ("scanner.commands.canary:canary", "Run a canary of its own, in another network."),
    "lab": ("scanner.commands.lab:lab", "Run a simulated network on this machine."),
    "demo": ("scanner.commands.demo:demo", "Watch the daemon at work on a simulated network."),
}
_GROUPS = {
    "listing": (
        "The operator's own hand on the lists.",
        "scanner.commands.listing",
        ("add", "withdraw", "show"),
    ),
    "optout": (
        "Addresses whose holders do not want to be probed.",
        "scanner.commands.optout",
        ("add", "remove", "show"),
    ),
    "appeals": (
        "What people say against the outcome of a removal request, and the operator's answers.",
        "scanner.commands.appeals",
        ("show", "retest", "withdraw", "decline"),
    ),
    "operator": (
        "Who may sign in to the operator's pages, and whose nominations are trusted.",
        "scanner.commands.operator",
        ("add", "remove", "show"),
    ),
    "log": ("The sealed log of what was published.", "scanner.commands.log", ("verify",)),
    "config": ("Validate and show the configuration.", "scanner.commands.config", ("check", "show")),
    "db": ("Migrations, verification, retention.", "scanner.commands.db", ("upgrade", "verify", "purge")),
}
for _name, (_place, _help) in _COMMANDS.items():
    app.command(_place, name=_name, help=_help)
for _name, (_help, _module, _verbs) in _GROUPS.items():
    _group = App(name=_name, help=_help)
    for _verb in _verbs:
        _group.command(f"{_module}:{_verb}", name=_verb)
    app.command(_group)


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="configuration file, else $PROXYWARDEN_CONFIG")] = None,
) -> Any:
    config_file.set(config)
    return app(tokens, backend="trio", exit_on_error=False, print_error=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command `proxywarden`: never returns."""
    _open_closed_streams()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; its exit code. Bad input is one line on stderr and 2, a bug 70, never 1."""
    try:
        _explain(next((word for word in arguments if word in _COMMANDS or word in _GROUPS), ""))
        result = app.meta(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # or what can't be written would be told by the interpreter, with an exit code of its own
        return result if isinstance(result, int) else 0
    except CycloptsError as error:
        return _say(" ".join(str(error).split()), USAGE)
    except SystemExit as ended:
        if ended.code != 1:
            raise  # Cyclopts's, for an interrupt
        return 0  # rich's, which prints the help: its reader went away
    except BaseException as error:  # noqa: BLE001 - the last resort: exit 70 with a traceback
        return _failed(error)


def _open_closed_streams() -> None:
    """A standard stream that was closed when we began leads nowhere: else a file opened next could take its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # For writing, standard input as well: who reads it shall be told that it was closed.
            os.dup2(nowhere := os.open(os.devnull, os.O_WRONLY), number)
            if nowhere != number:
                os.close(nowhere)
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 - for as long as we run


def _explain(name: str) -> None:
    """Gives a command its docstring, which has the exit codes, and a group the lines of its commands.

    Only to the one that is called: the list of all would import every one of them.
    """
    if name in _COMMANDS:
        app[name].help = None
    for verb in _GROUPS[name][2] if name in _GROUPS else ():
        app[name][verb]


def _failed(error: BaseException) -> int:
    """One line for what an operator or the system did wrongly, a traceback for a bug."""
    from scanner.commands import full, translated

    leaves = _leaves(error)
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return INTERRUPTED
    if all(isinstance(leaf, BrokenPipeError) for leaf in leaves):
        drop(1)  # its reader went away, as `| head` does
        return 0
    if any(map(full, leaves)):
        drop(1)
    refusals = [leaf if isinstance(leaf, Refusal) else translated(leaf) for leaf in leaves]
    if all(refusals) and refusals[0] is not None:
        return _say(str(refusals[0]), refusals[0].code)
    import traceback

    say("".join(traceback.format_exception(error)).rstrip())
    return _say("internal error: please report the lines above", INTERNAL)


def _leaves(error: BaseException) -> list[BaseException]:
    """What ended a nursery, without the groups around it."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]


def _say(text: str, code: int) -> int:
    for line in text.splitlines():
        say(f"proxywarden: {line}")
    return code
