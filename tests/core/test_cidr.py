"""core.cidr and its plain twin under the same tests, and against each other."""

import copy
import ipaddress
import pickle
import re
from array import array

import netaddr
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import core.cidr
from tests.oracle import cidr as oracle

TOP4 = 2**32 - 1
TOP6 = 2**128 - 1


@pytest.fixture(params=["core", "plain", "twin"])
def cidr(request):
    """core as this machine runs it, core as every machine can, and the twin."""
    core.cidr._use_wide(request.param == "core")
    yield oracle if request.param == "twin" else core.cidr
    core.cidr._use_wide(True)


def bulk(ask, *arguments, **options):
    """The answer of both compiled forms."""
    core.cidr._use_wide(False)
    plain = ask(*arguments, **options)
    core.cidr._use_wide(True)
    assert ask(*arguments, **options) == plain
    return plain


def test_the_extension_is_the_one_that_is_loaded():
    assert core.cidr.__file__.endswith(".so")
    assert type(core.cidr.CidrSet.__contains__).__name__ == "wrapper_descriptor"


def test_core_imports_nothing_of_scanner():
    import subprocess
    import sys

    code = "import sys, core.cidr; print([m for m in sys.modules if m.split('.')[0] in ('scanner', 'netaddr')])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


# --- what goes in

ONE = [
    "192.0.2.1",
    "192.0.2.1/32",
    "192.0.2.1-192.0.2.1",
    3221225985,
    (3221225985, 4),
    b"\xc0\x00\x02\x01",
    ipaddress.ip_address("192.0.2.1"),
    ipaddress.ip_network("192.0.2.1/32"),
    netaddr.IPAddress("192.0.2.1"),
    netaddr.IPNetwork("192.0.2.1/32"),
    netaddr.IPRange("192.0.2.1", "192.0.2.1"),
]
SIX = [
    "2001:db8::1",
    "2001:DB8:0:0:0:0:0:1",
    "2001:0db8::0001",
    "2001:db8::0.0.0.1",
    "2001:db8::1/128",
    "2001:db8::1-2001:db8::1",
    0x20010DB8 << 96 | 1,
    (0x20010DB8 << 96 | 1, 6),
    bytes.fromhex("20010db8000000000000000000000001"),
    ipaddress.ip_address("2001:db8::1"),
    ipaddress.ip_network("2001:db8::1"),
    netaddr.IPAddress("2001:db8::1"),
    netaddr.IPNetwork("2001:db8::1"),
    netaddr.IPRange("2001:db8::1", "2001:db8::1"),
]


@pytest.mark.parametrize("item", ONE, ids=repr)
def test_every_way_to_write_an_ipv4_address(cidr, item):
    made = cidr.CidrSet([item])
    assert list(made.ranges()) == [(ipaddress.ip_address("192.0.2.1"),) * 2]
    assert made == cidr.CidrSet(ONE)


@pytest.mark.parametrize("item", SIX, ids=repr)
def test_every_way_to_write_an_ipv6_address(cidr, item):
    made = cidr.CidrSet([item])
    assert list(made.ranges()) == [(ipaddress.ip_address("2001:db8::1"),) * 2]
    assert made == cidr.CidrSet(SIX)


def test_a_small_number_can_be_ipv6_when_it_says_so(cidr):
    assert list(cidr.CidrSet([(1, 6), 1]).cidrs()) == [
        ipaddress.ip_network("0.0.0.1"),
        ipaddress.ip_network("::1"),
    ]
    assert ipaddress.IPv6Address(1) in cidr.CidrSet(["::1"])
    assert 1 not in cidr.CidrSet(["::1"])
    assert netaddr.IPAddress("::1") in cidr.CidrSet(["::1"])
    assert netaddr.IPAddress("::1") not in cidr.CidrSet(["0.0.0.1"])


def test_text_may_be_of_a_subclass(cidr):
    class Text(str):
        pass

    made = cidr.CidrSet([Text("192.0.2.0/24"), Text("2001:db8::/32")])
    assert made == cidr.CidrSet(["192.0.2.0/24", "2001:db8::/32"])
    assert Text("192.0.2.1") in made
    assert made.contains_many([Text("192.0.2.1"), Text("::")]) == b"\1\0"
    with pytest.raises(ValueError, match=r"'192\.0\.2\.1/24': host bits"):
        cidr.CidrSet([Text("192.0.2.1/24")])


