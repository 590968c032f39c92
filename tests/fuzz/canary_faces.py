"""Fuzz the canary's three faces: whatever comes, nobody without a challenge of ours gets a signature, and all ends.

python tests/fuzz/canary_faces.py -max_total_time=600 [-- see harness.py]. What it finds becomes a row of
tests/scanner/canary/test_*.py.
"""

import atheris
from harness import cut, fuzz, mixture

with atheris.instrument_imports():
    from scanner.canary.caller import Caller, Deliver, Stranger
    from scanner.canary.converse import _end
    from scanner.model import Endpoint, Face
    from scanner.proof import ANSWER_MARK, Forged
    from scanner.protocols.conversation import Send
    from scanner.receipt import Letter, read_delivery
    from tests.scanner.canary.calls import CHALLENGE, FACES, FORGED, KEY, PEER, TOKEN, verified

LIMIT = 65536
LETTER = Letter(b"i" * 9, CHALLENGE.address, Endpoint("smtp-relay", 25)).short(KEY)
COMMON = [b"\r\n", b"\n", b" ", b":", b"\0", b"\xff", TOKEN, TOKEN[:-1], FORGED, TOKEN.upper(), b"PW1-", b"PWA1-"]
WORDS = {
    Face.TCP: COMMON,
    Face.HTTP: [*COMMON, b"GET /", b"POST /", b"HEAD ", b" HTTP/1.1\r\n", b"Host: a\r\n", b"Content-Length: 200\r\n",
                b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n", b"Expect: 100-continue\r\n", b"PRI * HTTP/2.0\r\n\r\n"],
    Face.MAIL: [*COMMON, b"EHLO ", b"HELO ", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<" + LETTER + b"@c>\r\n",
                b"RCPT TO:<x>\r\n",
                b"DATA\r\n", b".\r\n", b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n", b"Received: from x\r\n", b"\r\n.\r\n",
                b"X-Proxywarden: " + TOKEN + b"\r\n", b" folded\r\n", b"VRFY\r\n", b"STARTTLS\r\n", LETTER],
}  # fmt: skip


def one(data):
    provider = atheris.FuzzedDataProvider(data)
    face = list(FACES)[provider.ConsumeIntInRange(0, 2)]
    takes, keeps = provider.ConsumeBool(), provider.ConsumeBool()
    caller = Caller("c1", {1: KEY}, face, PEER, 40000, 80, "canary.example", takes)
    sent = b"".join(mixture(provider, WORDS[face]))[:LIMIT]
    chunks = iter(cut(provider, sent))
    said, received, steps, ended = b"", bytearray(), 0, False
    dialogue = FACES[face](caller)
    try:
        step = next(dialogue)
        while True:
            steps += 1
            assert steps <= LIMIT, face
            if isinstance(step, Send):
                said += step.data
                step = dialogue.send(b"")
                continue
            if isinstance(step, Deliver):
                assert read_delivery(KEY, step.delivery.signed(step.key)) == step.delivery
                assert takes
                step = dialogue.send(b"kept" if keeps else b"")
                continue
            while (end := _end(step, received)) is None and not ended:
                chunk = next(chunks, b"")
                received += chunk
                ended = not chunk
            end = len(received) if end is None else end
            answer = bytes(received[:end])
            del received[:end]
            step = dialogue.send(answer)
    except (StopIteration, Stranger, Forged):
        pass
    if ANSWER_MARK in said:
        assert TOKEN in sent, "signed for somebody who brought nothing of ours"
        if face is not Face.HTTP:  # whose answer may name the Host that was asked for
            assert ANSWER_MARK not in verified(said, face)
    assert len(said) < 200_000


fuzz(one)
