"""A receipt: what the canary signed, of this letter, or nothing."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.model import Endpoint, Evidence, Face, Kind
from scanner.proof import CanaryKey, Challenge, Forged, Sighting
from scanner.receipt import SHORT, Delivery, Letter, Receipt, _signature, find_letter, read_delivery

KEY = CanaryKey.from_master(b"m" * 32, "c1", 1)
ROTATED = CanaryKey.from_master(b"n" * 32, "c1", 2)
OTHER = CanaryKey.from_master(b"m" * 32, "c2", 1)
KEYS = {1: KEY, 2: ROTATED}
TARGET, RELAY = ip_address("192.0.2.1"), Endpoint("smtp-relay", 25)
LETTER = Letter(b"i" * 9, TARGET, RELAY)


def token(address=TARGET, endpoint=RELAY) -> str:
    return Challenge(b"v" * 16, address, endpoint, b"n" * 16).token(KEY).decode()


TOKEN = token()
DELIVERY = Delivery(
    "c1", LETTER.id.hex(), ip_address("2001:db8::7"), 40000, 25, 1e9, "out.example", "a@b", TOKEN, ("by x",)
)


def test_short_form_fits_every_local_part():
    short = LETTER.short(KEY)
    assert len(short) == SHORT
    assert short.isalnum()
    assert short == short.lower()
    assert short != LETTER.short(ROTATED) != LETTER.short(OTHER)
    with pytest.raises(ValueError, match="9 bytes"):
        replace(LETTER, id=b"i").short(KEY)


@pytest.mark.parametrize(
    "around",
    [b"%b", b"%b@canary.example", b"%b%%canary.example@[192.0.2.1]", b"canary.example!%b", b'"%b@c"@[192.0.2.1]',
     b"@[192.0.2.1]:%b@c", b"<%b@c>", b"SRS0=a=b=%b@c"],
)  # fmt: skip
@pytest.mark.parametrize("case", [bytes.lower, bytes.upper, bytes.title])
def test_it_is_found_whatever_is_around_it(around, case):
    assert find_letter(KEYS, around % case(LETTER.short(KEY))) == (KEY, LETTER.id)
    assert find_letter(KEYS, around % case(LETTER.short(ROTATED))) == (ROTATED, LETTER.id)


@pytest.mark.parametrize("recipient", [b"", b"root@canary.example", b"a" * 32, b"a" * 33, b"1" * 32, b"\xff" * 40])
def test_nobody_else_has_mail(recipient):
    with pytest.raises(Forged):
        find_letter(KEYS, recipient)


@given(st.integers(0, SHORT - 1), st.sampled_from(b"abcdefghijklmnopqrstuvwxyz234567"))
def test_a_letter_of_it_changed_is_none(at, letter):
    short = bytearray(LETTER.short(KEY))
    if short[at] != letter:
        short[at] = letter
        with pytest.raises(Forged):
            find_letter(KEYS, bytes(short))


def test_another_canary_does_not_take_it():
    with pytest.raises(Forged):
        find_letter({1: OTHER}, LETTER.short(KEY))


def test_receipt():
    receipt = Receipt(KEY, LETTER, DELIVERY.signed(KEY))
    assert (receipt.letter, receipt.delivery) == (LETTER, DELIVERY)
    assert receipt.exit == DELIVERY.peer
    assert receipt.sighting == Sighting("c1", Face.MAIL, DELIVERY.peer, 40000, 25, "out.example")
    Evidence(RELAY, Kind.RELAYED, proof=receipt)


def test_a_lost_header_does_not_matter():
    assert Receipt(KEY, LETTER, replace(DELIVERY, challenge="").signed(KEY)).letter == LETTER


@pytest.mark.parametrize(
    "signed",
    [
        b"",
        b" ",
        b"\xff {}",
        DELIVERY.signed(KEY)[:-1],
        DELIVERY.signed(KEY) + b" ",
        DELIVERY.signed(ROTATED),
        DELIVERY.signed(OTHER),
        replace(DELIVERY, canary="c2").signed(KEY),
        replace(DELIVERY, letter="00" * 9).signed(KEY),
        replace(DELIVERY, challenge="PW1-").signed(KEY),
        replace(DELIVERY, challenge=TOKEN[:-1]).signed(KEY),
        replace(DELIVERY, challenge=token(endpoint=Endpoint("smtp-relay", 26))).signed(KEY),
        replace(DELIVERY, challenge=token(ip_address("192.0.2.2"))).signed(KEY),
        replace(DELIVERY, received=("x" * 20000,)).signed(KEY),
    ],
)  # fmt: skip
def test_nothing_else_is_one(signed):
    with pytest.raises(Forged):
        Receipt(KEY, LETTER, signed)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"nothing", b"[" * 9000, json.dumps({"peer": "x"}).encode(),
     json.dumps({"peer": "::1", "received": 3}).encode(), json.dumps({"peer": "::1", "received": [], "x": 1}).encode(),
     DELIVERY.signed(KEY).partition(b" ")[2].replace(b'"out.example"', b"7"),
     DELIVERY.signed(KEY).partition(b" ")[2].replace(b"40000", b'"x"')],
)  # fmt: skip
def test_a_canary_that_was_taken_over_can_only_forge(body):
    with pytest.raises(Forged):
        read_delivery(KEY, _signature(KEY, body) + b" " + body)


@pytest.mark.parametrize(
    "change",
    [{"challenge": "\ud800"}, {"challenge": "é"}, {"tls": "\ud800"}, {"tls": "a\nb"}, {"helo": "\x1b[2J"},
     {"sender": "\0"}, {"received": ["a\u2028b"]}, {"peer_port": float("nan")}, {"peer_port": 10**400},
     {"port": -1}, {"port": 0.5}, {"at": float("nan")}, {"peer": 5}, {"peer": "fe80::1%a\nb"}],
)  # fmt: skip
def test_it_says_only_what_a_canary_would_say(change):
    body = json.dumps({**json.loads(DELIVERY.signed(KEY).partition(b" ")[2]), **change}).encode()
    with pytest.raises(Forged):
        Receipt(KEY, LETTER, _signature(KEY, body) + b" " + body)


def test_an_output_host_is_written_in_one_way():
    mapped = replace(DELIVERY, peer=ip_address("::ffff:192.0.2.7"))
    assert Receipt(KEY, LETTER, mapped.signed(KEY)).exit == ip_address("192.0.2.7")


def test_a_receipt_is_not_copied():
    receipt = Receipt(KEY, LETTER, DELIVERY.signed(KEY))
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            copied(receipt)
