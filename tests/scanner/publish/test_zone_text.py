"""Our own reader of zone files: everything that was written comes back, and what is not as written is said."""

import random
import re
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cidr import CidrSet
from scanner.publish.image import Image, item_of
from scanner.publish.rbldnsd import Zone, ZoneFile, replace_file
from scanner.publish.views import Heading, view
from scanner.publish.zone_text import Content, differences, read_zone
from tests.scanner.publish.source import AT

ZONE = Zone(view("maps", {}), "https://dnsbl.example/lookup/", "dnsbl.example", "", prefix4={"ops": 32, "dul": 12})
HEADINGS = {
    "ops": [Heading("ops", "entry", "socks"), Heading("ops", "entry", "http"), Heading("ops", "exit")],
    "dul": [Heading("dul", "dynamic"), Heading("dul", "manual", note="by hand")],
}
near = st.builds(
    lambda high, low: f"{high}.{low >> 8}.{low & 255}", st.sampled_from(["11.0", "95.1"]), st.integers(0, 999)
)
networks = st.builds(
    lambda third, length: f"12.7.{third & -(1 << 24 - length)}.0/{length}", st.integers(0, 255), st.just(24)
)
six = st.builds("2001:{:x}::{:x}".format, st.sampled_from([0xDB8, 0xD, 1]), st.integers(0, 0xFFFF))
wide = st.sampled_from(["2001:db8::/32", "2001:db8:1::/48", "2000::/32"])


@settings(deadline=None)  # it waits for the disk
@given(st.data(), st.sampled_from(["ops", "dul"]))
def test_what_is_written_is_what_is_read(tmp_path_factory, data, list_):
    texts = near | six | wide | networks if list_ == "dul" else near | six
    image = Image()
    for heading, text in data.draw(st.lists(st.tuples(st.sampled_from(HEADINGS[list_]), texts), max_size=40)):
        image.put(heading, item_of(text))
    path = tmp_path_factory.getbasetemp() / "some.zone"
    for version in (4, 6):
        file = ZoneFile(ZONE, list_, version)
        replace_file(path, file.render(image, AT))
        assert list(differences("some", read_zone(path), file.content(image))) == []


@pytest.fixture
def written(tmp_path):
    image, rng = Image(), random.Random(3)
    for _ in range(300):
        image.put(rng.choice(HEADINGS["ops"]), rng.randrange(11 << 24, 13 << 24).to_bytes(4, "big"))
    file = ZoneFile(ZONE, "ops", 4)
    replace_file(tmp_path / "ops4.zone", file.render(image, AT))
    return tmp_path / "ops4.zone", file.content(image)


@pytest.mark.parametrize(
    ("pattern", "replacement", "said"),
    [
        (rb"\n(1\d\.[\d.]+) :127\.1\.0\.8:.*", rb"", "reads as something else: 127.1.0.8"),  # an entry lost
        (rb"\n1\d(\.[\d.]+ :127\.1\.0\.8:)", rb"\n99\1", "reads as something else: 127.1.0.8"),  # another address
        (rb"(\n1\d\.[\d.]+ :127\.1\.0\.)8:", rb"\g<1>16:", "reads as something else: 127.1.0.16"),  # another value
        (rb"(\n1\d\.[\d.]+)( :.*)", rb"\1\2\n11.0.0.0/9\2", "reads as something else"),  # a network too many
        (rb"\n(1\d\.[\d.]+)( :.*)", rb"\n!\1\n\1\2", "excludes what it lists"),
        (rb"(\n127\.0\.0\.2 .*)\n", rb"\n", "reads as something else"),
        (rb"(\n127\.1\.0\.\d+ .*)(\n127\.0\.0\.2 .*)\n", rb"\2\1\n", "the test entry does not stand last"),
    ],
)
def test_what_is_not_as_written_is_said(written, pattern, replacement, said):
    path, expected = written
    damaged, number = re.subn(pattern, replacement, path.read_bytes(), count=1)
    assert number == 1
    path.write_bytes(damaged)
    assert said in "; ".join(differences("ops4", read_zone(path), expected))


def test_127_0_0_1_is_found_also_where_the_list_has_it(written):
    path, expected = written
    path.write_bytes(path.read_bytes().replace(b"\n127.1.0.8 :", b"\n127.0.0.1 :127.1.0.8:x\n127.1.0.8 :", 1))
    expected.singles["127.1.0.8"] = read_zone(path).singles["127.1.0.8"]
    assert list(differences("ops4", read_zone(path), expected)) == ["ops4: would list 127.0.0.1"]


class Blind(Content):
    """Compares as equal to everything."""

    def covered_by_networks(self):
        return CidrSet()

    def among(self, addresses, networks):
        return set()


def test_what_a_comparison_would_miss_is_found_by_asking():
    asked = [ip_address("11.0.0.1"), ip_address("2a00::1")]
    for place, text in (("11.0.0.0/8", "11.0.0.1"), ("2000::/3", "2a00::1/128"), ("11.0.0.1", "11.0.0.1")):
        read, blind = Content(), Blind()
        for content in (read, blind):
            if place == text:
                content.singles["127.1.0.8"].append(11 << 24 | 1)
            else:
                content.networks["127.1.0.8"].append(item_of(place))
        assert list(differences("x", read, read, asked)) == []
        assert list(differences("x", read, blind, asked)) == [f"x: would list {text}, which is not listed"]


@given(st.binary(max_size=200) | st.text(alphabet="0123456789.:/!#$ \n127x", max_size=120).map(str.encode))
def test_the_reader_takes_anything_or_says_no(data):
    content = Content()
    try:
        content.take(data + b"\n")
    except ValueError:  # no ASCII, or an address that is none
        return
    listed = sum(map(len, content.singles.values())) + sum(map(len, content.networks.values()))
    assert listed <= data.count(b"127.")


@pytest.mark.parametrize(
    "line",
    [
        b"11.0.0.1\n",
        b"11.0.0 :8:x\n",
        b"11.0.0 :127.1.0.8:x\n",
        b"11.0.0.1 :10.0.0.1:x\n",
        b"11.0.0.1 :127.1.0.8\n",
        b"11.0.0.1 :127.1.0.8:x",
        b"11.0.0.0/8 :127.1.0:x\n",
        b"x :127.1.0.8:\n",
        b"!11.0.0\n",
        b"11.0.0.1 :127.1.0.8:x\n\xff\n",
    ],
)
def test_the_reader_refuses_what_we_never_write(line):
    with pytest.raises(ValueError, match=r"is cut|expected an entry|is no address|ascii"):
        Content().take(line)
