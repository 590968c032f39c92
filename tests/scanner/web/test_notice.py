"""To whom a message can be sent, from the form to the stop; and that nobody writes a header of ours."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.model import RemovalState
from scanner.secret import MasterSecret
from scanner.settings import MailSection, Settings
from scanner.store import Store
from scanner.store.outbox import Outgoing
from scanner.web.app import Web
from scanner.web.notice import NO_EMAIL, Marks, mail_address, notice
from tests.scanner.web.conftest import list_by_proof

Browse = Callable[..., httpx.AsyncClient]
PROXY = "192.0.2.1"
WHO = "you@example.org"


@pytest.mark.parametrize(
    "text", ["a@b.example", " you+x@sub.example.org ", "o'neil@ex-ample.org", "a.b@x.y", "a" * 64 + "@x.y"]
)
def test_addresses(text: str) -> None:
    assert mail_address(text) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "a@b", "a@@b.c", "@b.c", "a@", "a@b.c\n", "a@b.c\r\nBcc: d@e.f", "a@b.c,d@e.f", "a@b.c d@e.f"),
        *("<a@b.c>", '"a b"@c.d', "a@[127.0.0.1]", "a..b@c.d", ".a@c.d", "a@-b.c", "ä@b.c", "a@ü.de", "a\x00@b.c"),
        *("a" * 251 + "@x.y", "a@" + "b" * 64 + ".c", "a@" + "b." * 130 + "c", "a@b.c\u2028", "a%0d@b.c\t"),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected an e-mail address"):
        mail_address(text)


def test_of_an_exit_with_another_entry_it_is_not_said_that_it_relays() -> None:
    out = Outgoing("0" * 32, WHO, "1" * 32, 0.0, 1, PROXY, "web:x", RemovalState.STILL_OPEN, partly=True)
    made = notice(
        out, sender="s@d.test", url="http://d.test", contact="", name="d.test", token="t", at=0.0, cached=180.0
    )
    assert made["Subject"] == f"Removal of {PROXY}: still listed"
    assert "still relays" not in made.get_content()


@given(st.text(alphabet=st.sampled_from('ab@.\r\n ,<>:;"\\\t\x00é'), max_size=20))
def test_no_header_is_made_of_what_a_stranger_writes(text: str) -> None:
    try:
        address = mail_address(text)
    except ValueError:
        return
    out = Outgoing("0" * 32, address, "1" * 32, 0.0, 1, PROXY, "web:x", RemovalState.DELISTED)
    made = notice(
        out, sender="s@d.test", url="http://d.test", contact="", name="d.test", token="t", at=0.0, cached=180.0
    )
    head = made.as_bytes().partition(b"\r\n\r\n")[0].decode()
    assert head.count(f"To: {address}\r\n") == 1
    assert [line for line in head.splitlines() if line.lower().startswith(("bcc", "cc"))] == []
    assert len(made.keys()) == len(set(made.keys()))


def test_marks_tell_nothing_and_know_small_letters() -> None:
    marks = Marks(MasterSecret({1: b"a" * 32, 2: b"b" * 32}))
    one, two = marks.recipient("You@Example.org"), marks.recipient("you@example.org")
    assert one.marks == two.marks
    assert len(set(one.marks)) == 2
    assert Marks(MasterSecret({1: b"a" * 32})).recipient(WHO).marks == one.marks[:1]
    assert marks.mark(marks.token("x")) == "x"
    assert marks.mark(Marks(MasterSecret({1: b"c" * 32})).token("x")) is None
    assert marks.mark("x" * 5000) is None


async def test_the_call_takes_the_same_as_the_form(browse: Browse) -> None:
    for text, status in ((WHO, 404), ("a@b.c\n", 422), ("a@b.c\r\nBcc: d@e.f", 422), ("a@b", 422), ("ä@b.c", 422)):
        answer = await browse().post("/api/v1/removals", json={"address": PROXY, "email": text})
        assert answer.status_code == status, text
        if status == 422:
            assert answer.json()["detail"] == f"email: {NO_EMAIL}"


async def test_without_a_smarthost_nobody_is_asked(browse: Browse, store: Store) -> None:
    await list_by_proof(store, PROXY, time.time())
    assert 'name="email"' not in (await browse().get(f"/lookup/{PROXY}")).text
    answer = await browse().post("/api/v1/removals", json={"address": PROXY, "email": WHO})
    assert (answer.status_code, answer.json()["email"]) == (202, False)
    assert await store.outbox.count() == {}


class TestOffered:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"mail": MailSection(smarthost="127.0.0.1:25", sender="s@dnsbl.test")})

    async def test_by_the_api(self, browse: Browse, store: Store) -> None:
        await list_by_proof(store, PROXY, time.time())
        answer = await browse().post("/api/v1/removals", json={"address": PROXY, "email": WHO})
        assert (answer.status_code, answer.json()["email"]) == (202, True)
        assert await store.outbox.count() == {"waiting": 1}
        assert WHO not in (await browse().get(f"/api/v1/removals/{answer.json()['id']}")).text

    async def test_by_the_form(self, browse: Browse, store: Store) -> None:
        await list_by_proof(store, PROXY, time.time())
        assert 'type="email"' in (await browse().get(f"/lookup/{PROXY}")).text
        wrong = await browse().post("/removal", data={"address": PROXY, "email": "a@b.c\r\nBcc: d@e.f"})
        assert (wrong.status_code, "expected an e-mail address" in wrong.text) == (422, True)
        assert (await browse().post("/removal", data={"address": PROXY, "email": f" {WHO}"})).status_code == 303
        assert await store.outbox.count() == {"waiting": 1}

    async def test_the_field_may_stay_empty(self, browse: Browse, store: Store) -> None:
        await list_by_proof(store, PROXY, time.time())
        assert (await browse().post("/removal", data={"address": PROXY, "email": " "})).status_code == 303
        assert await store.outbox.count() == {}

    async def test_a_link_stops_all_of_them(self, browse: Browse, store: Store, web: Web) -> None:
        await list_by_proof(store, PROXY, time.time())
        await browse().post("/api/v1/removals", json={"address": PROXY, "email": WHO})
        link = f"/no-mail/{web.site.marks.token(web.site.marks.recipient(WHO).marks[-1])}"
        assert "<button>No more messages" in (await browse().get(link)).text  # a look alone stops nothing
        assert await store.outbox.count() == {"waiting": 1}
        one_click = await browse().post(link, data={"List-Unsubscribe": "One-Click"})
        assert one_click.status_code == 200
        assert await store.outbox.count() == {"stopped": 1}
        assert (await browse().get(link + "x")).status_code == 404
        assert (await browse().post("/no-mail/x")).status_code == 404
        await list_by_proof(store, "192.0.2.2", time.time())
        again = await browse().post("/api/v1/removals", json={"address": "192.0.2.2", "email": WHO.upper()})
        assert again.json()["email"] is False
