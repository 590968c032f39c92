"""Every transcript, delivered in every way that a network can deliver it."""

from __future__ import annotations

from collections import Counter

import pytest

from scanner.model import Kind
from scanner.protocols import PROTOCOLS
from scanner.protocols.conversation import Outcome
from scanner.protocols.exchange import Cause
from tests.protocols.player import MAX_READ, exchange, play, pour, proof
from tests.protocols.transcripts import ROWS, Row

every_row = pytest.mark.parametrize("row", ROWS, ids=str)
KIND_OF_END = {Cause.CLOSED: Kind.HUNG_UP, Cause.SILENT: Kind.SILENT, Cause.LIMIT: Kind.WRONG_PROTOCOL}
# What depends on nothing that comes later: these a cut can only hide.
DECIDED = {
    Kind.RELAYED,
    Kind.DENIED,
    Kind.AUTH_REQUIRED,
    Kind.UNREACHABLE,
    Kind.ACCEPTED,
    Kind.DEFERRED,
    Kind.TURNED_AWAY,
}


def agrees(row: Row, outcome: Outcome) -> bool:
    return (
        outcome.kind is row.kind
        and row.detail in outcome.detail
        and (proof(row.protocol, outcome) is not None) == row.proves
    )


@every_row
def test_whole(row):
    talk = exchange(row.protocol, row.aim)
    outcome = play(talk, row.script, row.ends or Cause.SILENT)
    assert agrees(row, outcome), outcome
    assert talk.outcome == outcome
    if row.ends is None:
        assert not talk.transcript.endswith(b"* silent\n"), "the conversation knew before the deadline"


@every_row
def test_byte_by_byte(row):
    pieces = (row.said[at : at + 1] for at in range(len(row.said)))
    outcome, written = pour(exchange(row.protocol, row.aim), pieces, row.ends or Cause.SILENT)
    assert agrees(row, outcome), outcome
    assert written == row.written


@every_row
def test_glued(row):
    outcome, written = pour(exchange(row.protocol, row.aim), [row.said], row.ends or Cause.SILENT)
    assert agrees(row, outcome), outcome
    if row.ends is not Cause.LIMIT:  # one who floods us before his turn is not answered
        assert written == row.written


@pytest.mark.parametrize("row", [row for row in ROWS if row.ends is None], ids=str)
@pytest.mark.parametrize(
    "tail", [b"\0", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 3000], ids=["nul", "line", "head", "flood"]
)
def test_with_a_tail(row, tail):
    outcome, written = pour(exchange(row.protocol, row.aim), [row.said + tail], Cause.CLOSED)
    assert agrees(row, outcome), outcome
    assert written == row.written


@every_row
@pytest.mark.parametrize("cause", Cause)
def test_cut_at_every_offset(row, cause):
    """A cut hides, and never changes what was said: no cut answer verifies, and no refusal appears."""
    for length in _offsets(len(row.said)):
        max_read = length if cause is Cause.LIMIT and length else MAX_READ
        talk = exchange(row.protocol, row.aim, max_read)
        outcome, written = pour(talk, [row.said[:length]], cause)
        assert written == row.written[: len(written)]
        if outcome.kind in DECIDED:
            assert outcome.kind is row.kind, f"cut at {length}"
            assert (proof(row.protocol, outcome) is not None) == row.proves, f"cut at {length}"
        elif talk.granted:
            assert outcome.kind is Kind.PRETENDS, f"cut at {length}"
        else:
            assert outcome.kind in (KIND_OF_END[cause], Kind.WRONG_PROTOCOL), f"cut at {length}"
            assert outcome.kind is not Kind.WRONG_PROTOCOL or Kind.WRONG_PROTOCOL in (
                row.kind,
                KIND_OF_END[cause],
            )


@pytest.mark.parametrize("row", [row for row in ROWS if row.proves], ids=str)
def test_an_answer_that_lacks_a_byte_is_no_answer(row):
    """Every row that proves needs its answer to the last byte, and one more that shows it to be the last."""
    after = row.said.rindex(b"PWA1-")
    end = after + next(at for at, byte in enumerate(row.said[after:]) if byte in b"\r\n")
    outcome, _ = pour(exchange(row.protocol, row.aim), [row.said[:end]], Cause.CLOSED)
    assert outcome.kind is Kind.PRETENDS
    outcome, _ = pour(exchange(row.protocol, row.aim), [row.said[: end + 1]], Cause.CLOSED)
    assert proof(row.protocol, outcome) is not None


@pytest.mark.parametrize("protocol", [name for name, row in PROTOCOLS.items() if not row.forms])
def test_every_protocol_has_its_liars(protocol):
    """No protocol is in the table without one that grants and then someone else speaks."""
    rows = [row for row in ROWS if row.protocol == protocol]
    strangers = [row for row in rows if row.stranger]
    assert any(row.kind is Kind.PRETENDS for row in strangers)
    assert any(row.kind is Kind.RELAYED and not row.proves for row in strangers), "nor one whose answer is forged"
    for row in strangers:
        talk = exchange(row.protocol, row.aim)
        play(talk, row.script, row.ends or Cause.SILENT)
        assert talk.granted is not None
    proven = {row.aim.face for row in rows if row.proves}
    assert proven == set(PROTOCOLS[protocol].faces)
    hosts = {"name" if isinstance(row.aim.host, str) else f"ipv{row.aim.host.version}" for row in rows if row.proves}
    assert hosts == set(PROTOCOLS[protocol].hosts)


@every_row
def test_every_conversation_that_is_heard_names_us(row):
    talk = exchange(row.protocol, row.aim)
    play(talk, row.script, row.ends or Cause.SILENT)
    if PROTOCOLS[row.protocol].forms:  # the server speaks first; test_smtp_relay.py reads the letter
        assert row.written[:1] in ([b"EHLO proxywarden\r\n"], [b"QUIT\r\n"], [])
        return
    assert row.protocol == "socks5" or b"proxywarden" in row.written[0]
    if talk.granted and row.aim.face.value != "mail":
        assert b"http://scan.example/" in b"".join(row.written)


def test_no_two_rows_have_one_name():
    assert not [name for name, times in Counter(map(str, ROWS)).items() if times > 1]


def _offsets(length: int) -> list[int]:
    """All of them; of what is long only by repetition the two ends."""
    if length <= 800:
        return list(range(length + 1))
    return [*range(200), *range(length - 50, length + 1)]
