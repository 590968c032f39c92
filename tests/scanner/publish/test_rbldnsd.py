"""What stands in the zone files; test_zone_text.py has our own reader of them, tests/peers rbldnsd."""

import pytest

from scanner.publish.image import Image, item_of
from scanner.publish.publisher import zone_of
from scanner.publish.rbldnsd import ZoneFile
from scanner.publish.views import LISTS, SHIPPED, heading
from scanner.publish.zone_text import Content, differences
from tests.scanner.publish.source import AT
from tests.scanner.publish.test_publisher import settings_of


def test_texts_are_short_ascii_and_ours(tmp_path):
    evil = 'x" $1 :127.0.0.1:\n!0.0.0.0/0\r\n\x00\xff' + "y" * 400
    image = Image()
    image.put(heading("rbl", "manual", "operator/1", evil), item_of("11.0.0.1"))
    image.put(heading("rbl", "manual", "operator/1", evil + "6"), item_of("2a00:1234:5678:9abc:def0:1234:5678:9abc"))
    for version in (4, 6):
        data = b"".join(ZoneFile(zone_of(settings_of(tmp_path), "maps"), "rbl", version).render(image, AT))
        for line in data.decode("ascii").splitlines():
            if " :127." in line:
                text = (
                    line.split(":", 3 if version == 4 else 0)[-1]
                    if version == 4
                    else line.partition(" :")[2].partition(":")[2]
                )
                assert len(text.replace("$", "2a00:1234:5678:9abc:def0:1234:5678:9abc")) <= 200
                assert text.count("$") == 1
        assert data.count(b"\n!0.0.0.0") == 0


def test_a_laboratory_beside_the_test_entries_keeps_them(tmp_path):
    image = Image()
    image.put(heading("ops", "entry", "socks5/1", ""), item_of("127.1.0.89"))  # cut: 127.1.0.8, a test entry
    file = ZoneFile(zone_of(settings_of(tmp_path), "maps"), "ops", 4)
    text = b"".join(file.render(image, AT))
    assert b"!127.1.0.8\n" not in text
    assert b"\n127.1.0.8 :127.1.0.8:" in text
    content = Content()
    content.take(text)
    assert list(differences("ops4.zone", content, file.content(image))) == []


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("list_", LISTS)
def test_every_value_is_a_test_entry_that_answers_itself(tmp_path, name, list_):
    """RFC 5782 section 5."""
    zone = zone_of(settings_of(tmp_path), name)
    lines = b"".join(ZoneFile(zone, list_, 4).render(Image(), AT)).decode().splitlines()
    found = dict(line.split(":")[:2] for line in lines if line.startswith("127."))
    for value in zone.view.values_of(list_):
        assert found[f"{value} "] == value
    assert list(found)[-1] == "127.0.0.2 "


def test_an_ipv6_network_stands_once_with_the_value_of_an_entry(tmp_path):
    """rbldnsd complains of a second value for it, and the file would never please the gate."""
    image = Image()
    for type_ in ("exit", "entry"):
        image.put(heading("ops", type_, "socks5/1", ""), item_of("2a00::1"))
    file = ZoneFile(zone_of(settings_of(tmp_path), "maps"), "ops", 6)
    lines = b"".join(file.render(image, AT)).decode().splitlines()
    assert [line.partition(":$")[0] for line in lines if line.startswith("2a00")] == ["2a00::1/128 :127.1.0.8"]
    assert file.names(image) == range(1, 3)  # rbldnsd does not tell of 2a00::1 beside its guard 2a00::
    image.take("ops", "entry", item_of("2a00::1"))
    assert b"\n2a00::1/128 :127.1.0.16:" in b"".join(file.render(image, AT))
