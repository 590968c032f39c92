"""BIND takes our updates and answers what the list says; unbound finds it with strict QNAME minimisation; RPZ loads."""

import base64
import os
import random
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_network

import dns.message
import dns.query
import dns.rdatatype
import dns.reversename
import pytest
import trio

from core.cidr import CidrSet
from scanner.config import load
from scanner.publish.exports import Meta, render
from scanner.publish.image import Image, item_of
from scanner.publish.outputs import outputs_of
from scanner.publish.publisher import Publisher, zone_of
from scanner.publish.views import Heading
from scanner.scope import Scope
from tests.peers.programs import environment, needed
from tests.scanner.publish.source import Memory

ZONE, ZONE6 = "bl.example", "bl6.example"
NONE = CidrSet([])
SCOPE = Scope(NONE, NONE, NONE, NONE)
SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


def free_port():
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return tcp.getsockname()[1]


@contextmanager
def running(command, directory, ready):
    """A server in its own directory, ended by its own handle."""
    with (directory / "output").open("wb") as output:
        server = subprocess.Popen(
            [str(part) for part in command], cwd=directory, stdout=output, stderr=output, env=environment()
        )
    try:
        deadline = time.monotonic() + 60
        while not ready():
            assert server.poll() is None, (directory / "output").read_text()
            assert time.monotonic() < deadline, (directory / "output").read_text()
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(20)


def ask(port, name, kind="A", timeout=30):
    question = dns.message.make_query(name, kind)
    answer, _ = dns.query.udp_with_fallback(question, "127.0.0.1", timeout=timeout, port=port)
    return sorted(
        item.to_text() for rrset in answer.answer if rrset.rdtype == dns.rdatatype.from_text(kind) for item in rrset
    )


def answers(port):
    def look():
        try:
            return ask(port, ZONE, "SOA", 0.5)  # nobody answers for who is not there yet
        except (OSError, dns.exception.DNSException):
            return False

    return look


def name_of(text):
    address = ip_address(text)
    origin = dns.reversename.ipv4_reverse_domain if address.version == 4 else dns.reversename.ipv6_reverse_domain
    zone = ZONE if address.version == 4 else ZONE6
    return f"{dns.reversename.from_address(text).relativize(origin)}.{zone}"


class Primary:
    """A primary for both zones, empty at first; it can be stopped, and begun anew with an old copy."""

    def __init__(self, home):
        self.home, self.port, self._stack = home, free_port(), ExitStack()
        home.mkdir()
        zones = "".join(
            f'zone "{zone}" {{ type primary; file "{zone}.db"; allow-update {{ key feed; }};'
            " allow-transfer { key feed; }; };\n"
            for zone in (ZONE, ZONE6)
        )
        (home / "named.conf").write_text(
            f'key feed {{ algorithm hmac-sha256; secret "{SECRET}"; }};\n'
            f'options {{ directory "{home}"; listen-on port {self.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};'
            f' pid-file none; session-keyfile "{home}/session.key"; recursion no; notify no; dnssec-validation no;'
            " max-journal-size 64m; };\ncontrols { };\n" + zones
        )

    def start(self):
        for zone in (ZONE, ZONE6):
            (self.home / f"{zone}.db.jnl").unlink(missing_ok=True)
            zone_file = "$TTL 60\n@ SOA ns hostmaster 1 60 60 600 60\n@ NS ns\nns A 127.0.0.1\n"
            (self.home / f"{zone}.db").write_text(zone_file)
        command = [needed("named"), "-g", "-c", self.home / "named.conf", "-n", "1"]
        self._stack.enter_context(running(command, self.home, answers(self.port)))

    def stop(self):
        self._stack.close()


@pytest.fixture
def primary(tmp_path):
    server = Primary(tmp_path / "bind")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bind(primary):
    """Its port."""
    return primary.port


@pytest.fixture
def settings(tmp_path, bind, monkeypatch):
    for name in list(os.environ):
        if name.startswith("PROXYWARDEN_"):
            monkeypatch.delenv(name)
    (tmp_path / "key").write_text(SECRET)
    file = tmp_path / "proxywarden.toml"
    file.write_text(
        f'data_dir = "{tmp_path}"\n[publish.dns_update]\nserver = "127.0.0.1:{bind}"\nzone = "{ZONE}"\n'
        f'zone6 = "{ZONE6}"\nkey_name = "feed"\nkey_file = "{tmp_path / "key"}"\nbatch = 7\n'
    )
    return load(file)


def publisher_of(settings, store):
    return Publisher(settings, SCOPE, store, outputs_of(settings))


async def released(publisher):
    with trio.fail_after(60):
        assert await publisher.release() == {}
    assert publisher.states["dns_update"].startswith("ok"), publisher.states


def expected(store, address):
    values = {
        ("ops", "entry"): "127.1.0.8",
        ("ops", "exit"): "127.1.0.16",
        ("dul", "dynamic"): "127.1.0.2",
        ("rss", "entry"): "127.1.0.4",
    }
    return sorted(
        {values[list_, type_] for list_, net, type_ in store.standing if ip_address(address) in ip_network(net)}
    )


