"""export, as users run it."""

import pytest


@pytest.mark.parametrize(
    "format_", ["plain", "csv", "jsonl", "nft", "ipset", "postfix", "haproxy", "nginx", "rpz", "rbldnsd", "crowdsec"]
)
def test_every_format_goes_to_stdout_alone(proxywarden, configured, holding, format_):
    holding(["198.51.100.1"])
    ended = proxywarden("export", format_)
    assert (ended.code, ended.err) == (0, "")
    assert "198.51.100.1" in ended.out or "1.100.51.198" in ended.out
    assert "1080" not in ended.out


def test_export_of_one_list(proxywarden, configured, holding):
    holding(["198.51.100.1"])
    assert "198.51.100.1" not in proxywarden("export", "plain", "--list", "rbl").out
    assert "198.51.100.1" in proxywarden("export", "plain", "--list", "rbl", "--list", "ops").out
    refused = proxywarden("export", "rbldnsd", "--list", "rbl", "--list", "ops")
    assert (refused.code, len(refused.said)) == (2, 1)
    refused = proxywarden("export", "rbldnsd", "--view", "nobody")
    assert (refused.code, len(refused.said)) == (2, 1)
    assert "--view 'nobody': expected one of maps, sorbs, dronebl, spamhaus" in refused.err
    assert proxywarden("export", "morse").code == 2
    assert ":127.0.0.8:" in proxywarden("export", "rbldnsd", "--view", "dronebl").out
