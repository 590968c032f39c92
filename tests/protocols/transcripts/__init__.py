"""ROWS: what targets say, and what it shows. test_transcripts.py replays each row in every way that a network can
deliver it.
"""

from __future__ import annotations

from tests.protocols.transcripts.http import connect_rows, forward_rows, status_rows
from tests.protocols.transcripts.smtp import smtp_rows
from tests.protocols.transcripts.socks import socks4_rows, socks4a_rows, socks5_rows
from tests.protocols.transcripts.tunnel import tunnel_rows
from tests.protocols.transcripts.words import NAME, SOCKS4, SOCKS4A, V4, Row, connect

__all__ = ["ROWS", "Row"]

ROWS: tuple[Row, ...] = (
    *(row for protocol in ("socks4", "socks4a", "socks5", "http-connect") for row in tunnel_rows(protocol)),
    *socks4_rows("socks4", SOCKS4, V4),
    *socks4_rows("socks4a", SOCKS4A, NAME),
    *socks4a_rows(),
    *socks5_rows(),
    *status_rows("http-connect", connect(b"192.0.2.1:8023"), V4),
    *connect_rows(),
    *forward_rows("http-get"),
    *forward_rows("http-post"),
    *smtp_rows(),
)
