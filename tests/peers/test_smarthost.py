"""Messages about outcomes, handed to a mail server that we did not write: aiosmtpd, with STARTTLS and without."""

from __future__ import annotations

import mailbox
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from scanner.mailer import Down, Mailer
from scanner.settings import IdentitySection, MailSection, Settings
from scanner.store import Store, open_store
from tests.peers.programs import needed
from tests.peers.site import takes_connections
from tests.scanner.live import free_port
from tests.scanner.smarthost import CERTIFICATE
from tests.scanner.test_mailer import SECRET, WHO, outcome, outcome_again, state_of

_STARTS = 60.0  # seconds


@pytest.fixture
async def store(tmp_path: Path):
    with trio.fail_after(100):
        async with open_store(f"sqlite:///{tmp_path}/store.db") as opened:
            yield opened


@contextmanager
def aiosmtpd(port: int, folder: Path, *options: str) -> Iterator[None]:
    """Keeps what it takes in a Maildir. It runs as whoever runs the tests, on loopback alone."""
    handler = ("-c", "aiosmtpd.handlers.Mailbox", str(folder))
    process = subprocess.Popen(
        [needed("python -m aiosmtpd"), "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{port}", *options, *handler],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _STARTS
        while not takes_connections("127.0.0.1", port):
            assert time.monotonic() < deadline, "aiosmtpd takes no connections"
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_STARTS)


def settings(tmp_path: Path, port: int, **mail: object) -> Settings:
    section = MailSection(smarthost=f"127.0.0.1:{port}", sender="removal@dnsbl.test", **mail)
    return Settings(data_dir=tmp_path, mail=section, identity=IdentitySection(name="scanner.test"))


def arrived(folder: Path) -> list[mailbox.MaildirMessage]:
    return list(mailbox.Maildir(folder, create=False)) if (folder / "new").exists() else []


@pytest.fixture(autouse=True)
def there() -> None:
    """Before the test, and not in it: out of an asynchronous one its reason would be lost."""
    needed("python -m aiosmtpd")


@pytest.mark.parametrize("tls", ["offered", "required"])
async def test_it_arrives(store: Store, tmp_path: Path, tls: str) -> None:
    id_, port, folder = await outcome(store), free_port("127.0.0.1"), tmp_path / "mail"
    files = ("--tlscert", str(CERTIFICATE), "--tlskey", str(CERTIFICATE)) if tls == "required" else ()
    with aiosmtpd(port, folder, *files):
        mailer = Mailer(settings(tmp_path, port, tls=tls, ca_file=str(CERTIFICATE) if files else ""), store, SECRET)
        assert await mailer.send_next(), mailer.error
    (message,) = arrived(folder)
    assert (message["To"], message["X-RcptTo"], message["X-MailFrom"]) == (WHO, WHO, "removal@dnsbl.test")
    assert id_ in message.get_payload()
    assert await state_of(store) == {"sent": 1}


async def test_it_goes_down_and_comes_back(store: Store, tmp_path: Path) -> None:
    port, folder = free_port("127.0.0.1"), tmp_path / "mail"
    mailer = Mailer(settings(tmp_path, port), store, SECRET)
    with aiosmtpd(port, folder):
        pass
    await outcome(store)
    with pytest.raises(Down):
        await mailer.send_next()
    await outcome_again(store)
    with aiosmtpd(port, folder):
        assert await mailer.send_next(), mailer.error
    assert len(arrived(folder)) == 1


async def test_a_certificate_that_it_has_no_right_to(store: Store, tmp_path: Path) -> None:
    """Nothing is handed over."""
    await outcome(store)
    port, folder = free_port("127.0.0.1"), tmp_path / "mail"
    strict = Mailer(settings(tmp_path, port, tls="required"), store, SECRET)
    files = ("--tlscert", str(CERTIFICATE), "--tlskey", str(CERTIFICATE))
    with aiosmtpd(port, folder, *files), pytest.raises(Down, match="CERTIFICATE_VERIFY_FAILED"):
        await strict.send_next()
    assert arrived(folder) == []
    assert await state_of(store) == {"queued": 1}
