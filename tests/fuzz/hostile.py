"""Hostile connections to a web listener: requests mutated, cut, slow, pipelined, half of another protocol, reset."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import trio

from tests.scanner.live import reset

_MORE = 0.05  # seconds that one waits for more of an answer
_HOST = b" HTTP/1.1\r\nHost: x\r\n"
_UPGRADE = b"GET /" + _HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: "
_CHUNKED = _HOST + b"Transfer-Encoding: chunked\r\n"
SEEDS = (
    b"GET /" + _HOST + b"\r\n",
    b"GET /api/v1/lookup/192.0.2.1" + _HOST + b"Accept: application/json\r\n\r\n",
    b"GET /lookup/192.0.2.1" + _HOST + b"X-Forwarded-For: 127.0.0.1, ::1%lo\r\nCookie: control=a.b.c\r\n\r\n",
    b"HEAD /api/v1/events/stream" + _HOST + b"\r\n",
    b"GET /api/v1/events/stream?after=1" + _HOST + b"Last-Event-ID: 0\r\n\r\n",
    b"GET /status HTTP/1.0\r\n\r\n",
    b"POST /api/v1/removals" + _HOST + b"Content-Type: application/json\r\nContent-Length: 24\r\n\r\n"
    b'{"address": "192.0.2.1"}',
    b"POST /removal" + _HOST + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 17\r\n\r\n"
    b"address=192.0.2.1",
    b"POST /nominate" + _CHUNKED + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    b'41\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nspam\r\n0\r\n\r\n',
    b"POST /" + _CHUNKED + b"\r\nzz\r\nhello\r\n0\r\n\r\n",
    b"POST /" + _CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"POST /nominate" + _HOST + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    _UPGRADE + b"h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    _UPGRADE + b"websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    b"OPTIONS *" + _HOST + b"\r\n",
    b"CONNECT 127.0.0.1:25" + _HOST + b"\r\n",
    b"GET http://127.0.0.1:8027/operator" + _HOST + b"\r\n",
)
_PIECES = (
    b"\r\n",
    b"\x00",
    b"\xff\xfe",
    b": ",
    b"\r\n\r\n",
    b"%00",
    b"%ff",
    b"-1",
    b"99999999999999999999",
    b"chunked",
)


@dataclass
class Shot:
    """What one connection sends, and how: seconds between pieces, seconds for an answer, and how it leaves."""

    pieces: list[bytes]
    pause: float = 0.0
    patience: float = 2.0
    end: str = "close"  # or reset, half, unread


def shots(seed: int, count: int) -> Iterator[Shot]:
    """The same for the same arguments; each is made when its turn comes."""
    dice = random.Random(seed)
    return (dice.choice(_KINDS)(dice) for _ in range(count))


def _mutated(dice: random.Random) -> bytes:
    data = bytearray(dice.choice(SEEDS))
    for _ in range(dice.randrange(1, 8)):
        place = dice.randrange(len(data) + 1)
        match dice.randrange(5):
            case 0 if place < len(data):
                data[place] = dice.randrange(256)
            case 1:
                data[place:place] = dice.choice(_PIECES)
            case 2:
                del data[place : place + dice.randrange(1, 20)]
            case 3:
                data[place:place] = data[place : place + 40] * dice.randrange(1, 20)
            case _:
                data += dice.choice(SEEDS)
    return bytes(data)


def _mutation(dice: random.Random) -> Shot:
    return Shot([_mutated(dice)])


def _cut(dice: random.Random) -> Shot:
    data = dice.choice(SEEDS)
    return Shot([data[: dice.randrange(len(data))]], patience=0.2, end=dice.choice(("close", "half", "reset")))


def _garbage(dice: random.Random) -> Shot:
    return Shot([dice.randbytes(dice.randrange(1, 3000))])


def _huge(dice: random.Random) -> Shot:
    name = dice.choice((b"X", b"Cookie", b"X-Forwarded-For", b"Host", b"Transfer-Encoding", b"Content-Length"))
    match dice.randrange(3):
        case 0:
            return Shot([b"GET / HTTP/1.1\r\nHost: x\r\n" + name + b": " + b"1," * dice.randrange(10_000, 60_000)])
        case 1:
            return Shot([b"GET / HTTP/1.1\r\n" + (name + b": 1\r\n") * dice.randrange(100, 5000) + b"\r\n"])
    return Shot([b"GET /" + b"%2e/" * dice.randrange(1000, 30_000) + b" HTTP/1.1\r\nHost: x\r\n\r\n"])


def _body(dice: random.Random) -> Shot:
    head = b"POST /nominate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: "
    kind = dice.choice((b"multipart/form-data; boundary=b", b"application/x-www-form-urlencoded", b"application/json"))
    chunk = dice.choice((b"4000\r\n" + b"a" * 0x4000 + b"\r\n", b"1;x=y\r\na\r\n", b"FFFFFFFFFFFFFFFFF\r\n", b"-1\r\n"))
    return Shot([head + kind + b"\r\n\r\n" + chunk * dice.randrange(1, 24)], end=dice.choice(("close", "reset")))


def _pipelined(dice: random.Random) -> Shot:
    return Shot([b"".join(dice.choices(SEEDS, k=dice.randrange(2, 60)))], end=dice.choice(("close", "unread", "reset")))


def _slow(dice: random.Random) -> Shot:
    data = dice.choice(SEEDS)
    step = max(1, len(data) // dice.randrange(2, 12))
    return Shot([data[at : at + step] for at in range(0, len(data), step)], pause=0.02)


def _left_in_the_middle(dice: random.Random) -> Shot:
    return Shot([dice.choice(SEEDS)], end=dice.choice(("reset", "unread")))


_KINDS: tuple[Callable[[random.Random], Shot], ...] = (
    *(_mutation, _mutation, _mutation, _cut, _garbage, _huge, _body, _pipelined, _slow, _left_in_the_middle),
)


async def fire(shot: Shot, host: str, port: int) -> bytes:
    """The first of what was answered."""
    heard = b""
    with trio.move_on_after(shot.patience) as waiting, suppress(trio.BrokenResourceError, OSError):
        async with await trio.open_tcp_stream(host, port) as stream:
            for piece in shot.pieces:
                await stream.send_all(piece)
                await trio.sleep(shot.pause)
            if shot.end == "half":
                await stream.send_eof()
            if shot.end == "reset":
                with trio.move_on_after(random.random() * 0.02):
                    heard = await stream.receive_some(100)
                reset(stream)
            while shot.end not in ("reset", "unread") and (piece := await stream.receive_some(65536)):
                heard = heard or piece
                waiting.deadline = min(waiting.deadline, trio.current_time() + _MORE)
    return heard


async def fire_all(salvo: Iterator[Shot], host: str, port: int, at_once: int = 40) -> list[bytes]:
    """All of them; how what was answered to each begins, in no order."""
    heard: list[bytes] = []

    async def gun() -> None:
        for shot in salvo:
            heard.append((await fire(shot, host, port))[:200])

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(gun)
    return heard
