"""Mail relays from nomination to delisting, with the daemon, its mail canary and the lab's servers around them."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address

import pytest
import structlog
import trio

from scanner.daemon import Daemon
from scanner.insist import Insist
from scanner.lab import mail as lab_mail
from scanner.lab.internet import Internet
from scanner.lab.machine import Host, Repair
from scanner.lab.mail import RELAYS, mail
from scanner.lab.network import serve
from scanner.mailroom import Mailroom
from scanner.model import (
    Aim,
    CanaryTarget,
    Endpoint,
    EventKind,
    Face,
    Kind,
    Reason,
    RemovalState,
    State,
    Target,
)
from scanner.post import Post
from scanner.proof import CanaryKey
from scanner.receipt import Delivery, read_delivery
from scanner.settings import CanarySection, CanaryTargetSection, ListsSection, RssSection
from scanner.store import Posted, StoreError
from tests.scanner.live import CANARY, free_port, nominate, settings, until
from tests.scanner.test_dnsbl import name_server

SMTP = free_port("0.0.0.0")
DOMAIN = "mail.canary.test"
HERE = IPv4Address("127.0.0.77")  # the canary sees us as 127.0.0.1
SMTP_25 = Endpoint("smtp-relay", 25)


@pytest.fixture(autouse=True)
def logs(monkeypatch):
    monkeypatch.setattr("scanner.pipeline._VOID_PAUSE", 1.0)
    monkeypatch.setattr("scanner.post._LOOK_EVERY", 0.2)
    with structlog.testing.capture_logs() as found:
        yield found


def host(last: int, kind: str, out: int | None = None) -> Host:
    address = IPv4Address(f"127.82.7.{last}")
    return Host(address, RELAYS[kind], (SMTP,), IPv4Address(f"127.82.7.{out or last}"))


def configured(folder, **rss):
    """The daemon's own canary, with a mail domain; mail relays alone are tried."""
    ports = {face: free_port(CANARY) for face in ("tcp", "mail", "http")}
    at = {face: (f"{CANARY}:{port}",) for face, port in ports.items()}
    target = CanaryTargetSection(id="main", address=CANARY, mail_domain=DOMAIN, **ports)
    section = CanarySection(listen=at["tcp"], mail_listen=at["mail"], http_listen=at["http"], targets=(target,))
    lists = ListsSection(rss=RssSection(**{"endpoints": (f"smtp-relay:{SMTP}",), "receipt_wait": 20.0, **rss}))
    made = settings(folder, scan={"endpoints": ()}, lists=lists)
    return made.model_copy(update={"canary": section})


@asynccontextmanager
async def running(tmp_path, *hosts, heard=None, made=None, **rss):
    made = made or configured(tmp_path, **rss)
    target = CanaryTarget(**dict(made.canary.targets[0]))
    async with trio.open_nursery() as nursery:
        network = await nursery.start(serve, hosts, Internet(canaries=(target,), pace=0.05))
        daemon = Daemon(made, heard=heard)
        daemon.grace = 1.0
        await nursery.start(daemon.run)
        daemon.network = network
        yield daemon
        assert await daemon.store.verify() == []
        daemon.stop()
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()


async def listings(daemon, of):
    return await daemon.store.lookup(of.address)


async def look(daemon, of) -> tuple[State, list[Kind]]:
    """Nominate it; what its visit showed."""
    await nominate(daemon.store, [of.address], time.time())
    daemon.ring()
    (visit,) = await until(partial(daemon.store.visits, of.address))
    return visit.state, [item.kind for item in visit.evidence]


