"""What mail servers say, and what those say that are none."""

from __future__ import annotations

from collections.abc import Iterator

from scanner.model import Face, Kind
from scanner.protocols.conversation import Ask
from scanner.protocols.smtp_relay import _message
from tests.protocols.player import IDENTITY, LETTER, TARGET, Script, They, We, aim, token
from tests.protocols.transcripts.words import CLOSED, LIMIT, QUIT, SILENT, Row

TO = aim("domain", Face.MAIL)
EHLO, HELO, DATA = We(b"EHLO proxywarden\r\n"), We(b"HELO proxywarden\r\n"), We(b"DATA\r\n")
MAIL = We(b"MAIL FROM:<relaytest@mail.canary.example>\r\n")
RCPT = We(b"RCPT TO:<%b@mail.canary.example>\r\n" % LETTER)
LETTER_SENT = We(_message(Ask(TO, token("smtp-relay"), IDENTITY, TARGET, 25, LETTER, 1.8e9)) + b".\r\n")
GREETING = They(b"220 mx.example ESMTP Postfix\r\n")
HELLO = They(b"250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 DSN\r\n")
OK = They(b"250 2.1.0 Ok\r\n")
GO = They(b"354 End data with <CR><LF>.<CR><LF>\r\n")
OPEN: Script = (GREETING, EHLO, HELLO, MAIL, OK, RCPT, OK)


