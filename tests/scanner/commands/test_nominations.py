"""Files of nominations: what is good is taken, what is bad is told with its line, and a line bounds the memory."""

import json
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.commands.nominations import COMMENT_LIMIT, LINE_LIMIT, BadLine, NominationLines, Nominee


def read(*chunks):
    lines = NominationLines()
    return [item for chunk in chunks for item in lines.feed(chunk)] + list(lines.end())


def line(value):
    return json.dumps(value).encode() + b"\n"


def test_addresses():
    assert read(b"192.0.2.1\n 2001:db8::1 \r\n\n# none\n::ffff:192.0.2.2 # mapped\n192.0.2.3") == [
        Nominee(1, ip_address("192.0.2.1")),
        Nominee(2, ip_address("2001:db8::1")),
        Nominee(5, ip_address("192.0.2.2")),
        Nominee(6, ip_address("192.0.2.3")),
    ]


def test_objects():
    text = line({"address": "192.0.2.1", "sample": "spam\n", "comment": "ü"}) + line({"address": "192.0.2.2"})
    assert read(text) == [
        Nominee(1, ip_address("192.0.2.1"), b"spam\n", "ü"),
        Nominee(2, ip_address("192.0.2.2")),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"example.net", "'example.net' is not an IPv4 or IPv6 address"),
        (b"192.0.2.1 192.0.2.2", "is not an IPv4 or IPv6 address"),
        (b"192.0.2.0/24", "is not an IPv4 or IPv6 address"),
        (b"fe80::1%eth0", "has a zone id"),
        (b"\xff", "expected UTF-8"),
        (b"\x00", "is not an IPv4 or IPv6 address"),
        (b"1" * 500, "is not an IPv4 or IPv6 address"),
        (b"{", "expected a JSON object"),
        (b"{" + b'"a":[' * 5000, "expected a JSON object"),
        (b'{"address": ' + b"9" * 5000 + b"}", "expected a JSON object"),
        (b"{}", "address: expected text"),
        (b'{"address": 5}', "address: expected text"),
        (b'{"address": "192.0.2.1", "port": 1}', "unknown key 'port'"),
        (b'{"address": "192.0.2.1", "sample": 1}', "sample: expected text"),
        (b'{"address": "192.0.2.1", "comment": []}', "comment: expected text"),
        (b'{"address": "192.0.2.1", "comment": "\\ud800"}', "half of a surrogate pair"),
        (line({"address": "192.0.2.1", "comment": "x" * (COMMENT_LIMIT + 1)}).strip(), "comment: expected at most"),
    ],
)
def test_a_bad_line_is_told_and_costs_no_other(text, expected):
    first, bad, last = read(b"192.0.2.1\n" + text + b"\n192.0.2.3\n")
    assert (first.line, last.line) == (1, 3)
    assert bad.line == 2
    assert expected in bad.why
    assert len(bad.why) < 300
    assert "\n" not in bad.why


@pytest.mark.parametrize("ending", [b"", b"\n192.0.2.1\n"])
def test_a_line_without_end_is_dropped_and_told_once(ending):
    lines = NominationLines()
    found = []
    for _ in range(40):
        found += lines.feed(b"x" * 65536)
        assert len(lines._rest) <= LINE_LIMIT + 65536
    found += [*lines.feed(ending), *lines.end()]
    assert found[0] == BadLine(1, f"longer than {LINE_LIMIT} bytes")
    assert found[1:] == ([Nominee(2, ip_address("192.0.2.1"))] if ending else [])


def test_a_long_line_in_one_chunk():
    bad, good = read(b"x" * (LINE_LIMIT + 1) + b"\n192.0.2.1\n")
    assert bad == BadLine(1, f"longer than {LINE_LIMIT} bytes")
    assert good.line == 2


@given(st.binary(max_size=400), st.lists(st.integers(0, 400)))
def test_where_chunks_end_makes_no_difference(text, cuts):
    ends = sorted({min(cut, len(text)) for cut in cuts})
    chunks = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    assert read(*chunks) == read(text)


@given(st.lists(st.sampled_from([b"192.0.2.1", b"bad", b"", b"#", b'{"address":"::1"}', b"\xfe", b"{"])))
def test_every_line_that_says_something_is_accounted_for(lines):
    found = read(b"\n".join(lines))
    assert [item.line for item in found] == [n for n, text in enumerate(lines, 1) if text not in (b"", b"#")]
