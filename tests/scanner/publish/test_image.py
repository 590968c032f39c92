"""The image against a set of everything."""

from array import array
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cidr import CidrSet
from scanner.publish.image import Image, Shelf, item_of, text_of
from scanner.publish.views import Heading

HEADINGS = [
    Heading("ops", "entry", "socks"),
    Heading("ops", "entry", "http"),
    Heading("ops", "exit"),
    Heading("rbl", "manual"),
    Heading("rbl", "manual", note="spam"),
    Heading("rbl", "manual", note="spam again"),
]
TEXTS = ["11.0.0.1", "11.0.0.2", "11.255.0.1", "12.0.0.0/24", "223.1.2.3", "2a00::1", "2a00::/64", "2a00:1::/64"]
steps = st.lists(st.tuples(st.sampled_from(HEADINGS), st.sampled_from(TEXTS), st.booleans()), max_size=60)


@pytest.mark.parametrize("text", [*TEXTS, "0.0.0.0", "255.255.255.255"])
def test_an_item_is_its_text(text):
    assert text_of(item_of(text)) in (text, str(ip_network(text)))


@given(steps)
def test_it_is_a_map_of_list_type_and_address(history):
    image, model = Image(), {}
    for heading, text, there in history:
        key, item = (heading.list, heading.type, text), item_of(text)
        if there:
            assert image.put(heading, item) == (model.get(key) != heading)
            model[key] = heading
        else:
            assert image.take(heading.list, heading.type, item) == model.pop(key, None)
    for heading in HEADINGS:
        for text in TEXTS:
            assert image.find(heading.list, heading.type, item_of(text)) == model.get(
                (heading.list, heading.type, text)
            )
    assert len(image) == len(model)
    for list_ in ("ops", "rbl"):
        there = [text for of_list, _, text in model if of_list == list_]
        assert image.covered(list_) == CidrSet(there)
        assert image.count(list_) == len(there)
        assert image.count(list_, 6) == sum(":" in text for text in there)


@given(st.sets(st.integers(1 << 24, (224 << 24) - 1), max_size=50), st.sets(st.integers(1 << 24, (224 << 24) - 1)))
def test_filled_is_as_put_one_by_one(first, then):
    bulk, single = Image(), Image()
    bulk.fill(HEADINGS[0], array("I", first))
    bulk.fill(HEADINGS[0], array("I", then - first))
    for number in first | then:
        single.put(HEADINGS[0], number.to_bytes(4, "big"))
    ours, theirs = (list(image.shelves[HEADINGS[0]].items()) if image.shelves else [] for image in (bulk, single))
    assert ours == theirs == [number.to_bytes(4, "big") for number in sorted(first | then)]


def test_a_moved_list_leaves_nothing_behind():
    image, other = Image(), Image()
    for text in TEXTS[:4]:
        image.put(HEADINGS[0], item_of(text))
    image.put(HEADINGS[3], item_of(TEXTS[4]))
    other.put(HEADINGS[1], item_of(TEXTS[0]))
    image.move("ops", other)
    assert (image.count("ops"), image.count("rbl"), other.count("ops"), other.count("rbl")) == (0, 1, 4, 0)
    assert other.find("ops", "entry", item_of(TEXTS[0])) == HEADINGS[0]


def test_each_entry_may_have_words_of_its_own(monkeypatch):
    """Looking through all of them for each would take minutes from some thousands on."""
    looks, discard = [], Shelf.discard
    monkeypatch.setattr(Shelf, "discard", lambda shelf, item: looks.append(item) or discard(shelf, item))
    image, other = Image(), Image()
    items = [bytes((11, 0, number // 250, number % 250)) for number in range(500)]
    for number, item in enumerate(items):
        image.put(Heading("rbl", "manual", note=f"ticket {number}"), item)
    image.move("rbl", other)
    assert (len(image), len(other), image.shelves) == (0, 500, {})
    for item in items:
        assert other.find("rbl", "manual", item) == other.take("rbl", "manual", item)
        assert image.find("rbl", "manual", item) is None
    assert (len(other), other.shelves) == (0, {})
    assert len(looks) < 1000
