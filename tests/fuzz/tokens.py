"""Fuzz what is signed: challenges, answers, receipts and short challenges are true to the bit, or forged.

python tests/fuzz/tokens.py -max_total_time=600 [-- see harness.py]. What it finds becomes a row of
tests/scanner/test_proof.py or tests/scanner/test_receipt.py.
"""

import json
from ipaddress import ip_address

import atheris
from harness import fuzz, mixture

with atheris.instrument_imports():
    from scanner.model import Endpoint, Face
    from scanner.proof import (
        ANSWER_MARK,
        CHALLENGE_MARK,
        CanaryKey,
        Challenge,
        Forged,
        Proof,
        Sighting,
        find_token,
        open_challenge,
    )
    from scanner.receipt import Delivery, Letter, Receipt, _signature, find_letter, read_delivery

KEY = CanaryKey.from_master(b"m" * 32, "c1")
HERE = ip_address("192.0.2.1")
CHALLENGE = Challenge(b"v" * 16, HERE, Endpoint("socks5", 1080), b"n" * 16)
TOKEN = CHALLENGE.token(KEY)
ANSWER = Sighting("c1", Face.TCP, HERE, 40000, 80, "x").answer(KEY, TOKEN)
LETTER = Letter(b"i" * 9, HERE, Endpoint("smtp-relay", 25))
SHORT = LETTER.short(KEY)
DELIVERY = Delivery("c1", LETTER.id.hex(), HERE, 40000, 25, 1.8e9, "helo", "sender", "", ("a", "b"))
SIGNED = DELIVERY.signed(KEY)
TRUE = {b"challenge": TOKEN, b"answer": ANSWER, b"delivery": SIGNED, b"short": SHORT}
FIELDS = [b'"canary"', b'"letter"', b'"peer"', b'"peer_port"', b'"at"', b'"received"', b'"challenge"', b'"c1"',
          b"{", b"}",
          b":", b",", b"null", b"[", b"]", b"1e999", b"NaN", b'"1.2.3.4"', b'"::1"', b'"helo"', b'"port"', b'"sender"',
          b'"\\ud800"', b"1", b"-1", json.dumps(LETTER.id.hex()).encode(), SIGNED.partition(b" ")[2]]  # fmt: skip
WORDS = [TOKEN, ANSWER, SIGNED, SHORT, TOKEN[:50], TOKEN[50:], ANSWER[:60], ANSWER[60:], SHORT.upper(), CHALLENGE_MARK,
         ANSWER_MARK, b"=", b"\r\n", b" ", b"@", b"\0", b"\xff", b"A", b"-", b"_", *FIELDS]  # fmt: skip


def forged(make, *arguments):
    try:
        return make(*arguments)
    except Forged:
        return None


def flipped(provider, true):
    at, bit = provider.ConsumeIntInRange(0, len(true) - 1), 1 << provider.ConsumeIntInRange(0, 7)
    return true[:at] + bytes([true[at] ^ bit]) + true[at + 1 :]


def one(data):
    provider = atheris.FuzzedDataProvider(data)
    if provider.ConsumeBool():
        which = list(TRUE)[provider.ConsumeIntInRange(0, len(TRUE) - 1)]
        text = flipped(provider, TRUE[which])
    else:
        text = b"".join(mixture(provider, WORDS))
    opened = forged(open_challenge, {1: KEY}, text)
    assert opened is None or (opened[1] == CHALLENGE and text == TOKEN)
    proof = forged(Proof, KEY, CHALLENGE, TOKEN, text)
    assert proof is None or text == ANSWER
    assert forged(read_delivery, KEY, text) in (None, DELIVERY)
    receipt = forged(Receipt, KEY, LETTER, text)
    assert receipt is None or text == SIGNED
    letter = forged(find_letter, {1: KEY}, text)
    assert letter in (None, (KEY, LETTER.id))
    for mark in (CHALLENGE_MARK, ANSWER_MARK):
        token = find_token(text, mark)
        assert token is None or token in text
    # A canary that was taken over signs whatever it likes.
    found = forged(read_delivery, KEY, _signature(KEY, text) + b" " + text)
    if found is not None:
        assert found.canary == "c1"
        forged(Receipt, KEY, LETTER, _signature(KEY, text) + b" " + text)


fuzz(one)
