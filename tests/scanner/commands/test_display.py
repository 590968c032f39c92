"""What strangers wrote reaches no terminal as they wrote it."""

from hypothesis import given
from hypothesis import strategies as st

from scanner.commands.display import columns, listing_lines, printable


@given(st.text())
def test_printable_is(text):
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode("utf-8", "strict") or not text


def test_what_is_printable_stays():
    assert printable("Grüße <x>") == "Grüße <x>"
    assert printable("a\x1b[31m\r\n\x00\u202e") == "a\\x1b[31m\\r\\n\\x00\\u202e"


def test_columns():
    assert list(columns([("A", "B"), ("long", "")])) == ["A     B", "long"]


@given(st.dictionaries(st.sampled_from(["list", "type", "exits", "reason", "how_to_fix"]), st.text() | st.none()))
def test_a_listing_of_a_foreign_server(listing):
    assert all(line.isprintable() for line in listing_lines(listing))