def smtp_rows() -> Iterator[Row]:
    def row(name: str, script: Script, kind: Kind, detail: str = "", **more: object) -> Row:
        return Row("smtp-relay", name, TO, script, kind, detail, **more)  # type: ignore[arg-type]

    def says(name: str, before: Script, reply: bytes, kind: Kind, detail: str) -> Row:
        return row(name, (*before, They(reply), QUIT), kind, detail)

    queued = They(b"250 2.0.0 Ok: queued as 3F0C21\r\n")
    yield row("accepts", (*OPEN, DATA, GO, LETTER_SENT, queued, QUIT), Kind.ACCEPTED, "queued as 3F0C21")
    yield row(
        "accepts, bare LF and codes alone",
        (They(b"220\n"), EHLO, They(b"250-\n250\n"), MAIL, They(b"250\n"), RCPT, They(b"251\n"), DATA, They(b"354\n"),
         LETTER_SENT, They(b"250\n"), QUIT),
        Kind.ACCEPTED, "plain: '250'",
    )  # fmt: skip
    yield row(
        "accepts, a banner of many lines, will not verify",
        (They(b"220-mx.example\r\n220-No UBE\r\n220 ESMTP\r\n"), *OPEN[1:-1], They(b"252 2.1.5 perhaps\r\n"), DATA, GO,
         LETTER_SENT, queued, QUIT),
        Kind.ACCEPTED,
    )  # fmt: skip
    yield row(
        "accepts, knows HELO alone",
        (GREETING, EHLO, They(b"500 5.5.1 Command unrecognized\r\n"), HELO, They(b"250 mx\r\n"), *OPEN[3:], DATA, GO,
         LETTER_SENT, queued, QUIT),
        Kind.ACCEPTED,
    )  # fmt: skip
    yes = They(b"220 yes\r\n")  # RFC 5321 4.2.1: the first digit tells
    yield row(
        "accepts, 220 for every yes",
        (yes, EHLO, yes, MAIL, yes, RCPT, yes, DATA, GO, LETTER_SENT, yes, QUIT),
        Kind.ACCEPTED,
        "plain: '220 yes'",
    )
    # refuses
    at_mail, at_rcpt, at_end = OPEN[:4], OPEN[:6], (*OPEN, DATA, GO, LETTER_SENT)
    yield says("no service here", (), b"554 mx.example\r\n", Kind.TURNED_AWAY, "greets: '554 mx.example'")
    yield says("turns us away", (), b"550 5.7.1 blocked\r\n", Kind.TURNED_AWAY, "greets: '550 5.7.1 blocked'")
    yield says(
        "neither EHLO nor HELO",
        (GREETING, EHLO, They(b"550 go away\r\n"), HELO),
        b"550 go away\r\n",
        Kind.TURNED_AWAY,
        "HELO: '550 go away'",
    )
    yield says(
        "no mail server",
        (They(b"220 ftp.example\r\n"), EHLO, They(b"500 What?\r\n"), HELO),
        b"500 What?\r\n",
        Kind.WRONG_PROTOCOL,
        "HELO: '500 What?'",
    )
    yield says("refuses our domain", at_mail, b"550 5.7.1 no\r\n", Kind.TURNED_AWAY, "MAIL: '550 5.7.1 no'")
    yield says("denies relaying", at_rcpt, b"554 5.7.1 Relay access denied\r\n", Kind.DENIED, "RCPT: '554 5.7.1 Rel")
    yield says("denies in two lines", at_rcpt, b"550-5.7.1 no\r\n550 5.7.1 never\r\n", Kind.DENIED, "5.7.1 never")
    yield says("codes that differ", at_rcpt, b"250-5.7.1 no\r\n550 5.7.1 never\r\n", Kind.DENIED, "5.7.1 never")
    yield says("denies at DATA", (*OPEN, DATA), b"554 5.5.1 no valid recipients\r\n", Kind.DENIED, "DATA: '554")
    yield says("denies what it read", at_end, b"550 5.7.1 spam\r\n", Kind.DENIED, "the message: '550 5.7.1 spam'")
    for code in (530, 534, 535, 538):
        reply = b"%d 5.7.0 Authentication required\r\n" % code
        yield says(f"wants a login, {code} at MAIL", at_mail, reply, Kind.AUTH_REQUIRED, f"MAIL: '{code} 5.7.0 Auth")
        yield says(f"wants a login, {code} at RCPT", at_rcpt, reply, Kind.AUTH_REQUIRED, f"RCPT: '{code}")
    offers = They(b"250-mx.example\r\n250-STARTTLS\r\n250 DSN\r\n")
    not_now: Script = (GREETING, EHLO, offers, We(b"STARTTLS\r\n"), They(b"454 4.7.0 not now\r\n"))
    must = b"530 5.7.0 Must issue a STARTTLS command first\r\n"
    yield says("wants the TLS that fails", (*not_now, MAIL), must, Kind.TURNED_AWAY, "MAIL: '530 5.7.0 Must")
    yield says("wants a TLS that it does not offer", at_mail, must, Kind.AUTH_REQUIRED, "MAIL: '530 5.7.0 Must")
    yield says(
        "wants it late", (*not_now, *OPEN[3:6]), b"550 Encryption required\r\n", Kind.TURNED_AWAY, "RCPT: '550 Enc"
    )
    yield says(
        "denies without the TLS that fails", (*not_now, *OPEN[3:6]), b"554 5.7.1 no\r\n", Kind.DENIED, "RCPT: '554"
    )
    # later
    yield says("busy", (), b"421 4.3.2 too many connections\r\n", Kind.DEFERRED, "greets: '421 4.3.2 too many")
    yield says("ill at EHLO", (GREETING, EHLO), b"421 4.3.0 later\r\n", Kind.DEFERRED, "HELO: '421 4.3.0 later'")
    yield says("cannot look up the sender", at_mail, b"451 4.1.8 no\r\n", Kind.DEFERRED, "MAIL: '451")
    yield says("greylists", at_rcpt, b"450 4.2.0 Greylisted\r\n", Kind.DEFERRED, "RCPT: '450 4.2.0 Greylisted'")
    yield says("full", at_end, b"452 4.3.1 no space\r\n", Kind.DEFERRED, "the message: '452")
    yield says("shuts down in the middle", at_rcpt, b"421 bye\r\n", Kind.DEFERRED, "RCPT: '421 bye'")
    # liars and strangers
    yield row("drops it at DATA", (*OPEN, DATA), Kind.PRETENDS, "hung up at DATA", ends=CLOSED)
    yield row("silent at DATA", (*OPEN, DATA), Kind.PRETENDS, "silent at DATA", ends=SILENT)
    yield row("drops it after the message", at_end, Kind.PRETENDS, "hung up at the message", ends=CLOSED)
    yield says("250 to DATA", (*OPEN, DATA), b"250 OK\r\n", Kind.PRETENDS, "DATA: '250 OK'")
    yield says("junk after the message", at_end, b"thank you\r\n", Kind.PRETENDS, "the message: 'thank you'")
    said_before = They(b"220 a\r\n250 b\r\n250 c\r\n250 d\r\n354 e\r\n250 f\r\n221 g\r\n")
    yield row(
        "says it all before it hears a word",
        (said_before, EHLO, MAIL, RCPT, DATA, LETTER_SENT, QUIT),
        Kind.ACCEPTED,
        "plain: '250 f'",
    )
    yield row(
        "answers QUIT before it was said",
        (*at_end, They(b"250 2.0.0 queued\r\n250 2.0.0 bye\r\n"), QUIT),
        Kind.ACCEPTED,
        "plain: '250 2.0.0 queued'",
    )
    yield says("says goodbye first", (), b"221 Bye\r\n220 mx.example\r\n", Kind.WRONG_PROTOCOL, "greets: '221 Bye'")
    yield says("queues it at MAIL", at_mail, b"354 go\r\n250 queued\r\n", Kind.WRONG_PROTOCOL, "MAIL: '354 go'")
    yield row(
        "220 to everything",
        (They(b"220 mx\r\n" * 4), EHLO, MAIL, RCPT, DATA, They(b"220 mx\r\n"), QUIT),
        Kind.PRETENDS,
        "DATA: '220 mx'",
    )
    yield row(
        "NUL bytes in every line",
        (They(b"220 \0\r\n"), EHLO, They(b"250-\0\r\n250 \0\0\r\n"), *OPEN[3:], DATA, GO, LETTER_SENT,
         They(b"250 \0\n"), QUIT),
        Kind.ACCEPTED, r"plain: '250 \x00'",
    )  # fmt: skip
    yield says("354 to RCPT", at_rcpt, b"354 go\r\n", Kind.WRONG_PROTOCOL, "RCPT: '354 go'")
    yield says("greets with 250", (), b"250 OK\r\n", Kind.WRONG_PROTOCOL, "greets: '250 OK'")
    yield says("echoes", (GREETING, EHLO), b"EHLO proxywarden\r\n", Kind.WRONG_PROTOCOL, "HELO: 'EHLO proxywarden'")
    yield says("an ssh server", (), b"SSH-2.0-OpenSSH_9.6\r\n", Kind.WRONG_PROTOCOL, "greets: 'SSH-2.0-OpenSSH_9.6'")
    yield says("a web page", (), b"HTTP/1.1 400 Bad Request\r\n", Kind.WRONG_PROTOCOL, "greets: 'HTTP/1.1 400 Bad")
    yield says("NUL bytes", (), b"220\0mx\0\r\n", Kind.WRONG_PROTOCOL, r"'220\x00mx\x00'")
    yield says("a code of six", (), b"620 mx\r\n", Kind.WRONG_PROTOCOL, "'620 mx'")
    yield says("a code and no space", (), b"2200 mx\r\n", Kind.WRONG_PROTOCOL, "'2200 mx'")
    yield row("a banner without end", (They(b"220 " + b"x" * 20000),), Kind.WRONG_PROTOCOL, "said too much", ends=LIMIT)
    yield row("lines without end", (They(b"220-x\r\n" * 3000),), Kind.WRONG_PROTOCOL, "said too much", ends=LIMIT)
    yield row("says nothing", (), Kind.SILENT, "silent at greets", ends=SILENT)
    yield row("closes at once", (), Kind.HUNG_UP, "hung up at greets", ends=CLOSED)
    yield row("half a banner", (They(b"220 mx"),), Kind.SILENT, "silent at greets after '220 mx'", ends=SILENT)
    yield row("drops us at RCPT", at_rcpt, Kind.HUNG_UP, "hung up at RCPT", ends=CLOSED)
    yield row("goes after EHLO", OPEN[:4], Kind.HUNG_UP, "hung up at MAIL", ends=CLOSED)
