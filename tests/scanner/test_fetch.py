"""A fetch is bounded in size and in time, and its failures are one line; the tests of `lookup` have more."""

import contextlib
import socket

import pytest
import trio

from scanner.fetch import FetchError, get_json


async def serve(listener, pieces, pause):
    async def one(stream):
        with contextlib.suppress(trio.BrokenResourceError):  # it need not listen to the end
            async with stream:
                await stream.receive_some(4096)
                for piece in pieces:
                    await stream.send_all(piece)
                    await trio.sleep(pause)

    await trio.serve_listeners(one, [listener])


async def fetch(pieces, *, pause=0.0, timeout=5.0):
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listener.socket.getsockname()[1]
            nursery.start_soon(serve, listener, pieces, pause)
            try:
                result = await get_json(f"http://127.0.0.1:{port}/x", timeout=timeout)
            except FetchError as error:
                result = error
            nursery.cancel_scope.cancel()
    if isinstance(result, FetchError):
        raise result  # outside of the nursery, which would make a group of it
    return result


async def test_an_object():
    assert await fetch([b'HTTP/1.0 200 OK\r\n\r\n{"a"', b": 1}"]) == {"a": 1}


async def test_all_of_it_has_one_deadline():
    """A byte now and then does not keep us."""
    with pytest.raises(FetchError, match=r"no answer within 0\.5 s"):
        await fetch([b"HTTP/1.0 200 OK\r\n\r\n", *[b" "] * 1000], pause=0.1, timeout=0.5)


async def test_too_long():
    with pytest.raises(FetchError, match="longer than"):
        await fetch([b"HTTP/1.0 200 OK\r\n\r\n", *[b" " * 65536] * 100])


@pytest.mark.parametrize("answer", [b"rubbish\r\n\r\n", b"", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nx"])
async def test_no_http(answer):
    with pytest.raises(FetchError) as caught:
        await fetch([answer])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/", "ftp://127.0.0.1/", "http://[::1/", ""])
async def test_no_address(url):
    with pytest.raises(FetchError):
        await get_json(url)


async def test_nobody_there():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(FetchError):
            await get_json(f"http://127.0.0.1:{sock.getsockname()[1]}/")
