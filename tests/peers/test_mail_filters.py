"""Mail servers and filters that ask the list: they refuse or score mail of what is listed, and no other."""

from __future__ import annotations

import os
import smtplib
import subprocess
import time
from contextlib import contextmanager

import pytest
import trio

from core.cidr import CidrSet
from scanner.config import load
from scanner.publish.outputs import outputs_of
from scanner.publish.publisher import Publisher
from scanner.publish.views import LISTS
from scanner.scope import Scope
from tests.peers.place import Place
from tests.peers.programs import AS_ROOT, environment, lacking, needed, peers
from tests.peers.rbldnsd import serving
from tests.peers.servers import postfix
from tests.peers.site import Site
from tests.scanner.publish.source import Memory

ZONE = "bl.example"
NONE = CidrSet([])
LISTED = {
    "198.51.100.7": ("Open SOCKS proxy", "OPS", {}),
    "2a00:0:0:8::9": ("Exit of an open proxy", "EXIT", {"address": "2a00:0:0:8::/64", "type_": "exit"}),
    "203.0.113.5": ("Open mail relay", "RSS", {"list_": "rss", "detector": "x/1"}),
    "11.17.3.4": ("Dynamic address range", "DUL", {"address": "11.16.0.0/12", "list_": "dul", "type_": "dynamic"}),
}
CLEAN = ("198.51.100.8", "2a00:0:0:9::9", "11.32.0.1")


@pytest.fixture
def place(tmp_path):
    if not AS_ROOT:
        lacking("name servers need root for their port")
    for path in (tmp_path, *tmp_path.parents[:3]):
        path.chmod(path.stat().st_mode & 0o7777 | 0o055)
    return Place(tmp_path)


@contextmanager
def published(place, monkeypatch):
    """A list, and a function that brings a change of it to a real rbldnsd on port 53, and waits until it answers."""
    for name in [name for name in os.environ if name.startswith("PROXYWARDEN_")]:
        monkeypatch.delenv(name)
    folder = place.folder / "zones"
    folder.mkdir()
    folder.chmod(0o777)  # the server writes its pid there
    settings = place.folder / "publish.toml"
    settings.write_text(
        f'data_dir = "{place.folder}"\n[publish.rbldnsd]\ndirectory = "{folder}"\nview = "maps"\n'
        f'check = "{needed("rbldnsd")}"\npid_file = "{folder}/pid"\n'
    )
    (folder / "pid").write_text("x")
    store, config = Memory(), load(settings)
    publisher = Publisher(config, Scope(NONE, NONE, NONE, NONE), store, outputs_of(config))
    trio.run(publisher.release)
    (folder / "pid").unlink()
    specs = [f"{ZONE}:{kind}:{list_}{v}.zone" for list_ in LISTS for v, kind in ((4, "ip4set"), (6, "ip6trie"))]
    with serving(folder, specs, folder / "pid", name_server(place), 53) as ask:
        assert ask(ZONE, "SOA").answer

        def bring():
            publisher._retry.clear()
            number = len(store.history)  # of the mark: once it is there, everything before it is
            store.list(f"192.0.2.{number}")
            assert trio.run(publisher.release) == {}
            assert publisher.states["rbldnsd"].startswith("ok"), publisher.states
            while not ask(f"{number}.2.0.192.{ZONE}", "A").answer:
                time.sleep(0.02)

        yield store, bring


def name_server(place):
    return f"{place.network}.0.53"


def list_all(store):
    for address, (_, _, more) in LISTED.items():
        store.list(**{"address": address} | more)


def reply_to(site, client):
    """What the mail server says to a recipient, when somebody connects from that address."""
    with smtplib.SMTP(str(site.address), site.port, timeout=30) as smtp:
        address = f"IPV6:{client}" if ":" in client else client
        assert smtp.docmd("XCLIENT", f"ADDR={address} NAME=[UNAVAILABLE]")[0] == 220
        assert smtp.ehlo("client.test")[0] == 250
        assert smtp.mail("somebody@client.test")[0] == 250
        code, text = smtp.rcpt("somebody@postfix.test")
    return code, text.decode()


