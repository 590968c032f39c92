"""Waiting for a letter: on the clock of the tests, and with the prober over loopback."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_address

import pytest
import trio

from scanner.agenda import Question
from scanner.mailroom import Mailroom
from scanner.model import Aim, Endpoint, Face, Identity, Kind, Opening, Reason, Target, Vantage, Visit
from scanner.probe import Prober
from scanner.proof import CanaryKey, Forged
from scanner.receipt import Delivery, find_letter

KEY = CanaryKey.from_master(b"m" * 32, "main")
WHO, OUT = ip_address("127.82.4.1"), ip_address("127.82.4.2")
RELAY = Endpoint("smtp-relay", 25)
AIM = Aim("main", "mail.canary.example", 25, Face.MAIL, "plain")
VISIT = Visit("ab" * 16, Target(WHO, Reason.OPERATOR, 0.0), (RELAY,), (Vantage("here"),))


async def test_a_letter_that_is_expected_arrives(autojump_clock):
    room = Mailroom()
    room.hand_over("a", b"nobody waits")
    with room.expecting("a") as slot:
        async with trio.open_nursery() as nursery:

            async def later():
                await trio.sleep(2)
                room.hand_over("b", b"another")
                room.hand_over("a", b"signed")

            nursery.start_soon(later)
            assert await slot.within(5) == b"signed"
            assert trio.current_time() == pytest.approx(2)
    with room.expecting("a") as slot:
        assert await slot.within(5) is None, "what came before is forgotten"


async def test_a_letter_can_be_faster_than_its_conversation(autojump_clock):
    room = Mailroom()
    with room.expecting("a") as slot:
        room.hand_over("a", b"signed")
        assert await slot.within(0.0) == b"signed" or slot.signed == b"signed"


async def test_another_process_is_asked(autojump_clock):
    asked = []

    async def look(letter):
        asked.append(letter)
        return b"signed" if len(asked) == 3 else None

    with Mailroom(look).expecting("a") as slot:
        assert await slot.within(5) == b"signed"
    assert asked == ["a"] * 3
    with Mailroom(look).expecting("a") as slot:
        assert await slot.within(2) is None


async def ask(prober: Prober, final: bytes, arrive, visit=VISIT):
    """Ask a server that takes everything and answers the message so; arrive: given the letter's id in its own time."""

    async def serve(stream: trio.SocketStream) -> None:
        said = b""
        for reply in (b"220 a\r\n", b"250 b\r\n", b"250 c\r\n", b"250 d\r\n", b"354 e\r\n"):
            await stream.send_all(reply)
            said += await stream.receive_some(4096)
        while b"\r\n.\r\n" not in said:
            said += await stream.receive_some(4096)
        _, id_ = find_letter({1: KEY}, said)
        arrive(id_)
        await stream.send_all(final)
        await stream.receive_some(100)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host=str(WHO))
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        sock = socket.create_connection(listener.socket.getsockname())
        sock.setblocking(False)
        with trio.fail_after(20):
            found = await prober.converse(visit, "here", Question(RELAY, AIM), Opening(25, sock.detach(), 0))
        nursery.cancel_scope.cancel()
    return found


def a_prober(**changes) -> Prober:
    return Prober(Identity("t.example", "http://t.example/"), {"main": KEY}, receipt_wait=0.3, reraise=True, **changes)


def delivery(id_: bytes, **changes) -> bytes:
    return replace(Delivery("main", id_.hex(), OUT, 40000, 25, 1e9), **changes).signed(KEY)


async def test_accepted_and_arrived_is_relayed():
    prober = a_prober()
    item = await ask(prober, b"250 ok\r\n", lambda id_: prober.mailroom.hand_over(id_.hex(), delivery(id_)))
    assert item.kind is Kind.RELAYED
    assert item.proof is not None
    assert item.proof.exit == OUT
    assert item.detail == "letter arrived at canary main from 127.82.4.2; plain: '250 ok'"
    assert len(item.letter) == 18


async def test_accepted_alone_is_not():
    item = await ask(a_prober(), b"250 ok\r\n", lambda id_: None)
    assert (item.kind, item.proof) == (Kind.ACCEPTED, None)
    assert len(item.letter) == 18


@pytest.mark.parametrize("final", [b"550 no\r\n", b"450 later\r\n"])
async def test_what_was_refused_in_the_end_is_not_relayed(final):
    prober = a_prober()
    item = await ask(prober, final, lambda id_: prober.mailroom.hand_over(id_.hex(), delivery(id_)))
    assert item.kind in (Kind.DENIED, Kind.DEFERRED)


async def test_a_forged_delivery_is_none():
    prober = a_prober()
    wrong = CanaryKey.from_master(b"x" * 32, "main")

    def arrive(id_):
        prober.mailroom.hand_over(id_.hex(), Delivery("main", id_.hex(), OUT, 4, 25, 1e9).signed(wrong))

    assert (await ask(prober, b"250 ok\r\n", arrive)).kind is Kind.ACCEPTED


async def test_our_own_address_as_the_output_host_is_interception():
    prober = a_prober(egress={OUT})
    item = await ask(prober, b"250 ok\r\n", lambda id_: prober.mailroom.hand_over(id_.hex(), delivery(id_)))
    assert (item.kind, item.proof) == (Kind.INTERCEPTED, None)


async def test_a_letter_that_was_deferred_is_tried_under_its_own_name():
    seen = []
    visit = replace(VISIT, letters=((Endpoint("smtp-relay", 26), AIM, b"x" * 9), (RELAY, AIM, b"j" * 9)))
    item = await ask(a_prober(), b"250 ok\r\n", seen.append, visit)
    assert seen == [b"j" * 9]
    assert item.letter == (b"j" * 9).hex()


def test_strangers_have_no_letter():
    with pytest.raises(Forged):
        find_letter({1: KEY}, b"RCPT TO:<root@localhost>")