@pytest.mark.parametrize("seed", range(3))
async def test_random_histories_are_answered_as_listed(settings, bind, seed):
    """Hosts and ranges of both families that lie close together, in every order of coming and going."""
    store, rng = Memory(), random.Random(seed)
    hosts = [f"198.51.{rng.randrange(98, 101)}.{rng.randrange(4)}" for _ in range(8)]
    hosts += [f"2a00:0:0:{rng.randrange(7, 9)}::{rng.randrange(3)}" for _ in range(6)]
    fours = [f"198.{51 >> 16 - n << 16 - n}.0.0/{n}" for n in rng.sample(range(12, 17), 2)]
    fours += [f"198.51.{100 >> 24 - n << 24 - n}.0/{n}" for n in rng.sample(range(18, 25), 3)]
    sixes = [f"2a00::/{n}" for n in rng.sample(range(25, 61), 4)]
    entries = [("ops", "entry", host) for host in hosts] + [("rss", "entry", host) for host in hosts[::3]]
    entries += [("ops", "exit", "2a00:0:0:8::/64"), *(("dul", "dynamic", net) for net in (*fours, *sixes))]
    asked = [*dict.fromkeys(hosts), "198.51.100.9", "198.51.99.9", "198.51.1.1", "198.48.1.1", "198.56.0.1"]
    asked += ["2a00:0:0:8::8", "2a00:0:0:9::1", "2a00:0:1::1", "2a07::1", "2a08::1"]
    asked += [str(ip_network(net)[place]) for net in (*fours, *sixes) for place in (0, -1)]
    publisher = publisher_of(settings, store)
    await released(publisher)
    for turn in range(12):
        for _ in range(rng.randint(1, 4)):
            list_, type_, net = rng.choice(entries)
            if (list_, net, type_) in store.standing:
                store.end(net, list_=list_, type_=type_)
            else:
                store.list(net, list_=list_, type_=type_)
        if turn == 6:
            publisher = publisher_of(settings, store)  # a restart
        await released(publisher)
        for address in asked:
            assert ask(bind, name_of(address)) == expected(store, address), (turn, address)
    assert ask(bind, f"2.0.0.127.{ZONE}") == ["127.1.0.8"]
    assert ask(bind, f"1.0.0.127.{ZONE}") == []
    assert ask(bind, f"2.0.0.0.0.0.f.7.f.f.f.f{'.0' * 20}.{ZONE6}") == ["127.1.0.8"]


def meddle(port, folder):
    """Somebody else takes 11.3.0.1 out of the zone and lists 9.9.9.9."""
    key = folder / "named.key"
    key.write_text(f'key feed {{ algorithm hmac-sha256; secret "{SECRET}"; }};\n')
    meddling = f"server 127.0.0.1 {port}\nzone {ZONE}\nupdate delete {name_of('11.3.0.1')} A\n"
    meddling += f"update add {name_of('9.9.9.9')} 60 A 127.1.0.8\nsend\n"
    command = [str(needed("nsupdate")), "-k", str(key)]
    subprocess.run(command, input=meddling.encode(), check=True, timeout=20, env=environment())
    assert ask(port, name_of("9.9.9.9")) == ["127.1.0.8"]


@pytest.mark.parametrize("restart", [False, True])
async def test_what_somebody_else_changed_is_noticed_while_nothing_happens(settings, bind, tmp_path, restart):
    store = Memory()
    for number in range(5):
        store.list(f"11.{number}.0.1")
    publisher = publisher_of(settings, store)
    await released(publisher)
    meddle(bind, tmp_path)
    if restart:
        publisher = publisher_of(settings, store)
    else:
        publisher.outputs["dns_update"]._zones[0].looked = -1000.0
    await released(publisher)
    assert ask(bind, name_of("9.9.9.9")) == []
    assert ask(bind, name_of("11.3.0.1")) == ["127.1.0.8"]


def serial_of(port):
    return int(ask(port, ZONE, "SOA")[0].split()[2])


@pytest.mark.parametrize("restart", [False, True])
async def test_a_primary_begun_anew_from_an_old_copy_is_filled_with_a_higher_serial(settings, primary, restart):
    """Secondaries would take nothing of a zone whose serial went back."""
    store = Memory()
    publisher = publisher_of(settings, store)
    for number in range(5):
        store.list(f"11.{number}.0.1")
        await released(publisher)
    serial = serial_of(primary.port)
    assert serial > 5
    primary.stop()
    primary.start()
    assert serial_of(primary.port) == 1
    if restart:
        publisher = publisher_of(settings, store)
    else:
        store.list("11.7.0.1")
    await released(publisher)
    assert serial_of(primary.port) > serial
    for address in store.standing:
        assert ask(primary.port, name_of(address[1])) == ["127.1.0.8"]


async def test_an_untouched_zone_is_not_sent_again_after_a_restart(settings, bind):
    store = Memory()
    store.list("11.0.0.1")
    await released(publisher_of(settings, store))
    serial = serial_of(bind)
    await released(publisher_of(settings, store))
    assert serial_of(bind) == serial


