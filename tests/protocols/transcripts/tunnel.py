"""After the yes of a tunnel: the canary, silence, or somebody else. The same for every protocol that makes one."""

from __future__ import annotations

from collections.abc import Iterator

from scanner.model import Face, Kind
from scanner.protocols.conversation import LINE_LIMIT
from scanner.protocols.exchange import Cause
from tests.protocols.player import OTHER_KEY, Script, They, We, aim, signed, token
from tests.protocols.transcripts.words import (
    CLOSED,
    GREETING,
    LIMIT,
    QUIT,
    SILENT,
    Row,
    canary_get,
    ehlo,
    line,
    opening,
)

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body>It works!</body></html>\n"
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\n\r\n"


def altered(answer: bytes) -> bytes:
    """One byte was changed on the way."""
    return answer[:20] + (b"A" if answer[20:21] != b"A" else b"B") + answer[21:]


def tunnel_rows(protocol: str) -> Iterator[Row]:
    host = "name" if protocol == "socks4a" else "ipv4"
    to = {face: aim(host, face) for face in Face}
    tcp, mail, http = (opening(protocol, face) for face in (Face.TCP, Face.MAIL, Face.HTTP))
    ours, ask_page = (
        line(protocol),
        canary_get(protocol, b"canary.example:80" if host == "name" else b"192.0.2.1:80"),
    )
    echoed = b"".join(part.say for part in (*tcp, ours) if isinstance(part, We))
    by_tcp, by_mail, by_http = (signed(protocol, face) for face in (Face.TCP, Face.MAIL, Face.HTTP))

    def row(name: str, script: Script, kind: Kind, detail: str = "", face: Face = Face.TCP, **more: object) -> Row:
        return Row(protocol, name, to[face], script, kind, detail, **more)  # type: ignore[arg-type]

    def proves(name: str, script: Script, face: Face = Face.TCP) -> Row:
        return row(name, script, Kind.RELAYED, face=face, proves=True)

    def lies(name: str, script: Script, detail: str, ends: Cause, face: Face = Face.TCP) -> Row:
        return row(name, script, Kind.PRETENDS, detail, face=face, ends=ends, stranger=True)

    def forges(name: str, answer: bytes) -> Row:
        return row(name, (*tcp, ours, They(answer + b"\r\n")), Kind.RELAYED, stranger=True)

    # the canary
    yield proves("relays, face tcp", (*tcp, ours, They(by_tcp + b"\r\n")))
    yield proves("relays, bare LF", (*tcp, ours, They(by_tcp + b"\n")))
    yield proves(
        "relays, face mail",
        (*mail, GREETING, ehlo(protocol), They(b"250 " + by_mail + b"\r\n"), QUIT),
        Face.MAIL,
    )
    yield proves(
        "relays, face mail in several lines",
        (
            *mail,
            They(b"220-canary.example\r\n220 ESMTP\r\n"),
            ehlo(protocol),
            They(b"250-canary.example\r\n250-" + by_mail + b"\r\n250 SIZE 1000\r\n"),
            QUIT,
        ),
        Face.MAIL,
    )
    yield proves(
        "relays, face http, answer in the body",
        (*http, ask_page, They(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + by_http + b"\n")),
        Face.HTTP,
    )
    yield proves(
        "relays, face http, answer in the head",
        (*http, ask_page, They(b"HTTP/1.1 200 OK\r\nX-Answer: " + by_http + b"\r\n\r\n")),
        Face.HTTP,
    )
    # junk before the real answer
    yield proves("a second head, then the canary", (*tcp, ours, They(PAGE + by_tcp + b"\r\n")))
    yield proves("junk without a line end, then the canary", (*tcp, ours, They(b"\0\0\0welcome!" + by_tcp + b"\r\n")))
    yield proves("an answer across two reads", (*tcp, ours, They(b"x" * (LINE_LIMIT - 40) + by_tcp + b"\r\n")))
    yield proves(
        "a page before the mail greeting",
        (*mail, They(PAGE), GREETING, ehlo(protocol), They(b"250 " + by_mail + b"\r\n"), QUIT),
        Face.MAIL,
    )
    # granted, but the canary was not reached
    yield row(
        "success before dialling, then closes",
        (*tcp, ours),
        Kind.PRETENDS,
        "granted, then nothing",
        ends=CLOSED,
    )
    yield row("grants, then silence", (*tcp, ours), Kind.PRETENDS, "granted, then nothing", ends=SILENT)
    yield row("grants, no mail greeting", mail, Kind.PRETENDS, "then nothing", Face.MAIL, ends=SILENT)
    # granted, but someone else speaks
    yield lies("a page to all that is said", (*tcp, ours, They(PAGE)), "then 'HTTP/1.1 200 OK'", CLOSED)
    yield lies("a captive portal", (*tcp, ours, They(PORTAL)), "then 'HTTP/1.1 302 Found'", CLOSED)
    yield lies("a captive portal, face http", (*http, ask_page, They(PORTAL)), "302 Found", SILENT, Face.HTTP)
    yield lies("a page for face mail", (*mail, They(PAGE)), "then 'HTTP/1.1 200 OK'", CLOSED, Face.MAIL)
    yield lies("an echo of all that we send", (*tcp, ours, They(echoed)), "granted, then '", SILENT)
    yield lies("an ssh server behind it", (*tcp, ours, They(b"SSH-2.0-OpenSSH_9.6\r\n")), "SSH-2.0", CLOSED)
    yield lies("a line that never ends", (*tcp, ours, They(b"A" * 20000)), "then 'AAAA", LIMIT)
    yield lies(
        "lines that never end",
        (*tcp, ours, They((b"hello" + b"." * 900 + b"\r\n") * 20)),
        "then 'hello...",
        LIMIT,
    )
    yield lies(
        "another mail server",
        (
            *mail,
            They(b"220 mx.example ESMTP\r\n"),
            ehlo(protocol),
            They(b"250-mx.example\r\n250 SIZE 1000\r\n"),
        ),
        "then '250-mx.example'",
        SILENT,
        Face.MAIL,
    )
    yield lies("a mail server that is closed", (*mail, They(b"554 no\r\n")), "then '554 no'", CLOSED, Face.MAIL)
    yield lies("an answer that is cut", (*tcp, ours, They(by_tcp[:-1])), "then 'PWA1-", CLOSED)
    yield lies("an answer that may be cut", (*tcp, ours, They(by_tcp)), "then 'PWA1-", CLOSED)
    # answers that must not verify
    yield forges("replays an earlier proof", signed(protocol, Face.TCP, nonce=b"m" * 16))
    yield forges("relays the answer to another protocol", signed("another", Face.TCP))
    yield forges("an answer of another canary's key", signed(protocol, Face.TCP, key=OTHER_KEY))
    yield forges("bytes changed on the way", altered(by_tcp))
    yield forges("an answer shortened on the way", by_tcp[:-1])
    yield forges("a mark and nothing", b"PWA1-")
    yield forges("our challenge under the answer's mark", b"PWA1-" + token(protocol)[4:])
