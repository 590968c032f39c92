"""How a list is ended without harm (RFC 6471 section 3.4): the steps, and the files they need. Pure.

Lists that ended otherwise listed the whole Internet: ORDB in 2008 to shed load, others when somebody bought the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

_WARNING = 31  # days: RFC 6471 wants a month at least
_EMPTY = 31  # days that the zone is served without an entry, before nobody answers for it
_KEEP = 731  # days that the name is kept: forgotten configurations ask for years


def plan(name: str, zones: Sequence[str], url: str, contact: str, today: float) -> str:
    """The steps with their dates. zones: the list's names in the DNS."""
    start = datetime.fromtimestamp(today, UTC)
    end, empty = start + timedelta(days=_WARNING), start + timedelta(days=_WARNING + 1)
    silent, keep = end + timedelta(days=_EMPTY), end + timedelta(days=_KEEP)
    texts = "".join(f"{zone}. 3600 IN TXT {_farewell(zone, end, url)}\n" for zone in zones)
    files = "\n".join(
        f"--- empty zone {zone}, from step 4 on ---\n{empty_zone(zone, contact, empty)}" for zone in zones
    )
    return f"""\
How to end {" and ".join(zones)} ({name})

1. {start:%Y-%m-%d}: say so. On {url}, to the mailing lists of mail operators, to everybody who takes the files or the
   webhooks, and in the TXT record at the zone's name (below). The text is below.
2. {start:%Y-%m-%d} to {end:%Y-%m-%d}: go on as ever. Removals stay as fast as they are, to the last day. In the last
   week list nothing new: with growth_floor = 0 and growth_share = 1e-9 in [publish.gate] additions are held.
3. {end:%Y-%m-%d}: withdraw every listing, `proxywarden purge` for each detector and `listing withdraw` for your own,
   and `proxywarden publish`: zones hold only their test entries then, and exports nothing. Leave those empty files
   where they are fetched: whoever gets none keeps the last full one. Stop the daemon.
4. {empty:%Y-%m-%d}: serve the empty zone below, without the test entries. A client that looks for 127.0.0.2 sees that
   the list is gone. Resolvers remember for a day that a name is not there: that sheds most of the load.
5. {silent:%Y-%m-%d}: take the name servers away with the delegation below. Questions end at an address that nobody has,
   and the wait tells people who still ask. Your own domain stays useful for all else.
   NEVER answer "listed" to everybody to make people go, and never delegate to somebody else's servers.
6. Until {keep:%Y-%m-%d} at least, better for ever: keep the domain registered, and renew it in time. Whoever gets it
   can list the Internet for everybody who forgot to remove it.
7. Delete the store, the samples and the logs when their retention ends. Publish the last checkpoint of the sealed log.

--- announcement ---
{notice(name, " and ".join(zones), contact, end)}
--- TXT at the name of the zone, from now on ---
{texts}
{files}
--- delegation in the parent zone, from step 5 on ---
{"".join(map(delegation, zones))}"""


def _farewell(zone: str, end: datetime, url: str) -> str:
    return f'"{zone} ends on {end:%Y-%m-%d}: remove it from your configuration, see {url}"'


def notice(name: str, zone: str, contact: str, end: datetime) -> str:
    return f"""\
The DNS blocklist {zone} of {name} ends on {end:%Y-%m-%d}. Until then it works as before, and removals too. Please take
it out of your mail servers, firewalls and scripts. From that day on no address is listed, and later there is no answer
at all, which slows your mail down. We will never list everybody. Questions: {contact or "see our web page"}.
"""


def empty_zone(zone: str, contact: str, end: datetime) -> str:
    """A zone file without any entry: nothing is listed, and resolvers remember that for a day."""
    local, _, domain = contact.rpartition("@")
    person = local.replace(".", "\\.") + f".{domain}" if local else f"hostmaster.{zone}"
    return f"""\
$TTL 86400
@ IN SOA ns.{zone}. {person}. {end:%Y%m%d}01 86400 7200 2592000 86400
@ IN NS ns.{zone}.
@ IN TXT "{zone} has ended: remove it from your configuration"
ns IN A 192.0.2.1 ; put your name server's address here
"""


def delegation(zone: str) -> str:
    """To documentation addresses (RFC 5737), which are nobody's: queries end without an answer."""
    return f"""\
{zone}. 604800 IN NS ns.invalid.{zone}.
ns.invalid.{zone}. 604800 IN A 192.0.2.1
"""
