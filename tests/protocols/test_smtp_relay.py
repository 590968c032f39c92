"""The forms, and the letter that a relay is asked to pass on."""

from __future__ import annotations

import email
import email.policy
from ipaddress import ip_address

import pytest

from scanner.model import Face, Kind
from scanner.proof import open_challenge
from scanner.protocols import PROTOCOLS
from scanner.protocols.conversation import Ask, Outcome
from scanner.protocols.exchange import Cause, Exchange
from scanner.protocols.forms import FEW, FORMS
from scanner.receipt import find_letter
from tests.protocols.player import DOMAIN, IDENTITY, KEY, LETTER, TARGET, aim, exchange, pour, token

SAID = b"220 a\r\n", b"250 b\r\n", b"250 c\r\n", b"250 d\r\n", b"354 e\r\n", b"250 f\r\n"


def written(form: str, target: str = str(TARGET)) -> list[bytes]:
    """All that we write to one who takes everything."""
    to = aim("domain", Face.MAIL, form)
    ask = Ask(to, token("smtp-relay"), IDENTITY, ip_address(target), 25, LETTER, 1.8e9)
    talk = Exchange(PROTOCOLS["smtp-relay"].converse(ask), 16384)
    outcome, said = pour(talk, SAID, Cause.CLOSED)
    assert (outcome.kind, outcome.detail) == (Kind.ACCEPTED, f"{form}: '250 f'")
    assert talk.granted is not None
    return said


ENVELOPES = {
    "plain": ("<relaytest@D>", "<U@D>"),
    "null-sender": ("<>", "<U@D>"),
    "local-sender": ("<relaytest@[198.51.100.7]>", "<U@D>"),
    "percent": ("<relaytest@D>", "<U%D@[198.51.100.7]>"),
    "quoted": ("<relaytest@D>", '<"U@D">'),
    "source-route": ("<relaytest@D>", "<@[198.51.100.7]:U@D>"),
    "bang": ("<relaytest@D>", "<D!U>"),
    "unbracketed": ("<relaytest@D>", "U@D"),
}