def test_netaddr_sets_are_taken_whole_and_never_walked_address_by_address(cidr):
    made = cidr.CidrSet(netaddr.IPSet(["10.0.0.0/8", "2001:db8::/32"]))
    assert made == cidr.CidrSet(["10.0.0.0/8", "2001:db8::/32"])


@pytest.mark.parametrize(
    "single",
    [
        "10.0.0.0/8",
        b"\x0a\0\0\0",
        None,
        ipaddress.ip_network("10.0.0.0/8"),
        netaddr.IPNetwork("10.0.0.0/8"),
        netaddr.IPRange("10.0.0.0", "10.0.0.9"),
        5,
    ],
    ids=repr,
)
def test_one_network_in_place_of_an_iterable_is_a_type_error(cidr, single):
    with pytest.raises(TypeError):
        cidr.CidrSet(single)


WRONG = [
    # item, what the message says was expected
    ("192.0.2.1/24", "host bits set; expected 192.0.2.0/24"),
    ("2001:db8::1/32", "host bits set; expected 2001:db8::/32"),
    ("1.2.3.4/0", "host bits set; expected 0.0.0.0/0"),
    (netaddr.IPNetwork("192.0.2.1/24"), "host bits set; expected 192.0.2.0/24"),
    ("192.0.02.1", "leading zero"),
    ("00.0.0.0", "leading zero"),
    ("0.0.0.00", "leading zero"),
    ("::ffff:192.0.02.1", "leading zero"),
    ("192.0.2.0/024", "prefix length from 0 to 32"),
    ("192.0.2.0/33", "prefix length from 0 to 32"),
    ("192.0.2.0/", "prefix length from 0 to 32"),
    ("192.0.2.0/-1", "expected"),
    ("192.0.2.0/+1", "prefix length from 0 to 32"),
    ("192.0.2.0/2 ", "prefix length from 0 to 32"),
    ("192.0.2.0/255.255.255.0", "prefix length from 0 to 32"),
    ("192.0.2.0/1000", "prefix length from 0 to 32"),
    ("2001:db8::/129", "prefix length from 0 to 128"),
    ("fe80::1%eth0", "zone id"),
    ("fe80::%1/64", "zone id"),
    ("192.0.2.1%1", "zone id"),
    (ipaddress.ip_address("fe80::1%eth0"), "zone id"),
    ("192.0.2.9-192.0.2.1", "first address is above the last"),
    ("2001:db8::2-2001:db8::1", "first address is above the last"),
    ("192.0.2.1-2001:db8::1", "IPv4 and IPv6"),
    ("192.0.2.1 - 192.0.2.9", "expected an address"),
    ("192.0.2.1-192.0.2.9/32", "expected an address"),
    ("192.0.2.1-192.0.2.2-192.0.2.3", "expected an address"),
    ("", "expected an address"),
    ("/", "expected an address"),
    ("/8", "expected an address"),
    ("-", "expected an address"),
    (" 192.0.2.1", "expected an address"),
    ("192.0.2.1\n", "expected an address"),
    ("192.0.2.1\0", "expected an address"),
    ("192.0.2", "expected an address"),
    ("192.0.2.", "expected an address"),
    ("192..2.1", "expected an address"),
    ("192.0.2.1.5", "expected an address"),
    ("192.0.2.256", "expected an address"),
    ("192.0.2.1234", "expected an address"),
    ("0xc0.0.2.1", "expected an address"),
    ("٣.0.2.1", "expected an address"),
    ("localhost", "expected an address"),
    (":", "expected an address"),
    (":::", "expected an address"),
    ("1:", "expected an address"),
    (":1", "expected an address"),
    ("1::2::3", "expected an address"),
    ("::1::", "expected an address"),
    ("1:2:3:4:5:6:7", "expected an address"),
    ("1:2:3:4:5:6:7:8:", "expected an address"),
    ("1:2:3:4:5:6:7:8:9", "expected an address"),
    ("1::2:3:4:5:6:7:8", "expected an address"),
    ("::12345", "expected an address"),
    ("::g", "expected an address"),
    ("::1.2.3", "expected an address"),
    ("::1.2.3.256", "expected an address"),
    ("1:2:3:4:5:6:7:1.2.3.4", "expected an address"),
    ("::1.2.3.4:5", "expected an address"),
    (b"\x01\x02\x03", "4 or 16 packed bytes"),
    (b"", "4 or 16 packed bytes"),
    (-1, "integer from 0"),
    (2**128, "integer from 0"),
    ((2**32, 4), "integer from 0 to 2**32-1"),
]


