"""HTTP: the noes, which are the same for every method, the ways to say yes to CONNECT, and forwarded pages."""

from __future__ import annotations

from collections.abc import Iterator

from scanner.model import Aim, Face, Kind
from scanner.protocols.exchange import Cause
from tests.protocols.player import OTHER_KEY, Script, They, aim, signed
from tests.protocols.transcripts.tunnel import PAGE, altered
from tests.protocols.transcripts.words import (
    CLOSED,
    CONNECT_YES,
    LIMIT,
    NAME,
    SILENT,
    V4,
    V6,
    Row,
    connect,
    get,
    line,
    post,
)


def status_rows(protocol: str, request: Script, to: Aim) -> Iterator[Row]:
    """The noes, which are the same for all of them."""

    def row(name: str, said: bytes, kind: Kind, detail: str, ends: Cause | None = None) -> Row:
        return Row(protocol, name, to, (*request, They(said)), kind, detail, ends)

    def status(rest: bytes) -> bytes:
        return b"HTTP/1.1 " + rest + b"\r\nContent-Length: 0\r\n\r\n"

    yield row(
        "wants a proxy password",
        status(b"407 Proxy Authentication Required"),
        Kind.AUTH_REQUIRED,
        "407 Proxy",
    )
    yield row("wants a password", status(b"401 Unauthorized"), Kind.AUTH_REQUIRED, "401 Unauthorized")
    for code in (502, 503, 504):
        detail = f"says it could not reach the canary ({code})"
        yield row(f"status {code}", status(b"%d Gateway" % code), Kind.UNREACHABLE, detail)
    for code in (302, 400, 403, 404, 405, 500, 501, 999):
        yield row(f"status {code}", status(b"%d Words" % code), Kind.DENIED, f"'HTTP/1.1 {code} Words'")
    yield row("no reason phrase", b"HTTP/1.1 403\r\n\r\n", Kind.DENIED, "HTTP/1.1 403")
    yield row("bare LF", b"HTTP/1.0 403 No\n\n", Kind.DENIED, "HTTP/1.0 403 No")
    yield row("an empty line first", b"\r\nHTTP/1.1 403 No\r\n\r\n", Kind.DENIED, "HTTP/1.1 403 No")
    yield row("a no after 100", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\n\r\n", Kind.DENIED, "HTTP/1.1 403")
    yield row("a no whose head is cut", b"HTTP/1.1 407 Prox", Kind.AUTH_REQUIRED, "HTTP/1.1 407 Prox", CLOSED)
    yield row("ICY 200 OK", b"ICY 200 OK\r\nicy-name: radio\r\n\r\n", Kind.WRONG_PROTOCOL, "'ICY 200 OK'")
    yield row(
        "an ssh server",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        Kind.WRONG_PROTOCOL,
        "not an HTTP response: 'SSH-2.0-Open",
    )
    yield row("a mail server", b"220 mx.example ESMTP\r\n", Kind.WRONG_PROTOCOL, "220 mx.example")
    yield row("answers as SOCKS5", b"\x05\xff", Kind.WRONG_PROTOCOL, "'\\x05\\xff'", SILENT)
    yield row("a code of four digits", b"HTTP/1.1 2000 OK\r\n\r\n", Kind.WRONG_PROTOCOL, "HTTP/1.1 2000")
    yield row("a code of words", b"HTTP/1.1 OK\r\n\r\n", Kind.WRONG_PROTOCOL, "'HTTP/1.1 OK'")
    yield row("a status line without end", b"HTTP/1.1 " + b" " * 20000, Kind.WRONG_PROTOCOL, "said too much after")
    yield row("empty lines without end", b"\r\n" * 9000, Kind.WRONG_PROTOCOL, "not an HTTP response")
    yield row(
        "100 without end",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 500,
        Kind.WRONG_PROTOCOL,
        "a head of more than 8192",
    )
    yield row("a status that is cut", b"HTTP/1.1 20", Kind.HUNG_UP, "hung up after 'HTTP/1.1 20'", CLOSED)
    yield row("the mark alone", b"HT", Kind.SILENT, "silent after 'HT'", SILENT)
    yield Row(protocol, "closes", to, request, Kind.HUNG_UP, "hung up", CLOSED)
    yield Row(protocol, "silence", to, request, Kind.SILENT, "silent", SILENT)


def connect_rows() -> Iterator[Row]:
    ours, answer = line("http-connect"), They(signed("http-connect", Face.TCP) + b"\r\n")

    def relayed(name: str, yes: bytes, host: bytes = b"192.0.2.1:8023", to: Aim = V4) -> Row:
        script = (*connect(host), They(yes), ours, answer)
        return Row("http-connect", name, to, script, Kind.RELAYED, proves=True)

    def row(name: str, said: bytes, kind: Kind, detail: str, ends: Cause | None = None) -> Row:
        return Row("http-connect", name, V4, (*connect(b"192.0.2.1:8023"), They(said)), kind, detail, ends)

    yield relayed("towards IPv6", CONNECT_YES, b"[2001:db8::1]:8023", V6)
    yield relayed("towards a name", CONNECT_YES, b"canary.example:8023", NAME)
    yield relayed("Content-Length: 0", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    yield relayed("another 2xx", b"HTTP/1.1 299 Whatever\r\n\r\n")
    yield relayed("a yes without reason phrase", b"HTTP/1.0 200\r\n\r\n")
    yield relayed("a yes with bare LF", b"HTTP/1.0 200 OK\nVia: x\n\n")
    yield relayed("no minor version", b"HTTP/2 200\r\n\r\n")
    yield relayed(
        "1xx heads first",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CONNECT_YES,
    )
    yield relayed("a header line of 5000 bytes", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000 + b"\r\n\r\n")
    #      the second read of this line is \r\n alone, which is its end and not the head's
    yield relayed("a header line of just one read", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2045 + b"\r\nY: y\r\n\r\n")
    yield relayed("a page after the yes", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nIt works\n")
    yield row(
        "a yes whose head is cut",
        CONNECT_YES[:-2],
        Kind.HUNG_UP,
        "within the head of 'HTTP/1.1 200 Conn",
        CLOSED,
    )
    yield row(
        "a yes whose head does not end",
        CONNECT_YES[:-2] + b"X: y\r\n" * 3000,
        Kind.WRONG_PROTOCOL,
        "more than 8192",
    )


def forward_rows(protocol: str) -> Iterator[Row]:
    ask = get if protocol == "http-get" else post
    hosts = {"ipv4": b"192.0.2.1:80", "ipv6": b"[2001:db8::1]:80", "name": b"canary.example:80"}
    to, request = aim("ipv4", Face.HTTP), ask(hosts["ipv4"])
    answer = signed(protocol, Face.HTTP)
    ok = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
    yield from status_rows(protocol, (request,), to)

    for host, written in hosts.items():
        script: Script = (ask(written), They(ok + b"\r\n" + answer + b"\n"))
        yield Row(protocol, f"relays to {host}", aim(host, Face.HTTP), script, Kind.RELAYED, proves=True)

    def row(
        name: str,
        said: bytes,
        detail: str,
        ends: Cause | None,
        *,
        kind: Kind = Kind.PRETENDS,
        stranger: bool = True,
    ) -> Row:
        return Row(
            protocol,
            name,
            to,
            (request, They(said)),
            kind,
            detail,
            ends,
            kind is Kind.RELAYED and not stranger,
            stranger,
        )

    def proves(name: str, said: bytes) -> Row:
        return row(name, said, "", None, kind=Kind.RELAYED, stranger=False)

    def forges(name: str, token: bytes) -> Row:
        return row(name, ok + b"\r\n" + token + b"\n", "", None, kind=Kind.RELAYED)

    yield proves("answer in the head", ok + b"X-Answer: " + answer + b"\r\n\r\n")
    yield proves("bare LF, no reason phrase", b"HTTP/1.0 203\n\n" + answer + b"\n")
    yield proves("chunked", ok + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(answer) + answer + b"\r\n0\r\n\r\n")
    yield proves("a banner before the page", ok + b"\r\n<b>free proxy!</b>\n" + answer + b"\n")
    yield proves("100 first", b"HTTP/1.1 100 Continue\r\n\r\n" + ok + b"\r\n" + answer + b"\n")
    yield row("200 and silence", ok, "granted, then 'Content-Type", SILENT, stranger=False)
    yield row("a page of its own", PAGE, "granted, then 'Content-Type: text/html'", CLOSED)
    yield row("a page of its own, kept open", PAGE, "granted, then", SILENT)
    yield row("an echo of all that we send", ok + b"\r\n" + request.say, "granted, then", CLOSED)
    yield row("endless page", ok + b"\r\n" + b"<br>" * 9000, "granted, then", LIMIT)
    yield row("an answer that is cut", ok + b"\r\n" + answer[:-1], "granted, then", CLOSED)
    yield forges("replays an earlier proof", signed(protocol, Face.HTTP, nonce=b"m" * 16))
    yield forges("bytes changed on the way", altered(answer))
    yield forges("an answer of another canary's key", signed(protocol, Face.HTTP, key=OTHER_KEY))