async def test_what_somebody_else_changed_is_put_right(settings, bind, tmp_path):
    store = Memory()
    for number in range(30):
        store.list(f"11.{number}.0.1")
    publisher = publisher_of(settings, store)
    await released(publisher)
    meddle(bind, tmp_path)
    store.list("11.200.0.1")
    await released(publisher)
    assert ask(bind, name_of("9.9.9.9")) == []
    assert ask(bind, name_of("11.3.0.1")) == ["127.1.0.8"]
    assert ask(bind, name_of("11.200.0.1")) == ["127.1.0.8"]


async def test_a_primary_that_is_away_is_shown_and_caught_up_with(settings, monkeypatch):
    store = Memory()
    store.list("11.0.0.1")
    publisher = publisher_of(settings, store)
    output = publisher.outputs["dns_update"]
    server, output._server = output._server, ("127.0.0.1", 1)
    await publisher.release()
    assert publisher.states["dns_update"].startswith("failed: ")
    output._server = server
    publisher._retry = {"dns_update": (0.0, 1.0)}
    store.list("11.0.0.2")
    await released(publisher)
    assert ask(server[1], name_of("11.0.0.1")) == ask(server[1], name_of("11.0.0.2")) == ["127.1.0.8"]


async def test_a_wrong_key_is_refused_and_said(settings, bind, tmp_path):
    (tmp_path / "key").write_text(base64.b64encode(b"another key of thirty-two bytes.").decode())
    publisher = publisher_of(settings, Memory())
    await publisher.release()
    assert publisher.states["dns_update"].startswith("failed: ")


async def test_unbound_with_strict_qname_minimisation_finds_what_is_listed(settings, bind, tmp_path):
    store = Memory()
    for address in ("198.51.100.7", "11.0.0.1", "2a00::1", "203.0.0.0/12"):
        store.list(address, list_="dul" if "/" in address else "ops", type_="dynamic" if "/" in address else "entry")
    await released(publisher_of(settings, store))
    port, home = free_port(), tmp_path / "unbound"
    home.mkdir()
    stubs = "".join(f'stub-zone:\n name: "{zone}"\n stub-addr: 127.0.0.1@{bind}\n' for zone in (ZONE, ZONE6))
    (home / "unbound.conf").write_text(
        f'server:\n interface: 127.0.0.1@{port}\n directory: "{home}"\n chroot: ""\n username: ""\n pidfile: ""\n'
        " use-syslog: no\n do-daemonize: no\n do-not-query-localhost: no\n qname-minimisation: yes\n"
        ' qname-minimisation-strict: yes\n module-config: "iterator"\n'
        f' domain-insecure: "example"\n num-threads: 1\nremote-control:\n control-enable: no\n{stubs}'
    )
    with running([needed("unbound"), "-d", "-c", home / "unbound.conf"], home, answers(port)):
        for address in ("198.51.100.7", "11.0.0.1", "2a00::1", "203.1.2.3"):
            assert ask(port, name_of(address)) != [], address
        for address in ("198.51.100.8", "11.0.0.2", "2a00::2", "203.16.0.1"):
            assert ask(port, name_of(address)) == [], address


async def test_the_policy_zone_loads(settings, tmp_path):
    image = Image()
    texts = [
        "198.51.100.7",
        "11.0.0.0/22",
        "2a00::1",
        "2a00:0:0:8::/64",
        "2a00:1:0:0:1::",
        "2a00:1:2:3:4:5:6:7",
        "2a00:0:1::/48",
    ]
    for text in texts:
        image.put(Heading("ops", "entry"), item_of(text))
    meta = Meta("policy", time.time(), time.time() + 3600, ("ops",), "http://127.0.0.1/lookup/")

    async def nothing():
        return
        yield

    pieces = [piece async for piece in render("rpz", image, nothing, meta, zone_of(settings, "maps"))]
    home, port = tmp_path / "rpz", free_port()
    home.mkdir()
    (home / "policy.db").write_text("".join(pieces))
    (home / "named.conf").write_text(
        f'options {{ directory "{home}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};'
        f' pid-file none; session-keyfile "{home}/session.key"; recursion yes; notify no; dnssec-validation no;'
        ' response-policy { zone "policy"; } qname-wait-recurse no; };\ncontrols { };\n'
        f'zone "policy" {{ type primary; file "policy.db"; }};\nzone "{ZONE}" {{ type primary; file "own.db"; }};\n'
    )
    (home / "own.db").write_text("$TTL 60\n@ SOA ns h 1 60 60 600 60\n@ NS ns\nns A 127.0.0.1\n")

    def loaded():
        """Both zones: it may answer for one before it has the other."""
        said = (home / "output").read_text()
        seen = "rpz: policy: reload done" in said or "(re)load" in said
        return seen and f"loaded serial {int(meta.generated)}" in said and answers(port)()

    with running([needed("named"), "-g", "-c", home / "named.conf", "-n", "1"], home, loaded):
        pass
    assert "canonical" not in (home / "output").read_text()
