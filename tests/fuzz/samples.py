"""Fuzz abuse samples, messages and ARF reports: an address, or none, and soon.

python tests/fuzz/samples.py -max_total_time=600 [-- see harness.py]. What it finds becomes a row of
tests/scanner/web/test_sample.py.
"""

from ipaddress import IPv4Address, IPv6Address

import atheris
from harness import fuzz, mixture

with atheris.instrument_imports():
    from scanner.web.sample import reported_address

WORDS = [b"Received: from x ([192.0.2.1]) by mx.example; Sun, 22 Nov 2026 10:00:00 +0000\r\n", b"Received: ", b"from ",
         b" by ", b"[203.0.113.5]", b"[IPv6:2001:db8::1]", b"[10.0.0.1]", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"--b\r\n",
         b"--b--\r\n", b"Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n",
         b"Content-Type: message/feedback-report\r\n", b"Content-Type: multipart/mixed; boundary=b\r\n",
         b"Content-Type: message/rfc822\r\n", b"Source-IP: 203.0.113.9\r\n", b"Source-IP: ", b"Source-IP: ::\r\n",
         b"Content-Transfer-Encoding: base64\r\n", b"Content-Type: text/plain; charset=x-nothing\r\n", b"\xff", b"\0",
         b"Content-Type: multipart/report; boundary*0=b; boundary*1*=utf-8''%ff\r\n", b"=?utf-8?b?//?=", b"(", b")",
         b'"',
         b"Content-Type: multipart/report; boundary*=x'y'b\r\n", b"Source-IP: =?utf-8?q?1?=\r\n", b";",
         b"Source-IP"]  # fmt: skip


def one(data):
    found = reported_address(b"".join(mixture(atheris.FuzzedDataProvider(data), WORDS)))
    assert found is None or isinstance(found, IPv4Address | IPv6Address)


fuzz(one)
