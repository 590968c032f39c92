from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.web.sample import reported_address

ARF = b"""From: abuse@example.net
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

spam
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: t/1
Version: 1
Source-IP: 198.51.100.9

--b
Content-Type: message/rfc822

Received: from x ([192.0.2.1]) by y; Sun, 22 Nov 2026 10:00:00 +0000

spam
--b--
"""


def received(*lines: str) -> bytes:
    return "".join(f"Received: {line}\r\n" for line in lines).encode() + b"Subject: x\r\n\r\nspam\r\n"


@pytest.mark.parametrize(
    ("sample", "address"),
    [
        (received("from a.example (b.example [8.8.4.4]) by mx.example.net; now"), "8.8.4.4"),
        (received("from a (b [IPv6:2a00:1450::5])\r\n by mx; now"), "2a00:1450::5"),
        (received("from in ([10.0.0.5]) by store; now", "from a ([8.8.4.4]) by mx; now"), "8.8.4.4"),
        # Only the hop that handed it over counts: what stands below it the sender may have invented.
        (received("from a ([8.8.4.4]) by mx; now", "from victim ([9.9.9.9]) by a; now"), "8.8.4.4"),
        # The name that the sender gave may look like an address: the last literal is the server's own.
        (received("from [9.9.9.9] (b [8.8.4.4]) by mx; now"), "8.8.4.4"),
        (received("by mx with local; now", "from a ([8.8.4.4]) by mx; now"), None),
        (received("from a (unknown) by mx; now"), None),
        (b"2026-11-22 10:00:00 spam from 8.8.4.4", None),
        (ARF, "198.51.100.9"),
        (b"", None),
        # A parameter both whole and in pieces: email.utils.decode_params raises TypeError.
        (b"Content-Type: multipart/report; boundary*0=b; boundary*=x'y'b\r\n\r\nspam", None),
    ],
)
def test_who_handed_it_over(sample: bytes, address: str | None) -> None:
    assert (str(reported_address(sample)) if address else reported_address(sample)) == address


NESTED = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(900))


@pytest.mark.parametrize(
    "sample",
    [
        b'Content-Type: multipart/report; boundary=b\r\n by "' + b';"' * 64_000,
        b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n" + NESTED + b"line\r\n" * 10_000,
        b"Content-Type: message/rfc822\r\n\r\n" * 900 + b"x\r\n" * 30_000,
        b"Received: from\r\n" + b" [8.8.4.4\r\n" * 12_000,
    ],
    ids=["parameters", "nested", "messages", "folded"],
)
def test_what_is_made_to_be_slow_is_not(sample: bytes) -> None:
    began = time.process_time()
    assert reported_address(sample) is None
    assert time.process_time() - began < 2


@given(st.binary(max_size=300))
def test_whatever_is_sent(data: bytes) -> None:
    reported_address(data)
    reported_address(b"Received: from " + data)
    reported_address(ARF.replace(b"198.51.100.9", data))
