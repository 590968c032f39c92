"""The machine itself: what it asks for, what it keeps, and how an end becomes a kind."""

from __future__ import annotations

import pytest

from scanner.model import Kind
from scanner.protocols.conversation import (
    Conversation,
    Granted,
    Outcome,
    ReadExactly,
    ReadUntil,
    Send,
    StartTls,
    cut,
)
from scanner.protocols.exchange import TRANSCRIPT_LIMIT, Cause, Exchange


def asks(*steps, then=None) -> Conversation:
    heard = []
    for step in steps:
        heard.append((yield step))
    return then or Outcome(Kind.DENIED, repr(heard))


def test_reads_are_to_the_byte():
    talk = Exchange(asks(Send(b"hi"), ReadExactly(2), ReadUntil(b"\r\n"), ReadUntil(b"\n", 3), ReadExactly(1)), 100)
    assert talk.next() == b"hi"
    assert talk.next() is None
    talk.feed(b"abcd\re\r")
    assert talk.next() is None
    talk.feed(b"\nwxyz")
    assert talk.next() == Outcome(Kind.DENIED, repr([b"", b"ab", b"cd\re\r\n", b"wxy", b"z"]))


def test_a_separator_counts_towards_the_limit():
    talk = Exchange(asks(ReadUntil(b"\r\n", 4), ReadUntil(b"\r\n", 4)), 100)
    talk.feed(b"ab\r\nabc\r\n")
    assert talk.ended(Cause.CLOSED).detail == repr([b"ab\r\n", b"abc\r"])


@pytest.mark.parametrize(
    ("cause", "kind"),
    [(Cause.CLOSED, Kind.HUNG_UP), (Cause.SILENT, Kind.SILENT), (Cause.LIMIT, Kind.WRONG_PROTOCOL)],
)
def test_what_ended_it_names_the_kind(cause, kind):
    talk = Exchange(asks(ReadExactly(1), then=cut("in the middle")), 100)
    assert talk.next() is None
    assert talk.ended(cause) == Outcome(kind, f"{cause} in the middle")
    granted = Exchange(asks(Granted("yes"), ReadExactly(1), then=cut()), 100)
    assert granted.next() is None
    assert granted.granted == Granted("yes")
    assert granted.ended(cause) == Outcome(Kind.PRETENDS, cause.value)


def test_nothing_fed_means_that_it_closed():
    talk = Exchange(asks(ReadExactly(3), then=cut()), 100)
    assert talk.next() is None
    talk.feed(b"ab")
    talk.feed(b"")
    assert talk.next() == Outcome(Kind.HUNG_UP, "hung up")


def test_the_first_end_counts():
    talk = Exchange(asks(ReadExactly(3), then=cut()), 100)
    talk.feed(b"")
    assert talk.ended(Cause.SILENT).kind is Kind.HUNG_UP


@pytest.mark.parametrize("pieces", [[b"abcdef"], [b"abc", b"d", b"ef"], [b"abcd", b"ef"]])
def test_no_more_than_max_read_is_held(pieces):
    talk = Exchange(asks(ReadUntil(b"!")), 4)
    for piece in pieces:
        talk.feed(piece)
    assert talk.next() == Outcome(Kind.DENIED, repr([b"abcd"]))


def test_exactly_max_read_is_still_heard():
    talk = Exchange(asks(ReadUntil(b"!")), 4)
    talk.feed(b"abc!")
    assert talk.next() == Outcome(Kind.DENIED, repr([b"abc!"]))


def test_a_full_read_without_its_separator_said_too_much():
    talk = Exchange(asks(ReadUntil(b"!", 3), then=cut()), 100)
    talk.feed(b"abcd")
    assert talk.next() == Outcome(Kind.WRONG_PROTOCOL, "said too much")


def test_nothing_is_written_to_one_who_has_gone():
    talk = Exchange(asks(ReadExactly(1), Send(b"late"), Send(b"later")), 100)
    assert talk.next() is None
    assert talk.ended(Cause.CLOSED).kind is Kind.DENIED
    assert b"late" not in talk.transcript


def test_each_write_is_its_own():
    talk = Exchange(asks(Send(b"a"), Send(b"b")), 100)
    assert [talk.next(), talk.next()] == [b"a", b"b"]
    assert isinstance(talk.next(), Outcome)


def test_transcript_shows_both_directions_and_the_end():
    talk = Exchange(asks(Send(b"a\r\nb\r\n"), ReadExactly(1), Send(b"c"), ReadExactly(9)), 100)
    talk.next()
    talk.feed(b"\x05")
    talk.next()
    talk.feed(b"\xff\\")
    talk.feed(b"'\n")
    talk.ended(Cause.SILENT)
    assert talk.transcript.decode().splitlines() == [
        r"> a\r\n",
        r"> b\r\n",
        r"< \x05",
        "> c",
        r"< \xff\\'\n",
        "* silent",
    ]


def test_transcript_is_bounded_and_says_what_is_missing():
    talk = Exchange(asks(ReadUntil(b"!")), 1 << 20)
    for _ in range(100):
        talk.feed(b"x" * 100)
    assert len(talk._buffer) == 10_000
    lines = talk.transcript.decode().splitlines()
    assert lines == ["< " + "x" * TRANSCRIPT_LIMIT, f"* {10_000 - TRANSCRIPT_LIMIT} bytes more"]


def test_a_handshake_drops_what_came_before_it():
    talk = Exchange(asks(ReadUntil(b"\n"), StartTls(), ReadUntil(b"\n")), 100)
    talk.feed(b"go\ninjected\n")
    assert talk.next() == StartTls()
    talk.secured(b"TLSv1.3")
    assert talk.next() is None
    talk.feed(b"inside\n")
    assert talk.next() == Outcome(Kind.DENIED, repr([b"go\n", b"TLSv1.3", b"inside\n"]))
    assert b"* TLSv1.3\\n\n" in talk.transcript


def test_no_handshake_with_one_who_has_gone():
    talk = Exchange(asks(ReadUntil(b"\n"), StartTls()), 100)
    assert talk.next() is None
    assert talk.ended(Cause.CLOSED) == Outcome(Kind.DENIED, repr([b"", b""]))
