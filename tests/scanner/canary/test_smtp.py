"""The mail face: it greets everybody, signs in answer to EHLO with our challenge, and takes no mail."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.canary import Ending
from scanner.canary.caller import Stranger
from scanner.canary.smtp import LINES, SIZE, smtp
from scanner.canary.spool import open_spool
from scanner.model import Endpoint, Face
from scanner.proof import ANSWER_MARK, Forged
from scanner.protocols.conversation import ReadUntil, Send
from scanner.receipt import Letter, Receipt, read_delivery
from tests.scanner.canary.calls import (
    CHALLENGE,
    FORGED,
    GOODBYE,
    GREETING,
    KEY,
    OTHER,
    PEER,
    TOKEN,
    call,
    caller,
    verified,
)

EHLO = b"EHLO " + TOKEN + b".scanner.example\r\n"
HELLO = b"250-canary.example ANSWER\r\n250 PIPELINING\r\n"
NO_MAIL = b"554 5.7.1 No mail is accepted here\r\n"
UNKNOWN = b"502 5.5.1 Not implemented: this host only answers EHLO\r\n"
BUSY = b"421 4.7.0 canary.example closes the connection: too many commands\r\n"
OK = b"250 2.0.0 OK\r\n"

# What is sent, what is said after the greeting, and how it is counted.
DIALOGUES = [
    pytest.param(EHLO + b"QUIT\r\n", HELLO + GOODBYE, Ending.ANSWERED, id="EHLO"),
    pytest.param(EHLO.lower().replace(TOKEN.lower(), TOKEN), HELLO, Ending.ANSWERED, id="small letters"),
    pytest.param(EHLO.replace(b"\r\n", b"\n") + b"QUIT\n", HELLO + GOODBYE, Ending.ANSWERED, id="line feeds"),
    pytest.param(
        b"HELO " + TOKEN + b"\r\nQUIT\r\n",
        b"250 canary.example ANSWER\r\n" + GOODBYE,
        Ending.ANSWERED,
        id="HELO",
    ),
    pytest.param(EHLO, HELLO, Ending.ANSWERED, id="no QUIT"),
    pytest.param(EHLO + EHLO, HELLO + HELLO, Ending.ANSWERED, id="twice"),
    pytest.param(
        EHLO + b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nQUIT\r\n",
        HELLO + 3 * NO_MAIL + GOODBYE,
        Ending.ANSWERED,
        id="no mail",
    ),
    pytest.param(
        EHLO + b"NOOP\r\nRSET\r\nVRFY root\r\nAUTH PLAIN\r\nSTARTTLS\r\nEXPN x\r\n\r\n",
        HELLO + OK + OK + b"252 2.5.2 There are no mailboxes here\r\n" + 4 * UNKNOWN,
        Ending.ANSWERED,
        id="other commands",
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: c:25\r\nVia: 1.1 x\r\n\r\n" + EHLO + b"QUIT\r\n",
        4 * UNKNOWN + HELLO + GOODBYE,
        Ending.ANSWERED,
        id="in the body of a POST",
    ),
    pytest.param(b"", b"", Ending.STRANGER, id="nothing"),
    pytest.param(b"QUIT\r\n", GOODBYE, Ending.STRANGER, id="QUIT"),
    pytest.param(b"EHLO mail.example\r\nMAIL FROM:<>\r\n", GOODBYE, Ending.STRANGER, id="a mail server"),
    pytest.param(b"HELO\r\n", GOODBYE, Ending.STRANGER, id="no argument"),
    pytest.param(b"EHLO " + FORGED + b".x\r\n", GOODBYE, Ending.FORGED, id="another canary's key"),
    pytest.param(b"EHLO " + TOKEN + b"x\r\n", GOODBYE, Ending.FORGED, id="prolonged"),
    pytest.param(b"MAIL FROM:<a@b>\r\nQUIT\r\n", NO_MAIL + GOODBYE, Ending.STRANGER, id="mail at once"),
    pytest.param(b"NOOP " + TOKEN + b"\r\n", OK, Ending.STRANGER, id="in another command"),
    pytest.param(b"x" * 600 + b"\r\n" + EHLO, b"", Ending.STRANGER, id="a line too long"),
    pytest.param(b"\r\n" * 100, LINES * UNKNOWN + BUSY, Ending.STRANGER, id="lines without end"),
]


@pytest.mark.parametrize(("sent", "said", "ending"), DIALOGUES)
async def test_dialogues(sent: bytes, said: bytes, ending: Ending, autojump_clock: object) -> None:
    heard, counted = await call(Face.MAIL, sent)
    assert verified(heard, Face.MAIL) == GREETING + said
    assert counted is ending


@pytest.mark.parametrize(("sent", "said", "ending"), DIALOGUES)
async def test_also_byte_by_byte(sent: bytes, said: bytes, ending: Ending, autojump_clock: object) -> None:
    heard, counted = await call(Face.MAIL, *(bytes([byte]) for byte in sent))
    assert verified(heard, Face.MAIL) == GREETING + said
    assert counted is ending


async def test_a_cut_greeting_gets_no_signature(autojump_clock: object) -> None:
    for end in range(len(EHLO)):
        assert await call(Face.MAIL, EHLO[:end]) == (GREETING, Ending.STRANGER)


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([EHLO, b"HELO " + FORGED, b"QUIT"]))))
def test_no_garbage_gets_a_signature(lines: list[bytes]) -> None:
    data = b"\r\n".join(lines).replace(TOKEN, FORGED)
    dialogue = smtp(caller(Face.MAIL))
    said, step = b"", next(dialogue)
    try:
        while True:
            piece = b""
            if isinstance(step, Send):
                said += step.data
            else:
                assert isinstance(step, ReadUntil)
                end = data.find(b"\n") + 1 or len(data)
                piece, data = data[:end], data[end:]
            step = dialogue.send(piece)
    except (StopIteration, Stranger, Forged):
        assert said.startswith(GREETING)
        assert ANSWER_MARK not in said


# Letters

LETTER = Letter(b"i" * 9, CHALLENGE.address, Endpoint("socks5", 1080))
SHORT = LETTER.short(KEY)
STRANGE = LETTER.short(OTHER)
WELCOME = b"250-canary.example\r\n250-SIZE 32768\r\n250-8BITMIME\r\n250 PIPELINING\r\n"
TAKEN = b"250 2.1.5 OK\r\n"
NOBODY = b"550 5.1.1 There is no such mailbox here\r\n"
ORDER = b"503 5.5.1 Expected MAIL, then RCPT of a letter of ours\r\n"
GO = b"354 End with a line that holds a dot alone\r\n"
KEPT = b"250 2.0.0 Kept\r\n"
HELO = b"EHLO out.example\r\n"
MAIL = b"MAIL FROM:<relaytest@canary.example> SIZE=1500\r\n"
RCPT = b"RCPT TO:<" + SHORT.upper() + b"@canary.example>\r\n"
TEXT = (
    b"Received: from a (b [192.0.2.1])\r\n\tby out.example; Sun\r\nReceived: from \xff\r\nX-Proxywarden: " + TOKEN
    + b"\r\nSubject: x\r\n\r\nX-Proxywarden: no header\r\n..\r\n.\n\r\n.\r\n"
)  # fmt: skip


async def post(*pieces: bytes, kept: bool = True) -> tuple[bytes, Ending, list[bytes]]:
    found = []

    async def keep(letter: str, signed: bytes) -> bool:
        assert read_delivery(KEY, signed).letter == letter
        found.append(signed)
        return kept

    heard, ending = await call(Face.MAIL, *pieces, keep=keep)
    assert heard.startswith(GREETING)
    return heard.removeprefix(GREETING), ending, found


@pytest.mark.parametrize("bytewise", [False, True])
async def test_a_letter_is_kept_with_all_that_was_seen(bytewise: bool, autojump_clock: object) -> None:
    sent = HELO + MAIL + RCPT + b"DATA\r\n" + TEXT + b"QUIT\r\n"
    pieces = [sent[at : at + 1] for at in range(len(sent))] if bytewise else [sent]
    heard, ending, (signed,) = await post(*pieces)
    assert heard == WELCOME + OK + TAKEN + GO + KEPT + GOODBYE
    assert ending is Ending.ANSWERED
    seen = Receipt(KEY, LETTER, signed).delivery
    assert (seen.peer, seen.peer_port, seen.port, seen.canary) == (PEER, 40000, 80, "c1")
    assert (seen.helo, seen.sender) == ("out.example", "<relaytest@canary.example> SIZE=1500")
    assert seen.received == ("from a (b [192.0.2.1]) by out.example; Sun", "from ?")
    assert seen.challenge == TOKEN.decode()
    assert seen.at > 1.7e9


LETTERS = [
    pytest.param(MAIL + b"RCPT TO:<root@canary.example>\r\nDATA\r\n", OK + NOBODY + ORDER, 0, id="another mailbox"),
    pytest.param(MAIL + b"RCPT TO:<" + STRANGE + b"@c>\r\n", OK + NOBODY, 0, id="another canary's letter"),
    pytest.param(MAIL + b"RCPT TO:<relaytest@canary.example>\r\n", OK + NOBODY, 0, id="what bounces"),
    pytest.param(RCPT + b"DATA\r\n", ORDER * 2, 0, id="no sender"),
    pytest.param(MAIL + RCPT + b"RSET\r\nDATA\r\n", OK + TAKEN + OK + ORDER, 0, id="reset"),
    pytest.param(MAIL + RCPT + RCPT, OK + TAKEN + b"452 4.5.3 One letter at a time\r\n", 0, id="two letters"),
    pytest.param(2 * (MAIL + RCPT + b"DATA\r\n" + TEXT), 2 * (OK + TAKEN + GO + KEPT), 2, id="one after the other"),
    pytest.param(MAIL + RCPT + b"DATA\r\n\r\n.\n.\r\n", OK + TAKEN + GO + KEPT, 1, id="a bare LF ends nothing"),
    pytest.param(MAIL + RCPT + b"DATA\r\nSubject: x\r\n", OK + TAKEN + GO, 0, id="cut"),
    pytest.param(
        MAIL + RCPT + b"DATA\r\n" + b"x" * (SIZE + 1) + b"\r\n.\r\nNOOP\r\n",
        OK + TAKEN + GO + b"552 5.3.4 Too large for a letter of ours\r\n" + OK,
        0,
        id="too large",
    ),
    pytest.param(MAIL + RCPT + b"DATA\r\n" + b"x\r\n" * 30000, OK + TAKEN + GO, 0, id="without end"),
    pytest.param(
        EHLO + MAIL + b"RCPT TO:<a@b>\r\n",
        WELCOME.replace(b"example", b"example ANSWER", 1) + OK + NOBODY,
        0,
        id="greets with a challenge",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "said", "count"), LETTERS)
async def test_no_other_mail_is_taken(sent: bytes, said: bytes, count: int, autojump_clock: object) -> None:
    heard, ending, kept = await post(sent)
    assert verified(heard, Face.MAIL) == said
    assert len(kept) == count
    assert (ending is Ending.ANSWERED) == (count > 0 or EHLO in sent)


async def test_a_canary_on_its_own_says_250_to_what_is_on_its_disk_and_451_when_that_is_full(
    tmp_path: Path,
) -> None:
    spool = open_spool(tmp_path / "spool", 1)
    other = Letter(b"j" * 9, CHALLENGE.address, Endpoint("socks5", 1080)).short(KEY)
    sent = MAIL + RCPT + b"DATA\r\n" + TEXT
    again = sent.replace(SHORT.upper(), other)
    heard, _ = await call(Face.MAIL, sent + again + sent, keep=spool.keep)
    said = [line[:3] for line in heard.splitlines()]
    assert said == [b"220", *[b"250", b"250", b"354", b"250"], *[b"250", b"250", b"354", b"451"], *said[1:5]]
    (file,) = (tmp_path / "spool").iterdir()
    assert Receipt(KEY, LETTER, file.read_bytes()).delivery.peer == PEER


async def test_what_cannot_be_kept_is_sent_again(autojump_clock: object) -> None:
    heard, ending, kept = await post(MAIL + RCPT + b"DATA\r\n" + TEXT, kept=False)
    assert heard == OK + TAKEN + GO + b"451 4.3.0 It can't be kept just now: come again\r\n"
    assert (ending, len(kept)) == (Ending.STRANGER, 1)
