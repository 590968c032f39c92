"""Plain clients of proxies: the standard library's and httpx's, or bytes by hand. Blocking, for threads."""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import IPv4Address

import httpx

TIMEOUT = 20.0  # seconds; nothing waits for it where all is well


def connect(address: object, port: int, timeout: float = TIMEOUT) -> socket.socket:
    return socket.create_connection((str(address), port), timeout)


def everything(sock: socket.socket) -> bytes:
    """All that comes until the other side ends it."""
    data = b""
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except ConnectionResetError:
        data += b"<RST>"
    return data


def say(address: object, port: int, *writes: bytes, end: bool = True) -> bytes:
    """Send each in a segment of its own, say that there is no more, and hear everything."""
    with connect(address, port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in writes:
            sock.sendall(data)
        if end:
            with suppress(OSError):  # it was reset before we came to this: everything() hears that
                sock.shutdown(socket.SHUT_WR)
        return everything(sock)


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (chunk := sock.recv(count - len(data))):
        data += chunk
    return data


def talk(sock: socket.socket, line: bytes = b"hello\r\n") -> bytes:
    """What the origin answers to a line."""
    sock.sendall(line)
    return everything(sock)


def http_connect(proxy: object, port: int, host: str, to: int) -> bytes:
    with connect(proxy, port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(f"CONNECT {host}:{to} HTTP/1.1\r\nHost: {host}:{to}\r\n".encode())
        sock.sendall(b"\r\n")
        head = b""
        while not head.replace(b"\r", b"").endswith(b"\n\n"):
            if not (byte := exactly(sock, 1)):
                return head
            head += byte
        return talk(sock) if head.split(b" ")[1][:1] == b"2" else head


def http_get(proxy: object, port: int, host: str, to: int) -> bytes:
    with httpx.Client(proxy=f"http://{proxy}:{port}", timeout=TIMEOUT, trust_env=False) as client:
        response = client.get(f"http://{host}:{to}/hello?x=1")
        return response.content if response.is_success else str(response.status_code).encode()


def http_post(proxy: object, port: int, host: str, to: int) -> bytes:
    with httpx.Client(proxy=f"http://{proxy}:{port}", timeout=TIMEOUT, trust_env=False) as client:
        response = client.post(f"http://{host}:{to}/", content=b"posted bytes")
        return response.content if response.is_success else str(response.status_code).encode()


def socks4(proxy: object, port: int, host: str, to: int) -> bytes:
    with connect(proxy, port) as sock:
        sock.sendall(b"\x04\x01" + to.to_bytes(2) + IPv4Address(host).packed + b"me\0")
        reply = exactly(sock, 8)
        return talk(sock) if reply[:2] == b"\x00\x5a" else reply


def socks4a(proxy: object, port: int, host: str, to: int) -> bytes:
    with connect(proxy, port) as sock:
        sock.sendall(b"\x04\x01" + to.to_bytes(2) + b"\0\0\0\x01me\0" + host.encode() + b"\0")
        reply = exactly(sock, 8)
        return talk(sock) if reply[:2] == b"\x00\x5a" else reply


def socks5(proxy: object, port: int, host: str, to: int) -> bytes:
    with connect(proxy, port) as sock:
        sock.sendall(b"\x05\x01\x00")
        if (choice := exactly(sock, 2)) != b"\x05\x00":
            return choice
        try:
            target = b"\x01" + IPv4Address(host).packed
        except ValueError:
            target = b"\x03" + bytes([len(host)]) + host.encode()
        sock.sendall(b"\x05\x01\x00" + target + to.to_bytes(2))
        reply = exactly(sock, 4)
        if reply[1:2] != b"\x00":
            return reply
        sizes = {1: 4, 4: 16}
        exactly(sock, (exactly(sock, 1)[0] if reply[3] == 3 else sizes[reply[3]]) + 2)
        return talk(sock)


CLIENTS = {
    "http-connect": http_connect,
    "http-get": http_get,
    "http-post": http_post,
    "socks4": socks4,
    "socks4a": socks4a,
    "socks5": socks5,
}
