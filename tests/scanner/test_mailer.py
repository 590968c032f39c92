"""Messages about outcomes, to a smarthost on loopback that is up, down, busy, choosy, or falls silent in the middle."""

from __future__ import annotations

import email
import subprocess
import sys
import threading
import time
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
import trio

from scanner.config import ConfigError
from scanner.mailer import Down, Mailer
from scanner.model import RemovalState, RemovalStep
from scanner.secret import MasterSecret
from scanner.settings import IdentitySection, MailSection, Settings
from scanner.store import Store, open_store
from scanner.web.notice import Marks
from tests.scanner.live import free_port
from tests.scanner.smarthost import CERTIFICATE, smarthost
from tests.scanner.store import make

ROOT = Path(__file__).parents[2]
SECRET = MasterSecret({1: b"m" * 32})
MARKS = Marks(SECRET)
WHO = "you+list@example.org"


@pytest.fixture
async def store(tmp_path: Path):
    with trio.fail_after(60):
        async with open_store(f"sqlite:///{tmp_path}/store.db") as opened:
            yield opened
            assert await opened.verify() == []


def settings(tmp_path: Path, port: int, **mail: object) -> Settings:
    section = MailSection(smarthost=f"127.0.0.1:{port}", sender="removal@dnsbl.test", **mail)
    return Settings(data_dir=tmp_path, mail=section, identity=IdentitySection(name="scanner.test"))


async def outcome(
    store: Store, state: RemovalState = RemovalState.DELISTED, to: str = WHO, at: float | None = None
) -> str:
    """The id of a request whose outcome is to be told."""
    now = time.time() if at is None else at
    await store.change(str(make.ENTRY), make.lists(make.listing(expires=now + make.DAY)), now)
    removal = await store.request_removal(make.ENTRY, "web:198.51.100.7", now - 1, tell=MARKS.recipient(to))
    await store.unschedule(make.ENTRY)
    await store.removal_step(RemovalStep(removal.id, now, state))
    return removal.id


async def state_of(store: Store) -> dict[str, int]:
    return await store.outbox.count()


def parsed(message: bytes) -> EmailMessage:
    made = email.message_from_bytes(message, policy=default)
    assert isinstance(made, EmailMessage)
    return made


async def test_a_message_is_sent_once(store: Store, tmp_path: Path) -> None:
    id_ = await outcome(store)
    with smarthost() as host:
        mailer = Mailer(settings(tmp_path, host.port), store, SECRET)
        assert await mailer.send_next()
        assert not await mailer.send_next()
    assert (mailer.sent, mailer.error, await state_of(store)) == (1, "", {"sent": 1})
    (message,) = host.messages
    assert host.said[0] == "ehlo scanner.test"
    assert "mail FROM:<removal@dnsbl.test>" in host.said[1]
    assert host.recipients == [f"rcpt TO:<{WHO}>"]
    made = parsed(message)
    assert (made["To"], made["From"]) == (WHO, "removal@dnsbl.test")
    assert made["Subject"] == "Removal of 192.0.2.1: removed"
    assert made["Message-ID"] == f"<{id_}@dnsbl.test>"
    assert made["Auto-Submitted"] == "auto-generated"
    text = made.get_content()
    assert text.isascii()
    assert b"Content-Transfer-Encoding: 7bit" in message
    for words in (f"/removal/{id_}", "198.51.100.7", "It is closed.", "/no-mail/", "Mail servers may remember"):
        assert words in text
    assert made["List-Unsubscribe"].strip("<>") in text
    (link,) = (line for line in message.split(b"\r\n") if line.startswith(b"List-Unsubscribe:"))
    assert link.decode() == f"List-Unsubscribe: {made['List-Unsubscribe']}"  # as it is: RFC 2369 knows no encoded words


@pytest.mark.parametrize("state", [state for state in RemovalState if state.final])
async def test_each_outcome_has_its_words(store: Store, tmp_path: Path, state: RemovalState) -> None:
    await outcome(store, state)
    with smarthost() as host:
        assert await Mailer(settings(tmp_path, host.port), store, SECRET).send_next()
    message = parsed(host.messages[0])
    assert message.get_content().isascii()
    assert max(map(len, message.get_content().splitlines())) <= 200


