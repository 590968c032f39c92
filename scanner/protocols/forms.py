"""FORMS: the ways of writing sender and recipient that mail servers were tricked with, the likeliest first.

The message always ends at our own canary, and a bounce at the canary or at the tested server: a name that the
server claims, as nmap's and DSBL's testers also tried, could be somebody else's, and gets no mail from us.

Sources: MAPS: the tester behind `telnet relay-test.mail-abuse.org` (as documented by @IT, atmarkit.co.jp).
nmap: scripts/smtp-open-relay.nse. DSBL: its relaytest. RFC 5321, and RFC 821 where that is what obsolete mailers do.
"""

from __future__ import annotations

from dataclasses import dataclass

from scanner.model import Address

_SENDER = "relaytest"  # no mailbox: the canary refuses what bounces to it


@dataclass(frozen=True, slots=True)
class Form:
    """sender, recipient: as they are written after MAIL FROM: and RCPT TO:.

    {u}: the letter's short challenge. {d}: our canary's mail domain. {ip}: the tested address as a literal.
    """

    name: str
    sender: str
    recipient: str
    source: str

    def written(self, letter: str, domain: str, target: Address) -> tuple[str, str]:
        """Sender and recipient of one message."""
        ip = f"[{target}]" if target.version == 4 else f"[IPv6:{target}]"  # RFC 5321 4.1.3
        words = {"u": letter, "d": domain, "ip": ip}
        return self.sender.format_map(words), self.recipient.format_map(words)


_US = f"<{_SENDER}@{{d}}>"
_AT_TARGET = f"<{_SENDER}@{{ip}}>"

_ROWS = (
    Form("plain", _US, "<{u}@{d}>", "RFC 5321 3.6.2: a relay for everybody; every tester's first"),
    Form("null-sender", "<>", "<{u}@{d}>", "MAPS, nmap 1, DSBL: bounces are exempt from the sender's checks"),
    Form("local-sender", _AT_TARGET, "<{u}@{d}>", "MAPS (spamtest@host), nmap 4: who claims to be local may send"),
    Form("percent", _US, "<{u}%{d}@{ip}>", "nmap 5: the percent hack (RFC 1123 5.2.16)"),
    Form("quoted", _US, '<"{u}@{d}">', "MAPS, nmap 7, DSBL: a quoted local part, read again as an address"),
    Form("localhost-sender", f"<{_SENDER}@localhost>", "<{u}@{d}>", "MAPS (spamtest@localhost)"),
    Form("bare-sender", f"<{_SENDER}>", "<{u}@{d}>", "MAPS (spamtest), DSBL (nobody): qualified as local"),
    Form("local-percent", _AT_TARGET, "<{u}%{d}@{ip}>", "nmap 5 as nmap sends it: with a local sender"),
    Form("quoted-local", _US, '<"{u}@{d}"@{ip}>', "nmap 10"),
    Form("source-route", _US, "<@{ip}:{u}@{d}>", "nmap 12; RFC 821 3.6, RFC 5321 F.2"),
    Form("bang", _US, "<{d}!{u}>", "nmap 14, DSBL: a UUCP path (RFC 976)"),
    Form("bang-local", _US, "<{d}!{u}@{ip}>", "nmap 15"),
    Form("double-at", _US, "<{u}@{d}@{ip}>", "nmap 9: only the last @ is looked at"),
    Form("quoted-percent", _US, '<"{u}%{d}">', "nmap 8"),
    Form("percent-bare", _US, "<{u}%{d}>", "DSBL: qualified as local, then the percent hack"),
    Form("percent-localhost", _US, "<{u}%{d}@localhost>", "DSBL, with its domain localhost"),
    Form("quoted-localhost", _US, '<"{u}@{d}"@localhost>', "DSBL, with its domain localhost"),
    Form("bang-localhost", _US, "<{d}!{u}@localhost>", "DSBL, with its domain localhost"),
    Form("percent-loopback", _US, "<{u}%{d}@[127.0.0.1]>", "DSBL, with its domain [127.0.0.1]"),
    Form("unbracketed", _US, "{u}@{d}", "DSBL: without <>, past a check that looks between them"),
    Form("unbracketed-bang", _US, "{d}!{u}", "DSBL"),
    Form("bang-sender", f"<{{d}}!{_SENDER}>", "<{u}@{d}>", "DSBL (src!sender)"),
    Form("null-percent", "<>", "<{u}%{d}@{ip}>", "DSBL: each recipient with the null sender"),
    Form("null-quoted", "<>", '<"{u}@{d}">', "DSBL"),
)

FORMS: dict[str, Form] = {row.name: row for row in _ROWS}
FEW = tuple(FORMS)[:5]  # of a scheduled visit: the plain form and the four most telling