def test_postfix_refuses_mail_of_what_is_listed_and_takes_it_once_removed(place, monkeypatch):
    needed("postfix", "postfix")
    rules = (
        "max_use = 1\n"  # a process remembers what it was told
        "inet_protocols = all\nsmtpd_authorized_xclient_hosts = 127.0.0.0/8\n"
        f"smtpd_client_restrictions = reject_rbl_client {ZONE}=127.1.0.[1..16]\n"
    )
    asks = f"rm -f /etc/resolv.conf; echo nameserver {name_server(place)} > /etc/resolv.conf"
    site = Site(place, place.address(0), "postfix", 25)
    with published(place, monkeypatch) as (store, bring):
        try:
            postfix.run(site, rules, prepare=asks)
            site.settled()
            list_all(store)
            bring()
            for address, (title, _, _) in LISTED.items():
                code, text = reply_to(site, address)
                assert code == 554, (address, code, text, site.said())
                assert f"[{address}] blocked using {ZONE}; {title}" in text
                assert text.rstrip().endswith(f"/lookup/{address}")
            for address in CLEAN:
                assert reply_to(site, address)[0] == 250, (address, site.said())
            store.end("198.51.100.7")
            bring()
            assert reply_to(site, "198.51.100.7")[0] == 250
        finally:
            site.stop()


MESSAGE = """\
Received: from client.test (client.test [{address}]) by mx.test (Postfix) with ESMTP id 4F; \
Sun, 22 Nov 2026 10:00:00 +0000
From: somebody@client.test
To: somebody@mx.test
Subject: hello
Message-ID: <1@client.test>
Date: Sun, 22 Nov 2026 10:00:00 +0000

How are you?
"""


def spamassassin(folder, address):
    """The tests that hit, as the filter writes them into a message from that address, and its verdict."""
    program = needed("spamassassin")
    modules = [path for tree in ("usr/share/perl5", "usr/lib/*/perl5/*") for path in (peers() / "root").glob(tree)]
    ended = subprocess.run(
        ["perl", "-T", *(f"-I{path}" for path in modules), program, "-x", "-C", folder, "--siteconfigpath", folder],
        input=MESSAGE.format(address=address),
        env=environment() | {"HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    status = ended.stdout.replace("\n\t", " ").partition("X-Spam-Status: ")[2].partition("\n")[0]
    assert status, ended.stdout + ended.stderr
    hits = status.partition("tests=")[2].partition(" ")[0]
    return status.startswith("Yes"), {name for name in hits.split(",") if name != "none"}


def test_spamassassin_scores_mail_of_what_is_listed(place, monkeypatch):
    needed("spamassassin")
    folder = place.folder / "spamassassin"
    folder.mkdir()
    # The values as one bit each, which is what it tests with a number.
    values = {"RBL": 1, "DUL": 2, "RSS": 4, "OPS": 8, "EXIT": 16}
    (folder / "local.pre").write_text(
        "loadplugin Mail::SpamAssassin::Plugin::Check\nloadplugin Mail::SpamAssassin::Plugin::DNSEval\n"
    )
    (folder / "local.cf").write_text(
        f"dns_server [{name_server(place)}]:53\ndns_available yes\nutil_rb_tld test\n"
        "required_score 5\nuse_bayes 0\nadd_header all Status _YESNO_, tests=_TESTS_ required=_REQD_\n"
        f"header __LISTED eval:check_rbl('ours-lastexternal', '{ZONE}.')\n"
        + "".join(
            f"header IN_{name} eval:check_rbl_sub('ours-lastexternal', '{bit}')\nscore IN_{name} 6\n"
            f"tflags IN_{name} net\n"
            for name, bit in values.items()
        )
    )
    with published(place, monkeypatch) as (store, bring):
        list_all(store)
        bring()
        for address, (_, name, _) in LISTED.items():
            assert spamassassin(folder, address) == (True, {f"IN_{name}"}), address
        assert spamassassin(folder, CLEAN[0]) == (False, set())
        store.end("198.51.100.7")
        bring()
        assert spamassassin(folder, "198.51.100.7") == (False, set())
