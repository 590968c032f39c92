from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
import trio

from scanner.lab.link import Gone, Link, relay


async def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Two ends of a TCP connection on loopback."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.open_tcp_stream(*listener.socket.getsockname()[:2])
    server = await listener.accept()
    await listener.aclose()
    return client, server


@pytest.fixture
async def ends() -> AsyncIterator[tuple[trio.SocketStream, Link]]:
    client, server = await pair()
    async with client, server:
        yield client, Link(server)


async def test_reads_are_exact_and_keep_the_rest(ends: tuple[trio.SocketStream, Link]) -> None:
    client, link = ends
    await client.send_all(b"abcde\r\nrest")
    with trio.fail_after(20):
        assert await link.peek() == ord("a")
        assert await link.exactly(2) == b"ab"
        assert await link.until(b"\n") == b"cde\r\n"
        assert await link.some() == b"rest"
        await client.send_eof()
        for read in (link.peek(), link.exactly(1), link.until(b"\n"), link.some()):
            with pytest.raises(Gone):
                await read


async def test_a_line_without_end_is_given_up(ends: tuple[trio.SocketStream, Link]) -> None:
    client, link = ends
    await client.send_all(b"x" * 1000)
    with trio.fail_after(20), pytest.raises(Gone):
        await link.until(b"\n", 100)


async def test_segments_tell_one_write_from_two(ends: tuple[trio.SocketStream, Link]) -> None:
    client, link = ends
    await client.send_all(b"one")
    await link.exactly(3)
    assert link.segments() == 1
    await client.send_all(b"two")
    await link.exactly(3)
    assert link.segments() == 2


async def test_reset_is_seen_as_rst(ends: tuple[trio.SocketStream, Link]) -> None:
    client, link = ends
    link.reset()
    with trio.fail_after(20), pytest.raises(trio.BrokenResourceError):
        await client.receive_some()


async def test_relay_carries_both_ways_and_half_a_close(ends: tuple[trio.SocketStream, Link]) -> None:
    client, link = ends
    upstream, origin = await pair()
    async with upstream, origin, trio.open_nursery() as nursery:
        with trio.fail_after(20):
            nursery.start_soon(relay, link, upstream)
            await client.send_all(b"question")
            assert await origin.receive_some() == b"question"
            await client.send_eof()
            assert await origin.receive_some() == b""
            await origin.send_all(b"answer")
            assert await client.receive_some() == b"answer"
            await origin.send_eof()


async def test_relay_ends_when_the_client_vanishes(ends: tuple[trio.SocketStream, Link]) -> None:
    client, link = ends
    upstream, origin = await pair()
    async with upstream, origin:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await client.aclose()
        with trio.fail_after(20):
            await relay(link, upstream)
