"""A whole letter through a proxy: what is said to the canary at the other end, and what cuts it off."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace

import pytest

from scanner.model import THROUGH, Aim, Face, Kind
from scanner.proof import open_challenge
from scanner.protocols import PROTOCOLS
from scanner.protocols.conversation import Ask
from scanner.protocols.exchange import Cause, Exchange
from scanner.receipt import find_letter
from tests.protocols.player import IDENTITY, KEY, LETTER, TARGET, aim, pour, token

GRANTS = {
    "http-connect": (b"HTTP/1.1 200 OK\r\n\r\n",),
    "socks4": (b"\0\x5a" + bytes(6),),
    "socks4a": (b"\0\x5a" + bytes(6),),
    "socks5": (b"\5\0", b"\5\0\0\1" + bytes(6)),
}
SAID = (b"220 a\r\n", b"250-b\r\n250 STARTTLS\r\n", b"250 c\r\n", b"250 d\r\n", b"354 e\r\n", b"250 kept\r\n")
DOMAINS = {"ipv4": "[192.0.2.1]", "ipv6": "[IPv6:2001:db8::1]", "name": "canary.example"}


def talk(protocol: str, host: str = "ipv4") -> Exchange:
    to: Aim = replace(aim(host, Face.MAIL), form=THROUGH)
    return Exchange(
        PROTOCOLS[protocol].converse(Ask(to, token(protocol), IDENTITY, TARGET, 1080, LETTER, 1.8e9)), 16384
    )


@pytest.mark.parametrize("protocol", GRANTS)
@pytest.mark.parametrize("host", DOMAINS)
def test_it_is_addressed_to_the_canary_itself(protocol, host):
    if protocol == "socks4" and host != "ipv4":
        return
    outcome, written = pour(talk(protocol, host), (*GRANTS[protocol], *SAID), Cause.CLOSED)
    assert (outcome.kind, outcome.detail) == (Kind.ACCEPTED, "through: '250 kept'")
    ehlo, sender, recipient, data, message, bye = written[-6:]
    assert (ehlo, data, bye) == (b"EHLO proxywarden\r\n", b"DATA\r\n", b"QUIT\r\n")
    assert sender == f"MAIL FROM:<relaytest@{DOMAINS[host]}>\r\n".encode()
    assert recipient == f"RCPT TO:<{LETTER.decode()}@{DOMAINS[host]}>\r\n".encode()
    assert find_letter({1: KEY}, recipient)[1] == b"i" * 9
    letter = email.message_from_bytes(message.removesuffix(b".\r\n"), policy=email.policy.default)
    assert not letter.defects
    _, challenge = open_challenge({1: KEY}, letter["x-proxywarden"].encode())
    assert challenge.endpoint.protocol == protocol
    assert "sent through the proxy at 198.51.100.7" in letter.get_content()
    assert max(map(len, message.split(b"\r\n"))) <= 998


@pytest.mark.parametrize("after", range(1, len(SAID)))
def test_what_is_cut_off_was_not_delivered(after):
    outcome, _ = pour(talk("http-connect"), (*GRANTS["http-connect"], *SAID[:after]), Cause.CLOSED)
    assert outcome.kind is Kind.PRETENDS


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ((b"554 no mail\r\n",), Kind.DENIED),
        ((b"220 a\r\n", b"221 goodbye\r\n"), Kind.PRETENDS),
        ((*SAID[:3], b"554 no mail\r\n"), Kind.DENIED),
        ((*SAID[:5], b"451 later\r\n"), Kind.DEFERRED),
        ((b"HTTP/1.1 200 OK\r\n",), Kind.WRONG_PROTOCOL),
    ],
)
def test_nor_was_what_is_answered_otherwise(said, kind):
    outcome, _ = pour(talk("socks5"), (*GRANTS["socks5"], *said), Cause.CLOSED)
    assert outcome.kind is kind
