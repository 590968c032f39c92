"""The limits hold against slow, many and broken callers, under a virtual clock; real ones are in test_loopback.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from unittest import mock

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from scanner.canary import BindError, Canary, Ending, Limits, Tally, run_canary
from scanner.canary.caller import Caller, Dialogue
from scanner.canary.server import _FACES, _address, log_bug
from scanner.model import Address, Face
from scanner.protocols.conversation import ReadExactly
from tests.scanner.canary.calls import GREETING, KEY, OTHER, PEER, TOKEN, throw, verified


class House:
    """A canary and its callers, over memory streams."""

    def __init__(self, nursery: trio.Nursery, limits: Limits, on_bug: object = throw) -> None:
        self.nursery = nursery
        self.tally = Tally()
        self.canary = Canary("c1", {1: KEY}, limits, self.tally, "canary.example", on_bug)  # type: ignore[arg-type]

    async def call(self, face: Face = Face.TCP, peer: Address = PEER) -> trio.abc.HalfCloseableStream:
        ours, theirs = memory_stream_pair()
        self.nursery.start_soon(self.canary.attend, face, theirs, peer, 40000, 80)
        await wait_all_tasks_blocked()
        return ours

    def ended(self, face: Face = Face.TCP) -> dict[str, int]:
        return {str(ending): count for (at, ending), count in self.tally.ended.items() if at is face}


@asynccontextmanager
async def house(limits: Limits | None = None, on_bug: object = throw) -> AsyncIterator[House]:
    """One that is empty at the end, and has forgotten all who came."""
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            it = House(nursery, limits or Limits(), on_bug)
            yield it
        assert it.tally.open == 0
        assert not it.canary._open
        assert not it.canary._sources


async def everything(stream: trio.abc.ReceiveStream) -> bytes:
    said = b""
    with suppress(trio.BrokenResourceError):
        while data := await stream.receive_some(4096):
            said += data
    return said


async def send_until_closed(stream: trio.abc.SendStream, data: bytes, pause: float = 0) -> None:
    with suppress(trio.BrokenResourceError):
        while True:
            await stream.send_all(data)
            await trio.sleep(pause)
            await wait_all_tasks_blocked()


@pytest.mark.parametrize(("face", "said"), [(Face.TCP, b""), (Face.HTTP, b""), (Face.MAIL, GREETING)])
async def test_silence_ends_at_the_deadline(face: Face, said: bytes, autojump_clock: object) -> None:
    async with house(Limits(deadline=30)) as it:
        start = trio.current_time()
        assert await everything(await it.call(face)) == said
        assert trio.current_time() - start == pytest.approx(30)
    assert it.ended(face) == {"late": 1}


@pytest.mark.parametrize(
    ("face", "drip"), [(Face.TCP, b"x"), (Face.HTTP, b"x"), (Face.MAIL, b"x"), (Face.MAIL, b"NOOP\r\n")]
)
async def test_a_slow_drip_ends_at_the_deadline(face: Face, drip: bytes, autojump_clock: object) -> None:
    async with house(Limits(deadline=30)) as it:
        start = trio.current_time()
        stream = await it.call(face)
        await send_until_closed(stream, drip, pause=1)
        assert trio.current_time() - start == pytest.approx(30, abs=1.5)
    assert it.ended(face) == {"late": 1}


async def test_who_never_reads_ends_at_the_deadline(autojump_clock: object) -> None:
    class Full(trio.abc.SendStream):
        async def send_all(self, data: object) -> None:
            await trio.sleep_forever()

        async def wait_send_all_might_not_block(self) -> None:
            await trio.sleep_forever()

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async with house() as it:
        ours, theirs = memory_stream_pair()
        await ours.send_all(TOKEN + b"\n")
        stuck = trio.StapledStream(Full(), theirs.receive_stream)
        stuck.send_eof = stuck.send_stream.aclose  # type: ignore[method-assign]
        it.nursery.start_soon(it.canary.attend, Face.MAIL, stuck, PEER, 40000, 80)
    assert it.ended(Face.MAIL) == {"late": 1}


async def test_endless_bytes_end_by_count(autojump_clock: object) -> None:
    async with house(Limits(received=1000, deadline=1e6)) as it:
        stream = await it.call(Face.MAIL)
        await send_until_closed(stream, b"NOOP\r\n" * 10)
        assert (await everything(stream)).count(b"\r\n") < 1000
    assert it.ended(Face.MAIL) == {"stranger": 1}


async def test_after_the_answer_it_says_so_and_hears_the_other_side_out(autojump_clock: object) -> None:
    async with house(Limits(linger=2)) as it:
        start = trio.current_time()
        stream = await it.call()
        await stream.send_all(TOKEN + b"\nand more")
        said = await everything(stream)  # ends at once: we closed our half
        assert verified(said, Face.TCP) == b"ANSWER\r\n"
        assert trio.current_time() == start
        await stream.send_all(b"and more")
        await trio.sleep(3)
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"and more")
    assert it.ended() == {"answered": 1}


async def test_what_is_heard_out_is_bounded(autojump_clock: object) -> None:
    async with house(Limits(received=1000, linger=1e6, deadline=1e7)) as it:
        stream = await it.call()
        await stream.send_all(TOKEN + b"\n")
        await send_until_closed(stream, b"x" * 100)
    assert it.ended() == {"answered": 1}


async def test_of_too_many_the_oldest_makes_room(autojump_clock: object) -> None:
    async with house(Limits(connections=3, per_source=100)) as it:
        streams = [await it.call(peer=ip_address(f"192.0.2.{n}")) for n in range(50)]
        assert it.tally.open == 3
        assert it.ended() == {"evicted": 47}
        for stream in streams[:47]:
            assert await everything(stream) == b""
        await streams[-1].send_all(TOKEN + b"\n")  # and one of ours is still heard
        await streams[-1].aclose()
        await wait_all_tasks_blocked()
        assert it.ended()["answered"] == 1
    assert it.ended() == {"evicted": 47, "answered": 1, "late": 2}


@pytest.mark.parametrize(
    ("peers", "refused"),
    [
        (["192.0.2.1"] * 5, 3),
        (["192.0.2.1", "192.0.2.2"] * 2, 0),
        (["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:3"], 1),  # one /64
        (["2001:db8::1", "2001:db8:0:1::1"] * 2, 0),
    ],
)
async def test_one_source_has_a_share(peers: list[str], refused: int, autojump_clock: object) -> None:
    async with house(Limits(per_source=2)) as it:
        streams = [await it.call(peer=ip_address(peer)) for peer in peers]
        assert it.ended() == ({"refused": refused} if refused else {})
        assert it.tally.open == len(peers) - refused
        for stream in streams[2 : 2 + refused]:
            assert await everything(stream) == b""
        await streams[0].aclose()
        await wait_all_tasks_blocked()
        again = await it.call(peer=ip_address(peers[0]))  # there is room again
        assert it.tally.open == len(peers) - refused
        await again.aclose()


def buggy(_: Caller) -> Dialogue:
    yield ReadExactly(1)
    raise ZeroDivisionError


async def test_a_bug_in_one_connection_is_counted_and_ends_nothing_else(autojump_clock: object) -> None:
    bugs: list[tuple[Exception, Caller]] = []
    async with house(on_bug=lambda *bug: bugs.append(bug)) as it:
        bystander = await it.call()
        with mock.patch.dict(_FACES, {Face.HTTP: buggy}):
            for _ in range(15):
                stream = await it.call(Face.HTTP)
                await stream.send_all(b"x")
                assert await everything(stream) == b""
        await bystander.send_all(TOKEN + b"\n")
        assert verified(await everything(bystander), Face.TCP) == b"ANSWER\r\n"
        await bystander.aclose()
    assert it.ended(Face.HTTP) == {"bug": 15}
    assert len(bugs) == 10  # no more are reported: they would fill the log
    assert isinstance(bugs[0][0], ZeroDivisionError)
    assert bugs[0][1].peer == PEER


async def test_a_bug_is_raised_where_a_test_asks(autojump_clock: object) -> None:
    with pytest.RaisesGroup(ZeroDivisionError), mock.patch.dict(_FACES, {Face.HTTP: buggy}):
        async with house() as it:
            await (await it.call(Face.HTTP)).send_all(b"x")


def test_a_bug_is_logged_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError as error:
        log_bug(error, Caller("c1", {1: KEY}, Face.HTTP, PEER, 1, 2, "h"))
    shown = capsys.readouterr()
    assert "canary_bug" in shown.out + shown.err
    assert "a bug" in shown.out + shown.err
    assert KEY.secret.hex() not in shown.out + shown.err


async def test_a_connection_that_breaks_is_counted(autojump_clock: object) -> None:
    class Broken(trio.abc.ReceiveStream):
        async def receive_some(self, max_bytes: int | None = None) -> bytearray:
            raise trio.BrokenResourceError

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async with house() as it:
        _, theirs = memory_stream_pair()
        broken = trio.StapledStream(theirs.send_stream, Broken())
        await it.canary.attend(Face.TCP, broken, PEER, 40000, 80)
    assert it.ended() == {"broken": 1}


def test_what_is_counted_has_names() -> None:
    tally = Tally(open=2, accept_errors=1)
    tally.ended[Face.HTTP, Ending.ANSWERED] += 3
    tally.ended[Face.TCP, Ending.FORGED] += 1
    assert tally.counts() == {"open": 2, "accept_errors": 1, "http.answered": 3, "tcp.forged": 1}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_peers_as_the_kernel_names_them(host: str, address: str) -> None:
    assert _address(host) == ip_address(address)


@pytest.fixture
def arguments() -> dict[str, object]:
    return {"canary": "c1", "keys": {1: KEY}, "tally": Tally(), "name": "canary.example"}


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"keys": {1: KEY, 2: OTHER}}, "a key of another canary than 'c1'"),
        ({"name": ""}, "expected a host name"),
        ({"name": "a\r\n220 b"}, "expected a host name"),
        ({"name": "two words"}, "expected a host name"),
    ],
)
async def test_what_the_operator_wrote_wrongly(
    arguments: dict[str, object], wrong: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        await run_canary(**arguments | wrong)  # type: ignore[arg-type]


async def test_an_address_that_is_taken_is_one_line(arguments: dict[str, object]) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        with pytest.raises(BindError, match=rf"^can't listen on 127.0.0.1 port {port}: Address already in use$"):
            await run_canary(**arguments, tcp=[("127.0.0.1", 0)], http=[("127.0.0.1", port)])  # type: ignore[arg-type]
