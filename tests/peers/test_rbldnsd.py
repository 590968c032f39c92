"""rbldnsd reads what we write: all of it, without a word, and cut anywhere it lists nothing that was not listed."""

import os
import random
import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import dns.reversename
import pytest
import trio

from core.cidr import CidrSet
from scanner.config import load
from scanner.dnsbl import behind
from scanner.publish.image import Image, item_of
from scanner.publish.outputs import outputs_of
from scanner.publish.publisher import Publisher
from scanner.publish.rbldnsd import Zone, ZoneFile, replace_file
from scanner.publish.views import LISTS, Heading, view
from scanner.scope import Scope
from tests.peers.programs import needed
from tests.peers.rbldnsd import dump, records, serving
from tests.scanner.publish.source import Memory

NOW = time.time()
ZONE_NAME = "bl.example"
ZONE = Zone(
    view("maps", {}),
    "https://dnsbl.example/lookup/",
    "dnsbl.example",
    "abuse@dnsbl.example",
    prefix4={"ops": 32, "rss": 32, "dul": 12, "rbl": 16},
)


def filled(list_, seed, count):
    """Entries of both families that come near each other in every way that a cut could confuse."""
    rng, image = random.Random(seed), Image()
    headings = [Heading(list_, "entry", "socks"), Heading(list_, "entry", "http"), Heading(list_, "exit")]
    near = [rng.randrange(16 << 24, 220 << 24) & 0xFFFF0000 for _ in range(4)]
    for _ in range(count):
        four = rng.choice(near) | rng.getrandbits(16) if rng.random() < 0.7 else rng.randrange(1 << 24, 224 << 24)
        six = 0x2001 << 112 | rng.choice((0xDB8, 0xD, 0x1234)) << 96 | rng.getrandbits(8) << 64 | rng.getrandbits(12)
        image.put(rng.choice(headings), IPv4Address(four).packed)
        image.put(rng.choice(headings), IPv6Address(six).packed + b"\x80")
        image.put(headings[2], IPv6Address(six >> 64 << 64).packed + b"\x40")
        if list_ in ("dul", "rbl"):
            length = rng.randint(16, 31)
            item = IPv4Address(four >> 32 - length << 32 - length).packed + bytes((length,))
            image.put(headings[0], item)
    if list_ == "dul":
        image.put(headings[0], item_of("2000::/32"))
        image.put(headings[0], item_of("64.0.0.0/16"))
    return image


def covered(names, version):
    """What the names of a dump cover."""
    found = []
    for name in names:
        labels = [label for label in name.split(".") if label != "*"]
        kind, step, base, width = (IPv6Address, 4, 16, 128) if version == 6 else (IPv4Address, 8, 10, 32)
        number = 0
        for label in reversed(labels):
            number = number << step | int(label, base)
        length = step * len(labels)
        found.append(f"{kind(number << width - length)}/{length}")
    return CidrSet(found)


@pytest.mark.parametrize("list_", ["ops", "rss", "dul", "rbl"])
@pytest.mark.parametrize(("version", "kind"), [(4, "ip4set"), (6, "ip6trie")])
def test_it_reads_all_of_it_without_a_word(tmp_path, list_, version, kind):
    image = filled(list_, 7, 60)
    path = tmp_path / f"{list_}{version}.zone"
    file = ZoneFile(ZONE, list_, version)
    replace_file(path, file.render(image, NOW))
    names, said = dump(path, kind)
    assert said == ""
    served = covered(names, version)
    tests = ["127.0.0.2", *ZONE.view.values_of(list_)] if version == 4 else ["::ffff:7f00:2"]
    assert served == file.content(image).covered()
    listed = CidrSet(item for item in image.covered(list_).cidrs() if item.version == version)
    assert served == listed | CidrSet(tests)


