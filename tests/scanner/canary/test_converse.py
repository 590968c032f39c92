"""The driver gives a face exactly the bytes that it asked for, however they come."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_pair

from scanner.canary.caller import Dialogue
from scanner.canary.converse import converse
from scanner.protocols.conversation import ReadExactly, ReadUntil, Send

Step = ReadExactly | ReadUntil


def reads(heard: list[bytes], *steps: Step) -> Dialogue:
    for step in steps:
        heard.append((yield step))
    yield Send(b"done")


ROWS = [
    pytest.param(b"abc\ndef\n", [ReadUntil(b"\n"), ReadUntil(b"\n")], [b"abc\n", b"def\n"], id="lines"),
    pytest.param(b"abcdef", [ReadExactly(2), ReadExactly(4)], [b"ab", b"cdef"], id="counts"),
    pytest.param(b"ab\ncd", [ReadExactly(1), ReadUntil(b"\n"), ReadExactly(2)], [b"a", b"b\n", b"cd"], id="both"),
    pytest.param(b"a\r\n\r\nb", [ReadUntil(b"\r\n\r\n"), ReadExactly(1)], [b"a\r\n\r\n", b"b"], id="long separator"),
    pytest.param(b"abcdef\n", [ReadUntil(b"\n", 4), ReadUntil(b"\n", 4)], [b"abcd", b"ef\n"], id="limit"),
    pytest.param(b"abc\r\n", [ReadUntil(b"\r\n", 4), ReadExactly(1)], [b"abc\r", b"\n"], id="limit in a separator"),
    pytest.param(b"abc\n", [ReadUntil(b"\n", 4)], [b"abc\n"], id="limit just reached"),
    pytest.param(b"ab", [ReadUntil(b"\n"), ReadUntil(b"\n"), ReadExactly(3)], [b"ab", b"", b""], id="end"),
    pytest.param(b"", [ReadExactly(0)], [b""], id="nothing asked"),
    pytest.param(b"x" * 99, [ReadExactly(60), ReadExactly(9)], [b"x" * 50, b""], id="as many bytes as we take"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(("sent", "steps", "expected"), ROWS)
async def test_reads(sent: bytes, steps: list[Step], expected: list[bytes], size: int, autojump_clock: object) -> None:
    ours, theirs = memory_stream_pair()
    heard: list[bytes] = []
    with trio.fail_after(10):
        for start in range(0, len(sent), size):
            await ours.send_all(sent[start : start + size])
        await ours.send_eof()
        await converse(theirs, reads(heard, *steps), limit=50)
        assert await ours.receive_some() == b"done"
    assert heard == expected


async def test_a_face_is_closed_when_its_connection_ends(autojump_clock: object) -> None:
    closed = []

    def face() -> Dialogue:
        try:
            yield ReadExactly(1)
        finally:
            closed.append(True)

    _, theirs = memory_stream_pair()
    with trio.move_on_after(1) as scope:
        await converse(theirs, face(), limit=50)
    assert scope.cancelled_caught
    assert closed == [True]


async def test_what_a_face_raises_comes_through(autojump_clock: object) -> None:
    def face() -> Dialogue:
        yield Send(b"x")
        raise ZeroDivisionError

    _, theirs = memory_stream_pair()
    with pytest.raises(ZeroDivisionError):
        await converse(theirs, face(), limit=50)
