"""core.words and its plain twin, under the same tests."""

from ipaddress import IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import core.words
from tests.oracle import words as oracle

word = st.sampled_from([0, 0, 0, 1, 0x12, 0xABC, 0x2001, 0xFFFF]) | st.integers(0, 0xFFFF)
packed = st.lists(word, min_size=8, max_size=8).map(lambda words: b"".join(word.to_bytes(2, "big") for word in words))
networks = st.lists(st.tuples(packed, st.integers(0, 128)), max_size=20).map(
    lambda found: (b"".join(address for address, _ in found), bytes(length for _, length in found))
)
lines = st.one_of(
    st.builds("!{}/{}".format, packed.map(IPv6Address), st.sampled_from([128, 128, 64, 200, "012", ""])),
    st.text("0123456789abcdefF:/!.% ", max_size=20),
    st.builds("!{}".format, st.text("01ab:/.", max_size=12)),
)


@pytest.fixture(params=[core.words, oracle], ids=["core", "twin"])
def module(request):
    return request.param


def of(*texts):
    pairs = [text.split("/") for text in texts]
    return b"".join(IPv6Address(address).packed for address, _ in pairs), bytes(int(length) for _, length in pairs)


@pytest.mark.parametrize(
    "text",
    ["2001:db8::1/128", "::/0", "::1/128", "1::/16", "1:0:2::/48", "0:1::/32", "1:2:3:4:5:6:7:8/128",
     "1::2:0:0:3:4/128", "::ffff:7f00:2/128", "::7f00:2/128", "1:2:3:4:5:6:7:0/112", "0:2:3:4:5:6:7:8/128", "a::/9"],
)  # fmt: skip
def test_a_line_is_written_and_read(module, text):
    line = module.write_lines(*of(text), b"!", b"\n")
    assert line == b"!" + text.encode() + b"\n"
    if text != "a::/9":  # bits beyond its length
        assert module.read_excluded(line) == (*of(text), [])


def test_an_address_is_cut_word_by_word_and_digit_by_digit(module):
    cut = module.cut_short(*of("2001:db8::12/128"))
    assert cut == of(
        *("2::/16", "20::/16", "200::/16", "2001::/16", "2001:d::/32", "2001:db::/32", "2001:db8::/32"),
        *("2001:db8::/128", "2001:db8::1/128"),
    )
    assert module.cut_short(*of("2000::/32"))[1] == bytes([16, 16, 16, 3, 16])  # 2, 20, 200, the length, 2000


@pytest.mark.parametrize("wrong", [(b"x" * 15, b"\1"), (b"x" * 16, b"\x81"), (b"", b"\1")])
def test_sizes_that_do_not_fit_are_refused(module, wrong):
    for ask in (module.cut_short, lambda *networks: module.write_lines(*networks, b"", b"\n")):
        with pytest.raises(ValueError, match="expected"):
            ask(*wrong)


def test_a_last_line_without_its_newline_is_refused(module):
    with pytest.raises(ValueError, match="the last line is cut"):
        module.read_excluded(b"!2001:db8::/32")


@given(networks, st.binary(max_size=3), st.binary(max_size=5))
def test_writing_as_the_twin(some, before, behind):
    assert core.words.write_lines(*some, before, behind) == oracle.write_lines(*some, before, behind)


@given(networks)
@example(of("2001:db8::1/128", "2001:db8::12/128", "2001:db8::123/128", "2001:db8::/128"))
def test_cutting_as_the_twin(some):
    assert core.words.cut_short(*some) == oracle.cut_short(*some)


@given(st.lists(lines, max_size=20).map(lambda found: "".join(f"{line}\n" for line in found).encode()))
@example(b"!\n!/\n!:: /0\n!::/00\n!::/0\n!1.2.3.4/32\n!::1.2.3.4/128\n!::-::1\n\n")
def test_reading_as_the_twin(text):
    assert core.words.read_excluded(text) == oracle.read_excluded(text)
