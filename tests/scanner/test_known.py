"""The controls of this process: strangers get nothing out of them, and they listen where they are told to."""

from __future__ import annotations

import socket

import pytest
import trio

from scanner.config import ConfigError
from scanner.known import CLOSED_HEAD, OPEN_HEAD, serve_known
from tests.scanner.live import CANARY, free_port, mute, peer

HOST = "127.82.0.26"

HOSTILE = [
    b"",
    b"\r\n\r\n",
    b"x\r\n\r\n",
    b"CONNECT\r\n\r\n",
    b"CONNECT  HTTP/1.1\r\n\r\n",
    b"CONNECT nowhere HTTP/1.1\r\n\r\n",
    b"CONNECT 127.82.0.99:99999 HTTP/1.1\r\n\r\n",
    b"CONNECT [::1]:80 HTTP/1.1\r\n\r\n",
    b"CONNECT \xff\xfe:80 HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"A" * 5000,
]


async def said_by(port: int, words: bytes) -> bytes:
    """What it answers until it hangs up."""
    heard = b""
    async with await trio.open_tcp_stream(HOST, port) as stream:
        try:
            await stream.send_all(words)
            await stream.send_eof()
            while data := await stream.receive_some():
                heard += data
        except trio.BrokenResourceError:
            pass
    return heard


async def test_strangers_get_nothing_out_of_the_controls_and_end_nothing(nursery):
    canary = await peer(nursery, str(CANARY), mute)
    (port,) = canary.ports
    controls = await serve_known(nursery, (HOST, 0), frozenset([(str(CANARY), port)]))
    for control in controls:
        for words in (*HOSTILE, f"CONNECT {CANARY}:{free_port(CANARY)} HTTP/1.1\r\n\r\n".encode()):
            assert await said_by(control, words) in (CLOSED_HEAD, b"")
    assert canary.total == 0
    ours = f"CONNECT {CANARY}:{port} HTTP/1.1\r\n\r\n".encode()
    assert await said_by(controls[1], ours) == CLOSED_HEAD
    # One that goes away in the middle.
    stream = await trio.open_tcp_stream(HOST, controls[0])
    await stream.send_all(ours)
    await stream.aclose()
    async with await trio.open_tcp_stream(HOST, controls[0]) as stream:
        await stream.send_all(ours)
        assert await stream.receive_some() == OPEN_HEAD


async def test_with_a_port_of_its_own_the_closed_one_is_on_the_next(nursery):
    while True:
        port = free_port(HOST)
        with socket.socket() as next_one:
            try:
                next_one.bind((HOST, port + 1))
            except OSError:
                continue
            break
    assert await serve_known(nursery, (HOST, port), frozenset()) == [port, port + 1]
    assert await said_by(port + 1, b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n") == CLOSED_HEAD


async def test_where_nothing_can_listen_the_line_says_which_setting():
    with socket.create_server((HOST, 0)) as taken, pytest.RaisesGroup(ConfigError, flatten_subgroups=True) as said:
        async with trio.open_nursery() as nursery:
            await serve_known(nursery, taken.getsockname(), frozenset())
    (error,) = said.value.exceptions
    assert str(error).startswith("controls.listen: cannot listen on 127.82.0.26 port")
