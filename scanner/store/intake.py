"""What people ask: nominations, removal requests and opt-outs. Accepted is what these functions wrote.

Functions of the writer's connection; store.py hands them to its thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from secrets import token_hex

from scanner.listing import strangers_may_send
from scanner.model import Address, Reason, RemovalState, RemovalStep, Standing, Target
from scanner.store.appeals import follow
from scanner.store.limits import not_before as free_from
from scanner.store.limits import removal_limits, spend_removal, take
from scanner.store.outbox import Recipient, expect, release
from scanner.store.reading import excluded, lookup, standing
from scanner.store.rows import NOMINATION, canonical, covering, nomination_of, squeeze
from scanner.store.schedule import schedule
from scanner.store.types import Exclusion, Nomination, NominationIn, Removal, RemovalRefused, Terms, TooMany
from scanner.verdict import VOID

DAY = 86400.0  # seconds; no address is visited automatically more than once in it (RFC 6471 2.2.5)
HELD_BY = "policy"  # submits what waits for the operator's word because of the soft never-list
REMOVAL_PAUSE = 900.0  # seconds between two removal requests for one address: the policy page promises it
NO_TERMS = Terms()

NotBefore = Callable[[Standing], float]


def at_once(standing: Standing) -> float:
    """No delay: for whoever showed control of the address."""
    return 0.0


def nominate(
    connection: sqlite3.Connection, items: Sequence[NominationIn], at: float, an_hour: int = 0
) -> list[Nomination]:
    """an_hour: how many a submitter may make, 0 for no limit; TooMany where it is reached."""
    for item in items if an_hour else ():
        moment = take(connection, f"nomination:{item.submitter}", at, an_hour)
        if moment is not None:
            raise TooMany(moment)
    return [_nominate(connection, item, at) for item in items]


def _nominate(connection: sqlite3.Connection, item: NominationIn, at: float) -> Nomination:
    id_ = token_hex(16)
    due = None
    if item.trusted or item.known or item.sample:
        due = _schedule_nominated(connection, item.address, at, item.trusted)
    state = "review" if due is None else "scheduled"
    connection.execute(
        "INSERT INTO nominations (id, address, state, due, at, comment, submitter, trusted, sample)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            id_,
            str(item.address),
            state,
            due,
            at,
            item.comment,
            item.submitter,
            item.trusted,
            squeeze(item.sample or b""),
        ),
    )
    return Nomination(
        id_, item.address, state, due, at, item.comment, item.submitter, item.trusted, item.sample or None
    )


def _schedule_nominated(connection: sqlite3.Connection, address: Address, at: float, trusted: bool) -> float:
    due = at
    if not trusted:
        (last,) = connection.execute("SELECT max(ended) FROM visits WHERE address = ?", (str(address),)).fetchone()
        due = at if last is None else max(at, last + DAY)
    return schedule(connection, Target(address, Reason.NOMINATION, due))


def nominated_since(
    connection: sqlite3.Connection, address: Address, ended: float, answered: float | None = None
) -> Target | None:
    """What nominations ask for that came after an answer. ended: of the latest visit.

    answered: until when they are, if not by the latest visit that answers any. The retest of a removal asks little,
    and a void visit showed nothing: these answer none.
    """
    if answered is None:
        (answered,) = connection.execute(
            "SELECT coalesce(max(ended), -1) FROM visits WHERE address = ? AND removal IS NULL AND why NOT LIKE ?",
            (str(address), f"{VOID}%"),
        ).fetchone()
    trusted, at = connection.execute(
        "SELECT max(trusted), max(at) FROM nominations WHERE address = ? AND state = 'scheduled' AND at > ?",
        (str(address), answered),
    ).fetchone()
    if at is None:
        return None
    return Target(address, Reason.NOMINATION, at if trusted else max(at, ended + DAY))


def review(connection: sqlite3.Connection, id_: str, accept: bool, at: float) -> Nomination | None:
    """The operator's word on a nomination that waits for it; None where none of this id does."""
    row = connection.execute(
        f"SELECT {NOMINATION} FROM nominations WHERE id = ? AND state = 'review'", (id_,)
    ).fetchone()
    if row is None:
        return None
    address, submitter = ip_address(row[1]), row[6]
    due = None
    if accept and submitter == HELD_BY:
        due = schedule(connection, Target(address, Reason.OPERATOR, at))
    elif accept:
        due = _schedule_nominated(connection, address, at, False)
    state = "scheduled" if accept else "dismissed"
    connection.execute("UPDATE nominations SET state = ?, due = ? WHERE id = ?", (state, due, id_))
    return nomination_of((id_, row[1], state, due, *row[4:]))


