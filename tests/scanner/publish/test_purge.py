"""Which listings a purge means, and what people are told."""

import pytest

from scanner.publish.purge import named_by, notice


@pytest.mark.parametrize(
    ("detector", "wanted", "meant"),
    [
        ("socks5/1.0", "socks5", True),
        ("socks5/1.0", "socks5/1.0", True),
        ("socks5/1.0", "socks5/1", False),
        ("socks4/1", "socks", False),
    ],
)
def test_a_detector_is_named_with_or_without_its_version(detector, wanted, meant):
    assert named_by(detector, wanted) is meant


def test_the_notice_has_what_rfc_6471_asks_for():
    text = notice("list.example", "socks5", 1_800_000_000.0, 1_800_003_600.0, 7)
    assert all(words in text for words in ("list.example", "'socks5'", "all 7", "2027-01-15T08:00:00Z", "T09:00:00Z"))
