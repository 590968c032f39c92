"""RELAYS: a row for each mail server and configuration: a relay for everybody, for one trick, or for nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from tests.peers.place import Place
from tests.peers.servers.exim import DISCARDS, LOGIN, PERCENT, QUEUES, exim
from tests.peers.servers.opensmtpd import opensmtpd
from tests.peers.servers.others import aiosmtpd
from tests.peers.servers.peer import UPSTREAM, Peer, Then, stopped
from tests.peers.servers.postfix import chain, greylists, postfix

RELAY = "smtp-relay"


@dataclass(frozen=True, eq=False)
class Relay(Peer):
    """A mail server. says: what the evidence's detail holds; of a relay, the form that it fell for.

    late: its letter comes when its queue runs. hidden: a form that only a thorough look tries.
    """

    port: int = 25
    says: str = ""
    late: bool = False
    hidden: str = ""

    @property
    def listed(self) -> bool:
        return self.open or self.returns or self.late

    @property
    def summary(self) -> str:
        if self.open:
            return f"open: {RELAY}"
        return f"closed: {self.kinds(RELAY)[0]}" + ", then listed" * self.listed

    def capabilities(self, protocol: str, place: Place) -> set[str]:
        return {"mail"}


def found(*kinds: str) -> Mapping[str, str | tuple[str, ...]]:
    return {RELAY: kinds[0] if len(kinds) == 1 else kinds}


RELAYED, DENIED, ACCEPTED, DEFERRED = found("relayed"), found("denied"), found("accepted"), found("deferred")
POSTFIX = partial(Relay, "postfix", "postfix", "postfix", folder="postfix")
EXIM = partial(Relay, "exim", "exim4-daemon-light", "exim4", folder="exim")
OPENSMTPD = partial(Relay, "opensmtpd", "opensmtpd", "smtpd", folder="opensmtpd")

EVERYBODY = "mynetworks = 0.0.0.0/0"
CLOSED = Then("closed", postfix())


def trick(access: str) -> str:
    """Who or what passes the relay check of Postfix."""
    return f"smtpd_relay_restrictions = permit_mynetworks, {access}, reject_unauth_destination"


# As in main.cf, where braces group; doubled, because the text is a format.
OWN_SENDER = trick("check_sender_access inline:{{ {{ [{site.address}] = OK }} }}")
NULL_SENDER = trick("check_sender_access inline:{{ {{ <> = OK }} }}")
# What it rewrites itself it sees through before it decides; it does not see what an alias makes of an address.
ROUTED = "allow_untrusted_routing = yes\n"
PERCENT_HACK = f"{ROUTED}allow_percent_hack = no\nvirtual_alias_maps = regexp:{{{{ {{{{ /^(.+)%(.+)@/ $$1@$$2 }}}} }}}}"
BANG_PATH = f"{ROUTED}swap_bangpath = no\nvirtual_alias_maps = regexp:{{{{ {{{{ /^(.+)!(.+)@/ $$2@$$1 }}}} }}}}"
# What Debian 12's OpenSMTPD makes of STARTTLS: with today's OpenSSL every handshake fails.
BROKEN, IN_CLEAR = "tls pki relay.test", "STARTTLS failed, in the clear: "
TLS = "smtpd_tls_chain_files = {certificate}\nsmtpd_tls_security_level = encrypt"

RELAYS = (
    POSTFIX("closed", postfix(), DENIED, says="RCPT: '554 5.7.1"),
    POSTFIX("open", postfix(EVERYBODY), RELAYED, says="plain", then=CLOSED),
    POSTFIX("open and left so", postfix(EVERYBODY), RELAYED, says="plain"),
    POSTFIX("open for the null sender", postfix(NULL_SENDER), RELAYED, says="null-sender", then=CLOSED),
    POSTFIX("open for its own domain", postfix(OWN_SENDER), RELAYED, says="local-sender", then=CLOSED),
    POSTFIX("open for the percent hack", postfix(PERCENT_HACK), RELAYED, says="percent", then=CLOSED),
    POSTFIX("open for a bang path", postfix(BANG_PATH), DENIED, says="RCPT: '554 5.7.1", hidden="bang"),
    POSTFIX("discards", postfix(f"{EVERYBODY}\ntransport_maps =\ndefault_transport = discard"), ACCEPTED, says="plain"),
    POSTFIX("greylists", greylists, DEFERRED, says="RCPT: '450 4.2.0", returns=True, also=("postgrey",), then=CLOSED),
    POSTFIX("open, STARTTLS only", postfix(f"{EVERYBODY}\n{TLS}"), RELAYED, says="plain", then=CLOSED),
    POSTFIX(
        "open, TLS on 465",
        postfix(f"{EVERYBODY}\n{TLS}", "-o smtpd_tls_wrappermode=yes"),
        RELAYED,
        says="plain",
        port=465,
        then=Then("stopped", stopped),
    ),
    POSTFIX("relays through another", chain, RELAYED, says="plain", dials_from=UPSTREAM, then=CLOSED),
    EXIM("closed", exim(), DENIED, says="RCPT: '550 relay not permitted'"),
    EXIM("open", exim("*"), RELAYED, says="plain", then=Then("closed", exim())),
    EXIM("open for the percent hack", exim(router=PERCENT), RELAYED, says="percent", then=Then("closed", exim())),
    EXIM("discards", exim("*", router=DISCARDS), ACCEPTED, says="plain"),
    EXIM("defers for ever", exim(first="defer message = come again"), DEFERRED, says="RCPT: '451 come again'"),
    EXIM("login", exim(first=LOGIN), found("auth_required"), says="RCPT: '530 5.7.0 Authentication required'"),
    EXIM(
        "open, queues first",
        exim("*", options=QUEUES),
        found("accepted", "relayed"),
        late=True,
        then=Then("closed", exim()),
    ),
    OPENSMTPD("closed", opensmtpd("local"), DENIED, says="RCPT: '550 Invalid recipient"),
    OPENSMTPD("open", opensmtpd("any"), RELAYED, says="plain", then=Then("closed", opensmtpd("local"))),
    OPENSMTPD("closed, broken TLS", opensmtpd("local", BROKEN), DENIED, says=f"{IN_CLEAR}RCPT: '550 Invalid recipient"),
    OPENSMTPD(
        "open, broken TLS",
        opensmtpd("any", BROKEN),
        RELAYED,
        says=f"{IN_CLEAR}plain",
        then=Then("closed", opensmtpd("local", BROKEN)),
    ),
    Relay("aiosmtpd", "aiosmtpd", "python -m aiosmtpd", "accepts all", aiosmtpd, ACCEPTED, says="plain"),
)
if len({relay.id for relay in RELAYS}) != len(RELAYS):
    raise RuntimeError("two relays of one name and configuration")
