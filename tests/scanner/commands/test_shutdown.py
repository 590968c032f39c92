"""shutdown-plan, as users run it."""

import pytest


def test_shutdown_plan_prints_steps_and_files(proxywarden, configured):
    ended = proxywarden("shutdown-plan", "--zone", "bl.example.org.")
    assert ended.code == 0
    for words in (
        "How to end bl.example.org",
        "NEVER answer",
        "bl.example.org. 604800 IN NS",
        "@ IN SOA ns.bl.example.org.",
    ):
        assert words in ended.out
    assert "127.0.0.2 " not in ended.out.split("--- empty zone")[1]


@pytest.mark.parametrize("name", ["a b", "a..b", ".", "a" * 64 + ".example", ".".join(["abc"] * 64)])
def test_what_is_no_name_is_refused(proxywarden, configured, name):
    ended = proxywarden("shutdown-plan", "--zone", name)
    assert (ended.code, ended.out) == (2, "")
    assert ended.said == [f"proxywarden: --zone {name!r}: expected a domain name such as bl.example.net"]
