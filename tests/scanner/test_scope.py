"""What may be touched and what may be published: the registries, the files, the exceptions."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from core.cidr import CidrSet
from scanner.config import ConfigError
from scanner.scope import Scope, load_scope
from scanner.settings import ScopeSection, Settings
from scanner.special_use import SPECIAL_USE

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch, tmp_path):
    monkeypatch.delenv("PROXYWARDEN_CONFIG", raising=False)
    monkeypatch.setattr("scanner.config.DEFAULT_FILE", tmp_path / "absent.toml")


@pytest.fixture
def scope():
    return load_scope(Settings(), CONFIG)


def of(tmp_path, *, never_scan="", never_list="", allow=()):
    (tmp_path / "scan.txt").write_text(never_scan, "utf-8")
    (tmp_path / "list.txt").write_text(never_list, "utf-8")
    section = ScopeSection(never_scan=("scan.txt",), never_list=("list.txt",), allow=allow)
    return load_scope(Settings(scope=section), tmp_path)


def test_the_root_servers_are_never_scanned_and_never_listed(scope):
    names = [line for line in (CONFIG / "never-scan.txt").read_text("utf-8").splitlines() if "root-servers.net" in line]
    for letter in "abcdefghijklm":
        own = [line.split()[0] for line in names if f"# {letter}.root-servers.net" in line]
        assert {ip_address(text).version for text in own} == {4, 6}
    roots = CidrSet([line.split()[0] for line in names])
    assert roots <= scope.never_scan
    assert "198.41.0.4" in scope.never_list


def test_resolvers_are_never_listed_but_may_be_visited(scope):
    for text in ("1.1.1.1", "8.8.8.8", "9.9.9.9", "2620:fe::fe", "4.2.2.3"):
        assert text in scope.never_list
        assert text not in scope.never_scan


def test_mail_giants_wait_for_a_person(scope):
    for text in ("209.85.128.1", "40.107.0.1", "2a01:111:f400::1"):
        assert text in scope.never_list_soft
        assert text not in scope.never_list


@pytest.mark.parametrize("name", ["never-scan.txt", "never-list.txt"])
def test_every_shipped_line_has_its_reason(name):
    lines = (CONFIG / name).read_text("utf-8").splitlines()
    assert [line for line in lines if line[:1] not in ("", "#") and not line.partition("#")[2].strip()] == []


def test_special_use_is_both(scope):
    special = CidrSet([network for network, _ in SPECIAL_USE])
    assert special <= scope.never_scan
    assert special <= scope.never_list


def test_a_refusal_says_why(scope, tmp_path):
    assert scope.refusal(ip_address("127.0.0.1")) == "127.0.0.1 is special-use (loopback, RFC 1122)"
    assert scope.refusal(ip_address("198.41.0.4")) == "198.41.0.4 is in the never-scan set"
    assert scope.refusal(ip_address("8.8.8.8")) is None


def test_a_laboratory_is_excepted_from_special_use_and_not_from_what_the_operator_names(tmp_path):
    scope = of(tmp_path, never_scan="127.0.0.9\n", never_list="soft 127.0.0.8\n127.0.0.7\n", allow=("127.0.0.0/8",))
    assert scope.refusal(ip_address("127.0.0.1")) is None
    assert ip_address("127.0.0.1") not in scope.never_list | scope.never_list_soft
    assert scope.refusal(ip_address("127.0.0.9")) == "127.0.0.9 is in the never-scan set"
    assert ip_address("127.0.0.7") in scope.never_list
    assert ip_address("127.0.0.8") in scope.never_list_soft
    assert scope.refusal(ip_address("10.0.0.1"))


def test_the_way_out_is_one_that_helps(tmp_path):
    scope = of(tmp_path, never_scan="127.0.0.9\n192.88.98.1\n", allow=("127.0.0.0/8",)).with_optouts(["127.0.0.8"])
    assert scope.way_out(ip_address("127.0.0.8")) == "`proxywarden optout remove` ends that"
    assert scope.way_out(ip_address("10.0.0.1")) == "scope.allow excepts networks for a laboratory"
    for text in ("127.0.0.9", "192.88.98.1"):
        assert scope.way_out(ip_address(text)) == "a file of scope.never_scan names it"


def test_optouts_come_on_top(scope):
    assert scope.refusal(ip_address("8.8.8.8")) is None
    assert scope.with_optouts(["8.8.8.0/24"]).refusal(ip_address("8.8.8.8"))


def test_blanks_tabs_and_comments(tmp_path):
    text = "# all\n\n  192.0.2.1\t# one\nsoft\t 192.0.2.2\nsoft  192.0.2.4/31 # two\n"
    scope = of(tmp_path, never_list=text)
    assert CidrSet(["192.0.2.2", "192.0.2.4/31"]) == scope.never_list_soft


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("192.0.2.1/24", "192.0.2.1/24"),
        ("hard 192.0.2.1", "expected a network, or `soft` and a network"),
        ("soft", "expected a network, or `soft` and a network"),
        ("soft soft 192.0.2.1", "expected a network, or `soft` and a network"),
        ("192.0.2.1 192.0.2.2", "expected a network, or `soft` and a network"),
        ("example.net", "example.net"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, expected):
    with pytest.raises(ConfigError) as caught:
        of(tmp_path, never_list=f"192.0.2.9\n{line}\n")
    assert str(caught.value).startswith(f"{tmp_path / 'list.txt'}:2: ")
    assert expected in str(caught.value)


def test_soft_means_nothing_where_nothing_may_be_touched(tmp_path):
    with pytest.raises(ConfigError, match="is for a never-list"):
        of(tmp_path, never_scan="soft 192.0.2.1\n")


def test_a_file_that_is_not_there():
    with pytest.raises(ConfigError, match=r"^scope\.never_\w+ = 'nothing\.txt': no such file"):
        load_scope(Settings(scope=ScopeSection(never_scan=("nothing.txt",))))
    with pytest.raises(ConfigError, match=r"/nothing\.txt: No such file or directory"):
        load_scope(Settings(scope=ScopeSection(never_scan=("/nothing.txt",))))


def test_a_file_beside_the_configuration_goes_before_the_shipped_one(tmp_path, monkeypatch):
    (tmp_path / "never-scan.txt").write_text("192.88.98.0/24\n", "utf-8")
    (tmp_path / "proxywarden.toml").touch()
    monkeypatch.setenv("PROXYWARDEN_CONFIG", str(tmp_path / "proxywarden.toml"))
    scope = load_scope(Settings())
    assert scope.refusal(ip_address("192.88.98.1"))
    assert scope.refusal(ip_address("198.41.0.4")) is None


def test_who_opted_out_is_told_so_and_not_that_it_is_special_use() -> None:
    scope = Scope(CidrSet([]), CidrSet([]), CidrSet([]), CidrSet([])).with_optouts(["127.7.0.0/16"])
    assert scope.refusal(ip_address("127.7.1.1")) == "127.7.1.1 has opted out of being probed"
    assert scope.refusal(ip_address("127.8.1.1")) is None