def hold(connection: sqlite3.Connection, address: str, why: str, at: float) -> None:
    """Put before the operator, once at a time, what policy does not list without a person's word."""
    connection.execute(
        "INSERT INTO nominations (id, address, state, due, at, comment, submitter, trusted, sample)"
        " SELECT ?, ?, 'review', NULL, ?, ?, ?, ?, NULL WHERE NOT EXISTS"
        " (SELECT 1 FROM nominations WHERE address = ? AND state = 'review' AND submitter = ?)",
        (token_hex(16), address, at, why, HELD_BY, True, address, HELD_BY),
    )


def refusal(
    connection: sqlite3.Connection,
    address: Address,
    at: float,
    not_before: NotBefore,
    requester: str = "",
    terms: Terms = NO_TERMS,
) -> RemovalRefused | Address:
    """Why a removal request would not be taken, or else the address that would be retested."""
    target = retested(connection, address)
    if target is None:
        return RemovalRefused("not_listed")
    terms = _weighed(connection, address, terms)
    refused = _not_now(connection, address, target, at, not_before, control=terms.control)
    return refused or removal_limits(connection, target, requester, at, terms) or target


def _not_now(
    connection: sqlite3.Connection,
    address: Address,
    target: Address,
    at: float,
    not_before: NotBefore,
    *,
    control: bool,
    by: str = "",
) -> RemovalRefused | None:
    """Why the target can't be retested now, whoever asks. by: the request that goes on with it."""
    running = connection.execute(
        "SELECT id FROM removals WHERE (target = ? OR address = ?) AND running AND id <> ?",
        (str(target), str(address), by),
    ).fetchone()
    if running is not None:
        return RemovalRefused("running", running=running[0])
    if excluded(connection, str(target)) is not None:
        return RemovalRefused("excluded")
    (last,) = connection.execute(
        "SELECT max(at) FROM removals WHERE (address = ? OR target = ?) AND (control OR NOT ?) AND id <> ?",
        (str(address), str(target), control, by),
    ).fetchone()
    paused = max(_paused(connection, target, at, control=control), 0.0 if last is None else last + REMOVAL_PAUSE)
    if at < paused:
        return RemovalRefused("too_soon", not_before=paused)
    moment = not_before(standing(connection, str(target), at))
    if at < moment and not control:
        return RemovalRefused("relisted", not_before=moment)
    return None


def _weighed(connection: sqlite3.Connection, address: Address, terms: Terms) -> Terms:
    """What a request from the address itself shows: control, unless it is listed for passing strangers on."""
    if terms.control or not terms.from_it:
        return terms
    return replace(terms, control=not strangers_may_send(lookup(connection, address)))


def retested(connection: sqlite3.Connection, address: Address) -> Address | None:
    """The address itself where a probe listed it, else the entry of the exit that it is, else None.

    What a person listed, or a whole dynamic range, no retest can refute.
    """
    keys = covering(str(address))
    rows = connection.execute(
        "SELECT address, entry FROM listings WHERE list IN ('ops', 'rss') AND type <> 'manual'"
        f" AND address IN ({', '.join('?' * len(keys))}) ORDER BY last_confirmed DESC",
        keys,
    ).fetchall()
    if any(key == str(address) and entry is None for key, entry in rows):
        return address
    return next((ip_address(entry) for _, entry in rows if entry is not None), None)


def request_removal(
    connection: sqlite3.Connection,
    address: Address,
    requester: str,
    at: float,
    not_before: NotBefore,
    terms: Terms = NO_TERMS,
    tell: Recipient | None = None,
) -> Removal:
    target = refusal(connection, address, at, not_before, requester, terms)
    if isinstance(target, RemovalRefused):
        raise target
    terms = _weighed(connection, address, terms)
    spend_removal(connection, target, requester, at, terms)
    removal = _begin(connection, address, target, requester, at, control=terms.control)
    return removal if tell is None else replace(removal, told=expect(connection, removal.id, tell, at))


