"""Mail servers: relays for everybody or for one trick, and those that take a letter and do something else with it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio

from scanner.lab.internet import dial
from scanner.lab.kinds import PROTOCOLS, RELAY, HostKind, Repairs, Truth, on
from scanner.lab.link import Gone, Link
from scanner.lab.machine import Behaviour, Exit, Machine, Repair
from scanner.lab.rules import Ports
from scanner.model import Kind

MAIL_PORTS: Ports = {25: 5, 587: 1, 2525: 1}
_LINE = 2048
_PATH = re.compile(rb"(?i)(?:MAIL FROM|RCPT TO):\s*(\S+)")
_LETTER = re.compile(rb"[a-z2-7]{32}", re.I)
_DENIED = b"554 5.7.1 Relay access denied\r\n"
_LOGIN = b"530 5.7.0 Authentication required\r\n"
_NO_TLS = bytes.fromhex("15030100020228")  # a fatal alert: handshake_failure (RFC 8446 6.2)
_STRANGERS: Truth = on(PROTOCOLS, Kind.WRONG_PROTOCOL)


@dataclass(slots=True)
class _Letter:
    """What is being sent."""

    sender: bytes = b""
    recipient: bytes = b""

    @property
    def form(self) -> str:
        """Which of the ways of asking this is, as far as the lab's servers tell them apart."""
        rest = self.recipient
        for mark, name in ((b"%", "percent"), (b'"', "quoted"), (b"!", "bang"), (b"<@", "source-route")):
            if mark in rest:
                return name
        if self.sender == b"<>":
            return "null-sender"
        return "local-sender" if b"@[" in self.sender else "plain"


Tricks = frozenset[str]
ANY: Tricks = frozenset({"plain", "null-sender", "local-sender", "percent", "quoted", "bang", "source-route"})


async def mail(
    link: Link,
    machine: Machine,
    *,
    tricks: Tricks = ANY,
    rcpt: bytes = _DENIED,
    greylists: bool = False,
    delivers: bool = True,
    late: float = 0.0,
    tarpit: float = 0.0,
    banner: bytes = b"220 mail.test ESMTP\r\n",
    breaks_tls: bool = False,
) -> None:
    """tricks: forms that it relays; rcpt: what it says to the others. late: seconds that a letter is queued.

    breaks_tls: it offers STARTTLS, and every handshake fails.
    """
    await link.send(banner)
    letter = _Letter()
    while True:
        line = await link.until(b"\n", _LINE)
        await machine.pause(tarpit)
        verb = line[:4].upper()
        path = found[1] if (found := _PATH.match(line)) else b""
        if verb == b"QUIT":
            await link.send(b"221 2.0.0 Bye\r\n")
            return
        if verb == b"EHLO":
            offers = b"250-STARTTLS\r\n" * breaks_tls
            await link.send(b"250-mail.test\r\n250-PIPELINING\r\n" + offers + b"250 8BITMIME\r\n")
        elif verb == b"STAR" and breaks_tls:
            await link.send(b"220 2.0.0 Ready to start TLS\r\n")
            await link.some()
            await link.send(_NO_TLS)
            return
        elif verb == b"MAIL":
            letter = _Letter(path)
            await link.send(b"250 2.1.0 Ok\r\n")
        elif verb == b"RCPT":
            letter.recipient = path
            await link.send(_answer(machine, letter, tricks, rcpt, greylists))
        elif verb == b"DATA" and letter.form in tricks:
            await link.send(b"354 Go on\r\n")
            text = await link.until(b"\r\n.\r\n", 65536)
            if delivers and not late:
                await _deliver(machine, letter, text)
            await link.send(b"250 2.0.0 Ok: queued\r\n")
            if delivers and late:
                await trio.sleep(late)
                await _deliver(machine, letter, text)
        else:
            await link.send(b"502 5.5.2 Error: command not recognized\r\n")


