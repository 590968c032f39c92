"""Fuzz every protocol of the table through the player: no exception, no endless loop, and never a proof.

python tests/fuzz/protocols.py -max_total_time=600 [-- see harness.py]. What it finds becomes a row of
tests/protocols/transcripts/.
"""

import atheris
from harness import cut, fuzz, mixture

with atheris.instrument_imports():
    from scanner.protocols import PROTOCOLS
    from scanner.protocols.conversation import Outcome
    from scanner.protocols.exchange import Cause
    from tests.protocols.player import OTHER_KEY, PORTS, aim, exchange, proof, signed, token
    from tests.protocols.transcripts import ROWS

LIMIT = 4096
NAMES = list(PROTOCOLS)
WORDS = {}
for name in NAMES:
    truth = [signed(name, face) for face in PORTS]  # the one thing that nobody can guess
    mine = {row.said for row in ROWS if row.protocol == name and not row.proves}
    mine |= {line.say for row in ROWS if row.protocol == name for line in row.script}
    mine |= {b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n", b"\n", b"\0", b"220 a\r\n", b"250 OK\r\n", b"354 b\r\n", token(name)}
    for face in PORTS:
        mine |= {signed(name, face, nonce=b"m" * 16) + b"\r\n", signed(name, face, key=OTHER_KEY) + b"\n"}
    WORDS[name] = sorted(word for word in mine if not any(answer in word for answer in truth))


def one(data):
    provider = atheris.FuzzedDataProvider(data)
    name = NAMES[provider.ConsumeIntInRange(0, len(NAMES) - 1)]
    row = PROTOCOLS[name]
    host = row.hosts[provider.ConsumeIntInRange(0, len(row.hosts) - 1)]
    face = row.faces[provider.ConsumeIntInRange(0, len(row.faces) - 1)]
    cause = (Cause.CLOSED, Cause.SILENT)[provider.ConsumeBool()]
    talk = exchange(name, aim(host, face), LIMIT)
    chunks = iter(cut(provider, b"".join(mixture(provider, WORDS[name]))))
    steps = 0
    while not isinstance(step := talk.next(), Outcome):
        steps += 1
        assert steps < 2 * LIMIT, name
        if isinstance(step, bytes):
            continue
        if step is not None:  # a handshake
            talk.secured(b"")
            continue
        chunk = next(chunks, b"")
        if not chunk:
            step = talk.ended(cause)
            break
        talk.feed(chunk)
    assert proof(name, step) is None
    assert step.kind is not None
    assert step.detail.isascii()
    assert step.detail.isprintable()
    assert len(step.detail) <= 200, step.detail
    assert talk.ended(cause) == step


fuzz(one)