@pytest.mark.parametrize("form", ENVELOPES)
def test_envelope(form):
    sender, recipient = (text.replace("D", DOMAIN).replace("U", LETTER.decode()).encode() for text in ENVELOPES[form])
    said = written(form)
    assert said[:2] == [b"EHLO proxywarden\r\n", b"MAIL FROM:" + sender + b"\r\n"]
    assert said[2:4] == [b"RCPT TO:" + recipient + b"\r\n", b"DATA\r\n"]
    assert said[5:] == [b"QUIT\r\n"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_ends_at_our_canary_or_at_the_target(form):
    """No third party gets the message, nor what bounces."""
    _, sender, recipient, *_ = written(form)
    assert find_letter({1: KEY}, recipient) == (KEY, b"i" * 9)
    assert DOMAIN.encode() in recipient
    for path in (sender, recipient):
        rest = path.partition(b":")[2].replace(DOMAIN.encode(), b"").replace(LETTER, b"")
        for allowed in (b"relaytest", b"[198.51.100.7]", b"[127.0.0.1]", b"localhost"):
            rest = rest.replace(allowed, b"")
        assert not any(chr(byte).isalnum() for byte in rest), path
    with pytest.raises(Exception, match="letter"):  # what bounces is no receipt
        find_letter({1: KEY}, sender)


def test_no_line_is_too_long_for_smtp():
    for form in FORMS:
        for said in written(form, "2001:db8:1111:2222:3333:4444:5555:6666"):
            assert max(len(line) for line in said.split(b"\r\n")) <= 998
            if said.startswith((b"MAIL", b"RCPT")):
                assert len(said) <= 512
                assert b"[IPv6:2001:db8:" in said or b"[" not in said or b"[127.0.0.1]" in said


def test_each_form_is_a_row_with_a_source():
    assert list(FORMS)[:5] == list(FEW) == ["plain", "null-sender", "local-sender", "percent", "quoted"]
    assert all(form.source for form in FORMS.values())
    envelopes = [(form.sender, form.recipient) for form in FORMS.values()]
    assert len(set(envelopes)) == len(envelopes)


def test_the_letter_says_what_it_is():
    raw = written("plain")[4]
    assert raw.endswith(b"\r\n.\r\n")
    assert raw.isascii()
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r\n." not in raw[:-3]
    letter = email.message_from_bytes(raw[:-3], policy=email.policy.default)
    assert not letter.defects
    assert letter["to"].addresses[0].username == LETTER.decode()
    assert letter["from"].addresses[0].domain == letter["to"].addresses[0].domain == DOMAIN
    assert letter["auto-submitted"] == "auto-generated"
    assert letter["date"].datetime.timestamp() == 1.8e9
    _, challenge = open_challenge({1: KEY}, letter["x-proxywarden"].encode())
    assert challenge.address == TARGET
    body = letter.get_content()
    for word in (IDENTITY.name, IDENTITY.url, str(TARGET), "removed from the list", "left alone", "reported"):
        assert word in body


@pytest.mark.parametrize(
    ("form", "kind"),
    [("plain", Kind.TURNED_AWAY), ("bang-sender", Kind.TURNED_AWAY), ("local-sender", Kind.DENIED),
     ("null-sender", Kind.DENIED), ("localhost-sender", Kind.DENIED), ("bare-sender", Kind.DENIED)],
)  # fmt: skip
def test_a_sender_of_ours_that_is_refused_says_nothing_of_others(form, kind):
    ask = Ask(aim("domain", Face.MAIL, form), token("smtp-relay"), IDENTITY, TARGET, 25, LETTER, 1.8e9)
    talk = Exchange(PROTOCOLS["smtp-relay"].converse(ask), 16384)
    outcome, _ = pour(talk, [b"220 a\r\n", b"250 b\r\n", b"550 5.7.1 no\r\n"], Cause.CLOSED)
    assert outcome.kind is kind


def test_in_the_clear_no_starttls_is_said():
    offered = [SAID[0], b"250-STARTTLS\r\n250 b\r\n", *SAID[2:]]
    outcome, said = pour(exchange("smtp-relay", aim("domain", Face.MAIL), clear=True), offered, Cause.CLOSED)
    assert (outcome.kind, outcome.detail) == (Kind.ACCEPTED, "plain: '250 f'")
    assert [line[:4] for line in said] == [b"EHLO", b"MAIL", b"RCPT", b"DATA", b"From", b"QUIT"]


@pytest.mark.parametrize("banner", [b"220 " + b"x" * 2_000_000, b"220-" + b"y" * 60 + b"\r\n", b"\0" * 1000 + b"\n"])
def test_of_two_megabytes_of_banner_no_more_is_read_than_may_be(banner):
    to = aim("domain", Face.MAIL, "plain")
    talk = Exchange(PROTOCOLS["smtp-relay"].converse(Ask(to, token("smtp-relay"), IDENTITY, TARGET, 25, LETTER)), 16384)
    flood = (banner * (2_000_000 // len(banner) + 1))[:2_000_000]
    fed = 0
    while not isinstance(step := talk.next(), Outcome):
        if step is None:
            talk.feed(flood[fed : fed + 4096])
            fed += 4096
    assert (step.kind, fed <= 16384 + 4096) == (Kind.WRONG_PROTOCOL, True)
    assert len(talk.transcript) < 20_000


@pytest.mark.parametrize("before", [b"", b"220-x\r\n" * 2330])
def test_who_was_given_no_message_took_none(before):
    """Every reply before its turn, and then more than is read: what we never said was not answered."""
    talk = Exchange(
        PROTOCOLS["smtp-relay"].converse(Ask(aim("domain", Face.MAIL, "plain"), b"t", IDENTITY, TARGET)), 16384
    )
    outcome, said = pour(talk, [before + b"".join(SAID) + b"x" * 16384], Cause.CLOSED)
    assert outcome == Outcome(Kind.PRETENDS, "said too much before it was given the message")
    assert said == []


def test_who_says_too_much_after_the_message_took_it():
    to = aim("domain", Face.MAIL, "plain")
    talk = Exchange(PROTOCOLS["smtp-relay"].converse(Ask(to, b"t", IDENTITY, TARGET)), 16384)
    outcome, _ = pour(talk, [*SAID[:-1], SAID[-1] + b"x" * 16384], Cause.CLOSED)
    assert outcome == Outcome(Kind.ACCEPTED, "plain: '250 f'")
