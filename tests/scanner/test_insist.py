"""A store that fails is asked again."""

from itertools import pairwise

import structlog
import trio

from scanner.insist import Insist
from scanner.store import StoreError


async def test_work_is_repeated_with_growing_pauses_until_the_store_takes_it(autojump_clock):
    moments = []

    async def work():
        moments.append(trio.current_time())
        if len(moments) < 10:
            raise StoreError("store /x: the disk is full")
        return "written"

    insist = Insist()
    with structlog.testing.capture_logs() as logs:
        assert await insist(work) == "written"
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert insist.last_error == "store /x: the disk is full"
    assert len(logs) == 9
