"""Which server answered. The lines are as these servers write them: from their sources and from public scans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.model import Kind
from scanner.protocols.conversation import Outcome, ReadUntil, Send
from scanner.protocols.exchange import Cause, Exchange
from scanner.software import Software, software_of


def heard(*lines):
    return "".join(f"< {line}\\r\\n\n" for line in lines).encode()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["HTTP/1.1 403 Forbidden", "Server: squid/5.7", "X-Squid-Error: ERR_ACCESS_DENIED 0"], Software.SQUID),
        (["HTTP/1.1 200 OK", "Server: nginx", "Via: 1.0 proxy:81 (Squid/2.3.STABLE3)"], Software.SQUID),
        (["HTTP/1.0 200 Connection established", "Proxy-agent: tinyproxy/1.11.1"], Software.TINYPROXY),
        (["HTTP/1.1 200 OK", "Via: 1.1 tinyproxy (tinyproxy/1.8.3)"], Software.TINYPROXY),
        (["HTTP/1.1 200 OK", "Via: 1.1 a (squid/5.7), 1.1 b (Apache/2.4.57)"], Software.APACHE),
        (["HTTP/1.0 200 Connection Established", "Proxy-agent: Apache/2.4.57 (Debian)"], Software.APACHE),
        (["HTTP/1.1 200 OK", "Server: Apache/2.4", "Via: 1.1 192.0.2.1 (Mikrotik HttpProxy)"], Software.MIKROTIK),
        (["HTTP/1.0 403 Forbidden", "Server: Mikrotik HttpProxy"], Software.MIKROTIK),
        (["HTTP/1.1 200 OK", "Proxy-Agent: Privoxy/3.0.33"], Software.PRIVOXY),
        (["CCProxy Telnet>CCProxy Telnet Service Ready."], Software.WINGATE),
        (["WinGate>"], Software.WINGATE),
        (["220 mail.example ESMTP Postfix (Debian/GNU)"], Software.POSTFIX),
        (["220 mail.example ESMTP Exim 4.96 Sun, 22 Nov 2026 10:00:00 +0000"], Software.EXIM),
        (["220 mail.example ESMTP Sendmail 8.17.1/8.17.1; Sun, 22 Nov 2026"], Software.SENDMAIL),
        (["220 mail.example Microsoft ESMTP MAIL Service ready at Sun"], Software.EXCHANGE),
        (["220 mail.example ESMTP OpenSMTPD"], Software.OPENSMTPD),
        (["HTTP/1.1 200 OK", "Server: nginx/1.24"], None),
        (["HTTP/1.1 200 OK", "X-Note: squid"], None),
        (["HTTP/1.1 200 OK", "Server: notsquid/1"], None),
        (["250 mail.example Postfix"], None),
        ([], None),
    ],
)
def test_by_what_it_says(lines, expected):
    assert software_of([heard(*lines)]) is expected


def test_what_we_sent_names_nobody():
    assert software_of([b"> Via: 1.1 x (squid)\n* Server: squid\n"]) is None


def test_the_first_transcript_that_names_one_counts():
    assert software_of([b"", heard("Server: squid"), heard("Server: tinyproxy")]) is Software.SQUID


@given(st.lists(st.binary(max_size=3000), max_size=3))
def test_whatever_a_target_sends(transcripts):
    assert software_of(transcripts) in (None, *Software)


@given(st.binary(max_size=600))
def test_as_the_exchange_writes_it(noise):
    def conversation():
        yield Send(b"GET / HTTP/1.1\r\n\r\n")
        yield ReadUntil(b"\n\n", 4096)
        return Outcome(Kind.DENIED, "")

    exchange = Exchange(conversation(), 4096)
    exchange.next()
    exchange.feed(b"HTTP/1.1 403 Forbidden\r\nServer: squid/5.7\r\n" + noise)
    exchange.ended(Cause.CLOSED)
    if b":" not in noise and noise[:1] != b" ":
        assert software_of([exchange.transcript]) is Software.SQUID