def go_on(
    connection: sqlite3.Connection, step: RemovalStep, entry: Address, not_before: NotBefore
) -> RemovalRefused | None:
    """The request for an exit goes on with another of its entries, or why a request for that would not be taken."""
    target, asked, control = connection.execute(
        "SELECT target, at, control FROM removals WHERE id = ?", (step.removal,)
    ).fetchone()
    turned = connection.execute(
        "SELECT 1 FROM visits WHERE address = ? AND removal = ?", (str(entry), step.removal)
    ).fetchone()
    if turned is not None or str(entry) == target:  # it was opened and listed again: so the request would never end
        return RemovalRefused("turned", not_before=step.at)
    refused = _not_now(connection, entry, entry, step.at, not_before, control=bool(control), by=step.removal)
    if refused is not None:
        return refused
    for one, at in ((target, asked), (entry, step.at)):
        take(connection, _pause_of(one, control=bool(control)), at, 1, REMOVAL_PAUSE)
    connection.execute("UPDATE removals SET target = ? WHERE id = ?", (str(entry), step.removal))
    schedule(connection, Target(entry, Reason.REMOVAL, step.at, step.removal, 1))
    return None


def _paused(connection: sqlite3.Connection, target: Address, at: float, *, control: bool) -> float:
    """Until when, because a request for an exit came to it: its row tells only what it retested last, and not when."""
    keys = {_pause_of(target, control=True), _pause_of(target, control=control)}
    return max(free_from(connection, key, at, 1, REMOVAL_PAUSE) for key in keys)


def _pause_of(target: Address | str, *, control: bool) -> str:
    return f"retest{':control' if control else ''}:{target}"


def retest_by_hand(connection: sqlite3.Connection, address: Address, requester: str, at: float) -> str:
    """The id of a removal request that an operator makes, past all limits; of the one that runs, where one does.

    ValueError where nothing can be retested.
    """
    found = refusal(connection, address, at, at_once)
    if isinstance(found, RemovalRefused):
        if found.running is not None:
            return found.running
        if found.reason != "too_soon":
            why = {"not_listed": "nothing is listed that a retest could refute", "excluded": "is opted out"}
            raise ValueError(why.get(found.reason, found.reason))
        found = retested(connection, address) or address
    return _begin(connection, address, found, requester, at, control=True).id


def _begin(
    connection: sqlite3.Connection, address: Address, target: Address, requester: str, at: float, *, control: bool
) -> Removal:
    id_ = token_hex(16)
    connection.execute(
        "INSERT INTO removals (id, address, target, requester, at, state, running, control)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (id_, str(address), str(target), requester, at, RemovalState.REQUESTED, True, control),
    )
    step = RemovalStep(id_, at, RemovalState.REQUESTED)
    add_step(connection, step)
    schedule(connection, Target(target, Reason.REMOVAL, at, id_, 1))
    return Removal(id_, address, step.state, (step,), target, requester, at)


def add_step(connection: sqlite3.Connection, step: RemovalStep) -> None:
    """Append a step and move the removal on. After the outcome nothing follows."""
    moved = connection.execute(
        "UPDATE removals SET state = ?, running = ? WHERE id = ? AND running",
        (step.state, not step.state.final, step.removal),
    ).rowcount
    if moved:
        connection.execute(
            "INSERT INTO removal_steps (removal, number, at, state, detail) VALUES (?,"
            " (SELECT count(*) FROM removal_steps WHERE removal = ?), ?, ?, ?)",
            (step.removal, step.removal, step.at, step.state, step.detail),
        )
    if moved and step.state.final:
        follow(connection, step)
        release(connection, step.removal, step.at)


def exclude(connection: sqlite3.Connection, network: str, reason: str, by: str, at: float) -> Exclusion:
    key = canonical(network)
    connection.execute(
        "INSERT INTO exclusions (network, reason, declared_by, at) VALUES (?, ?, ?, ?) ON CONFLICT (network)"
        " DO UPDATE SET reason = excluded.reason, declared_by = excluded.declared_by",
        (key, reason, by, at),
    )
    (since,) = connection.execute("SELECT at FROM exclusions WHERE network = ?", (key,)).fetchone()
    return Exclusion(key, reason, by, since)


def set_status(connection: sqlite3.Connection, name: str, value: str, at: float) -> None:
    connection.execute(
        "INSERT INTO status (name, value, at) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at",
        (name, value, at),
    )
