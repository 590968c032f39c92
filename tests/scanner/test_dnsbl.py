"""A zone asked at the named server: a name server on loopback that is played here."""

import socket
import struct
import threading
from contextlib import contextmanager, suppress
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from scanner.cli import run
from scanner.dnsbl import DnsblError, ask, behind, query_name
from tests.scanner.live import free_port

ADDRESS = ip_address("192.0.2.1")
NAME = "1.2.0.192.ops.example"


@contextmanager
def name_server(records, *, rcode="NOERROR", spoil=None):
    """Answers over UDP from {(name, type): [text]}; yields (address, port) and what it was asked."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(0.05)
    asked, ended = [], threading.Event()

    def serve():
        while not ended.is_set():
            try:
                data, peer = sock.recvfrom(4096)
            except TimeoutError:
                continue
            query = dns.message.from_wire(data)
            question = query.question[0]
            kind = dns.rdatatype.to_text(question.rdtype)
            name = question.name.to_text(omit_final_dot=True)
            asked.append((name, kind, bool(query.flags & dns.flags.RD)))
            answer = dns.message.make_response(query)
            answer.set_rcode(dns.rcode.from_text(rcode))
            if (name, kind) in records:
                answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *records[name, kind]))
            elif not any(name == known for known, _ in records) and rcode == "NOERROR":
                answer.set_rcode(dns.rcode.NXDOMAIN)
            sock.sendto(spoil(answer.to_wire()) if spoil else answer.to_wire(), peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield sock.getsockname(), asked
    finally:
        ended.set()
        thread.join()
        sock.close()


@contextmanager
def resetting_name_server():
    """Says over UDP that the answer is too long for it, and resets who then comes over TCP; yields (address, port)."""
    here = "127.0.0.1", free_port("127.0.0.1")  # others may have a port that is free for TCP alone
    stream = socket.create_server(here)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(here)
    stream.settimeout(0.05)
    sock.settimeout(0.05)
    ended = threading.Event()

    def serve():
        while not ended.is_set():
            with suppress(TimeoutError):
                data, peer = sock.recvfrom(4096)
                answer = dns.message.make_response(dns.message.from_wire(data))
                answer.flags |= dns.flags.TC
                sock.sendto(answer.to_wire(), peer)
            with suppress(TimeoutError):
                comer, _ = stream.accept()
                comer.settimeout(5)
                comer.recv(1)
                comer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                comer.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield stream.getsockname()
    finally:
        ended.set()
        thread.join()
        sock.close()
        stream.close()


def test_names():
    assert query_name(ADDRESS, "ops.example").to_text() == f"{NAME}."
    assert query_name(ip_address("2001:db8::1"), "ops.example.").to_text() == (
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ops.example."
    )


@pytest.mark.parametrize("zone", ["a..b", "x" * 64, ".".join(["abcdefgh"] * 30)])
def test_no_zone(zone):
    with pytest.raises(DnsblError, match="zone "):
        query_name(ADDRESS, zone)


async def test_listed():
    records = {(NAME, "A"): ["127.1.0.8", "127.1.0.16"], (NAME, "TXT"): ['"open proxy, " "see there"']}
    with name_server(records) as (server, asked):
        answer = await ask(ADDRESS, "ops.example", server, timeout=60)
    assert sorted(answer.values) == ["127.1.0.16", "127.1.0.8"]
    assert answer.texts == ("open proxy, see there",)
    assert answer.listed
    assert answer.name == NAME
    assert asked == [(NAME, "A", False), (NAME, "TXT", False)]


@pytest.mark.parametrize("records", [{}, {(NAME, "TXT"): ['"no A"']}])
async def test_not_listed(records):
    with name_server(records) as (server, asked):
        answer = await ask(ADDRESS, "ops.example", server, timeout=60)
    assert not answer.listed
    assert len(asked) == 1


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR"])
async def test_can_not_tell_from_a_failure(rcode):
    with name_server({}, rcode=rcode) as (server, _), pytest.raises(DnsblError, match=rcode):
        await ask(ADDRESS, "ops.example", server)


@pytest.mark.parametrize("value", ["192.0.2.99", "127.255.255.254"])
async def test_can_not_tell_from_a_value_that_no_list_has(value):
    with name_server({(NAME, "A"): [value]}) as (server, _), pytest.raises(DnsblError, match=value):
        await ask(ADDRESS, "ops.example", server)


@pytest.mark.parametrize("spoil", [lambda wire: wire[:20], lambda wire: b"\0\0" + wire[2:], lambda _: b""])
async def test_can_not_tell_from_rubbish(spoil):
    records = {(NAME, "A"): ["127.0.0.2"]}
    with name_server(records, spoil=spoil) as (server, _), pytest.raises(DnsblError):
        await ask(ADDRESS, "ops.example", server, timeout=0.3)


async def test_can_not_tell_from_a_reset():
    with resetting_name_server() as server, pytest.raises(DnsblError, match="port"):
        await ask(ADDRESS, "ops.example", server)


async def test_can_not_tell_from_silence():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(DnsblError, match="no answer within"):
            await ask(ADDRESS, "ops.example", sock.getsockname(), timeout=0.2)


def test_the_command(capsys):
    records = {(NAME, "A"): ["127.1.0.8"], (NAME, "TXT"): ['"see \\027[31m there"']}
    with name_server(records) as ((host, port), _):
        place = ["--zone", "ops.example", "--dns", f"{host}:{port}"]
        assert run(["lookup", "192.0.2.1", *place]) == 1
        out, err = capsys.readouterr()
        assert "127.1.0.8" in out
        assert "\x1b" not in out
        assert err == ""
        assert run(["lookup", "192.0.2.2", *place, "--json"]) == 0
        assert capsys.readouterr().out == (
            '{"address": "192.0.2.2", "listed": false, "zone": "ops.example", "values": [], "texts": []}\n'
        )
    with name_server({}, rcode="REFUSED") as ((host, port), _):
        assert run(["lookup", "192.0.2.1", "--zone", "ops.example", "--dns", f"{host}:{port}"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("serial", "other", "answer"),
    [(1, 2, True), (2, 1, False), (2, 2, False), (0xFFFFFFFF, 0, True), (0, 0xFFFFFFFF, False), (0, 1 << 31, False)],
)
def test_serials_go_round(serial, other, answer):
    assert behind(serial, other) is answer
