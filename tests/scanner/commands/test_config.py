"""config: right or wrong, and what it comes to."""

import json

from scanner.config import leaves
from scanner.settings import Settings


def test_right(proxywarden, home):
    ended = proxywarden("config", "check")
    assert (ended.code, ended.out) == (0, f"{home}/proxywarden.toml: right\n")
    assert "still the placeholder" in ended.err


def test_right_and_nothing_to_remark(proxywarden, home):
    with (home / "proxywarden.toml").open("a") as file:
        file.write('[identity]\nname = "a.example"\nurl = "https://a.example/"\ncontact = "abuse@a.example"\n')
    (line,) = proxywarden("config", "check").said
    assert line.startswith("proxywarden: warning: canary: only on loopback, which no other machine can reach: ")
    with (home / "proxywarden.toml").open("a") as file:
        file.write('[canary]\ntargets = [{id = "main", address = "192.0.2.25", tcp = 443}]\n')
    assert proxywarden("config", "check").err == ""


def test_everything_wrong_at_once(proxywarden, home):
    (home / "proxywarden.toml").write_text('rats = 1\n[scan]\nrate = "5"\nhosts = 0\n')
    ended = proxywarden("config", "check")
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.said) == 3
    assert all(line.startswith(f"proxywarden: {home}/proxywarden.toml: ") for line in ended.said)


def test_the_files_that_it_names(proxywarden, home):
    (home / "never-scan.txt").write_text("8.8.8.0/24\nrubbish\n")
    ended = proxywarden("config", "check")
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.said
    assert line.startswith(f"proxywarden: {home}/never-scan.txt:2: ")


def test_files_that_can_not_be_opened_are_named_all_at_once(proxywarden, home):
    (home / "never-scan.txt").write_text("rubbish\n")
    with (home / "proxywarden.toml").open("a") as file:
        file.write('[mail]\nuser = "u"\npassword_file = "/absent/password"\nca_file = "/absent/ca.pem"\n')
        file.write('[publish]\nwebhooks = [{url = "https://partner.example/", secret_file = "/absent/hook"}]\n')
    ended = proxywarden("config", "check")
    assert (ended.code, ended.out) == (2, "")
    assert ended.said[:3] == [
        "proxywarden: mail.ca_file = '/absent/ca.pem': No such file or directory",
        "proxywarden: mail.password_file = '/absent/password': No such file or directory",
        "proxywarden: publish.webhooks.0.secret_file = '/absent/hook': No such file or directory",
    ]
    assert ended.said[3].startswith(f"proxywarden: {home}/never-scan.txt:1: ")


def test_the_option_goes_before_the_variable(proxywarden, home):
    (home / "other.toml").write_text("[scan]\nrate = 7\n")
    ended = proxywarden("--config", home / "other.toml", "config", "show", "--json")
    rate = next(item for item in map(json.loads, ended.lines) if item["key"] == "scan.rate")
    assert rate == {"key": "scan.rate", "value": 7.0, "origin": f"{home}/other.toml"}
    assert proxywarden("config", "check", "--config", home / "absent.toml").said == [
        f"proxywarden: {home}/absent.toml: No such file or directory"
    ]


def test_secrets_are_shown_as_stars(proxywarden, home):
    hook = 'name = "{}"\nurl = "https://partner.example/hook"\n'
    (home / "proxywarden.toml").write_text(
        f'[[publish.webhooks]]\n{hook.format("a")}secret = "hunter2 hunter2"\n'
        f'[[publish.webhooks]]\n{hook.format("b")}secret_file = "/etc/hook"\n'
    )
    for arguments in ((), ("--json",)):
        shown = proxywarden("config", "show", *arguments).out
        assert "hunter2" not in shown
        assert all(words in shown for words in ('"secret": "***"', '"secret": ""', "/etc/hook", "partner.example"))


def test_every_setting_is_shown_with_where_it_came_from(proxywarden, home, monkeypatch):
    monkeypatch.setenv("PROXYWARDEN_SCAN__HOSTS", "9")
    ended = proxywarden("config", "show", "--json")
    assert (ended.code, ended.err) == (0, "")
    found = {item["key"]: item for item in map(json.loads, ended.lines)}
    assert set(found) == {key for key, _ in leaves(Settings())}
    assert found["scan.hosts"] == {
        "key": "scan.hosts",
        "value": 9,
        "origin": "environment variable PROXYWARDEN_SCAN__HOSTS",
    }
    assert found["data_dir"]["origin"] == f"{home}/proxywarden.toml"
    assert found["scan.rate"]["origin"] == "default"
    assert found["store.url"]["value"] == f"sqlite:///{home}/data/proxywarden.sqlite"
    assert found["secret_file"]["value"] == f"{home}/data/secret"
    lines = proxywarden("config", "show").lines
    assert "scan.hosts = 9  # environment variable PROXYWARDEN_SCAN__HOSTS" in lines
    assert len(lines) == len(found)