@pytest.mark.parametrize(
    ("list_", "version", "kind", "seed"),
    [
        ("ops", 4, "ip4set", 1),
        ("ops", 6, "ip6trie", 2),
        ("dul", 4, "ip4set", 3),
        ("dul", 6, "ip6trie", 4),
        ("rbl", 4, "ip4set", 5),
    ],
)
def test_a_file_cut_short_lists_nothing_new(tmp_path, list_, version, kind, seed):
    image = filled(list_, seed, 40)
    whole = b"".join(ZoneFile(ZONE, list_, version).render(image, NOW))
    path = tmp_path / "cut.zone"
    path.write_bytes(whole)
    names, said = dump(path, kind)
    assert said == ""
    listed = covered(names, version)
    rng = random.Random(seed)
    places = {len(whole) - back for back in range(1, 65)}
    while len(places) < 264:  # 1,000 in all lists together
        places.add(rng.randrange(len(whole)))
    for place in sorted(places):
        path.write_bytes(whole[:place])
        new = covered(dump(path, kind)[0], version) - listed
        assert not new, f"cut behind {whole[:place][-40:]!r} it lists {next(new.cidrs())}"


@pytest.mark.parametrize("seed", range(3))
def test_every_end_within_a_line_is_harmless(tmp_path, seed):
    """The cuts that chance rarely finds: each place of some lines."""
    for list_, version, kind in (("ops", 4, "ip4set"), ("rbl", 4, "ip4set"), ("dul", 6, "ip6trie")):
        image = filled(list_, seed + 10, 5)
        whole = b"".join(ZoneFile(ZONE, list_, version).render(image, NOW))
        path = tmp_path / "cut.zone"
        path.write_bytes(whole)
        listed = covered(dump(path, kind)[0], version)
        lines = whole.splitlines(keepends=True)
        places = [i for i, line in enumerate(lines) if line[:1] not in (b"#", b"$", b"!")]
        for number in random.Random(seed).sample(places, min(4, len(places))):
            before = b"".join(lines[:number])
            for end in range(1, min(len(lines[number]), 60)):
                path.write_bytes(before + lines[number][:end])
                new = covered(dump(path, kind)[0], version) - listed
                assert not new, f"cut behind {lines[number][:end]!r} it lists {next(new.cidrs())}"


def test_a_server_answers_what_the_list_says(tmp_path):
    """Several files as datasets of one zone: an address on several lists has a record for each."""
    server_directory = tmp_path / "zones"
    server_directory.mkdir()
    image = Image()
    for heading, text in (
        (Heading("ops", "entry", "socks"), "11.0.0.1"),
        (Heading("ops", "exit"), "11.0.0.1"),
        (Heading("dul", "dynamic"), "11.0.0.0/16"),
        (Heading("rss", "entry", "smtp"), "12.0.0.1"),
        (Heading("ops", "entry", "http"), "2a00::1"),
        (Heading("ops", "exit"), "2a00:0:0:7::/64"),
    ):
        image.put(heading, item_of(text))
    specs = []
    for list_ in ("ops", "rss", "dul"):
        for version, kind in ((4, "ip4set"), (6, "ip6trie")):
            file = ZoneFile(ZONE, list_, version)
            replace_file(server_directory / file.name, file.render(image, NOW))
            specs.append(f"bl.example:{kind}:{file.name}")
    for path in (server_directory, *server_directory.parents[:3]):
        path.chmod(path.stat().st_mode & 0o7777 | 0o055)
    expected = {
        "1.0.0.11": {"127.1.0.2", "127.1.0.8", "127.1.0.16"},
        "2.0.0.11": {"127.1.0.2"},
        "1.1.0.11": {"127.1.0.2"},
        "1.0.1.11": set(),
        "1.0.0.12": {"127.1.0.4"},
        "2.0.0.12": set(),
        "2.0.0.127": {"127.1.0.2", "127.1.0.4", "127.1.0.8"},
        "1.0.0.127": set(),
        "8.0.1.127": {"127.1.0.8"},
        f"1{'.0' * 29}.a.2": {"127.1.0.8"},
        f"5{'.0' * 15}.7{'.0' * 13}.a.2": {"127.1.0.16"},
        f"2.0.0.0.0.0.f.7.f.f.f.f{'.0' * 20}": {"127.1.0.2", "127.1.0.4", "127.1.0.8"},
    }
    with serving(server_directory, specs) as ask:
        for name, values in expected.items():
            answer = ask(f"{name}.bl.example", "A")
            assert {item.to_text() for rrset in answer.answer for item in rrset} == values, name
        (text,) = [item.to_text() for rrset in ask("1.0.0.12.bl.example", "TXT").answer for item in rrset]
        assert text == '"Open mail relay, see https://dnsbl.example/lookup/12.0.0.1"'
        assert ask("bl.example", "SOA").answer


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_as_many_names_as_were_meant(tmp_path, seed):
    """What the gate compares, wherever no network holds another."""
    rng = random.Random(seed)
    for list_ in ("ops", "dul", "rbl"):
        image = Image()
        for number in rng.sample(range(16, 200), 50):
            four = (
                item_of(f"{number}.16.0.0/{rng.randint(ZONE.prefix4[list_], 30)}")
                if list_ != "ops"
                else bytes((number, 0, 7, 9))
            )
            for type_ in rng.sample(("entry", "exit"), rng.randint(1, 2)):
                image.put(Heading(list_, type_), four)
                image.put(Heading(list_, type_), bytes((number, 3, rng.randrange(9), 1)))
                image.put(Heading(list_, type_), item_of(f"2a00:{number:x}::/{4 * (8 + number % 25)}"))
        for version, kind in ((4, "ip4set"), (6, "ip6trie")):
            file = ZoneFile(ZONE, list_, version)
            path = tmp_path / file.name
            replace_file(path, file.render(image, NOW))
            assert records(path, kind) in file.names(image)
        image.put(Heading(list_, "exit"), item_of(f"{number}.0.0.0/12"))  # around them
        assert ZoneFile(ZONE, list_, 4).names(image) is None


