"""Whatever a stranger sends is evidence: no exception, no endless loop, no growing memory, and never a proof."""

from __future__ import annotations

import ast

from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.model import Kind
from scanner.protocols import PROTOCOLS
from scanner.protocols.conversation import Outcome, show
from scanner.protocols.exchange import TRANSCRIPT_LIMIT, Cause
from tests.protocols.player import OTHER_KEY, PORTS, aim, exchange, proof, signed, token
from tests.protocols.transcripts import ROWS

LIMIT = 4096

conversations = st.sampled_from(
    [(row.name, aim(host, face)) for row in PROTOCOLS.values() for host in row.hosts for face in row.faces]
)


def words(protocol: str) -> st.SearchStrategy[bytes]:
    """What a stranger could know or guess: real openings, our own words, and answers that are not to this challenge."""
    mine = [row for row in ROWS if row.protocol == protocol]
    said = {row.said for row in mine if not row.proves and len(row.said) < 500}
    said |= {line.say for row in mine if row.proves for line in row.script[1:-2]}
    truth = [signed(protocol, face) for face in PORTS]  # the one thing that nobody can guess
    known = [
        *(word for word in said if not any(answer in word for answer in truth)),
        token(protocol),
        b"PWA1-" + token(protocol)[4:],
        b"220 hello\r\n",
        b"250 OK\r\n",
        b"354 go on\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\r\n",
    ]
    for face in PORTS:
        known += [
            signed(protocol, face, nonce=b"m" * 16) + b"\r\n",
            signed(protocol, face, key=OTHER_KEY) + b"\n",
        ]
    return st.one_of(
        st.sampled_from(sorted(known)), st.binary(max_size=40), st.sampled_from([b"A" * 3000, b"\n" * 500])
    )


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_garbage_is_evidence(data):
    protocol, to = data.draw(conversations)
    talk = exchange(protocol, to, LIMIT)
    chunks = iter(data.draw(st.lists(words(protocol), max_size=12)))
    cause = data.draw(st.sampled_from([Cause.CLOSED, Cause.SILENT]))
    steps = fed = 0
    while not isinstance(step := talk.next(), Outcome):
        steps += 1
        assert steps < 40, "every step waits for a chunk or is one of a few writes"
        if step is not None:
            continue
        chunk = next(chunks, b"")
        if not chunk:
            step = talk.ended(cause)
            break
        talk.feed(chunk)
        fed += len(chunk)
        assert len(talk.transcript) <= 5 * TRANSCRIPT_LIMIT + 100
    assert isinstance(step, Outcome)
    assert isinstance(step.kind, Kind)
    assert proof(protocol, step) is None
    assert step.detail.isascii()
    assert step.detail.isprintable()
    assert len(step.detail) <= 200
    assert talk.ended(cause) == step, "an outcome stays"


@settings(max_examples=100, deadline=None)
@given(
    conversations,
    st.sampled_from([b"\0", b"\n", b"A", b"220 \n", b"\x05\0", b"\0\x5a", b"HTTP/1.1 200 A\n\n", b"PWA1-"]),
)
def test_endless_data_ends(conversation, word):
    """It is read as far as the limit and no further, however it comes."""
    protocol, to = conversation
    talk = exchange(protocol, to, LIMIT)
    fed = 0
    while not isinstance(step := talk.next(), Outcome):
        if step is None:
            assert fed <= LIMIT, "it wants more than the limit"
            talk.feed(word * 50)
            fed += len(word * 50)
    assert proof(protocol, step) is None


@given(st.binary(max_size=300))
def test_show_is_printable_short_and_true(data):
    shown = show(data)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= 4 * 40 + 5
    assert ast.literal_eval("b" + shown.removesuffix("...")) == data[:40].strip()
