from __future__ import annotations

import pytest

from scanner.store import NominationIn, Store
from scanner.store.accounts import Deed
from tests.scanner.store.make import AT, ENTRY


async def test_a_link_is_good_once_and_for_its_time(store: Store) -> None:
    await store.invite("alice", "hash", AT + 60, AT)
    assert await store.invited("hash", AT + 61) is None
    assert await store.set_password("hash", "argon", AT + 61) is None
    assert await store.invited("hash", AT + 59) == "alice"
    assert await store.set_password("hash", "argon", AT + 59) == "alice"
    assert await store.set_password("hash", "argon2", AT + 59) is None
    (account,) = await store.accounts()
    assert (account.name, account.password, account.since, account.submitter) == ("alice", "argon", AT + 59, False)


async def test_a_new_invitation_ends_what_was(store: Store) -> None:
    await store.invite("alice", "one", AT + 60, AT)
    await store.set_password("one", "argon", AT)
    await store.invite("alice", "two", AT + 60, AT + 5)
    (account,) = await store.accounts()
    assert (account.password, account.since) == (None, AT + 5)


async def test_a_submitters_token_is_no_link(store: Store) -> None:
    await store.invite("trap", "token", None, AT)
    assert await store.submitter("token") == "trap"
    assert await store.submitter("other") is None
    assert await store.invited("token", AT) is None
    await store.invite("alice", "link", AT + 60, AT)
    assert await store.submitter("link") is None


async def test_a_deed_is_written_with_what_it_does_or_not_at_all(store: Store) -> None:
    (nomination,) = await store.nominate([NominationIn(ENTRY)], AT)
    await store.review(nomination.id, True, AT, by=Deed("alice", "accept nomination", nomination.id))

    def refuse(_: object) -> object:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.change(str(ENTRY), refuse, AT, by=Deed("alice", "list", str(ENTRY)))  # type: ignore[arg-type]
    assert [entry.deed.action for entry in await store.journal()] == ["accept nomination"]
