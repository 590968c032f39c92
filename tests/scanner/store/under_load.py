"""A process that works on a store until it is killed, and says each thing that it was told is done.

A line is written only after the awaiting task went on, and goes to the pipe in one write.
"""

from __future__ import annotations

import os
import random
import sys
import time
from ipaddress import ip_address

import trio

from scanner.model import Decision, EventKind, Reason, Standing, Target
from scanner.store import NominationIn, Store, open_store
from tests.scanner.store.make import DAY, Decide, event, evidence, listing, record, watch

SPACE = 400  # addresses; few enough that tasks and processes meet
TTL = 0.3  # seconds; short enough that networks change hands


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def address(rng: random.Random) -> str:
    return str(ip_address(0xC6330000 + rng.randrange(SPACE) * 64))


async def nominate(store: Store, rng: random.Random) -> None:
    items = [NominationIn(ip_address(address(rng)), rng.randbytes(300), trusted=True) for _ in range(3)]
    for made in await store.nominate(items, time.time()):
        say("nomination", made.id)


async def visit(store: Store, rng: random.Random, owner: str) -> None:
    for leased in await store.lease(owner, time.time(), TTL, 4):
        now = time.time()
        at = str(leased.target.address)

        def decide(standing: Standing, at: str = at, now: float = now) -> Decision:
            entry = next((of for of in standing.listings if of.type == "entry"), None)
            again = Target(ip_address(at), Reason.RESCAN, now + rng.random())
            seen = watch(ip_address(at))
            if entry is None:
                of = listing(at, first_listed=now, exits=(address(rng),))
                return Decide(event(EventKind.LISTED, of, now), watch=seen, then=again).decision
            if rng.random() < 0.5:
                return Decide(event(EventKind.CONFIRMED, entry, now), watch=seen, then=again).decision
            return Decide(event(EventKind.DELISTED, entry, now)).decision

        visited = record(leased.target, id_=rng.randbytes(16).hex(), ended=now, pieces=evidence())
        for made in await store.conclude(visited, decide, lease=leased):
            say("event", made.id, made.cursor, visited.visit.id)


async def remove(store: Store, rng: random.Random) -> None:
    of = rng.choice(await store.listings(limit=SPACE) or [None])
    if of is not None and (await store.dossier(ip_address(of.address), time.time())).refused is None:
        at = ip_address(of.address)
        await store.change(of.address, lambda standing: Decision(watch=standing.watch), time.time())
        say("change", at)


async def main(url: str, owner: str, seconds: float) -> None:
    rng = random.Random(os.urandom(8))
    async with open_store(url) as store, trio.open_nursery() as nursery:
        say("open")

        async def work() -> None:
            while True:
                await nominate(store, rng)
                await visit(store, rng, owner)
                await remove(store, rng)

        for _ in range(30):
            nursery.start_soon(work)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    assert DAY
    trio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]))