async def test_a_smarthost_that_is_down(store: Store, tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    await outcome(store)
    mailer = Mailer(settings(tmp_path, port), store, SECRET)
    with pytest.raises(Down, match="refused"):
        await mailer.send_next()
    assert await state_of(store) == {"queued": 1}
    assert not await mailer.send_next()  # not before a minute
    assert "refused" in str(mailer.statistics()["error"])


@pytest.mark.parametrize(
    ("replies", "state"),
    [
        ({"RCPT": "450 greylisted"}, "queued"),
        ({"RCPT": "550 no such user"}, "dead"),
        ({"DATA": "451 busy"}, "queued"),
        ({".": "451 busy"}, "queued"),
        ({".": "554 spam"}, "dead"),
    ],
)
async def test_what_is_said_of_a_message(store: Store, tmp_path: Path, replies: dict[str, str], state: str) -> None:
    await outcome(store)
    with smarthost(replies=replies) as host:
        mailer = Mailer(settings(tmp_path, host.port), store, SECRET)
        assert await mailer.send_next()
    assert await state_of(store) == {state: 1}
    (reply,) = replies.values()
    assert reply in mailer.error
    assert host.messages == []


@pytest.mark.parametrize(
    "replies",
    [
        {"greeting": "554 go away"},
        {"greeting": "421 busy"},
        {"greeting": "nonsense"},
        {"EHLO": "550 no", "HELO": "550 no"},
        {"MAIL": "550 relaying denied"},
    ],
)
async def test_what_is_said_of_all_messages_kills_none(store: Store, tmp_path: Path, replies: dict[str, str]) -> None:
    await outcome(store)
    with smarthost(replies=replies) as host, pytest.raises(Down):
        await Mailer(settings(tmp_path, host.port), store, SECRET).send_next()
    assert await state_of(store) == {"queued": 1}


async def test_the_smarthosts_words_do_not_keep_the_address(store: Store, tmp_path: Path) -> None:
    await outcome(store)
    with smarthost(replies={"RCPT": f"550 <{WHO}>: \x1b[31m nobody"}) as host:
        mailer = Mailer(settings(tmp_path, host.port), store, SECRET)
        await mailer.send_next()
    assert "<the recipient>" in mailer.error
    assert WHO not in mailer.error


async def test_its_farewell_changes_nothing(store: Store, tmp_path: Path) -> None:
    await outcome(store)
    with smarthost(replies={"QUIT": "500 what"}) as host:
        assert await Mailer(settings(tmp_path, host.port), store, SECRET).send_next()
    assert await state_of(store) == {"sent": 1}


async def test_hanging_up_before_its_yes_is_no_yes(store: Store, tmp_path: Path) -> None:
    """It may have taken it: then it comes twice, under one Message-ID."""
    await outcome(store)
    with smarthost(hang_up_after=".") as host:
        with pytest.raises(Down):
            await Mailer(settings(tmp_path, host.port), store, SECRET).send_next()
        assert await state_of(store) == {"queued": 1}
        host.hang_up_after = ""
        await outcome_again(store)
        assert await Mailer(settings(tmp_path, host.port), store, SECRET).send_next()
    first, second = (parsed(message)["Message-ID"] for message in host.messages)
    assert first == second


async def test_a_bug_of_ours_costs_one_message(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    await outcome(store)
    monkeypatch.setattr("scanner.mailer.notice", broken)
    assert await Mailer(settings(tmp_path, 25), store, SECRET).send_next()
    assert await state_of(store) == {"dead": 1}


async def test_given_up_after_five_days(store: Store, tmp_path: Path) -> None:
    await outcome(store, at=time.time() - 6 * make.DAY)
    with smarthost(replies={"RCPT": "450 later"}) as host:
        assert await Mailer(settings(tmp_path, host.port), store, SECRET).send_next()
    assert await state_of(store) == {"dead": 1}


# Encryption and passwords


async def test_encrypted_where_it_is_offered(store: Store, tmp_path: Path) -> None:
    await outcome(store)
    with smarthost(tls=True) as host:
        assert await Mailer(settings(tmp_path, host.port), store, SECRET).send_next()
    assert host.said.index("TLS") < next(n for n, line in enumerate(host.said) if line.startswith("mail "))


@pytest.mark.parametrize("offered", [False, True])
async def test_required_means_encrypted_under_a_good_certificate(store: Store, tmp_path: Path, offered: bool) -> None:
    await outcome(store)
    why = "CERTIFICATE_VERIFY_FAILED" if offered else "STARTTLS"
    with smarthost(tls=offered) as host, pytest.raises(Down, match=why):
        await Mailer(settings(tmp_path, host.port, tls="required"), store, SECRET).send_next()
    assert host.messages == []


async def test_required_and_good(store: Store, tmp_path: Path) -> None:
    await outcome(store)
    with smarthost(tls=True) as host:
        strict = settings(tmp_path, host.port, tls="required", ca_file=str(CERTIFICATE))
        assert await Mailer(strict, store, SECRET).send_next()
    assert len(host.messages) == 1


async def test_a_password_goes_only_under_tls(store: Store, tmp_path: Path) -> None:
    await outcome(store)
    (tmp_path / "password").write_text("secret\n")
    login = {"user": "us", "password_file": str(tmp_path / "password"), "ca_file": str(CERTIFICATE)}
    with smarthost() as host, pytest.raises(Down, match="STARTTLS"):
        await Mailer(settings(tmp_path, host.port, **login), store, SECRET).send_next()
    assert not any(line.upper().startswith("AUTH") for line in host.said)
    with smarthost(tls=True, replies={"AUTH": "535 wrong"}) as host:
        await outcome_again(store)
        with pytest.raises(Down, match="535"):
            await Mailer(settings(tmp_path, host.port, **login), store, SECRET).send_next()
    with smarthost(tls=True) as host:
        await outcome_again(store)
        assert await Mailer(settings(tmp_path, host.port, **login), store, SECRET).send_next()
    assert any(line.startswith("AUTH PLAIN AHVzAHNlY3JldA==") for line in host.said)


async def outcome_again(store: Store) -> None:
    """What waits is due."""
    out = await store.outbox.take(time.time() + 7200, 0)
    await store.outbox.failed(out.removal, "", again=0.0)


@pytest.mark.parametrize("mail", [{"ca_file": "/nowhere"}, {"user": "us", "password_file": "/nowhere"}])
async def test_a_file_that_is_not_there_is_said(store: Store, tmp_path: Path, mail: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        Mailer(settings(tmp_path, 25, **mail), store, SECRET)


# The loop


async def test_it_goes_on_when_the_smarthost_is_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scanner.mailer._FIRST", 0.1)
    monkeypatch.setattr("scanner.mailer._LOOK", 0.05)
    port = free_port("127.0.0.1")
    await outcome(store)
    async with trio.open_nursery() as nursery:
        mailer = Mailer(settings(tmp_path, port), store, SECRET)
        nursery.start_soon(mailer.run)
        while not mailer.error:
            await trio.sleep(0.02)
        with smarthost(port=port) as host:
            while not mailer.sent:
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert (len(host.messages), mailer.error) == (1, "")


_PROCESS = """
import sys, trio
from pathlib import Path
import scanner.mailer
from scanner.store import open_store
from tests.scanner.test_mailer import SECRET, settings

async def main(folder, port):
    async with open_store(f"sqlite:///{folder}/store.db") as store:
        await scanner.mailer.Mailer(settings(folder, port), store, SECRET).run()

scanner.mailer._LEASE = 0.5
trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
"""


async def test_killed_in_the_middle_it_is_sent_again(store: Store, tmp_path: Path) -> None:
    """With SIGKILL, while the smarthost has the message and has not said so; the next one waits for the lease's end."""
    id_ = await outcome(store)
    with smarthost(holds=threading.Event()) as host:
        killed = subprocess.Popen([sys.executable, "-c", _PROCESS, str(tmp_path), str(host.port)], cwd=ROOT)
        try:
            while not host.messages:
                await trio.sleep(0.02)
        finally:
            killed.kill()
            killed.wait()
            host.holds.set()
        survivor = Mailer(settings(tmp_path, host.port), store, SECRET)
        while not await survivor.send_next():
            await trio.sleep(0.05)
    assert [parsed(message)["Message-ID"] for message in host.messages] == [f"<{id_}@dnsbl.test>"] * 2
    assert await state_of(store) == {"sent": 1}