@pytest.mark.parametrize("hosts", [["2a00::1"], ["2a00::2", "2a00::3"], ["2a00::1", "2a00::17", "2a00:1::"]])
async def test_addresses_side_by_side_are_published_and_served(tmp_path, monkeypatch, hosts):
    """`rbldnsd -d` does not tell of them all, and a file must not wait for that."""
    for name in [name for name in os.environ if name.startswith("PROXYWARDEN_")]:
        monkeypatch.delenv(name)
    store, zones, file = Memory(), tmp_path / "zones", tmp_path / "proxywarden.toml"
    file.write_text(
        f'data_dir = "{tmp_path}"\n[publish.rbldnsd]\ndirectory = "{zones}"\ncheck = "{needed("rbldnsd")}"\n'
    )
    for host in hosts:
        store.list(host)
    publisher = Publisher(load(file), Scope(*4 * [CidrSet([])]), store, outputs_of(load(file)))
    await publisher.release()
    assert publisher.states["rbldnsd"].startswith("ok"), publisher.states
    for path in (zones, *zones.parents[:3]):
        path.chmod(path.stat().st_mode & 0o7777 | 0o055)
    with serving(zones, [f"{ZONE_NAME}:ip6trie:ops6.zone"]) as ask, trio.fail_after(60):
        for host in hosts:
            name = ip_address(host).reverse_pointer.removesuffix("ip6.arpa") + ZONE_NAME
            assert (await trio.to_thread.run_sync(ask, name, "A")).answer, host


SERVED = {
    ("ops", "entry"): "127.1.0.8",
    ("ops", "exit"): "127.1.0.16",
    ("rss", "entry"): "127.1.0.4",
    ("dul", "dynamic"): "127.1.0.2",
    ("rbl", "manual"): "127.1.0.1",
}


def expected_of(store, text):
    """What rbldnsd should answer: of each list the narrowest entries, of IPv6 a single one."""
    address, values = ip_address(text), set()
    for list_ in LISTS:
        found = [(ip_network(net), type_) for of, net, type_ in store.standing if of == list_]
        found = [(net.prefixlen, type_) for net, type_ in found if address in net]
        types = sorted(type_ for length, type_ in found if length == max(found)[0])
        values |= {SERVED[list_, type_] for type_ in (types if address.version == 4 else types[:1])}
    return values


