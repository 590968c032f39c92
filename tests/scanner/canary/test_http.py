"""The HTTP face: one request with our challenge, one response that nobody may keep; for others no byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.canary import Ending
from scanner.canary.caller import Dialogue, Stranger
from scanner.canary.http import BODY_LIMIT, HEAD_LIMIT, http
from scanner.model import Face
from scanner.proof import Forged
from scanner.protocols.conversation import ReadExactly, ReadUntil
from tests.scanner.canary.calls import FORGED, TOKEN, call, caller, verified

PATH = b"GET /" + TOKEN + b" HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\nHost: c.example\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = b"Content-Length: %d\r\n\r\n"
HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/plain\r\n"
    b"Cache-Control: no-store\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n"
    b"X-Proxywarden: ANSWER\r\n"
    b"\r\n"
)

# What is sent, and the name that the canary saw itself reached at.
ANSWERED = [
    pytest.param(PATH + b"Host: c.example\r\n\r\n", "c.example", id="GET"),
    pytest.param(PATH + b"Host: c.example:8080\r\n\r\n", "c.example", id="port"),
    pytest.param(PATH + b"hOST:c.example \r\n\r\n", "c.example", id="spelling"),
    pytest.param(PATH + b"Host: [2001:db8::1]:80\r\n\r\n", "2001:db8::1", id="IPv6 and port"),
    pytest.param(PATH + b"Host: [2001:db8::1]\r\n\r\n", "2001:db8::1", id="IPv6"),
    pytest.param(PATH + b"Host: 192.0.2.7\r\n\r\n", "192.0.2.7", id="IPv4"),
    pytest.param(PATH + b"Host: a\r\nHost: b\r\n\r\n", "a", id="two hosts"),
    pytest.param(PATH + b"Host: \x1b[31m\xff\0\r\n\r\n", "?[31m??", id="control characters"),
    pytest.param(PATH + b"Host: " + b"h" * 300 + b"\r\n\r\n", "h" * 64, id="long name"),
    pytest.param(PATH + b"\r\n", "", id="no host"),
    pytest.param(PATH.replace(b"\r\n", b"\n") + b"Host: c\n\n", "c", id="bare line feeds"),
    pytest.param(b"\r\n" + PATH + b"Host: c\r\n\r\n", "c", id="an empty line first"),
    pytest.param(b"GET http://c.example:80/" + TOKEN + b" HTTP/1.0\r\n\r\n", "", id="absolute form"),
    pytest.param(b"GET /?x=" + TOKEN + b"&y HTTP/1.0\r\n\r\n", "", id="query"),
    pytest.param(PATH + b"X: " + b"x" * 7800 + b"\r\n\r\n", "", id="long header"),
    pytest.param(PATH + b"no header at all\r\n: \r\n\r\n", "", id="broken headers"),
    pytest.param(POST + LONG % len(TOKEN) + TOKEN, "c.example", id="POST"),
    pytest.param(POST + LONG % (len(TOKEN) + 2) + TOKEN + b"\r\n", "c.example", id="POST with a line"),
    pytest.param(POST + LONG % 99999 + TOKEN + b" " * 600, "c.example", id="POST of much"),
    pytest.param(POST + LONG % 600 + TOKEN, "c.example", id="POST cut"),
    pytest.param(
        POST + b"Transfer-Encoding: chunked\r\n\r\n88\r\n" + TOKEN + b"\r\n0\r\n\r\n",
        "c.example",
        id="chunked",
    ),
    pytest.param(PATH.replace(b"GET", b"POST") + LONG % 3 + b"abc", "", id="in the path of a POST"),
]
STRANGE = [
    pytest.param(b"", Ending.STRANGER, id="nothing"),
    pytest.param(b"\r\n" * 5000, Ending.STRANGER, id="empty lines without end"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: c\r\n\r\n", Ending.STRANGER, id="no challenge"),
    pytest.param(b"GET / HTTP/1.1\r\nX: " + TOKEN + b"\r\n\r\n", Ending.STRANGER, id="in a header"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n" + TOKEN, Ending.STRANGER, id="after the request"),
    pytest.param(PATH, Ending.STRANGER, id="no end of the head"),
    pytest.param(PATH + b"X: " + b"x" * HEAD_LIMIT + b"\r\n\r\n", Ending.STRANGER, id="head too long"),
    pytest.param(PATH + b"X: y\r\n" * 2000 + b"\r\n", Ending.STRANGER, id="too many headers"),
    pytest.param(b"GET /" + FORGED + b" HTTP/1.1\r\n\r\n", Ending.FORGED, id="another canary's key"),
    pytest.param(b"GET /" + TOKEN + b"x HTTP/1.1\r\n\r\n", Ending.FORGED, id="prolonged"),
    pytest.param(POST + LONG % 0 + TOKEN, Ending.STRANGER, id="POST of nothing"),
    pytest.param(POST + LONG % (len(TOKEN) - 1) + TOKEN, Ending.FORGED, id="POST of less"),
    pytest.param(POST + LONG % 2000 + b" " * BODY_LIMIT + TOKEN, Ending.STRANGER, id="too far in the body"),
    pytest.param(POST + b"Content-Length: -5\r\n\r\n" + TOKEN, Ending.STRANGER, id="negative"),
    pytest.param(POST + b"Content-Length: \xb2\r\n\r\n" + TOKEN, Ending.STRANGER, id="no digit"),
    pytest.param(POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + TOKEN, Ending.STRANGER, id="huge"),
    pytest.param(POST + b"\r\n" + TOKEN, Ending.STRANGER, id="POST of no length"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", Ending.STRANGER, id="TLS"),
]


@pytest.mark.parametrize(("sent", "name"), ANSWERED)
async def test_our_challenge_is_answered(sent: bytes, name: str, autojump_clock: object) -> None:
    said, ending = await call(Face.HTTP, sent)
    length = len(said.partition(b"\r\n\r\n")[2])
    assert verified(said, Face.HTTP, name) == HEAD % length + b"ANSWER\r\n"
    assert ending is Ending.ANSWERED


@pytest.mark.parametrize(("sent", "name"), ANSWERED)
async def test_also_byte_by_byte(sent: bytes, name: str, autojump_clock: object) -> None:
    said, _ = await call(Face.HTTP, *(bytes([byte]) for byte in sent))
    assert verified(said, Face.HTTP, name).endswith(b"\r\n\r\nANSWER\r\n")


async def test_head_gets_the_header_alone(autojump_clock: object) -> None:
    said, _ = await call(Face.HTTP, PATH.replace(b"GET", b"HEAD") + b"\r\n")
    answered, _ = await call(Face.HTTP, PATH + b"\r\n")
    assert said == answered.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


@pytest.mark.parametrize(("sent", "ending"), STRANGE)
async def test_a_stranger_gets_no_byte(sent: bytes, ending: Ending, autojump_clock: object) -> None:
    assert await call(Face.HTTP, sent) == (b"", ending)


@pytest.mark.parametrize("sent", [PATH + b"Host: c\r\n\r\n", POST + LONG % len(TOKEN) + TOKEN], ids=["GET", "POST"])
async def test_a_cut_request_gets_no_byte(sent: bytes, autojump_clock: object) -> None:
    for end in range(len(sent)):
        said, _ = await call(Face.HTTP, sent[:end])
        assert said == b""


lines = st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([PATH, POST, b"", b"Content-Length: 10"])))


@given(lines)
def test_no_garbage_ends_otherwise_than_a_stranger(pieces: list[bytes]) -> None:
    with pytest.raises((Stranger, Forged)):
        read_by(http(caller(Face.HTTP)), b"\r\n".join(pieces).replace(TOKEN, FORGED))


def read_by(dialogue: Dialogue, data: bytes) -> None:
    """Give it the data, of which it must make nothing to say."""
    step = next(dialogue)
    while True:
        assert isinstance(step, ReadUntil | ReadExactly)
        end = step.count if isinstance(step, ReadExactly) else (data.find(b"\n") + 1 or len(data))
        piece, data = data[:end], data[end:]
        step = dialogue.send(piece)