@pytest.mark.parametrize(
    ("kind", "seen"), [("relay", [Kind.RELAYED]), ("relay-broken-tls", [Kind.TLS_FAILED, Kind.RELAYED])]
)
async def test_nominated_received_listed_closed_and_delisted(tmp_path, kind, seen):
    relay = host(1, kind)
    async with running(tmp_path, relay) as daemon:
        assert await look(daemon, relay) == (State.OPEN, seen)
        (listing,) = await listings(daemon, relay)
        assert (listing.list, listing.type, listing.criterion) == ("rss", "entry", "open-relay")
        assert listing.exits == (str(relay.address),)
        daemon.network.machines[relay.address].behaviour, _ = RELAYS[kind].repairs[Repair.DENIES]
        removal = await daemon.store.request_removal(relay.address, "owner", time.time())
        daemon.ring()

        async def over():
            found = await daemon.store.removal(removal.id)
            return found if found.state.final else None

        steps = [step.state for step in (await until(over)).steps]
        assert steps[1:] == [RemovalState.RETESTING, RemovalState.CONFIRMING, RemovalState.DELISTED]
        assert await listings(daemon, relay) == []
        assert [event.kind for event in await daemon.store.events()] == [EventKind.LISTED, EventKind.DELISTED]


CASES = {
    "relay-percent": (State.OPEN, [Kind.DENIED] * 3 + [Kind.RELAYED]),
    "relay-local-sender": (State.OPEN, [Kind.DENIED] * 2 + [Kind.RELAYED]),
    "relay-tarpit": (State.OPEN, [Kind.RELAYED]),
    "relay-bang": (State.CLOSED, [Kind.DENIED] * 5),  # of the forms that only a thorough visit tries
    "relay-greylists": (State.CLOSED, [Kind.DEFERRED]),
    "mail-discards": (State.CLOSED, [Kind.ACCEPTED] * 5),
    "mail-auth": (State.CLOSED, [Kind.AUTH_REQUIRED]),
    "mail-closed": (State.CLOSED, [Kind.DENIED] * 5),
    "mail-busy": (State.CLOSED, [Kind.DEFERRED]),
}


@pytest.mark.parametrize("waits", [False, True])  # for a letter that never comes
async def test_every_kind_of_server(tmp_path, waits):
    cases = {name: case for name, case in CASES.items() if waits == (Kind.ACCEPTED in case[1])}
    hosts = {name: host(10 + number, name) for number, name in enumerate(cases)}
    async with running(tmp_path, *hosts.values(), receipt_wait=0.1 if waits else 20.0) as daemon:
        found = {}

        async def one(name):
            found[name] = await look(daemon, hosts[name])

        async with trio.open_nursery() as nursery:
            for name in hosts:
                nursery.start_soon(one, name)
        assert found == cases
        listed = {item.address for item in await daemon.store.listings()}
        assert listed == {str(hosts[name].address) for name, (state, _) in cases.items() if state is State.OPEN}


async def test_an_output_host_is_recorded_and_listed_only_on_request(tmp_path):
    relay = host(40, "relay-other-exit", out=41)
    for wanted in (False, True):
        folder = tmp_path / str(wanted)
        folder.mkdir()
        async with running(folder, relay, list_outputs=wanted) as daemon:
            assert (await look(daemon, relay))[0] is State.OPEN
            (listing,) = await listings(daemon, relay)
            assert listing.exits == ("127.82.7.41",)
            keys = {item.key for item in await daemon.store.listings()}
            assert (("rss", "127.82.7.41", "relay-output") in keys) == wanted


@pytest.fixture
def queue(monkeypatch):
    """Where the lab's relays keep their letters until the event is set."""
    over, deliver = trio.Event(), lab_mail._deliver

    async def later(*arguments):
        await over.wait()
        await deliver(*arguments)

    monkeypatch.setattr(lab_mail, "_deliver", later)
    return over


QUEUES = partial(mail, late=0.01)


async def test_a_letter_that_comes_late_lists(tmp_path, queue):
    relay = host(42, "relay")
    async with running(tmp_path, relay, receipt_wait=0.1) as daemon:
        daemon.network.machines[relay.address].behaviour = QUEUES
        state, kinds = await look(daemon, relay)
        assert (state, set(kinds)) == (State.CLOSED, {Kind.ACCEPTED})
        queue.set()
        (listing,) = await until(partial(listings, daemon, relay))
        (visit,) = await daemon.store.visits(relay.address)
        assert (listing.list, listing.visit) == ("rss", visit.id)
        await until(partial(settled, daemon))


