"""Fuzz the parser of SMTP replies: what mail servers say is a code and a line, whatever it is.

python tests/fuzz/smtp_replies.py -max_total_time=600 [-- see harness.py]. What it finds becomes a row of
tests/protocols/transcripts/smtp.py.
"""

import re

import atheris
from harness import cut, fuzz, mixture

with atheris.instrument_imports():
    from scanner.model import Face, Kind
    from scanner.protocols.conversation import Outcome
    from scanner.protocols.exchange import Cause
    from scanner.protocols.forms import FORMS
    from tests.protocols.player import aim, exchange

WORDS = [b"220 a\r\n", b"220-a\r\n", b"250 b\r\n", b"250-b\r\n", b"250-STARTTLS\r\n", b"250 STARTTLS\r\n", b"354 c\r\n",
         b"421 d\r\n", b"450 e\r\n", b"500 f\r\n", b"530 g\r\n", b"550 h\r\n", b"554 i\r\n", b"250\r\n", b"25\r\n",
         b"2500\r\n",
         b"\r\n", b"\n", b"\r", b"250-", b"250", b" ", b"\0", b"\xff", b"999 x\r\n", b"150 x\r\n", b"-", b"220",
         b"6"]  # fmt: skip


# Commands in the order of RFC 5321 4.1.4 and RFC 3207, none of them twice; QUIT may come after any reply.
IN_ORDER = re.compile(
    rb"(EHLO .+\r\n(STARTTLS\r\n(EHLO .+\r\n)?)?(HELO .+\r\n)?"
    rb"(MAIL FROM:.+\r\n(RCPT TO:.+\r\n(DATA\r\n(From: (?s:.+?)\r\n\.\r\n)?)?)?)?)?(QUIT\r\n)?"
)


def took(heard):
    """Whether the last lines of replies hold what a letter that was taken needs, in this order: a greeting and three
    yeses, 354, and a yes. Any 2yz is one (RFC 5321 4.2.1)."""
    codes = [line[:3] for line in heard.split(b"\n") if line[3:4] in (b" ", b"\r", b"")]
    yes = [code[:1] == b"2" for code in codes]
    return any(code == b"354" and sum(yes[:at]) >= 4 and any(yes[at:]) for at, code in enumerate(codes))


def one(data):
    provider = atheris.FuzzedDataProvider(data)
    form = list(FORMS)[provider.ConsumeIntInRange(0, len(FORMS) - 1)]
    presents = provider.PickValueInList([b"", b"certificate"])
    clear = provider.ConsumeBool()
    talk = exchange("smtp-relay", aim("domain", Face.MAIL, form), 8192, clear=clear)
    said = b"".join(mixture(provider, WORDS))
    chunks, heard, written, tls = iter(cut(provider, said)), b"", b"", 0
    while not isinstance(step := talk.next(), Outcome):
        if isinstance(step, bytes):
            written += step
        elif step is not None:
            tls += 1
            assert tls <= 1 - clear
            heard += b"\n"  # what came before is dropped, and a line begins
            talk.secured(presents)
        elif chunk := next(chunks, b""):
            heard += chunk
            talk.feed(chunk)
        else:
            step = talk.ended(Cause.CLOSED)
            break
    assert step.kind is not Kind.RELAYED, "no conversation proves a relay: its letter does"
    assert not (clear and step.kind is Kind.TLS_FAILED)
    if step.kind in (Kind.ACCEPTED, Kind.PRETENDS):
        assert talk.granted
    if step.kind is Kind.ACCEPTED:
        assert took(heard), heard
        # Who says everything before his turn is not answered: exchange.py.
        assert written.count(b"\r\n.\r\n") == (len(said) < 8192), written
    assert IN_ORDER.fullmatch(written), written
    for line in written.split(b"\r\n"):
        assert b"\n" not in line
        assert len(line) <= 998


fuzz(one)
