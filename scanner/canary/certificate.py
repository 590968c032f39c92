"""The certificate of the mail face: the operator's, else one that it made and signed itself on its first run.

Mail servers that deliver to strangers check no certificate (RFC 7435), so any will do; some deliver under TLS only.
"""

from __future__ import annotations

import ssl
import subprocess
import tempfile
from pathlib import Path

import structlog

from scanner.config import ConfigError
from scanner.secret import SecretError, write_whole
from scanner.settings import Settings

_DAYS = 3650  # that it is good for; nobody looks
_SECONDS = 30  # for openssl to make it
_log = structlog.get_logger()


def mail_tls(settings: Settings) -> ssl.SSLContext | None:
    """What STARTTLS is answered with; None where there is none, or no letter can come.

    ConfigError for a certificate that can't be used.
    """
    section, folder = settings.canary, settings.data_dir
    letters = section.handover.url or any(target.mail_domain for target in section.targets)
    if not (section.tls and section.mail_listen and letters):
        return None
    if section.tls_certificate:
        return _context(Path(section.tls_certificate), Path(section.tls_key))
    own = folder / "mail-tls.pem"
    try:
        if not own.exists():
            write_whole(own, _self_signed(folder, settings.identity.name), replace=False)
    except (OSError, SecretError, subprocess.SubprocessError) as error:
        why = (
            error.stderr.decode(errors="replace")[-200:] if isinstance(error, subprocess.CalledProcessError) else error
        )
        _log.warning("no STARTTLS: openssl can't make a certificate; canary.tls_certificate names one", error=str(why))
        return None
    return _context(own, own)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For whatever a relay speaks: it is often old, and the letter is no secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.options |= ssl.OP_NO_RENEGOTIATION  # each would cost us more than it costs a stranger
    context.num_tickets = 0  # nobody comes again
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "reason", "") or getattr(error, "strerror", "") or error
        raise ConfigError(
            f"canary.tls_certificate = {str(certificate)!r}, canary.tls_key = {str(key)!r}: {why}"
        ) from None
    return context


def _no_password() -> str:
    raise ValueError("the key has a password, which nobody could type")


def _self_signed(folder: Path, name: str) -> str:
    """Key and certificate as PEM. The ssl module can use them and not make them."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".tls.") as draft:  # mode 0700
        key, certificate = Path(draft) / "key", Path(draft) / "certificate"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-days", str(_DAYS), "-subj", "/CN=Proxywarden canary", "-addext", f"subjectAltName=DNS:{name}"]
        command += ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)  # noqa: S603
        return key.read_text("ascii") + certificate.read_text("ascii")