@pytest.mark.parametrize(("item", "expected"), WRONG, ids=[repr(item) for item, _ in WRONG])
def test_a_wrong_item_is_named_with_what_was_expected(cidr, item, expected):
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        cidr.CidrSet(["198.51.100.0/24", item])
    assert repr(item) in str(caught.value)


@pytest.mark.parametrize(
    "item",
    [
        None,
        True,
        1.5,
        object(),
        bytearray(4),
        (1,),
        (1, 5),
        (1, 4, 32),
        ("192.0.2.1", 4),
        ["192.0.2.1"],
        ipaddress.ip_interface("192.0.2.1/24"),
        ipaddress.ip_interface("2001:db8::1/64"),
    ],
    ids=repr,
)
def test_an_item_of_another_type_is_a_type_error(cidr, item):
    with pytest.raises(TypeError):
        cidr.CidrSet([item])


GOOD = ["::", "1::", "::1", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", "1::8", "1:2::8",
        "1:2:3::7:8", "::ffff:192.0.2.1", "1:2:3:4:5:6:192.0.2.1", "1:2::192.0.2.1", "ABCD:EF01::", "0.0.0.0",
        "255.255.255.255", "1.20.199.0", "::/0", "0.0.0.0/0", "8000::/1", "128.0.0.0/1"]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_good_text_reads_as_ipaddress_reads_it(cidr, text):
    assert list(cidr.CidrSet([text]).cidrs()) == [ipaddress.ip_network(text)]


@given(st.one_of(st.text("0123456789.:/-%afg ", max_size=24), st.ip_addresses().map(str), st.text(max_size=20)))
def test_text_is_taken_or_refused_by_both_alike(text):
    def read(module):
        try:
            return list(module.CidrSet([text]).ranges())
        except ValueError:
            return "refused"

    assert read(core.cidr) == read(oracle)


@given(st.ip_addresses(), st.data())
def test_addresses_of_every_spelling_are_read(address, data):
    spelling = data.draw(st.sampled_from([address.compressed, address.exploded, address.exploded.upper()]))
    made = core.cidr.CidrSet([address])
    for form in (spelling, address, address.packed, netaddr.IPAddress(str(address))):
        assert form in made
        assert core.cidr.CidrSet([form]) == made


# --- sets


