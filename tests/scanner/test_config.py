"""proxywarden.toml and the environment: what holds, where it came from, and everything that is wrong, at once."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scanner.canary import Limits
from scanner.config import ConfigError, leaves, load, load_with_origins, reference_file
from scanner.fields import parse_host_port
from scanner.proof import CanaryKey
from scanner.settings import Settings

REFERENCE = Path(__file__).parents[2] / "config" / "proxywarden.toml"


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch, tmp_path):
    """Neither the machine's own configuration nor its environment has a say."""
    for name in list(os.environ):
        if name.startswith("PROXYWARDEN_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("scanner.config.DEFAULT_FILE", tmp_path / "absent.toml")


def written(tmp_path, text):
    file = tmp_path / "proxywarden.toml"
    file.write_text(text, "utf-8")
    return file


def mistakes(tmp_path, text):
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    return [line.removeprefix(f"{file}: ") for line in lines]


# The reference


def test_the_shipped_file_is_the_defaults():
    assert load(REFERENCE) == Settings()


def test_the_shipped_file_writes_out_every_key():
    _, origins = load_with_origins(REFERENCE)
    assert set(origins) == {key for key, _ in leaves(Settings())}


def test_every_key_of_the_shipped_file_is_explained_above():
    silent, explained = [], False
    for line in REFERENCE.read_text("utf-8").splitlines():
        key = " = " in line and not line.startswith(("#", " "))
        if key and not explained:
            silent.append(line)
        # Keys that stand together share a comment; a [[table]] is explained above its head.
        explained = line.startswith(("#", "[[")) or (key and explained)
    assert not silent


def test_every_key_that_only_an_example_shows_is_there():
    text = REFERENCE.read_text("utf-8")
    for key in ("source", "source6", "address6", "mail_domain", "tcp", "mail", "http"):
        assert f"{key} = " in text or f"#   {key} " in text


def test_the_unit_file_has_room_for_all_sockets():
    unit = (REFERENCE.parent / "proxywarden.service").read_text("utf-8")
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    assert int(lines["LimitNOFILE"]) >= Settings().scan.sockets + 512
    assert lines["Environment"] == f"PROXYWARDEN_DATA_DIR={Settings().data_dir}"


def test_the_unit_file_of_the_canary_has_room_for_all_connections_and_its_own_place():
    unit = (REFERENCE.parent / "proxywarden-canary.service").read_text("utf-8")
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    assert int(lines["LimitNOFILE"]) >= Limits().connections + 512
    assert lines["Environment"] == f"PROXYWARDEN_DATA_DIR=/var/lib/{lines['StateDirectory']}"
    assert lines["ExecStart"] == "/usr/local/bin/proxywarden canary --key-file /etc/proxywarden/canary.key"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('smarthost = "localhost"', "expected HOST:PORT"),
        ('smarthost = "local host:25"', "expected HOST:PORT"),
        ('smarthost = "localhost:0"', "expected HOST:PORT"),
        ('smarthost = "[::1]:99999"', "expected HOST:PORT"),
        ('smarthost = "localhost:25"', "smarthost needs a sender"),
        ('sender = "a@b\\r\\nBcc: c@d"', "mail.sender"),
        ('user = "us"', "user and password_file belong together"),
        ('tls = "maybe"', "mail.tls"),
    ],
)
def test_mail_that_can_not_work(tmp_path, text, expected):
    lines = mistakes(tmp_path, f"[mail]\n{text}\n")
    assert any(expected in line for line in lines), lines


@pytest.mark.parametrize("host", ["localhost:25", "mail.example.org:587", "192.0.2.1:25", "[2001:db8::1]:25"])
def test_smarthosts(tmp_path, host):
    file = written(tmp_path, f'[mail]\nsmarthost = "{host}"\nsender = "removal@dnsbl.example"\n')
    assert load(file).mail.smarthost == host


# What holds


def test_defaults_without_a_file():
    settings, origins = load_with_origins()
    assert (settings, origins) == (Settings(), {})


def test_a_file_changes_what_it_says_and_nothing_else(tmp_path):
    file = written(tmp_path, '[scan]\nrate = 50\n[[vantage]]\nname = "a"\nsource = "127.0.0.2"\n')
    settings, origins = load_with_origins(file)
    assert settings.scan.rate == 50
    assert [(item.name, str(item.source)) for item in settings.vantages] == [("a", "127.0.0.2")]
    assert settings.scan.per_network_rate == Settings().scan.per_network_rate
    assert origins == {"scan.rate": str(file), "vantage": str(file)}


