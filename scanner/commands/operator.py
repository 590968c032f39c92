"""operator add, remove, show: who may sign in to the operator's pages, and whose nominations are trusted."""

from __future__ import annotations

import re
import time
from secrets import token_urlsafe
from typing import Annotated

from cyclopts import Parameter

from scanner.commands import Refusal, print_json, say, settings
from scanner.commands.display import columns
from scanner.publish.events import iso

Flag = Annotated[bool, Parameter(negative="")]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


async def add(name: str, /, *, submitter: Flag = False) -> int:
    """Make an account, and print a link to set its password by; it is good for a day, once.

    An account that is there loses its password and its sessions: this is also how one that was forgotten is renewed.

    Parameters
    ----------
    name
        Stands with everything that is done with the account.
    submitter
        Instead of a link print a token for nominations: with it they need no sample and no review.

    """
    from scanner.commands.storage import opened
    from scanner.web.sessions import LINK_FOR, hashed, new_secret
    from scanner.web.site import TOKEN_MARK

    if not _NAME.fullmatch(name):
        raise Refusal(f"{name!r}: expected a name of letters, digits, dots, dashes, at most 32")
    now = time.time()
    async with opened(create=True) as store:
        if submitter:
            token = TOKEN_MARK + token_urlsafe(32)
            await store.invite(name, hashed(token), None, now)
            print(token)
            say(f"{name} sends it with nominations, as `Authorization: Bearer …`; it is shown only now")
            return 0
        link, kept = new_secret()
        await store.invite(name, kept, now + LINK_FOR, now)
    listen = settings().web.operator_listen
    if not listen:
        say("web.operator_listen is empty: the operator's pages are turned off")
    print(f"http://{listen[0] if listen else 'OPERATOR-LISTEN'}/operator/link/{link}")
    say(f"{name} sets a password there, within a day")
    return 0


async def remove(name: str, /) -> int:
    """End an account, its sessions and its token.

    Parameters
    ----------
    name
        As it was added.

    """
    from scanner.commands.storage import opened

    async with opened() as store:
        if not await store.remove_account(name):
            raise Refusal(f"{name!r}: no such account: `proxywarden operator show` lists them")
    print(f"{name} is removed")
    return 0


async def show(*, json: Flag = False) -> int:
    """Show the accounts.

    Parameters
    ----------
    json
        One JSON object a line for each account.

    """
    from scanner.commands.storage import opened

    async with opened() as store:
        found = await store.accounts()
    kinds = {item.name: "submitter" if item.submitter else "operator" for item in found}
    if json:
        for item in found:
            print_json(
                {"name": item.name, "kind": kinds[item.name], "since": iso(item.since), "password": bool(item.password)}
            )
    elif found:
        rows = [("NAME", "KIND", "SINCE", "PASSWORD")]
        rows += [(item.name, kinds[item.name], str(iso(item.since)), "set" if item.password else "-") for item in found]
        print("\n".join(columns(rows)))
    else:
        say("there are no accounts")
    return 0