async def settled(daemon):
    return daemon.post.statistics()["late"]


async def test_a_greylisting_relay_is_listed_when_its_letter_is_brought_again(tmp_path):
    relay = host(43, "relay-greylists")
    async with running(tmp_path, relay) as daemon:
        assert await look(daemon, relay) == (State.CLOSED, [Kind.DEFERRED])
        due = await daemon.store._read(lambda connection: connection.execute("SELECT due FROM targets").fetchall())
        assert due == [(pytest.approx(time.time() + 86400, abs=60),)], "not before a day is over"
        await daemon.store.schedule(Target(relay.address, Reason.OPERATOR, time.time()))
        daemon.ring()
        (listing,) = await until(partial(listings, daemon, relay))
        assert listing.list == "rss"


async def test_a_letter_that_was_queued_before_the_repair_is_void(tmp_path, queue):
    relay = host(45, "relay")
    async with running(tmp_path, relay, forms=("plain",), receipt_wait=0.1) as daemon:
        machine = daemon.network.machines[relay.address]
        machine.behaviour = QUEUES
        assert await look(daemon, relay) == (State.CLOSED, [Kind.ACCEPTED])
        machine.behaviour = RELAYS["mail-closed"].behaviour
        await daemon.store.schedule(Target(relay.address, Reason.OPERATOR, time.time()))
        daemon.ring()

        async def again():
            visits = await daemon.store.visits(relay.address)
            return visits[0] if len(visits) == 2 else None

        assert [item.kind for item in (await until(again)).evidence] == [Kind.DENIED]
        assert daemon.post.statistics()["kept"] == 0, "the letter is still on its way"
        queue.set()
        await until(partial(settled, daemon))
        assert (await daemon.store.events(), await listings(daemon, relay)) == ([], [])


async def test_who_turns_the_tester_away_stays_listed(tmp_path):
    relay = host(46, "relay")
    async with running(tmp_path, relay) as daemon:
        assert (await look(daemon, relay))[0] is State.OPEN
        daemon.network.machines[relay.address].behaviour = partial(mail, banner=b"554 5.7.1 You are blocked\r\n")
        removal = await daemon.store.request_removal(relay.address, "owner", time.time())
        daemon.ring()

        async def over():
            found = await daemon.store.removal(removal.id)
            return found if found.state.final else None

        assert (await until(over)).state is RemovalState.INCONCLUSIVE
        assert len(await listings(daemon, relay)) == 1


async def test_who_relays_to_us_with_reason_is_not_listed(tmp_path, logs):
    """In our own network, by the configuration, and by the DNS."""
    ours = [
        replace(
            host(1, "relay"), address=IPv4Address("127.0.0.77"), exit=IPv4Address("127.0.0.77")
        ),  # we are 127.0.0.1
        host(50, "relay"),
        host(51, "relay"),
    ]
    other = host(52, "relay")
    records = {(DOMAIN, "MX"): ["10 mx.test."], ("mx.test", "A"): [str(ours[2].address)]}
    with name_server(records) as ((resolver, port), asked):
        made = configured(tmp_path)
        made = made.model_copy(
            update={
                "canary": made.canary.model_copy(update={"mail_exchangers": (ours[1].address,)}),
                "web": made.web.model_copy(update={"resolver": f"{resolver}:{port}"}),
            }
        )
        async with running(tmp_path, *ours, other, made=made) as daemon:

            async def looked_up():
                return daemon.pipeline._exchangers

            await until(looked_up)
            assert len(asked) >= 3
            for one in (*ours, other):
                assert (await look(daemon, one))[0] is State.OPEN
            assert [item.address for item in await daemon.store.listings()] == [str(other.address)]
    said = {line["address"]: line["why"] for line in logs if line["event"] == "not listed"}
    assert set(said) == {str(one.address) for one in ours}
    assert all("with reason" in why for why in said.values())


