"""core.quads and its plain twin, under the same tests."""

from array import array

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import core.quads
from tests.oracle import quads as oracle

addresses = st.integers(0, 2**32 - 1) | st.builds(lambda low: 11 << 24 | low, st.integers(0, 600))
ascending = st.sets(addresses, max_size=60).map(lambda found: array("I", sorted(found)))
quads = st.sampled_from(["11.0.0.1", "127.1.0.8", "127.0.0.2", "255.255.255.255", "0.0.0.0", "1.2.3.256", "01.2.3.4"])
lines = st.one_of(
    st.builds("!{}".format, quads),
    st.builds("{} :{}:{}".format, quads, quads, st.text("ab:$ 1", max_size=5)),
    st.text("0123456789.:/!#$ x", max_size=30),
)


@pytest.fixture(params=[core.quads, oracle], ids=["core", "twin"])
def module(request):
    return request.param


def test_lines_are_written_and_read(module):
    some = array("I", [0, 0x0B000001, 0xC0000263, 0xFFFFFFFF])
    text = module.write_lines(some, b"", b" :127.1.0.8:$1$\n")
    assert text == (
        b"0.0.0.0 :127.1.0.8:$1$\n11.0.0.1 :127.1.0.8:$1$\n192.0.2.99 :127.1.0.8:$1$\n255.255.255.255 :127.1.0.8:$1$\n"
    )
    assert module.read_lines(text) == ([(0x7F010008, some)], array("I"), [])
    guards = module.write_lines(some[1:2], b"!", b"\n")
    assert module.read_lines(b"$TTL 5\n" + guards + b"\n") == ([], some[1:2], [b"$TTL 5", b""])


def test_a_value_that_changes_begins_a_run(module):
    text = b"1.0.0.1 :127.0.0.2:\n1.0.0.2 :127.0.0.3:x\n1.0.0.3 :127.0.0.3:y\n1.0.0.1 :127.0.0.2:\n"
    runs, _, _ = module.read_lines(text)
    assert [(value & 255, list(found)) for value, found in runs] == [
        (2, [0x01000001]),
        (3, [0x01000002, 0x01000003]),
        (2, [0x01000001]),
    ]


@pytest.mark.parametrize(
    "line", [b"1.2.3.4", b"1.2.3 :127.0.0.2:", b"1.2.3.4 :10.0.0.2:", b"1.2.3.4/24 :127.0.0.2:", b"!1.2.3.4/32"]
)
def test_what_is_no_single_address_with_a_value_is_left_to_others(module, line):
    assert module.read_lines(line + b"\n") == ([], array("I"), [line])


def test_a_last_line_without_its_newline_is_refused(module):
    with pytest.raises(ValueError, match="the last line is cut"):
        module.read_lines(b"1.2.3.4 :127.0.0.2:\n1.2.3.4 :127.0.0.2:")


def test_a_last_number_is_cut_digit_by_digit(module):
    base = 0xC0000200
    assert list(module.cut_short(array("I", [base | 123]))) == [base | 1, base | 12]
    assert list(module.cut_short(array("I", [base | 1, base | 123]))) == [base | 12]
    assert list(module.cut_short(array("I", [base, base | 9, base | 20, base | 255]))) == [base | 2, base | 25]


@pytest.mark.parametrize("wrong", [array("I", [2, 1]), array("I", [3, 3])])
def test_addresses_that_do_not_ascend_are_refused(module, wrong):
    with pytest.raises(ValueError, match="expected addresses that ascend"):
        module.cut_short(wrong)


@pytest.mark.parametrize("wrong", [b"\1\2\3\4", array("H", [1]), array("Q", [1])])
def test_another_buffer_is_refused(wrong):
    for ask in (
        core.quads.cut_short,
        lambda some: core.quads.common(array("I"), some),
        lambda some: core.quads.write_lines(some, b"", b"\n"),
    ):
        with pytest.raises(TypeError, match=r"expected a buffer of uint32"):
            ask(wrong)


@given(st.lists(addresses, max_size=60), st.binary(max_size=3), st.binary(max_size=9))
def test_writing_as_the_twin(some, before, behind):
    made = array("I", some)
    assert core.quads.write_lines(made, before, behind) == oracle.write_lines(made, before, behind)


@given(st.lists(lines, max_size=30).map(lambda found: "".join(f"{line}\n" for line in found).encode()))
@example(b"1.2.3.4 :127.0.0.2\n1.2.3.4 :127.0.0.2:\n!1.2.3.4\n!\n:\n \n")
def test_reading_as_the_twin(text):
    assert core.quads.read_lines(text) == oracle.read_lines(text)


@given(st.binary(max_size=80))
def test_reading_anything(text):
    try:
        expected = oracle.read_lines(text)
    except ValueError:
        with pytest.raises(ValueError, match="the last line is cut"):
            core.quads.read_lines(text)
    else:
        assert core.quads.read_lines(text) == expected


@given(ascending)
def test_cutting_as_the_twin(some):
    assert core.quads.cut_short(some) == oracle.cut_short(some)


@given(st.lists(addresses, max_size=60), st.lists(addresses, max_size=60), st.booleans())
@example([1, 5, 9, 5], [9, 1, 5, 5, 10], False)
def test_what_is_common_as_the_twin(one, other, ordered):
    left, right = (array("I", sorted(some) if ordered else some) for some in (one, other))
    assert core.quads.common(left, right) == oracle.common(left, right)


def test_what_is_common_in_large_arrays():
    one, other = array("I", range(0, 1 << 22, 3)), array("I", range(1 << 22, 0, -7))
    assert core.quads.common(one, other) == core.quads.common(other, one) == oracle.common(one, other)


def test_a_large_text_is_read_back(module):
    some = array("I", range(0, 1 << 22, 401))
    text = module.write_lines(some, b"", b" :127.0.0.2:\n") + module.write_lines(some, b"!", b"\n")
    assert module.read_lines(text) == ([(0x7F000002, some)], some, [])
