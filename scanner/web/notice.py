"""The message to whoever asked for a removal and left an address: what it says, and to whom one can be sent. Pure."""

from __future__ import annotations

import hmac
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from textwrap import fill

from itsdangerous import BadData, URLSafeSerializer

from scanner.proof import derive
from scanner.secret import MasterSecret
from scanner.store.outbox import Outgoing, Recipient
from scanner.web.words import PARTLY, STATES, duration, moment

LONGEST = 254  # octets of an address (RFC 5321 4.5.3.1.3, with the errata)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# A dot-atom at a name with a dot in it: no quoted words, no address literals, no routes, nothing but ASCII.
EMAIL = rf"^{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+$"

# A link is longer than a line should be, and folding would encode it: no program reads List-Unsubscribe then.
_POLICY = SMTP.clone(max_line_length=998)

NO_EMAIL = "expected an e-mail address such as you@example.org, in ASCII"


def mail_address(text: str) -> str:
    """The address in it. ValueError says what was expected."""
    found = text.strip(" ")
    if len(found) > LONGEST or not re.fullmatch(EMAIL, found):
        raise ValueError(NO_EMAIL)
    return found


class Marks:
    """What is kept of a recipient when the address is not: it tells nothing without our secret."""

    def __init__(self, secret: MasterSecret) -> None:
        self._keys = [derive(secret.keys[number], "proxywarden mail") for number in sorted(secret.keys)]
        self._tokens = URLSafeSerializer(self._keys, salt="no mail")

    def recipient(self, address: str) -> Recipient:
        """Domains don't distinguish case, and hardly any mailbox does."""
        text = address.lower().encode()
        return Recipient(address, tuple(hmac.digest(key, text, "sha256").hex()[:32] for key in self._keys))

    def token(self, mark: str) -> str:
        """For the link that stops messages; nobody else can make one."""
        return str(self._tokens.dumps(mark))

    def mark(self, token: str) -> str | None:
        """None where it is none of ours."""
        try:
            return str(self._tokens.loads(token[:300]))
        except BadData:
            return None


def notice(
    out: Outgoing, *, sender: str, url: str, contact: str, name: str, token: str, at: float, cached: float
) -> EmailMessage:
    """url: of the pages, without a slash at the end. cached: seconds that mail servers may remember the old answer."""
    title, meaning = PARTLY if out.partly else STATES[out.outcome]
    who = out.requester.removeprefix("web:")
    status, stop = f"{url}/removal/{out.removal}", f"{url}/no-mail/{token}"
    caches = ""
    if out.outcome == "delisted":
        caches = f" Mail servers may remember the old answer for {duration(round(cached))}."
    made = EmailMessage(policy=_POLICY)
    made["From"] = sender
    made["To"] = out.recipient
    made["Subject"] = f"Removal of {out.address}: {title.lower()}"
    made["Date"] = format_datetime(datetime.fromtimestamp(at, UTC))
    made["Message-ID"] = f"<{out.removal}@{sender.rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence notice answers it
    made["List-Unsubscribe"] = f"<{stop}>"
    made["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058
    told = (
        f"Somebody at {who} asked for this removal, and wrote your e-mail address in the form. The outcome is of"
        f" {moment(out.at)}. This is the only message about this request; your address is deleted from our records now"
        " that it is sent."
    )
    text = f"""\
{title}: {out.address}

{fill(meaning + caches, 72)}

What was done, step by step, and what can be done next:
{status}

{fill(told, 72)}

Was it not you? Then nothing needs to be done. To get no such message again,
whoever writes your address in the form:
{stop}

{name}{f", contact: {contact}" if contact else ""}
"""
    plain = text.isascii()
    made.set_content(text, charset="us-ascii" if plain else "utf-8", cte="7bit" if plain else None)
    return made
