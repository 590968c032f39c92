"""Exports: each entry once, names as BIND wants them, and whole files of nothing; tests/peers has their readers."""

import pytest

from scanner.publish.exports import Meta, entries, render, rpz_name
from scanner.publish.image import Image, item_of
from scanner.publish.publisher import zone_of
from scanner.publish.views import LISTS, Heading
from tests.scanner.publish.source import AT
from tests.scanner.publish.test_publisher import FORMATS, settings_of


def test_entries_come_once_with_all_their_headings():
    image = Image()
    ops, rbl = Heading("ops", "entry"), Heading("rbl", "manual")
    for place, text in (
        (ops, "11.0.0.1"),
        (rbl, "11.0.0.1"),
        (ops, "2a00::1"),
        (rbl, "11.0.0.0/24"),
        (ops, "200.0.0.1"),
    ):
        image.put(place, item_of(text))
    found = [(item, [place.list for place in places]) for item, places in entries(image, LISTS)]
    assert found == [
        (item_of("11.0.0.1"), ["ops", "rbl"]),
        (item_of("200.0.0.1"), ["ops"]),
        (item_of("11.0.0.0/24"), ["rbl"]),
        (item_of("2a00::1"), ["ops"]),
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("198.51.100.77", "32.77.100.51.198"),
        ("198.51.100.0/24", "24.0.100.51.198"),
        ("2001:db8:0:2::/64", "64.zz.2.0.db8.2001"),
        ("2001:db8::12", "128.12.zz.db8.2001"),
        ("2a00:1:2:3:4:5:6:7", "128.7.6.5.4.3.2.1.2a00"),
    ],
)
def test_policy_names_are_canonical(text, name):
    assert rpz_name(item_of(text)) == name


@pytest.mark.parametrize("format_", FORMATS)
async def test_an_empty_list_is_a_whole_file_in_every_format(tmp_path, format_):
    async def nothing():
        return
        yield

    meta = Meta("x", AT, AT + 3600, ("ops",), "http://127.0.0.1/lookup/")
    text = "".join(
        [piece async for piece in render(format_, Image(), nothing, meta, zone_of(settings_of(tmp_path), "maps"))]
    )
    assert text.endswith("\n")
    assert "11.0" not in text


@pytest.mark.parametrize(("prefix", "interval"), [(32, ""), (24, " flags interval; auto-merge;")])
async def test_nft_is_told_of_networks_wherever_the_gate_lets_them_through(tmp_path, prefix, interval):
    """nft refuses a whole file for a network in a set of single addresses."""
    meta = Meta("x", AT, AT + 3600, ("ops",), "http://127.0.0.1/lookup/")
    zone = zone_of(settings_of(tmp_path, f"[publish.gate]\nprefix4 = {{ops = {prefix}}}\n"), "maps")
    text = "".join([piece async for piece in render("nft", Image(), None, meta, zone)])
    assert f"add set inet proxywarden ops4 {{ type ipv4_addr;{interval} }}" in text
