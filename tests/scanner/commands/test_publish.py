"""publish, export, purge and shutdown-plan, as users run them."""

import json


def test_publish_writes_every_output_and_says_so(proxywarden, configured, holding, home):
    holding(["198.51.100.1", "2001:db8::1"])
    ended = proxywarden("publish")
    assert (ended.code, ended.lines[0]) == (0, "2 entries are published")
    assert "198.51.100.1 :127.1.0.8:" in (home / "zones" / "ops4.zone").read_text()
    assert "2001:db8::1/128 :127.1.0.8:" in (home / "zones" / "ops6.zone").read_text()
    shown = json.loads(proxywarden("publish", "--json").out)
    assert (shown["entries"], shown["held"], shown["entries_held"]) == (2, {}, 0)


def test_a_tripped_gate_is_said_and_accept_goes_on(proxywarden, configured, holding, home):
    configured("[publish.gate]\ngrowth_floor = 3\n")
    holding([f"198.51.100.{n}" for n in range(1, 6)])
    ended = proxywarden("publish")
    assert ended.code == 1
    assert "ops: additions are held: growth: 5 additions to 0 entries, expected at most 3" in ended.said[0]
    assert "(publish.gate.growth_floor); look at what waits" in ended.said[0]
    five = [f"198.51.100.{n}" for n in range(1, 6)]
    assert ended.said[1] == f"proxywarden: ops: these wait: {', '.join(five)}"
    assert json.loads(proxywarden("publish", "--json").out)["waiting"] == {"ops": five}
    assert ended.lines[0] == "0 entries are published"
    held = proxywarden("export", "plain")
    assert (held.code, "198.51.100" in held.out, "growth" in held.err) == (0, False, True)
    assert proxywarden("publish", "--accept").code == 0
    assert "198.51.100.5" in proxywarden("export", "plain").out


def test_an_output_that_fails_is_exit_1(proxywarden, configured, holding, home):
    holding(["198.51.100.1"])
    (home / "zones").write_text("in the way")
    ended = proxywarden("publish")
    assert ended.code == 1
    assert any(line.startswith("rbldnsd: failed: ") for line in ended.lines)