@st.composite
def spans(draw):
    """Networks and ranges that often touch, nest, repeat, and lie at the ends."""
    bits = draw(st.sampled_from([32, 32, 128]))
    top = 2**bits - 1
    near = st.sampled_from([0, 1, 255, 256, 65535, 65536, 1 << 20, 1 << bits // 2, 1 << (bits - 1), top - 256, top])
    value = min(top, max(0, draw(st.one_of(near, st.integers(0, top))) + draw(st.integers(-3, 3))))
    if draw(st.booleans()):
        length = draw(
            st.one_of(
                st.integers(0, bits),
                st.sampled_from([0, 16, 24, 31, 32, 48, 64, bits]).filter(lambda n: n <= bits),
            )
        )
        value = value >> (bits - length) << (bits - length)
        return f"{_text(bits, value)}/{length}"
    last = min(top, value + draw(st.sampled_from([0, 1, 2, 254, 255, 256, 65535, 70000, 1 << 17, 1 << bits - 2])))
    return f"{_text(bits, value)}-{_text(bits, last)}"


def _text(bits, value):
    return str(ipaddress.IPv4Address(value) if bits == 32 else ipaddress.IPv6Address(value))


many = st.lists(spans(), max_size=12)


def boundaries(made):
    """The first and last address of each run, and their neighbours outside."""
    for first, last in made.ranges():
        top = TOP4 if first.version == 4 else TOP6
        for number in {int(first) - 1, int(first), int(last), int(last) + 1}:
            if 0 <= number <= top:
                yield type(first)(number)


def check_same(mine, twin):
    assert list(mine.ranges()) == list(twin.ranges())
    assert list(mine.cidrs()) == list(twin.cidrs())
    assert mine.num_addresses == twin.num_addresses
    assert bool(mine) == bool(twin)
    assert repr(mine) == repr(twin)
    asked = list(boundaries(twin))
    answers = bytes(address in twin for address in asked)
    assert bytes(address in mine for address in asked) == answers
    assert bytes(str(address) in mine for address in asked) == answers
    assert bytes(address.packed in mine for address in asked) == answers
    assert mine.contains_many(asked) == answers
    assert mine.contains_many(asked, bits=True) == twin.contains_many(asked, bits=True)
    four = [address for address in asked if address.version == 4]
    six = [address for address in asked if address.version == 6]
    for some, packed in ((four, array("I", map(int, four))), (six, b"".join(a.packed for a in six))):
        for bits in (False, True):
            assert bulk(mine.contains_many, packed, bits=bits) == twin.contains_many(some, bits=bits)
    check_restored(mine)


def check_restored(mine):
    again = pickle.loads(pickle.dumps(mine))
    assert again == mine
    assert hash(again) == hash(mine)


@given(many)
@example(["0.0.0.0/0", "::/0"])
@example(["0.0.0.0-255.255.255.254", "255.255.255.255"])
@example(["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"])
@example(["0.255.255.255-1.2.3.4", "1.2.3.4-1.2.3.5", "1.2.3.6"])
def test_building(items):
    check_same(core.cidr.CidrSet(items), oracle.CidrSet(items))


@given(many)
def test_every_boundary_of_every_item(items):
    made = core.cidr.CidrSet(items)
    twin = oracle.CidrSet(items)
    for item in items:
        for edge in boundaries(oracle.CidrSet([item])):
            assert (edge in made) == (edge in twin)


@given(many, st.randoms())
def test_order_and_repetition_do_not_matter(items, random):
    mixed = items + items[:3]
    random.shuffle(mixed)
    assert core.cidr.CidrSet(mixed) == core.cidr.CidrSet(items)
    assert hash(core.cidr.CidrSet(mixed)) == hash(core.cidr.CidrSet(items))


@given(many, many)
@example(["10.0.0.0/8"], ["10.1.2.3"])
@example(["0.0.0.0/0"], ["10.1.2.0/24", "::/0"])
@settings(max_examples=200)
def test_algebra(left, right):
    a, b = core.cidr.CidrSet(left), core.cidr.CidrSet(right)
    p, q = oracle.CidrSet(left), oracle.CidrSet(right)
    check_same(a | b, p | q)
    check_same(a & b, p & q)
    check_same(a - b, p - q)
    assert a | b == core.cidr.CidrSet(left + right)
    assert a.isdisjoint(b) == p.isdisjoint(q)
    assert (a <= b, a < b, a >= b, a > b, a == b) == (p <= q, p < q, p >= q, p > q, p == q)
    assert a <= a | b
    assert a & b <= a
    assert (a - b).isdisjoint(b)
    assert (a - b) | (a & b) == a


def test_only_sets_combine_with_sets(cidr):
    made = cidr.CidrSet(["10.0.0.0/8"])
    for other in (["10.0.0.0/8"], {"10.0.0.0/8"}, None, 0):
        assert made != other
        for operation in ("__or__", "__and__", "__sub__", "__le__", "__lt__", "__ge__", "__gt__"):
            assert getattr(made, operation)(other) is NotImplemented
        with pytest.raises(TypeError):
            made.isdisjoint(other)


def test_an_update_leaves_the_set_that_readers_hold_as_it_was(cidr):
    old = cidr.CidrSet(["10.0.0.0/8", "2001:db8::/32"])
    new = old - cidr.CidrSet(["10.1.0.0/16"]) | cidr.CidrSet(["192.0.2.0/24"])
    assert "10.1.0.0" in old
    assert "192.0.2.0" not in old
    assert "10.1.0.0" not in new
    assert {"10.0.255.255", "10.2.0.0", "192.0.2.0", "2001:db8::"} == {
        x for x in ("10.0.255.255", "10.2.0.0", "192.0.2.0", "2001:db8::") if x in new
    }


def test_sizes_are_exact(cidr):
    assert cidr.CidrSet().num_addresses == 0
    assert cidr.CidrSet(["::/0", "0.0.0.0/0"]).num_addresses == 2**128 + 2**32
    assert cidr.CidrSet(["::/1", "::1"]).num_addresses == 2**127


def test_the_empty_set(cidr):
    empty = cidr.CidrSet()
    assert not empty
    assert "0.0.0.0" not in empty
    assert "::" not in empty
    assert empty == cidr.CidrSet([]) == cidr.CidrSet(iter(()))
    assert empty <= empty
    assert list(empty.cidrs()) == []
    assert empty.contains_many(array("I")) == b""
    assert empty.contains_many([]) == b""
    assert empty.contains_many(array("I", [0, 1])) == b"\0\0"
    assert repr(empty) == "CidrSet()"


def test_repr_shows_a_few(cidr):
    assert repr(cidr.CidrSet(["10.0.0.0/8"])) == "CidrSet([10.0.0.0/8])"
    assert repr(cidr.CidrSet([f"10.0.0.{n}" for n in range(0, 99, 2)])) == (
        "CidrSet([10.0.0.0/32, 10.0.0.2/32, 10.0.0.4/32, ...])"
    )


def test_copies(cidr):
    made = cidr.CidrSet(["10.0.0.0/8", "2001:db8::/32"])
    assert copy.copy(made) == copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made
    assert {made: 1}[cidr.CidrSet(["10.0.0.0/9", "10.128.0.0/9", "2001:db8::/32"])] == 1


@pytest.mark.parametrize(
    ("address", "error"),
    [("10.0.0.0/8", ValueError), ("10.0.0", ValueError), ("10.0.0.01", ValueError),
     ("fe80::1%eth0", ValueError), ("", ValueError), ("x", ValueError), (b"123", ValueError),
     (-1, ValueError),
     (2**128, ValueError),
     (None, TypeError), (1.0, TypeError), (True, TypeError), ((1, 4), TypeError),
     (ipaddress.ip_network("10.0.0.0/8"), TypeError), (ipaddress.ip_interface("10.0.0.1/8"), TypeError)],
    ids=repr,
)  # fmt: skip
def test_asking_about_what_is_no_address_raises(cidr, address, error):
    made = cidr.CidrSet(["10.0.0.0/8"])
    network = cidr.CidrMap({"10.0.0.0/8": 1})
    for ask in (made.__contains__, network.__contains__, network.__getitem__, network.get, network.covering):
        with pytest.raises(error):
            ask(address)
    with pytest.raises(error):
        made.contains_many(["10.0.0.1", address])


# --- bulk


def test_bulk_takes_buffers_of_many_kinds(cidr):
    numpy = pytest.importorskip("numpy")
    made = cidr.CidrSet(["192.0.2.0/24", "2001:db8::/32"])
    numbers = [3221225983, 3221225984, 3221226239, 3221226240]
    for four in (array("I", numbers), numpy.array(numbers, "uint32"), memoryview(array("I", numbers))):
        assert made.contains_many(four) == b"\0\1\1\0"
    packed = ipaddress.ip_address("2001:db7::").packed + ipaddress.ip_address("2001:db8::").packed
    for six in (packed, bytearray(packed), numpy.frombuffer(packed, "S16"), numpy.frombuffer(packed, "V16"),
                numpy.frombuffer(packed, "uint8").reshape(2, 16)):  # fmt: skip
        assert made.contains_many(six) == b"\0\1"


def test_bulk_answers_into_a_buffer(cidr):
    made = cidr.CidrSet(["0.0.0.1"])
    asked = array("I", [1, 0, 1])
    out = bytearray(b"xxx")
    assert made.contains_many(asked, out) is out
    assert out == b"\1\0\1"
    out = bytearray(b"x")
    assert made.contains_many(asked, out=out, bits=True) is out
    assert out == b"\5"
    assert made.contains_many(["0.0.0.1", "0.0.0.0", 1], bits=True) == b"\5"
    assert made.contains_many(("0.0.0.1", "::1")) == b"\1\0"
    for wrong in (bytearray(2), bytearray(4)):
        with pytest.raises(ValueError, match="out: expected 3 bytes"):
            made.contains_many(asked, wrong)
    with pytest.raises((TypeError, BufferError)):
        made.contains_many(asked, bytes(3))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 1000])