def test_a_canary_may_have_every_id_that_keys_are_exported_for(tmp_path):
    text = '[[canary.targets]]\nid = "{}"\naddress = "192.0.2.1"\ntcp = 1\n'
    longest = "c" * 63
    assert load(written(tmp_path, text.format(longest))).canary.targets[0].id == longest
    with pytest.raises(ValueError, match="63"):
        CanaryKey.from_master(b"m" * 32, longest + "c")
    assert mistakes(tmp_path, text.format(longest + "c"))


def test_the_variable_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PROXYWARDEN_CONFIG", str(written(tmp_path, "[scan]\nrate = 7\n")))
    assert load().scan.rate == 7


def test_the_environment_goes_above_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PROXYWARDEN_SCAN__RATE", "70")
    monkeypatch.setenv("PROXYWARDEN_SCAN__LEARN_ORDER", "false")
    monkeypatch.setenv("PROXYWARDEN_LISTS__OPS__REQUIRE", "mail")
    settings, origins = load_with_origins(written(tmp_path, "[scan]\nrate = 50\nhosts = 9\n"))
    assert (settings.scan.rate, settings.scan.hosts, settings.scan.learn_order) == (70, 9, False)
    assert settings.lists.ops.require == "mail"
    assert origins["scan.rate"] == "environment variable PROXYWARDEN_SCAN__RATE"
    assert origins["scan.hosts"] == str(tmp_path / "proxywarden.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["socks5:1080", "socks4:81"]', ("socks5:1080", "socks4:81")),
        ("socks5:1080, socks4:81", ("socks5:1080", "socks4:81")),
        ("socks5:1080", ("socks5:1080",)),
        ("[]", ()),
        ("", ()),
    ],
)
def test_a_list_in_the_environment(monkeypatch, text, expected):
    monkeypatch.setenv("PROXYWARDEN_SCAN__ENDPOINTS", text)
    assert load().scan.endpoints == expected


def test_what_is_no_list_is_not_made_one_by_being_empty(monkeypatch):
    monkeypatch.setenv("PROXYWARDEN_STORE__URL", "")
    monkeypatch.setenv("PROXYWARDEN_WEB__OPERATOR_LISTEN", "")
    settings, origins = load_with_origins()
    assert (settings.store.url, settings.web.operator_listen) == ("", ())
    assert origins["web.operator_listen"] == "environment variable PROXYWARDEN_WEB__OPERATOR_LISTEN"
    monkeypatch.setenv("PROXYWARDEN_SCAN__RATE", "")
    with pytest.raises(ConfigError, match=r"scan\.rate = '': expected a number$"):
        load()


def test_a_wildcard_is_bound_where_targets_say_how_to_reach_it(tmp_path):
    text = '[canary]\nlisten = ["0.0.0.0:8021"]\ntargets = [{id = "main", address = "127.0.0.1", tcp = 8021}]\n'
    assert load(written(tmp_path, text)).canary.targets[0].tcp == 8021


def test_every_value_can_be_shown():
    shown = dict(leaves(Settings()))
    assert shown["data_dir"] == "/var/lib/proxywarden"
    assert shown["scan.rate"] == 500.0


# What is wrong


