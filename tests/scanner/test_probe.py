"""One conversation over a scripted wire under a virtual clock, and over real sockets to a canary that we play."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest
import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner import probe
from scanner.agenda import Question
from scanner.model import Aim, Endpoint, Face, Identity, Kind, Opening, Reason, Target, Vantage, Visit
from scanner.probe import DIRECT, Prober, carry, intercepted, no_conversation
from scanner.proof import CanaryKey, Sighting
from scanner.protocols import PROTOCOLS
from scanner.protocols.conversation import ReadExactly, Send
from tests.protocols.player import MAX_READ, aim, exchange, proof, signed
from tests.scanner.live import descriptors

TIMEOUT = 15.0
KEY = CanaryKey.from_master(bytes(32), "main")
GRANT = b"HTTP/1.1 200 OK\r\n\r\n"
TO = aim("ipv4", Face.TCP)


class Wire:
    """A target of our making: pieces of bytes, pauses between them, and how it ends. Counts what was read of it."""

    def __init__(self, *pieces, end="silence", takes=4096, broken=False):
        self.pieces = list(pieces)
        self.end = end
        self.takes = takes  # bytes of one write; 0 for a target that never reads
        self.broken = broken  # what we write comes back as an error
        self.written = []
        self.read = 0

    async def recv(self, size):
        await trio.lowlevel.checkpoint()
        while self.pieces and isinstance(self.pieces[0], (int, float)):
            await trio.sleep(self.pieces.pop(0))
        if self.pieces:
            piece, rest = self.pieces[0][:size], self.pieces[0][size:]
            self.pieces[:1] = [rest] if rest else []
            self.read += len(piece)
            return piece
        if self.end == "rst":
            raise ConnectionResetError
        if self.end == "silence":
            await trio.sleep_forever()
        return b""

    async def send(self, data):
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise BrokenPipeError
        if not self.takes:
            await trio.sleep_forever()
        self.written.append(data[: self.takes])
        return len(self.written[-1])


class Endless:
    """Says the same for ever, a piece at a time."""

    def __init__(self, piece, pause=0.0):
        self.piece = piece
        self.pause = pause
        self.read = 0

    async def recv(self, size):
        await trio.sleep(self.pause)
        self.read += len(self.piece[:size])
        return self.piece[:size]

    async def send(self, data):
        await trio.lowlevel.checkpoint()
        return len(data)


async def hold(wire, protocol="http-connect", timeout=TIMEOUT, to=TO):
    """The outcome, and how long it took; never longer than the deadline."""
    talk = exchange(protocol, to)
    began = trio.current_time()
    with trio.fail_after(timeout + 1):
        outcome = await carry(wire, talk, timeout)
    assert len(talk.transcript) < 30_000
    return outcome, trio.current_time() - began


def relaying(protocol="http-connect"):
    return signed(protocol, Face.TCP) + b"\r\n"


async def test_the_canarys_answer_through_the_tunnel_is_a_proof(autojump_clock):
    wire = Wire(GRANT, relaying())
    outcome, took = await hold(wire)
    assert outcome.kind is Kind.RELAYED
    assert proof("http-connect", outcome) is not None
    assert took == 0


async def test_byte_by_byte_it_is_the_same_proof(autojump_clock):
    wire = Wire(*[bytes([byte]) for byte in GRANT + relaying()], takes=1)
    outcome, _ = await hold(wire)
    assert proof("http-connect", outcome) is not None
    assert all(len(piece) == 1 for piece in wire.written)


async def test_a_slow_answer_counts_up_to_the_deadline(autojump_clock):
    assert (await hold(Wire(8.0, GRANT, 6.5, relaying())))[0].kind is Kind.RELAYED
    outcome, took = await hold(Wire(8.0, GRANT, 7.5, relaying()))
    assert (outcome.kind, took) == (Kind.PRETENDS, TIMEOUT)


async def test_the_last_line_end_of_connect_is_a_write_of_its_own(autojump_clock):
    wire = Wire(end="eof")
    await hold(wire)
    assert wire.written[-1] == b"\r\n"


@pytest.mark.parametrize(
    ("wire", "kind"),
    [
        (Wire(), Kind.SILENT),
        (Wire(GRANT), Kind.PRETENDS),
        (Wire(takes=0), Kind.SILENT),
        (Endless(b"H", pause=1.0), Kind.WRONG_PROTOCOL),
        (Endless(b"HTTP/1.1 200 OK\r\n", pause=1.0), Kind.SILENT),
    ],
    ids=["mute", "granted then mute", "never reads", "a byte a second", "a header a second"],
)
async def test_invariant_3_a_target_holds_us_for_the_deadline_and_no_longer(wire, kind, autojump_clock):
    outcome, took = await hold(wire)
    assert (outcome.kind, took) == (kind, TIMEOUT)


@pytest.mark.parametrize("piece", [b"x" * 65536, b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\0", b"\xff" * 3])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_invariant_3_a_target_without_end_is_read_to_the_limit_and_no_further(piece, protocol, autojump_clock):
    wire = Endless(piece)
    host = PROTOCOLS[protocol].hosts[0]
    outcome, _ = await hold(wire, protocol, to=aim(host, PROTOCOLS[protocol].faces[0]))
    assert outcome.kind not in (Kind.RELAYED, None)
    assert wire.read <= MAX_READ + 4096


@given(st.lists(st.binary(max_size=200) | st.floats(0, 20), max_size=12), st.sampled_from(["rst", "eof", "silence"]))
@settings(max_examples=60, deadline=None)
def test_invariant_3_whatever_a_target_sends_is_evidence(pieces, end):
    async def run():
        for protocol, row in PROTOCOLS.items():
            to = aim(row.hosts[0], row.faces[0])
            outcome, took = await hold(Wire(*pieces, end=end), protocol, to=to)
            assert outcome.kind is not None
            assert outcome.kind is not Kind.RELAYED
            assert took <= TIMEOUT + 1e-9, "a difference of two floats that are sums themselves"

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("end", ["rst", "eof"])
async def test_closed_before_it_said_a_word(end, autojump_clock):
    assert (await hold(Wire(end=end)))[0].kind is Kind.HUNG_UP


async def test_a_write_that_fails_does_not_hide_what_was_said_before(autojump_clock):
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"
    assert (await hold(Wire(refusal, end="rst", broken=True)))[0].kind is Kind.AUTH_REQUIRED


# The whole of it, over sockets


@pytest.fixture(autouse=True)
def logs():
    with structlog.testing.capture_logs() as captured:
        yield captured


def visit(address="127.82.3.1"):
    target = Target(ip_address(address), Reason.OPERATOR, 0.0)
    return Visit("ab" * 16, target, (), (Vantage("here"),))


@asynccontextmanager
async def opened(answer):
    """An open connection to a target on loopback, as the sweep gives it."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.82.3.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        sock = socket.create_connection(listener.socket.getsockname())
        sock.setblocking(False)
        port = sock.getsockname()[1]
        yield Opening(1, sock.detach(), 0), port
        nursery.cancel_scope.cancel()


