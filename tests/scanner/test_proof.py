"""The proof: an answer that the canary's own key signed, to this challenge, or nothing."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from base64 import urlsafe_b64decode, urlsafe_b64encode
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.model import Endpoint, Evidence, Face, Kind
from scanner.proof import (
    ANSWER_MARK,
    CHALLENGE_MARK,
    TOKEN_LIMIT,
    CanaryKey,
    Challenge,
    Forged,
    Proof,
    Sighting,
    derive,
    expand,
    extract,
    find_token,
    open_challenge,
)

KEY = CanaryKey.from_master(b"m" * 32, "c1", 1)
ROTATED = CanaryKey.from_master(b"n" * 32, "c1", 2)
OTHER = CanaryKey.from_master(b"m" * 32, "c2", 1)
KEYS = {1: KEY, 2: ROTATED}
CHALLENGE = Challenge(b"v" * 16, ip_address("192.0.2.1"), Endpoint("socks5", 1080), b"n" * 16)
SIGHTING = Sighting("c1", Face.HTTP, ip_address("2001:db8::7"), 40000, 80, "canary.example")
TOKEN = CHALLENGE.token(KEY)
ANSWER = SIGHTING.answer(KEY, TOKEN)

addresses = st.ip_addresses().map(lambda a: getattr(a, "ipv4_mapped", None) or a)
ports = st.integers(0, 65535)
sixteen = st.binary(min_size=16, max_size=16)
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=16)
challenges = st.builds(Challenge, sixteen, addresses, st.builds(Endpoint, words, ports), sixteen)
sightings = st.builds(
    Sighting,
    st.just("c1"),
    st.sampled_from(Face),
    addresses,
    ports,
    ports,
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64),
)


def forge(packed: bytes, key: CanaryKey = KEY) -> bytes:
    """What a canary that was taken over can say: anything, signed."""
    raw = packed + key.sign(TOKEN + b"\n" + packed)
    return ANSWER_MARK + urlsafe_b64encode(raw).rstrip(b"=")


# RFC 5869 appendix A, the three vectors for SHA-256.
VECTORS = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
        "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
        "cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("secret", "salt", "info", "extracted", "output"), VECTORS)
def test_hkdf_as_in_rfc_5869(secret: str, salt: str, info: str, extracted: str, output: str) -> None:
    assert extract(bytes.fromhex(secret), bytes.fromhex(salt)).hex() == extracted
    length = len(output) // 2
    assert expand(bytes.fromhex(extracted), bytes.fromhex(info), length).hex() == output


def test_derive_is_hkdf_without_salt() -> None:
    assert derive(b"\x0b" * 22, "").hex() == VECTORS[2][4][:64]
    assert derive(b"\x0b" * 22, "challenge") == expand(extract(b"\x0b" * 22), b"challenge")


def test_each_purpose_canary_and_number_has_a_key_of_its_own() -> None:
    made = [CanaryKey.from_master(b"m" * 32, canary, n) for canary in ("c", "c1", "1", "11") for n in (1, 11, 255)]
    message = b"message"
    macs = {key.mac(message) for key in made} | {key.sign(message) for key in made}
    assert len(macs) == 2 * len(made)


@pytest.mark.parametrize(
    ("canary", "number", "secret"),
    [
        ("", 1, b"s" * 32),
        ("two words", 1, b"s" * 32),
        ("line\n", 1, b"s" * 32),
        ("é", 1, b"s" * 32),
        ("c" * 64, 1, b"s" * 32),
        ("c1", 0, b"s" * 32),
        ("c1", 256, b"s" * 32),
        ("c1", 1, b"s" * 31),
    ],
)
def test_a_key_that_could_not_be_told_apart_or_written_is_no_key(canary: str, number: int, secret: bytes) -> None:
    with pytest.raises(ValueError, match=r"canary|key") as refused:
        CanaryKey(canary, number, secret)
    assert "ssss" not in str(refused.value)


@pytest.mark.parametrize(
    ("visit", "protocol", "nonce"),
    [
        (b"v" * 15, "socks5", b"n" * 16),
        (b"v" * 16, "socks5", b"n" * 17),
        (b"v" * 16, "p" * 17, b"n" * 16),
        (b"v" * 16, "sock§", b"n" * 16),
    ],
)
def test_a_challenge_that_would_be_cut_is_none(visit: bytes, protocol: str, nonce: bytes) -> None:
    with pytest.raises(ValueError, match="16"):
        Challenge(visit, ip_address("192.0.2.1"), Endpoint(protocol, 1), nonce)


@given(challenges, sightings)
def test_what_was_asked_and_seen_comes_back_whole(challenge: Challenge, sighting: Sighting) -> None:
    for key in KEYS.values():
        token = challenge.token(key)
        assert len(token) <= TOKEN_LIMIT
        assert open_challenge(KEYS, token) == (key, challenge)
        answer = sighting.answer(key, token)
        assert len(answer) <= TOKEN_LIMIT
        proof = Proof(key, challenge, token, answer)
        assert (proof.challenge, proof.sighting, proof.exit) == (challenge, sighting, sighting.peer)


def test_the_longest_answer_fits_a_token() -> None:
    key = CanaryKey.from_master(b"m" * 32, "c" * 63)
    token = CHALLENGE.token(key)
    sighting = dataclasses.replace(SIGHTING, canary="c" * 63, name="n" * 300)
    answer = sighting.answer(key, token)
    assert len(answer) <= TOKEN_LIMIT
    assert Proof(key, CHALLENGE, token, answer).sighting.name == "n" * 64


@given(st.data())
def test_any_mutation_of_any_byte_of_a_challenge_is_forged(data: st.DataObject) -> None:
    with pytest.raises(Forged):
        open_challenge(KEYS, mutate(data, TOKEN))


@given(st.data())
def test_any_mutation_of_any_byte_of_an_answer_is_forged(data: st.DataObject) -> None:
    with pytest.raises(Forged):
        Proof(KEY, CHALLENGE, TOKEN, mutate(data, ANSWER))


def mutate(data: st.DataObject, token: bytes) -> bytes:
    where = data.draw(st.integers(0, len(token) - 1))
    what = data.draw(st.integers(0, 255).filter(lambda byte: byte != token[where]))
    return token[:where] + bytes([what]) + token[where + 1 :]


@pytest.mark.parametrize("number", [1, 2])
def test_every_bit_of_what_is_under_the_mac_counts(number: int) -> None:
    token = CHALLENGE.token(KEYS[number])
    raw = decode(token, CHALLENGE_MARK)
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Forged):
            open_challenge(KEYS, CHALLENGE_MARK + urlsafe_b64encode(flipped).rstrip(b"="))


def test_every_bit_of_what_is_signed_counts() -> None:
    raw = decode(ANSWER, ANSWER_MARK)
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Forged):
            Proof(KEY, CHALLENGE, TOKEN, ANSWER_MARK + urlsafe_b64encode(flipped).rstrip(b"="))


def decode(token: bytes, mark: bytes) -> bytes:
    text = token.removeprefix(mark)
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))


@pytest.mark.parametrize("token", [TOKEN, ANSWER])
def test_cut_and_prolonged_tokens_are_forged(token: bytes) -> None:
    altered = [token[:end] for end in range(len(token))]
    altered += [token + tail for tail in (b"A", b"AAAA", b"=", b"==", b" ", b"\n", b"\r\n", b"\0")]
    altered += [lead + token for lead in (b" ", b"A", b"\n")]
    for each in altered:
        with pytest.raises(Forged):
            open_challenge(KEYS, each)
        with pytest.raises(Forged):
            Proof(KEY, CHALLENGE, TOKEN, each)


def test_another_spelling_of_the_same_bytes_is_forged() -> None:
    for token, mark in ((TOKEN, CHALLENGE_MARK), (ANSWER, ANSWER_MARK)):
        text = token.removeprefix(mark)
        respelt = [mark + text.replace(b"_", b"/").replace(b"-", b"+"), mark + text[:8] + b"\n" + text[8:]]
        respelt += [mark + text[:8] + b"!" + text[8:], mark + text + b"="]
        for each in respelt:
            assert each != token, "the example must have a - or a _"
            with pytest.raises(Forged):
                open_challenge(KEYS, each)
            with pytest.raises(Forged):
                Proof(KEY, CHALLENGE, TOKEN, each)


@given(st.binary(max_size=400))
def test_garbage_is_forged_and_nothing_else(garbage: bytes) -> None:
    for token in (garbage, CHALLENGE_MARK + garbage, ANSWER_MARK + garbage):
        with pytest.raises(Forged):
            open_challenge(KEYS, token)
        with pytest.raises(Forged):
            Proof(KEY, CHALLENGE, TOKEN, token)


@given(st.binary(max_size=130))
def test_whatever_a_taken_canary_signs_is_a_whole_sighting_or_forged(packed: bytes) -> None:
    try:
        proof = Proof(KEY, CHALLENGE, TOKEN, forge(packed))
    except Forged:
        return
    assert proof.sighting.canary == "c1"
    assert proof.sighting._packed() == packed


SEEN = b"t" + ip_address("2001:db8::7").packed + b"\x9c\x40" + b"\0\x50"
NAME = b"\x0ecanary.example"


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"t",
        b"x" + SEEN[1:] + b"\2c1" + NAME,  # no such face
        SEEN,  # no id
        SEEN + b"\2c",  # id cut
        SEEN + b"\2c1",  # no name
        SEEN + b"\2c1" + NAME[:-1],  # name cut
        SEEN + b"\2c1" + NAME + b"\0",  # something more
        SEEN + b"\2c2" + NAME,  # speaks for another canary
        SEEN + b"\3c\xc3\xa9" + NAME,
        SEEN + b"\2c1" + b"\2\xff\xff",
        SEEN + b"\2c1" + b"\5a\r\nb\x1b",  # would write on the operator's terminal
        SEEN + b"\2c1" + b"\x41" + b"n" * 65,  # longer than a name may be
    ],
)
def test_a_malformed_sighting_is_forged_although_it_is_signed(packed: bytes) -> None:
    Proof(KEY, CHALLENGE, TOKEN, forge(SEEN + b"\2c1" + NAME))  # the well-formed one
    with pytest.raises(Forged):
        Proof(KEY, CHALLENGE, TOKEN, forge(packed))


def test_a_challenge_with_a_protocol_that_is_no_text_is_forged() -> None:
    body = decode(TOKEN, CHALLENGE_MARK)[:-32].replace(b"socks5", b"socks\xff")
    with pytest.raises(Forged):
        open_challenge(KEYS, CHALLENGE_MARK + urlsafe_b64encode(body + KEY.mac(body)).rstrip(b"="))


def test_mapped_addresses_are_ipv4() -> None:
    challenge = dataclasses.replace(CHALLENGE, address=ip_address("::ffff:192.0.2.1"))
    assert open_challenge(KEYS, challenge.token(KEY))[1].address == ip_address("192.0.2.1")
    sighting = dataclasses.replace(SIGHTING, peer=ip_address("::ffff:192.0.2.9"))
    assert Proof(KEY, CHALLENGE, TOKEN, sighting.answer(KEY, TOKEN)).exit == ip_address("192.0.2.9")


def test_an_echo_is_no_answer() -> None:
    with pytest.raises(Forged):
        Proof(KEY, CHALLENGE, TOKEN, TOKEN)
    with pytest.raises(Forged):  # and no challenge either: no answer can be used to ask
        open_challenge(KEYS, ANSWER)
    with pytest.raises(Forged):
        Proof(KEY, CHALLENGE, TOKEN, ANSWER_MARK + TOKEN.removeprefix(CHALLENGE_MARK))


@pytest.mark.parametrize(
    "earlier",
    [
        dataclasses.replace(CHALLENGE, nonce=b"o" * 16),
        dataclasses.replace(CHALLENGE, visit=b"w" * 16),
        dataclasses.replace(CHALLENGE, address=ip_address("192.0.2.2")),
        dataclasses.replace(CHALLENGE, endpoint=Endpoint("socks5", 1081)),
        dataclasses.replace(CHALLENGE, endpoint=Endpoint("socks4", 1080)),
    ],
)
def test_an_answer_to_another_challenge_is_forged(earlier: Challenge) -> None:
    answer = SIGHTING.answer(KEY, earlier.token(KEY))
    Proof(KEY, earlier, earlier.token(KEY), answer)
    with pytest.raises(Forged):
        Proof(KEY, CHALLENGE, TOKEN, answer)
    with pytest.raises(Forged):  # nor does a caller's slip make one
        Proof(KEY, CHALLENGE, earlier.token(KEY), answer)


def test_another_canarys_key_neither_asks_nor_answers() -> None:
    with pytest.raises(Forged):
        open_challenge({1: OTHER}, TOKEN)
    theirs = dataclasses.replace(SIGHTING, canary="c2")
    for sighting in (SIGHTING, theirs):
        with pytest.raises(Forged):
            Proof(KEY, CHALLENGE, TOKEN, sighting.answer(OTHER, TOKEN))
    token = CHALLENGE.token(OTHER)
    with pytest.raises(Forged):  # a lost key of c2 speaks for c2 alone
        Proof(OTHER, CHALLENGE, token, SIGHTING.answer(OTHER, token))
    assert Proof(OTHER, CHALLENGE, token, theirs.answer(OTHER, token)).sighting.canary == "c2"


def test_a_rotated_key_is_known_by_its_number() -> None:
    new = CHALLENGE.token(ROTATED)
    assert open_challenge(KEYS, new)[0] is ROTATED
    assert open_challenge(KEYS, TOKEN)[0] is KEY  # the old one still
    with pytest.raises(Forged):
        open_challenge({2: ROTATED}, TOKEN)  # and once it is taken out no more
    with pytest.raises(Forged):
        Proof(ROTATED, CHALLENGE, new, SIGHTING.answer(KEY, new))
    with pytest.raises(Forged):  # the same bytes of key under another number
        open_challenge({1: CanaryKey("c1", 1, ROTATED.secret)}, new)


def test_a_proof_is_made_by_verifying_alone() -> None:
    """No copy, no pickle, no replace, no change. object.__new__ gives one that holds nothing."""
    proof = Proof(KEY, CHALLENGE, TOKEN, ANSWER)
    with pytest.raises(TypeError):
        dataclasses.replace(proof, sighting=SIGHTING)
    with pytest.raises(TypeError):
        Proof(CHALLENGE, SIGHTING)  # type: ignore[call-arg, arg-type]
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="verifying"):
            duplicate(proof)
    with pytest.raises(dataclasses.FrozenInstanceError):
        proof.sighting = SIGHTING  # type: ignore[misc]
    with pytest.raises(AttributeError):
        _ = object.__new__(Proof).exit


def test_relayed_and_proof_go_together() -> None:
    proof = Proof(KEY, CHALLENGE, TOKEN, ANSWER)
    Evidence(CHALLENGE.endpoint, Kind.RELAYED, proof=proof)
    for kind in set(Kind) - {Kind.RELAYED}:
        with pytest.raises(ValueError, match="proof"):
            Evidence(CHALLENGE.endpoint, kind, proof=proof)
    with pytest.raises(ValueError, match="proof"):
        Evidence(CHALLENGE.endpoint, Kind.RELAYED)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"", None),
        (b"PW1", None),
        (b"pw1-abc", None),
        (b"PW1-", b"PW1-"),
        (b"PW1-abc", b"PW1-abc"),
        (b"GET /PW1-a_b-c HTTP/1.1\r\n", b"PW1-a_b-c"),
        (b"EHLO PW1-abc.scanner.example\r\n", b"PW1-abc"),
        (b"250-x PW1-abc\r\n", b"PW1-abc"),
        (b"\xffPW1-abc\xff", b"PW1-abc"),
        (b"PW1-abc PW1-def", b"PW1-abc"),
        (b"PWA1-abc", None),
        (b"PW1-" + b"a" * 300, b"PW1-" + b"a" * 252),
    ],
)
def test_find_token(line: bytes, found: bytes | None) -> None:
    assert find_token(line, CHALLENGE_MARK) == found


@given(st.binary(max_size=300), st.sampled_from([CHALLENGE_MARK, ANSWER_MARK]), st.binary(max_size=300))
def test_what_is_found_is_there_and_is_short(before: bytes, mark: bytes, after: bytes) -> None:
    data = before + mark + after
    token = find_token(data, mark)
    assert token is not None
    assert token in data
    assert len(token) <= TOKEN_LIMIT


@given(st.binary(max_size=40).filter(lambda b: b"P" not in b), st.sampled_from(list(b" .\r\n/;,=\"'<")))
def test_a_token_is_found_whole_in_any_line(before: bytes, end: int) -> None:
    assert find_token(before + TOKEN + bytes([end]) + b"rest", CHALLENGE_MARK) == TOKEN
    assert find_token(before + ANSWER + bytes([end]) + b"rest", ANSWER_MARK) == ANSWER