def test_bits_and_bytes_agree_at_every_block_size(cidr, count):
    numpy = pytest.importorskip("numpy")
    made = cidr.CidrSet(["10.0.0.0/9", "10.200.0.0/16", "10.201.1.0/24", "10.201.2.1", "10.201.2.7"])
    base = 10 << 24
    edges = [
        base,
        base + (1 << 23) - 1,
        base + (1 << 23),
        base + 0xC9_01_00,
        base + 0xC9_02_01,
        base + 0xC9_02_02,
    ]
    asked = numpy.array([edges[i % len(edges)] + i // 60 for i in range(count)], "uint32")
    whole = made.contains_many(asked)
    assert whole == bytes(int(one) in made for one in asked)
    packed = made.contains_many(asked, bits=True)
    assert numpy.unpackbits(numpy.frombuffer(packed, "uint8"), bitorder="little", count=count).tobytes() == whole


@pytest.mark.parametrize(
    "wrong",
    ["192.0.2.1", b"123", array("H", [1]), array("i", [1]), array("Q", [1]), array("d", [1]), 5, None],
    ids=repr,
)
def test_bulk_refuses_other_buffers(cidr, wrong):
    with pytest.raises(TypeError):
        cidr.CidrSet().contains_many(wrong)
    with pytest.raises(TypeError):
        cidr.CidrMap().index_many(wrong)


def test_bulk_refuses_the_other_byte_order(cidr):
    numpy = pytest.importorskip("numpy")
    other = numpy.array([1], numpy.dtype("uint32").newbyteorder())
    with pytest.raises(TypeError):
        cidr.CidrSet().contains_many(other)


@pytest.mark.parametrize("kind", ["complex128", [("high", "u8"), ("low", "u8")]], ids=repr)
def test_sixteen_bytes_of_something_else_are_no_address(cidr, kind):
    numpy = pytest.importorskip("numpy")
    with pytest.raises(TypeError):
        cidr.CidrSet().contains_many(numpy.zeros(1, kind))


@given(many)
def test_from_arrays(items):
    for family in (4, 6):
        runs = [span for span in map(oracle._span, items) if span[0] == family]
        first, last = (_array(family, [run[i] for run in runs]) for i in (1, 2))
        twin = oracle.CidrSet.from_arrays(first, last)
        check_same(core.cidr.CidrSet.from_arrays(first, last), twin)
        check_same(core.cidr.CidrSet.from_arrays(first), oracle.CidrSet.from_arrays(first))
        nets = [run for run in runs if run[3] is not None]
        first, lengths = _array(family, [run[1] for run in nets]), bytes(run[3] for run in nets)
        check_same(
            core.cidr.CidrSet.from_arrays(first, length=lengths),
            oracle.CidrSet.from_arrays(first, length=lengths),
        )


def _array(family, numbers):
    return array("I", numbers) if family == 4 else b"".join(n.to_bytes(16, "big") for n in numbers)


def test_from_arrays_names_the_item_that_is_wrong(cidr):
    arrays = cidr.CidrSet.from_arrays
    with pytest.raises(ValueError, match=r"item 1: .*above"):
        arrays(array("I", [1, 2]), array("I", [1, 1]))
    with pytest.raises(ValueError, match=r"item 1: .*host bits set; expected 0.0.0.0/24"):
        arrays(array("I", [0, 2]), length=b"\x18\x18")
    with pytest.raises(ValueError, match=r"item 0: .*expected a prefix length from 0 to 32"):
        arrays(array("I", [0]), length=b"\x21")
    with pytest.raises(ValueError, match=r"item 0: .*expected a prefix length from 0 to 128"):
        arrays(bytes(16), length=b"\x81")
    with pytest.raises(ValueError, match="last: expected 2 addresses"):
        arrays(array("I", [1, 2]), array("I", [1]))
    with pytest.raises(ValueError, match="last: expected 1 addresses"):
        arrays(array("I", [1]), bytes(16))
    with pytest.raises(ValueError, match="length: expected 1 bytes"):
        arrays(array("I", [1]), length=b"")
    with pytest.raises(TypeError, match="exclude"):
        arrays(array("I", [1]), array("I", [1]), length=b"\x20")


# --- files


def test_a_text_file(cidr, tmp_path):
    path = tmp_path / "nets.txt"
    path.write_bytes(
        b"# head\n\n 192.0.2.0/24  # test\r\n\t2001:db8::/32\n10.0.0.1-10.0.0.9#x\n\x0b\x0c\n#\n198.51.100.7"
    )
    made = cidr.CidrSet.from_file(path)
    assert made == cidr.CidrSet(["192.0.2.0/24", "2001:db8::/32", "10.0.0.1-10.0.0.9", "198.51.100.7"])
    assert cidr.CidrSet.from_file(str(path)) == made
    path.write_bytes(b"")
    assert cidr.CidrSet.from_file(path) == cidr.CidrSet()


def test_lines_may_lie_anywhere_in_the_parts_that_are_read(tmp_path):
    path = tmp_path / "nets.txt"
    for comment in range(262100, 262150):
        path.write_bytes(b"#" + b"x" * comment + b"\n192.0.2.0/24\n198.51.100.0/24\nbad")
        with pytest.raises(ValueError, match=":4: 'bad'"):
            core.cidr.CidrSet.from_file(path)
    count = 60_000
    path.write_text("\n".join(f"10.{n >> 8 & 255}.{n & 255}.{n >> 16}" for n in range(count)))
    assert core.cidr.CidrSet.from_file(path).num_addresses == count
    path.write_bytes(b"10.0.0.1\n" + b"#" * 600_000)
    with pytest.raises(ValueError, match=":2: expected lines of at most 262144 bytes"):
        core.cidr.CidrSet.from_file(path)


@pytest.mark.parametrize(
    ("content", "line", "item", "expected"),
    [
        (b"10.0.0.0/8\n10.0.0.1/8 # x\n", 2, "10.0.0.1/8", "host bits set; expected 10.0.0.0/8"),
        (b"\n\nnonsense", 3, "nonsense", "expected an address"),
        (b"10.0.0.1 10.0.0.2\n", 1, "10.0.0.1 10.0.0.2", "expected an address"),
        (b"#\n010.0.0.1\n", 2, "010.0.0.1", "leading zero"),
        (b"fe80::1%lo\n", 1, "fe80::1%lo", "zone id"),
        (b"\xff\xfe\n", 1, r"\xff\xfe", "expected an address"),
        (b"10.0.0.1\0\n", 1, "10.0.0.1\0", "expected an address"),
        (b"\xef\xbb\xbf10.0.0.1\n", 1, "\ufeff10.0.0.1", "expected an address"),
    ],
)
def test_a_wrong_line_is_named_by_path_and_number(cidr, tmp_path, content, line, item, expected):
    path = tmp_path / "nets.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        cidr.CidrSet.from_file(path)
    assert str(caught.value).startswith(f"{path}:{line}: {item!r}: ")


@given(st.lists(st.one_of(spans().map(str.encode), st.binary(max_size=20), st.just(b"# x")), max_size=8))
def test_files_are_read_or_refused_by_both_alike(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("cidr") / "nets.txt"
    path.write_bytes(b"\n".join(lines))

    def read(module):
        try:
            return list(module.CidrSet.from_file(path).ranges())
        except ValueError as error:
            return str(error).split(": ")[0]

    assert read(core.cidr) == read(oracle)


def test_a_file_that_is_not_there(cidr, tmp_path):
    with pytest.raises(FileNotFoundError):
        cidr.CidrSet.from_file(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        cidr.CidrSet.open(tmp_path / "none")


@pytest.mark.parametrize("items", [[], ["10.0.0.0/8"], ["2001:db8::/32"], ["10.0.0.1", "10.0.1.1", "::1", "ff00::/8"]])
def test_saved_and_opened(cidr, tmp_path, items):
    made = cidr.CidrSet(items)
    made.save(tmp_path / "nets")
    opened = cidr.CidrSet.open(tmp_path / "nets")
    assert opened == made
    assert hash(opened) == hash(made)
    made.save(tmp_path / "nets")  # over one that is open
    assert opened == made
    assert (opened | cidr.CidrSet(["192.0.2.1"])) - opened == cidr.CidrSet(["192.0.2.1"])
    assert pickle.loads(pickle.dumps(opened)) == made
    assert [p.name for p in tmp_path.iterdir()] == ["nets"]


def test_a_damaged_file_is_refused_whatever_byte_is_wrong(tmp_path):
    path = tmp_path / "nets"
    core.cidr.CidrSet(["10.0.0.1", "10.0.1.0/24", "2001:db8::/32"]).save(path)
    good = path.read_bytes()
    for length in (0, 1, 63, 64, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            core.cidr.CidrSet.open(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        core.cidr.CidrSet.open(path)
    step = max(1, len(good) // 500)
    for i in [*range(32), *range(64, len(good), step)]:
        bad = bytearray(good)
        bad[i] ^= 0x40
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            core.cidr.CidrSet.open(path)


# --- maps


def test_the_longest_prefix_wins(cidr):
    made = cidr.CidrMap({"0.0.0.0/0": "all", "10.0.0.0/8": "ten", "10.1.0.0/16": "one", "::/0": "six"})
    assert made["10.1.2.3"] == "one"
    assert made["10.2.0.0"] == "ten"
    assert made["11.0.0.0"] == "all"
    assert made["::1"] == "six"
    assert made.covering("10.1.2.3") == [
        (ipaddress.ip_network("0.0.0.0/0"), "all"),
        (ipaddress.ip_network("10.0.0.0/8"), "ten"),
        (ipaddress.ip_network("10.1.0.0/16"), "one"),
    ]
    assert len(made) == 4
    assert made.values() == ["all", "ten", "one", "six"]
    assert list(made.index_many(["10.1.0.0", "::", 0])) == [2, 3, 0]


def test_a_map_iterates_over_its_networks(cidr):
    made = cidr.CidrMap({"10.0.0.0/8": 1, "::/0": 2, "0.0.0.0/0": 3})
    walk = iter(made)  # without an end it would be the values of 0.0.0.0, 0.0.0.1, ...
    assert [next(walk) for _ in range(3)] == [network for network, _ in made.items()]
    assert next(walk, None) is None
    assert list(cidr.CidrMap()) == []
    assert cidr.CidrSet(made) == cidr.CidrSet(["0.0.0.0/0", "::/0"])


def test_a_miss(cidr):
    made = cidr.CidrMap([("10.0.0.0/8", None)])
    assert "11.0.0.0" not in made
    assert "10.0.0.0" in made
    with pytest.raises(KeyError):
        made["11.0.0.0"]
    assert made.get("11.0.0.0") is None
    assert made.get("11.0.0.0", 5) == 5
    assert made.get("10.0.0.0", 5) is None
    assert made.covering("11.0.0.0") == []
    assert list(made.index_many(array("I", [0]))) == [cidr.CidrMap.MISSING]


def test_a_map_takes_networks_only_and_the_last_of_equals(cidr):
    made = cidr.CidrMap([("10.0.0.0/8", 1), ("10.0.0.0-10.255.255.255", 2), ((1, 6), 3), (5, 4)])
    assert made.items() == [
        (ipaddress.ip_network("0.0.0.5"), 4),
        (ipaddress.ip_network("10.0.0.0/8"), 2),
        (ipaddress.ip_network("::1"), 3),
    ]
    with pytest.raises(ValueError, match="expected a network"):
        cidr.CidrMap([("10.0.0.0-10.0.0.2", 1)])
    with pytest.raises(ValueError, match="host bits"):
        cidr.CidrMap([("10.0.0.1/8", 1)])


def test_map_copies(cidr):
    made = cidr.CidrMap({"10.0.0.0/8": [1], "::/0": 2})
    assert pickle.loads(pickle.dumps(made)) == made
    assert copy.copy(made) == made
    assert made != cidr.CidrMap({"10.0.0.0/8": [2], "::/0": 2})
    assert cidr.CidrMap() == cidr.CidrMap({})
    assert not cidr.CidrMap()
    assert repr(made) == "<CidrMap of 2 networks>"
    with pytest.raises(TypeError):
        hash(made)


def test_a_map_names_the_type_of_its_values():
    assert core.cidr.CidrMap[int]({"10.0.0.0/8": 1})["10.0.0.1"] == 1


def test_index_many_into_a_buffer(cidr):
    made = cidr.CidrMap({"0.0.0.1": "x"})
    out = array("I", [7, 7])
    assert made.index_many(array("I", [1, 2]), out) is out
    assert list(out) == [0, 0xFFFFFFFF]
    with pytest.raises(ValueError, match="out: expected 8 bytes"):
        made.index_many(array("I", [1, 2]), array("I", [1]))


networks = st.lists(spans().filter(lambda item: "/" in item), max_size=14)


@given(networks, st.lists(st.ip_addresses(), max_size=5))
@example(["0.0.0.0/0", "128.0.0.0/1", "255.255.255.255/32", "::/0", "8000::/1"], [])
@settings(max_examples=200)
def test_maps(items, others):
    pairs = [(item, number) for number, item in enumerate(items)]
    made, twin = core.cidr.CidrMap(pairs), oracle.CidrMap(pairs)
    assert made.items() == twin.items()
    assert made.values() == twin.values()
    asked = others + [edge for item in items for edge in boundaries(oracle.CidrSet([item]))]
    for address in asked:
        assert made.get(address) == twin.get(address)
        assert made.covering(address) == twin.covering(address)
        assert (address in made) == (address in twin)
    assert made.index_many(asked) == twin.index_many(asked)
    for family in (4, 6):
        chosen = _array(family, [int(a) for a in asked if a.version == family])
        assert bulk(made.index_many, chosen) == twin.index_many(chosen)