def test_everything_wrong_is_said_at_once(tmp_path):
    text = """
data_dir = 5
[scan]
rate = "500"
learn_order = "yes"
sockets = true
per_host = 99
hosts = 20000000
endpoints = ["foo:1", "socks5:0"]
rat = 4
[canary]
targets = [{id = "a b", address = "127.0.0.1", tcp = 1}]
[lists.ops]
require = "some"
rescan_hours = 3
[store]
url = "mysql://x"
[nothing]
x = 1
"""
    lines = mistakes(tmp_path, text)
    expected = [
        "data_dir = 5: expected a path",
        "scan.rate = '500': expected a number",
        "scan.learn_order = 'yes': expected true or false",
        "scan.sockets = True: expected a number",
        "scan.per_host = 99: expected less than or equal to 16",
        "scan.hosts = 20000000: expected less than or equal to 1000000",
        "scan.endpoints.0 = 'foo:1': unknown protocol 'foo'",
        "scan.endpoints.1 = 'socks5:0': expected PROTOCOL:PORT",
        "scan.rat: unknown key; did you mean scan.rate?",
        "canary.targets.0.id = 'a b': expected letters, digits, '.', '-' or '_', 63 at most",
        "lists.ops.require = 'some': expected 'any' or 'mail'",
        "lists.ops.rescan_hours = 3: expected greater than or equal to 24",
        "store.url = 'mysql://x': expected sqlite:///PATH",
        "nothing: unknown key",
    ]
    for beginning in expected:
        assert [line for line in lines if line.startswith(beginning)], (beginning, lines)
    assert len(lines) == len(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[lists.ops]\nexpiry_days = 100\n", "lists.ops: expiry_days = 100.0 contradicts expiry_cap_days = 90.0"),
        ("[lists.ops]\nrescan_hours = 80\n", "lists.ops: rescan_hours = 80.0 contradicts rescan_max_hours_with_exits"),
        ('[[vantage]]\nname = "a"\nsource = "::1"\n', "vantage.0.source = '::1': expected an IPv4 address"),
        ('[[vantage]]\nname = "a"\nsource6 = "x"\n', "vantage.0.source6 = 'x': expected an IPv6 address"),
        ('[canary]\nlisten = ["0.0.0.0:8021"]\n', "canary: listen has 0.0.0.0:8021, a wildcard: targets must name"),
        ('[canary]\nlisten = ["[::]:8021"]\n', "canary: listen has [::]:8021, a wildcard: targets must name"),
        (
            '[canary]\ntargets = [{id = "m", address = "0.0.0.0", tcp = 1}]\n',
            "canary.targets.0: a wildcard address can't be reached",
        ),
        ('[canary]\ntargets = [{id = "m", tcp = 1}]\n', "canary.targets.0: needs an address"),
        ('[canary]\ntargets = [{id = "m", name = "x"}]\n', "canary.targets.0: needs at least one of the ports"),
        ('[[vantage]]\nname = "a"\n[[vantage]]\nname = "a"\n', "vantage: names must differ"),
        ("vantage = []\n", "vantage = []: expected at least one"),
        ("[scan]\nrate = nan\n", "scan.rate = nan: expected"),
        ("[scan]\nrate = inf\n", "scan.rate = inf: expected a finite number"),
        ('[web]\nlisten = ["localhost:80"]\n', "web.listen.0 = 'localhost:80': expected ADDRESS:PORT"),
        ('[web]\npublic_url = "ftp://x"\n', "web.public_url = 'ftp://x': expected a web address"),
        (
            '[web]\npublic_url = "https://bücher.example"\n',
            "web.public_url = 'https://bücher.example': expected a web address in ASCII without spaces, quotes and $",
        ),
        (
            '[web]\npublic_url = "https://x.example/$1"\n',
            "web.public_url = 'https://x.example/$1': expected a web address in ASCII without spaces",
        ),
        (
            '[identity]\nurl = "https://x.example/\\nHost: y"\n',
            "identity.url = 'https://x.example/\\nHost: y': expected a web address in ASCII without spaces",
        ),
        (
            f'[web]\npublic_url = "https://x.example/{"a" * 100}"\n',
            f"web.public_url = 'https://x.example/{'a' * 100}': expected at most 100 characters: it stands",
        ),
        ('[mail]\nsender = "me"\n', "mail.sender = 'me': expected an e-mail address such as removal@dnsbl.example.net"),
        (
            '[publish]\nzone = "a b"\n',
            "publish.zone = 'a b': expected a domain name such as bl.example.net, or nothing",
        ),
        (
            '[publish]\nzone = "a..b"\n',
            "publish.zone = 'a..b': expected a domain name such as bl.example.net, or nothing",
        ),
        (
            '[publish.views.own]\nops = "127.0.0.1"\nrss = "10.0.0.1"\n',
            "publish: views.own.ops = '127.0.0.1': 127.0.0.1 is what clients test for being absent (RFC 5782 section"
            " 5); views.own.rss = '10.0.0.1': expected an address of 127.0.0.0/8",
        ),
        ('[identity]\nname = "a b"\n', "identity.name = 'a b': expected a name such as scanner.example.net"),
        ('[scope]\nallow = ["127.0.0.1/8"]\n', "scope.allow.0 = '127.0.0.1/8':"),
        (
            '[controls]\nlisten = "127.0.0.1:65535"\n',
            "controls.listen = '127.0.0.1:65535': expected a port below 65535",
        ),
        (
            '[controls]\nremote = [{address = "192.0.2.9", port = 25, protocol = "smtp-relay", expect = "open"}]\n',
            "controls.remote.0.protocol = 'smtp-relay': expected one of http-connect, ",
        ),
        (
            '[controls]\nremote = [{address = "192.0.2.9", port = 80, protocol = "socks5", expect = "shut"}]\n',
            "controls.remote.0.expect = 'shut': expected",
        ),
        ("scan = 5\n", "scan = 5: expected a table"),
        ('data_dir = ""\n', "data_dir = '': expected a directory"),  # not the working directory
        ('scan.endpoints = "socks5:1080"\n', "scan.endpoints = 'socks5:1080': expected a list"),
    ],
)
def test_one_mistake_is_one_line(tmp_path, text, expected):
    (line,) = mistakes(tmp_path, text)
    assert line.startswith(expected)