class Waiting:
    """A store with letters that came late."""

    def __init__(self, number):
        aim = Aim("main", DOMAIN, 25, Face.MAIL, "plain")
        key = CanaryKey.from_master(b"m" * 32, "main")
        self.keys, self.letters, self.discarded = {"main": {1: key}}, {}, []
        for id_ in (f"{one:018x}" for one in range(number)):
            signed = Delivery("main", id_, CANARY, 4, 25, 1e9).signed(key)
            self.letters[id_] = Posted(id_, CANARY, "v", Reason.NOMINATION, "m", SMTP_25, aim, 1e9, signed)

    async def pending_letters(self, at, limit, skip):
        return list(self.letters.values())[skip : skip + limit]

    async def discard_letter(self, letter):
        self.discarded.append(letter)
        del self.letters[letter]


async def test_letters_that_wait_are_settled_together(monkeypatch, autojump_clock):
    """Each waits for a round of controls: one after the other they would take a second or so each."""
    monkeypatch.setattr("scanner.post._LOOK_EVERY", 5.0)
    store, good, junk = Waiting(1100), True, f"{5:018x}"
    post = Post(store, Insist(), Mailroom(), store.keys)
    store.letters[junk] = replace(store.letters[junk], signed=b"junk")

    async def settle(posted, receipt):
        await trio.sleep(1)  # the round
        if good:
            del store.letters[posted.letter]
        return good

    async with trio.open_nursery() as nursery:
        nursery.start_soon(post.run, settle)
        await trio.sleep(3.5)
        assert (store.letters, post.late, post.void, store.discarded) == ({}, 1099, 1, [junk])
        good = False
        store.letters = Waiting(600).letters
        await trio.sleep(60)
        assert len(store.letters) == 600, "while the controls fail they wait, and are tried again"
        good = True
        await trio.sleep(10)
        assert store.letters == {}
        nursery.cancel_scope.cancel()


async def test_letters_of_a_canary_that_is_gone_hold_up_no_others(monkeypatch, autojump_clock):
    monkeypatch.setattr("scanner.post._LOOK_EVERY", 5.0)
    store = Waiting(1100)
    post = Post(store, Insist(), Mailroom(), store.keys)
    *gone, last = store.letters

    async def settle(posted, receipt):
        await trio.sleep(1)
        if posted.letter == last:
            del store.letters[last]
        return posted.letter == last

    with trio.move_on_after(4):
        await post.run(settle)
    assert (list(store.letters), post.late) == (gone, 1)


async def test_no_delivery_ends_the_post_office():
    """A canary that was taken over signs what it likes; whatever it is, the letters beside it are settled."""
    store, bad = Waiting(3), f"{1:018x}"
    post = Post(store, Insist(), Mailroom(), store.keys)
    signed = replace(read_delivery(store.keys["main"][1], store.letters[bad].signed), challenge="\ud800")
    store.letters[bad] = replace(store.letters[bad], signed=signed.signed(store.keys["main"][1]))

    async def settle(posted, receipt):
        return store.letters.pop(posted.letter) is posted

    async with trio.open_nursery() as nursery:
        nursery.start_soon(post.run, settle)

        async def settled():
            return not store.letters

        await until(settled)
        nursery.cancel_scope.cancel()
    assert (post.late, post.void, store.discarded) == (2, 1, [bad])


async def test_what_the_store_refuses_the_relay_brings_again(tmp_path, monkeypatch):
    relay = host(44, "relay")
    async with running(tmp_path, relay) as daemon:

        async def broken(*_):
            raise StoreError("full")

        with monkeypatch.context() as patch:
            patch.setattr(daemon.store, "deliver", broken)
            assert (await look(daemon, relay))[0] is State.CLOSED
        assert daemon.post.statistics()["kept"] == 0
        assert daemon.tally.counts().get("mail.bug") is None