def _answer(machine: Machine, letter: _Letter, tricks: Tricks, refusal: bytes, greylists: bool) -> bytes:
    if letter.form not in tricks:
        return refusal
    if greylists and letter.recipient not in machine.memory:
        machine.memory += letter.recipient
        return b"450 4.2.0 Greylisted, come again\r\n"
    return b"250 2.1.5 Ok\r\n"


async def _deliver(machine: Machine, letter: _Letter, text: bytes) -> None:
    """To the canary whose mail domain the recipient names, and to nobody else."""
    local = _LETTER.search(letter.recipient)
    domains = {canary.mail_domain.encode(): canary for canary in machine.internet.canaries if canary.mail_domain}
    canary = next((canary for domain, canary in domains.items() if domain in letter.recipient), None)
    if local is None or canary is None or canary.address is None or canary.mail is None:
        return
    assert canary.mail_domain is not None
    there = Link(await dial(machine.host.exit, canary.address, canary.mail))
    async with there.stream:
        received = b"Received: from %b by mail.test\r\n" % str(machine.host.address).encode()
        words = (
            b"EHLO out.test\r\n",
            b"MAIL FROM:" + letter.sender + b"\r\n",
            b"RCPT TO:<" + local[0] + b"@" + canary.mail_domain.encode() + b">\r\n",
            b"DATA\r\n",
            received + text,
            b"QUIT\r\n",
        )
        await _reply(there)
        for word in words:
            await there.send(word)
            if (await _reply(there))[:1] not in b"23":
                raise Gone


async def _reply(link: Link) -> bytes:
    while (line := await link.until(b"\n", _LINE))[3:4] == b"-":
        pass
    return line


_NOBODY: Tricks = frozenset()


def _relays(name: str, share: float, behaviour: Callable[..., Awaitable[None]], exit_: Exit = Exit.OWN) -> HostKind:
    """Its letter arrives, in one of the forms that every visit tries."""
    repairs: Repairs = {
        Repair.GONE: (None, Kind.REFUSED),
        Repair.DENIES: (partial(behaviour, tricks=_NOBODY), Kind.DENIED),
        Repair.ASKS: (partial(behaviour, tricks=_NOBODY, rcpt=_LOGIN), Kind.AUTH_REQUIRED),
    }
    return HostKind(name, share, behaviour, MAIL_PORTS, _STRANGERS, (RELAY,), exit=exit_, repairs=repairs)


def _shows(name: str, share: float, kind: Kind, behaviour: Behaviour) -> HostKind:
    return HostKind(name, share, behaviour, MAIL_PORTS, _STRANGERS | {RELAY: kind})


_ROWS = (
    _relays("relay", 0.7, mail),
    _relays("relay-broken-tls", 0.1, partial(mail, breaks_tls=True)),
    _relays("relay-percent", 0.2, partial(mail, tricks=frozenset({"percent"}))),
    _relays("relay-local-sender", 0.2, partial(mail, tricks=frozenset({"local-sender"}))),
    _relays("relay-other-exit", 0.2, mail, Exit.OTHER),
    _relays("relay-late", 0.1, partial(mail, late=2.0)),
    _relays("relay-tarpit", 0.1, partial(mail, tarpit=0.2)),
    _shows("relay-bang", 0.1, Kind.DENIED, partial(mail, tricks=frozenset({"bang"}))),  # a thorough visit finds it
    _shows("relay-greylists", 0.2, Kind.DEFERRED, partial(mail, greylists=True)),  # a later one
    _shows("mail-discards", 0.2, Kind.ACCEPTED, partial(mail, delivers=False)),
    _shows("mail-auth", 0.5, Kind.AUTH_REQUIRED, partial(mail, tricks=_NOBODY, rcpt=_LOGIN)),
    _shows("mail-closed", 2, Kind.DENIED, partial(mail, tricks=_NOBODY)),
    _shows("mail-busy", 0.2, Kind.DEFERRED, partial(mail, banner=b"421 4.3.2 Too busy\r\n")),
)
RELAYS: dict[str, HostKind] = {row.name: row for row in _ROWS}
"""Mail servers by name."""
