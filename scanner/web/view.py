"""What a lookup says, from what the store knows: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scanner.model import Listing
from scanner.publish.events import iso
from scanner.store.dossier import Dossier
from scanner.store.types import RemovalRefused
from scanner.web.advice import Advice, advice_for
from scanner.web.words import moment, wait


@dataclass(frozen=True, slots=True)
class Shown:
    """A listing as everybody may see it: no port, no transcript."""

    listing: Listing
    next_step: str
    advice: Advice

    @property
    def public(self) -> dict[str, Any]:
        listing = self.listing
        return {
            "list": listing.list,
            "address": listing.address,
            "type": listing.type,
            "criterion": listing.criterion,
            "first_listed": iso(listing.first_listed),
            "last_confirmed": iso(listing.last_confirmed),
            "expires": iso(listing.expires),
            **self.advised,
        }

    @property
    def advised(self) -> dict[str, str]:
        return {"next_step": self.next_step, "how_to_fix": self.advice.text}


def shown(dossier: Dossier) -> list[Shown]:
    """Each listing with what happens next and what its owner can do."""
    return [
        Shown(listing, next_step(listing, dossier), advice_for(listing, dossier.software.get(listing.visit or "")))
        for listing in dossier.listings
    ]


def next_step(listing: Listing, dossier: Dossier) -> str:
    """What happens by itself, if nobody does anything."""
    until = moment(listing.expires)
    if listing.type == "manual":
        return f"It ends on {until}, or when the operator ends it."
    if dossier.excluded is not None:
        return "Its holder opted out of being probed: it is not looked at, and does not expire, until that ends."
    due = dossier.next_visits.get(listing.entry or listing.address)
    if listing.entry is not None:
        what = "mail relay" if listing.list == "rss" else "proxy"
        again = f" The {what} is looked at again on {moment(due)}." if due else ""
        return f"It ends with the {what} {listing.entry}, and on {until} unless it is seen again.{again}"
    again = f"It is looked at again on {moment(due)}. " if due else ""
    return f"{again}It ends on {until} unless it is confirmed before."


def removal_answer(
    refused: RemovalRefused | None, at: float, *, listed: bool, untouchable: str | None = None
) -> dict[str, Any]:
    """The part `removal` of a lookup. untouchable: why the address may not be probed, or None."""
    if refused is None and untouchable is not None:
        return {"possible": False, "not_before": None, "why": untouchable}
    if refused is None:
        return {"possible": True, "not_before": None, "why": ""}
    return {"possible": False, "not_before": iso(refused.not_before), "why": why_refused(refused, at, listed=listed)}


def why_refused(refused: RemovalRefused, at: float, *, listed: bool = False) -> str:
    """For the person who asked. listed: by whatever it may be."""
    left = wait((refused.not_before or at) - at)
    match refused.reason:
        case "not_listed" if listed:
            return "A person listed it, and no retest can end that: write to the operator."
        case "not_listed":
            return "Nothing is listed that a retest could refute."
        case "running":
            return "A retest of it is running already."
        case "too_soon":
            return f"The last request for this address was only just now. Ask again in {left}."
        case "excluded":
            return "Its holder opted out of being probed: end the opt-out first, then it can be retested."
        case "relisted":
            return (
                f"It was listed again and again within a year, so the next request opens in {left}."
                " Whoever shows control of the address can ask at once."
            )
        case "paused":
            return (
                f"Three addresses that you asked about in 24 hours were still open: you can ask again in {left}."
                " Whoever shows control of an address can ask at once."
            )
        case "busy":
            return f"Too many requests from you, or about this network, within an hour. Ask again in {left}."
    return refused.reason.replace("_", " ")
