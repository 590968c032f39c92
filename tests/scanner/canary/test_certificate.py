"""The mail face's certificate: the operator's, or one of its own that stays; and what is said where there is none."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import structlog

from scanner.canary.certificate import mail_tls
from scanner.config import ConfigError
from scanner.settings import CanarySection, HandoverSection, IdentitySection, Settings

SHIPPED = Path(__file__).parents[1] / "data" / "mail.test.pem"


def settings(folder: Path, **canary: object) -> Settings:
    section = CanarySection(**{"handover": HandoverSection(url="http://127.0.0.1:1"), **canary})  # type: ignore[arg-type]
    return Settings(data_dir=folder, canary=section, identity=IdentitySection(name="canary.example"))


def presented(context: ssl.SSLContext) -> bytes:
    """What a client is shown, in a handshake without a socket."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname, theirs.verify_mode = False, ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = theirs.wrap_bio(down, up), context.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    certificate = client.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def test_its_own_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    first = mail_tls(settings(tmp_path))
    assert first is not None
    (file,) = tmp_path.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("mail-tls.pem", 0o600)
    again = mail_tls(settings(tmp_path))
    assert again is not None
    assert presented(first) == presented(again)
    assert b"canary.example" in presented(first)


def test_the_operators(tmp_path: Path) -> None:
    context = mail_tls(settings(tmp_path, tls_certificate=str(SHIPPED), tls_key=str(SHIPPED)))
    assert context is not None
    assert b"mail.test" in presented(context)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "section", [{"tls": False}, {"mail_listen": ()}, {"handover": HandoverSection()}], ids=lambda its: next(iter(its))
)
def test_nothing_is_made_where_no_letter_comes_or_none_is_wanted(tmp_path: Path, section: dict[str, object]) -> None:
    assert mail_tls(settings(tmp_path, **section)) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "junk", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None])
def test_one_that_cannot_be_used_is_one_line(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "x.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"canary\.tls_certificate = ") as caught:
        mail_tls(settings(tmp_path, tls_certificate=str(file), tls_key=str(file)))
    assert "\n" not in str(caught.value)


def test_without_openssl_letters_come_in_the_clear_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with structlog.testing.capture_logs() as logs:
        assert mail_tls(settings(tmp_path)) is None
    assert "canary.tls_certificate" in logs[0]["event"]
    assert list(tmp_path.iterdir()) == []


def test_half_of_a_pair_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="both or neither"):
        CanarySection(tls_certificate="/x")