def canary(face=Face.TCP, key=KEY, id_="main", peer="127.82.3.1", pause=0.0):
    """The canary itself, for a conversation without a relay; it says that it saw `peer`."""

    async def answer(stream):
        line = await stream.receive_some(4096)
        await trio.sleep(pause)
        sighting = Sighting(id_, face, ip_address(peer), 4711, 1)
        await stream.send_all(sighting.answer(key, line.split(b" ")[0]) + b"\r\n")

    return answer


async def ask(answer, *, egress=(), timeout=None, prober=None):
    question = Question(Endpoint(DIRECT, 1), Aim("main", ip_address("127.82.3.1"), 1, Face.TCP))
    prober = prober or Prober(Identity("test", "http://test/"), {"main": KEY}, set(map(ip_address, egress)))
    before = descriptors()
    async with opened(answer) as (opening, _):
        with trio.fail_after(10):
            item = await prober.converse(visit(), "here", question, opening, timeout)
        with pytest.raises(OSError, match="Bad file descriptor"):
            socket.socket(fileno=opening.fd)
    assert descriptors() <= before
    return item


async def test_evidence_says_what_was_asked_where_from_and_when():
    item = await ask(canary())
    assert item.kind is Kind.RELAYED
    assert item.proof.exit == ip_address("127.82.3.1")
    assert (item.vantage, item.aim.canary, item.endpoint) == ("here", "main", Endpoint(DIRECT, 1))
    assert item.at > 1.7e9
    assert 0 < item.elapsed < 10
    assert item.transcript.startswith(b"> PW1-")


@pytest.mark.parametrize(
    "lies",
    [
        {"key": CanaryKey.from_master(b"x" * 32, "main")},
        {"id_": "other"},
        {"face": Face.MAIL},
    ],
    ids=["another key", "another canary", "another face"],
)
async def test_an_answer_that_does_not_verify_is_a_pretence(lies):
    item = await ask(canary(**lies))
    assert (item.kind, item.proof) == (Kind.PRETENDS, None)


async def test_our_own_address_as_the_exit_is_interception_and_no_proof():
    item = await ask(canary(peer="127.82.9.9"), egress=["127.82.9.9"])
    assert (item.kind, item.proof) == (Kind.INTERCEPTED, None)
    assert "127.82.9.9" in item.detail
    assert (await ask(canary(peer="127.82.9.9"))).kind is Kind.RELAYED


def test_a_proxy_on_our_own_address_is_no_interception():
    ours, theirs = ip_address("192.0.2.1"), ip_address("192.0.2.2")
    assert intercepted(ours, theirs, {ours})
    assert not intercepted(ours, ours, {ours})
    assert not intercepted(theirs, ours, {ours})


async def test_the_deadline_of_a_hurried_visit_holds_instead_of_the_configured_one():
    item = await ask(canary(pause=5), timeout=0.1)
    assert (item.kind, item.detail) == (Kind.PRETENDS, "granted, then nothing")
    assert 0.1 <= item.elapsed < 4


async def test_a_bug_in_a_conversation_ends_here_counted_and_never_a_listing(monkeypatch, logs):
    def broken(ask):
        yield Send(b"hello\r\n")
        yield ReadExactly(1)
        raise KeyError("a bug")

    monkeypatch.setitem(probe._CONVERSATIONS, DIRECT, broken)
    prober = Prober(Identity("test", "http://test/"), {"main": KEY})
    item = await ask(canary(), prober=prober)
    assert (item.kind, item.detail, prober.bugs) == (Kind.SILENT, "our own error", 1)
    assert item.transcript.startswith(b"> hello\\r\\n\n< PW")
    (line,) = logs
    assert (line["log_level"], line["transcript"]) == ("error", item.transcript.decode())
    with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
        await ask(canary(), prober=replace(prober, reraise=True))


def test_no_conversation_came_about():
    item = no_conversation(Endpoint("socks5", 1080), Kind.FILTERED, "here", detail="as 5 ports in all")
    assert (item.kind, item.aim, item.proof, item.vantage) == (Kind.FILTERED, None, None, "here")
    assert item.detail == "as 5 ports in all"
    assert item.at > 1.7e9