@pytest.mark.parametrize("seed", range(3))
async def test_what_the_server_answers_equals_the_store(tmp_path, monkeypatch, seed):
    """Random listings of both families, in turns: each is told to a server that runs, and asked of it."""
    for name in [name for name in os.environ if name.startswith("PROXYWARDEN_")]:
        monkeypatch.delenv(name)
    rng, store, zones = random.Random(seed), Memory(), tmp_path / "zones"
    file = tmp_path / "proxywarden.toml"
    file.write_text(
        f'data_dir = "{tmp_path}"\n[publish.rbldnsd]\ndirectory = "{zones}"\ncheck = "{needed("rbldnsd")}"\n'
        f'pid_file = "{tmp_path}/pid"\n'
    )
    (tmp_path / "pid").write_text("x")  # there is no server yet
    publisher = Publisher(load(file), Scope(*4 * [CidrSet([])]), store, outputs_of(load(file)))
    await publisher.release()
    assert publisher.states.pop("rbldnsd").endswith("rbldnsd was not told to reload")
    tmp_path.chmod(0o777)  # for the server's user, who writes the pid file
    for path in tmp_path.parents[:3]:  # one of them is /tmp, whose sticky bit stays
        path.chmod(path.stat().st_mode & 0o7777 | 0o055)
    (tmp_path / "pid").unlink()
    specs = [f"{ZONE_NAME}:{kind}:{list_}{v}.zone" for list_ in LISTS for v, kind in ((4, "ip4set"), (6, "ip6trie"))]
    hosts = [f"11.{rng.randrange(3)}.{rng.randrange(3)}.{rng.randrange(4)}" for _ in range(12)]
    hosts += [f"2a00:{rng.randrange(2)}:0:{rng.randrange(2)}::{rng.randrange(3)}" for _ in range(12)]
    ranges = ["11.0.0.0/14", "2a00::/29", "11.1.0.0/16", "11.2.1.0/25", "2a00:1::/32", "2a00:0:0:1::/64"]
    asked = [*hosts, "11.3.0.0", "11.4.0.0", "11.2.1.127", "11.2.1.128", "2a07::1", "2a08::", "2a00:1:0:1::9"]
    with serving(zones, specs, tmp_path / "pid") as ask, trio.fail_after(120):
        await trio.to_thread.run_sync(ask, ZONE_NAME, "SOA")  # it is up
        publisher._retry.clear()
        for turn in range(8):
            for _ in range(rng.randrange(1, 9)):
                list_, type_ = rng.choice(list(SERVED))
                pool = ranges if list_ == "dul" else [*hosts, *ranges[2:]] if list_ == "rbl" else hosts
                key = (list_, "2a00:0:0:1::/64" if type_ == "exit" and rng.random() < 0.3 else rng.choice(pool), type_)
                change = store.end if key in store.standing else store.list
                change(key[1], list_=list_, type_=type_)
            assert await publisher.release() == {}
            assert publisher.states["rbldnsd"].startswith("ok"), publisher.states
            mark = f"198.51.100.{turn}"  # once it is there, everything before it is
            store.list(mark)
            assert await publisher.release() == {}
            while not ask(name_of(mark), "A").answer:
                await trio.sleep(0.02)
            serial = ask(ZONE_NAME, "SOA").answer[0][0].serial
            assert not behind(serial, publisher.serials["rbldnsd"])
            assert not behind(int(time.time()), serial)
            for text in asked:
                answer = {item.to_text() for rrset in ask(name_of(text), "A").answer for item in rrset}
                assert answer == expected_of(store, text), (turn, text)
            assert ask(name_of("127.0.0.2"), "A").answer
            assert not ask(name_of("127.0.0.1"), "A").answer
            assert not ask(f"1.0.0.0.0.0.f.7.f.f.f.f{20 * '.0'}.{ZONE_NAME}", "A").answer


def name_of(text):
    address = ip_address(text)
    origin = dns.reversename.ipv4_reverse_domain if address.version == 4 else dns.reversename.ipv6_reverse_domain
    return f"{dns.reversename.from_address(text).relativize(origin)}.{ZONE_NAME}"
