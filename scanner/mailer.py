"""Sends what the outbox holds through the configured smarthost: at least once, with back-off, and never for ever.

smtplib in a thread: the libraries that speak SMTP without one are asyncio's, and a message a second is plenty.
"""

from __future__ import annotations

import smtplib
import ssl
import time
from contextlib import suppress
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import structlog
import trio

from scanner.config import ConfigError
from scanner.fields import parse_smarthost
from scanner.secret import MasterSecret
from scanner.settings import MailSection, Settings
from scanner.store import Store, StoreError
from scanner.store.outbox import Outgoing
from scanner.web.notice import Marks, notice

_TIMEOUT = 30.0  # seconds for each answer of the smarthost
_WHOLE = 120.0  # seconds for a message
_LEASE = 2 * _WHOLE
_LOOK = 1.0  # seconds between looks at the outbox
_FIRST, _LONGEST = 60.0, 3600.0  # seconds between tries of one message; RFC 5321 4.5.4.1 has half an hour and more
_GIVE_UP = 5 * 86400.0  # seconds, as there
_SILENCE = 300.0  # seconds between tries of a smarthost that is down, at most
_FORGET = 3600.0  # seconds between looks for addresses that were kept long enough
_SHOWN = 200  # characters of an error
_log = structlog.get_logger()


class Refused(Exception):
    """Of one message, for good."""


class Down(Exception):
    """No message can be sent just now."""


class Later(Exception):
    """Of one message: not just now."""


class Mailer:
    """One smarthost. error: what it said last where that was no yes."""

    def __init__(self, settings: Settings, store: Store, secret: MasterSecret) -> None:
        self.sent = 0
        self.error = ""
        self._settings = settings
        self._store = store
        self._marks = Marks(secret)
        self._password = _password(settings.mail)
        self._tls = _context(settings.mail)
        self._forgot = 0.0

    async def run(self) -> None:
        """For ever. A smarthost that is down is left alone for longer each time."""
        pause = _LOOK
        while True:
            try:
                await self._forget()
                sent = await self.send_next()
            except (Down, StoreError) as error:
                self._say(str(error))
                await trio.sleep(pause)
                pause = min(2 * pause, _SILENCE)
                continue
            pause = _LOOK
            if not sent:
                await trio.sleep(_LOOK)

    async def send_next(self) -> bool:
        """Send the message that is due first; False where none is. Down: it waits for the next time."""
        out = await self._store.outbox.take(time.time(), _LEASE)
        if out is None:
            return False
        try:
            await self._send(out)
        except Refused as error:
            await self._failed(out, str(error), again=None)
        except (Later, Down) as error:
            now = time.time()
            again = now + min(_FIRST * 2 ** min(out.tries - 1, 16), _LONGEST)
            await self._failed(out, str(error), again=None if now - out.at > _GIVE_UP else again)
            if isinstance(error, Down):
                raise
        except Exception as error:  # noqa: BLE001 - a bug costs this message, and not the daemon
            _log.exception("mail", removal=out.removal)
            await self._failed(out, f"not sent: {type(error).__name__}", again=None)
        else:
            await self._store.outbox.sent(out.removal)
            self.sent, self.error = self.sent + 1, ""
        return True

    def statistics(self) -> dict[str, object]:
        """For status: plain values only."""
        return {"smarthost": self._settings.mail.smarthost, "sent": self.sent, "error": self.error}

    async def _send(self, out: Outgoing) -> None:
        settings = self._settings
        message = notice(
            out,
            sender=settings.mail.sender,
            url=settings.web.public_url.rstrip("/"),
            contact=settings.identity.contact,
            name=settings.identity.name,
            token=self._marks.token(out.mark),
            at=time.time(),
            cached=settings.cache_seconds,
        )
        work = partial(
            deliver, settings.mail, self._password, self._tls, settings.identity.name, message, out.recipient
        )
        with trio.move_on_after(_WHOLE):
            await trio.to_thread.run_sync(work, abandon_on_cancel=True)
            return
        raise Down(f"smarthost {settings.mail.smarthost}: not done within {_WHOLE:.0f} s")

    async def _failed(self, out: Outgoing, error: str, *, again: float | None) -> None:
        text = error.replace(out.recipient, "the recipient")
        self._say(text)
        await self._store.outbox.failed(out.removal, text, again=again)

    async def _forget(self) -> None:
        if time.time() - self._forgot > _FORGET:
            await self._store.outbox.forget(time.time() - self._settings.mail.keep_days * 86400)
            self._forgot = time.time()

    def _say(self, error: str) -> None:
        if error != self.error:
            _log.error("mail", error=error)
        self.error = error


def deliver(
    mail: MailSection, password: str, tls: ssl.SSLContext, name: str, message: EmailMessage, recipient: str
) -> None:
    """Hand one message over, in whatever thread this is. Raises Refused, Later or Down; returns once it was taken."""
    host, port = parse_smarthost(mail.smarthost)
    try:
        server = smtplib.SMTP(host, port, local_hostname=name, timeout=_TIMEOUT)
    except (OSError, smtplib.SMTPException) as error:
        raise Down(_text(mail, error)) from None
    try:
        _greet(server, mail, password, tls)
        server.send_message(message, mail.sender, [recipient])
    except smtplib.SMTPRecipientsRefused as error:
        code, text = error.recipients[recipient]
        raise _verdict(code)(_said(mail, code, text)) from None
    except smtplib.SMTPDataError as error:
        raise _verdict(error.smtp_code)(_said(mail, error.smtp_code, error.smtp_error)) from None
    except smtplib.SMTPResponseException as error:  # of the greeting, the login, the sender: of each message the same
        raise Down(_said(mail, error.smtp_code, error.smtp_error)) from None
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise Down(_text(mail, error)) from None
    finally:
        # After its yes the message is the smarthost's; how it takes leave changes nothing.
        with suppress(OSError, smtplib.SMTPException):
            server.quit()
        server.close()


def _greet(server: smtplib.SMTP, mail: MailSection, password: str, tls: ssl.SSLContext) -> None:
    server.ehlo_or_helo_if_needed()
    if server.has_extn("starttls"):
        server.starttls(context=tls)
        server.ehlo_or_helo_if_needed()
    elif mail.tls == "required" or mail.user:
        raise smtplib.SMTPNotSupportedError("does not offer STARTTLS")
    if mail.user:
        server.login(mail.user, password)


def _verdict(code: int) -> type[Refused | Later]:
    return Refused if code // 100 == 5 else Later


def _said(mail: MailSection, code: int, text: bytes | str) -> str:
    words = text.decode("ascii", "backslashreplace") if isinstance(text, bytes) else text
    return _text(mail, f"{code} {words}")


def _text(mail: MailSection, what: object) -> str:
    return f"smarthost {mail.smarthost}: {' '.join(str(what).split())[:_SHOWN]}"


def _context(mail: MailSection) -> ssl.SSLContext:
    """Certificates are checked where that was asked for, or where a password is at stake.

    STARTTLS that is merely offered guards against listeners only: who can change what the smarthost says can take the
    offer away as well.
    """
    try:
        context = ssl.create_default_context(cafile=mail.ca_file or None)
    except OSError as error:
        raise ConfigError(f"mail: ca_file = {mail.ca_file!r}: {error.strerror or error}") from None
    if mail.tls == "offered" and not mail.user:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _password(mail: MailSection) -> str:
    if not mail.user:
        return ""
    try:
        return Path(mail.password_file).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "expected UTF-8"
        raise ConfigError(f"mail: password_file = {mail.password_file!r}: {why}") from None
