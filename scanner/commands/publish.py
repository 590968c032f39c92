"""publish: every configured output once, through the gate."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from cyclopts import Parameter

from scanner.commands import Refusal, config_file, print_json, say, settings

_SHOWN, _TOLD = 20, 1000  # of the entries that are held, to people and to programs


async def publish(
    *, accept: Annotated[bool, Parameter(negative="")] = False, json: Annotated[bool, Parameter(negative="")] = False
) -> int:
    """Bring every configured output up to date once, through the gate.

    Exit code: 0 published, 1 the gate holds additions back or an output failed; the lines on stderr say why.

    Parameters
    ----------
    accept
        You looked at what the gate holds back, and it is right. What is too wide or on the hard never-list stays out.
    json
        One JSON object: what each output says, and what is held, by list; `waiting` names up to a thousand entries.

    """
    from scanner.commands.storage import opened
    from scanner.fetch import FetchError
    from scanner.publish.outputs import outputs_of
    from scanner.publish.publisher import Publisher
    from scanner.publish.webhooks import Webhook
    from scanner.scope import load_scope

    config = settings()
    file = config_file.get()
    scope = load_scope(config, file.parent if file else None)
    async with opened() as store:
        publisher = Publisher(config, scope, store, outputs_of(config))
        try:
            held = await publisher.release(accept=accept)
        except (OSError, ValueError) as error:
            raise Refusal(str(error), 74) from None  # EX_IOERR
        for section in config.publish.webhooks:
            hook = Webhook(section, store, publisher.log)
            try:
                publisher.states[f"webhook {hook.name}"] = f"ok, {await hook.send_new()} events sent"
            except (FetchError, OSError, ValueError) as error:
                publisher.states[f"webhook {hook.name}"] = f"failed: {error}"
    assert publisher.ledger is not None
    failed = {name: text for name, text in publisher.states.items() if text.startswith("failed")}
    if json:
        print_json(
            {
                "entries": len(publisher.ledger.published),
                "held": held,
                "entries_held": len(publisher.ledger.held),
                "waiting": {list_: list(islice(publisher.ledger.waiting(list_), _TOLD)) for list_ in held},
                "entries_barred": len(publisher.ledger.barred),
                "outputs": publisher.states,
            }
        )
    else:
        print(f"{len(publisher.ledger.published)} entries are published")
        for name, text in publisher.states.items():
            print(f"{name}: {text}")
        if not publisher.outputs and not config.publish.webhooks:
            say("no output is configured: see [publish] in the configuration")
    for list_, trips in held.items():
        for trip in trips:
            say(f"proxywarden: {list_}: additions are held: {trip}")
        some = list(islice(publisher.ledger.waiting(list_), _SHOWN + 1))
        more = ", and more" if len(some) > _SHOWN else ""
        say(f"proxywarden: {list_}: these wait: {', '.join(some[:_SHOWN])}{more}")
    return 1 if held or failed else 0
