"""Fuzz nomination files, as a person or a feed brings them: good lines, or a reason for each bad one.

python tests/fuzz/nominations.py -max_total_time=600 [-- see harness.py]. What it finds becomes a row of
tests/scanner/commands/test_nominations.py.
"""

import atheris
from harness import cut, fuzz, mixture

with atheris.instrument_imports():
    from scanner.commands.nominations import BadLine, NominationLines, Nominee

WORDS = [b"8.8.8.8", b"2001:db8::1", b"\n", b"\r\n", b"#", b" ", b"{", b"}", b'"address"', b'"sample"',
         b'"comment"', b":",
         b",", b'"8.8.8.8"', b'""', b'"\\ud800"', b"null", b"1e999", b"[", b"]", b"\xff", b"\0", b"%eth0", b"/24",
         b"::",
         b'{"address": "8.8.8.8", "sample": "x"}\n', b"true", b'"x"', b"9" * 5000]  # fmt: skip


def read(chunks):
    lines = NominationLines()
    found = [item for chunk in chunks for item in lines.feed(chunk)]
    return [*found, *lines.end()]


def one(data):
    provider = atheris.FuzzedDataProvider(data)
    text = b"".join(mixture(provider, WORDS))
    found = read(cut(provider, text))
    assert found == read([text])
    assert len(found) <= text.count(b"\n") + 1
    for item in found:
        if isinstance(item, BadLine):
            assert item.why
            assert len(item.why) < 400
            assert "\n" not in item.why
        else:
            assert isinstance(item, Nominee)
            item.comment.encode()


fuzz(one)