def test_the_environment_is_blamed_for_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("PROXYWARDEN_SCAN__RATE", "abc")
    monkeypatch.setenv("PROXYWARDEN_SCAN__RATS", "1")
    monkeypatch.setenv("PROXYWARDEN_NOTHING", "1")
    monkeypatch.setenv("PROXYWARDEN_VANTAGE", "[}")
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, "[scan]\nhosts = 0\n"))
    assert set(str(caught.value).splitlines()) == {
        "environment variable PROXYWARDEN_SCAN__RATE: scan.rate = 'abc': expected a number",
        "environment variable PROXYWARDEN_SCAN__RATS: scan.rats: unknown key; did you mean scan.rate?",
        "environment variable PROXYWARDEN_VANTAGE: vantage.0 = '[}': expected a table",
        f"{tmp_path / 'proxywarden.toml'}: scan.hosts = 0: expected greater than or equal to 1",
        "environment variable PROXYWARDEN_NOTHING: no such setting",
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"[scan\n", "Expected"), (b"\xff = 1\n", "utf-8"), (b"a = 1\na = 2\n", "Cannot overwrite")],
)
def test_a_file_that_is_no_toml(tmp_path, content, expected):
    file = tmp_path / "proxywarden.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=expected) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory"):
        load(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.1:", "::1:80", "[127.0.0.1]:80", "127.0.0.1:65536", "x:1"])
def test_no_host_and_port(text):
    with pytest.raises(ValueError, match="expected ADDRESS:PORT"):
        parse_host_port(text)


def test_host_and_port():
    assert parse_host_port("127.0.0.1:80") == ("127.0.0.1", 80)
    assert parse_host_port("[::1]:0") == ("::1", 0)


def test_a_reference_file_that_is_not_shipped():
    assert reference_file("proxywarden.toml") == REFERENCE
    with pytest.raises(ConfigError, match=r"other\.toml is not installed"):
        reference_file("other.toml")


# Whatever is written

KEYS = sorted({key for key, _ in leaves(Settings())})
VALUES = st.one_of(
    st.sampled_from(
        [
            *("0", "-1", "1e308", "nan", "-inf", "99999999999999999999", "true", "[]", "[[]]", "{}", "{a=1}"),
            *('""', '"x"', '"\\u0000"', '"127.0.0.1:25"', '["[::1]:80"]', '"0.0.0.0:0"', '["10.0.0.1/8"]', "07:32:00"),
            *('["socks5:0"]', '"sqlite:///x"', '"postgresql://x"', '[{name="a"}]', '[{name="a", source="::1"}]'),
        ]
    ),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.text(st.characters(codec="ascii", exclude_characters="'\\\x7f", min_codepoint=32), max_size=20).map(
        lambda text: f"'{text}'"
    ),
)  # fmt: skip


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([*KEYS, "scan.nothing", "nothing"]), VALUES, max_size=6))
def test_whatever_is_written_is_settings_or_lines_that_say_what_is_wrong(tmp_path, chosen):
    file = written(tmp_path, "".join(f"{key} = {value}\n" for key, value in chosen.items()))
    try:
        load(file)
    except ConfigError as error:
        lines = str(error).splitlines()
    else:
        lines = [f"{file}: fine"]
    assert lines
    assert all(line.startswith(f"{file}: ") and len(line) > len(f"{file}: ") for line in lines)
