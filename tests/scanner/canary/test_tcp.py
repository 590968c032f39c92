"""The plain face: a line with our challenge is answered, everything else is closed without a byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.canary import Ending
from scanner.canary.caller import Stranger
from scanner.canary.tcp import LINE_LIMIT, tcp
from scanner.model import Face
from scanner.proof import CanaryKey, Forged
from scanner.protocols.conversation import Send
from tests.scanner.canary.calls import CHALLENGE, FORGED, KEY, OTHER, TOKEN, call, caller, sighting, verified

ANSWERED = [
    pytest.param(TOKEN + b"\n", id="bare line feed"),
    pytest.param(TOKEN + b"\r\n", id="line"),
    pytest.param(TOKEN + b" proxywarden https://scanner.example/\r\n", id="with who asks"),
    pytest.param(TOKEN + b"; more\r\n", id="and other words"),
    pytest.param(b"\xff\xfb\x18 \t" + TOKEN + b"\r\n", id="behind a telnet's options"),
    pytest.param(b"\xff\xfd\x03\xff\xfb\"\xff\xfb!\xff\xfb'" + TOKEN + b"\r\n", id="behind options that are printable"),
    pytest.param(b"\xff\xfa\x1f\0P\0\x18\xff\xf0" + TOKEN + b"\r\n", id="behind the size of a window"),
    pytest.param(TOKEN + b"\r\nand more than was asked\r\n" * 50, id="with a tail"),
    pytest.param(TOKEN + b" " + b"x" * 600, id="more than a line"),
]
STRANGE = [
    pytest.param(b"", Ending.STRANGER, id="nothing"),
    pytest.param(b"\n", Ending.STRANGER, id="an empty line"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", Ending.STRANGER, id="HTTP"),
    pytest.param(b"GET /" + TOKEN + b" HTTP/1.1\r\n\r\n", Ending.STRANGER, id="the path of a page"),
    pytest.param(b"GET http://c:1/" + TOKEN + b" HTTP/1.0\r\n\r\n", Ending.STRANGER, id="a page at a proxy"),
    pytest.param(b"NICK " + TOKEN + b"\r\n", Ending.STRANGER, id="a nick"),
    pytest.param(b"EHLO " + TOKEN + b"\r\n", Ending.STRANGER, id="the words of mail"),
    pytest.param(b"\r\n" + TOKEN + b"\r\n", Ending.STRANGER, id="in the second line"),
    pytest.param(b" " * 1000 + TOKEN + b"\n", Ending.STRANGER, id="beyond the line's limit"),
    pytest.param(FORGED + b"\r\n", Ending.FORGED, id="another canary's key"),
    pytest.param(TOKEN[:-1] + b"\r\n", Ending.FORGED, id="cut"),
    pytest.param(TOKEN + b"A\r\n", Ending.FORGED, id="prolonged"),
    pytest.param(b"PW1-\r\n", Ending.FORGED, id="a mark alone"),
    pytest.param(b"PW1-" + b"A" * 132 + b"\r\n", Ending.FORGED, id="no MAC"),
    pytest.param(b" " * (LINE_LIMIT - 100) + TOKEN + b"\n", Ending.FORGED, id="cut by the line's limit"),
]


@pytest.mark.parametrize("sent", ANSWERED)
async def test_our_challenge_is_answered(sent: bytes, autojump_clock: object) -> None:
    said, ending = await call(Face.TCP, sent)
    assert verified(said, Face.TCP) == b"ANSWER\r\n"
    assert ending is Ending.ANSWERED


@pytest.mark.parametrize("sent", ANSWERED)
async def test_also_byte_by_byte(sent: bytes, autojump_clock: object) -> None:
    said, _ = await call(Face.TCP, *(bytes([byte]) for byte in sent))
    assert verified(said, Face.TCP) == b"ANSWER\r\n"


@pytest.mark.parametrize(("sent", "ending"), STRANGE)
async def test_a_stranger_gets_no_byte(sent: bytes, ending: Ending, autojump_clock: object) -> None:
    assert await call(Face.TCP, sent) == (b"", ending)


async def test_a_cut_challenge_gets_no_byte(autojump_clock: object) -> None:
    for end in range(len(TOKEN)):
        said, ending = await call(Face.TCP, TOKEN[:end])
        assert said == b""
        assert ending in (Ending.STRANGER, Ending.FORGED)
    assert (await call(Face.TCP, TOKEN))[1] is Ending.ANSWERED  # whole, and ended instead of a line feed


@given(st.binary(max_size=600))
def test_no_garbage_is_answered(line: bytes) -> None:
    dialogue = tcp(caller(Face.TCP))
    next(dialogue)
    with pytest.raises((Stranger, Forged)):
        dialogue.send(line)


def test_an_old_key_is_answered_with_an_old_key() -> None:
    new = CanaryKey.from_master(b"n" * 32, "c1", 2)
    for key in (KEY, new):
        dialogue = tcp(caller(Face.TCP, {1: KEY, 2: new}))
        next(dialogue)
        token = CHALLENGE.token(key)
        step = dialogue.send(token + b"\n")
        assert isinstance(step, Send)
        assert step.data.strip() == sighting(Face.TCP).answer(key, token)
    dialogue = tcp(caller(Face.TCP, {2: new}))
    next(dialogue)
    with pytest.raises(Forged):
        dialogue.send(TOKEN + b"\n")
    assert OTHER.number == KEY.number  # FORGED is refused for its MAC, not for its number
