"""How fast strangers are served: the scan, which shares a thread with them, goes on however many ask."""

from __future__ import annotations

from collections.abc import Hashable

import trio

_BURST = 0.25  # seconds' worth of requests that are served without waiting
_PATIENCE = 5.0  # seconds that a request waits for its turn; longer than that it is told to come back
_SHARE = 0.25  # of the rate, what one client may take for long and still be waited with so patiently
_IMPATIENCE = 0.5  # seconds that others wait at most for those who take more, and these themselves


class Turns:
    """Gives turns at a rate, in the order of asking (the generic cell rate algorithm, ITU-T I.371).

    refused: how many were told to come back, since nobody waits so long.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.refused = 0
        self._full_at = 0.0  # when the allowance would be whole again
        # When that of each client's share would be, whose turn came last last: of at most _PATIENCE seconds' turns.
        self._shares: dict[Hashable, float] = {}

    async def take(self, client: Hashable) -> float | None:
        """Returns None when the turn has come, or at once the seconds after which there is one again.

        client: whoever counts as one. Who asks for more than a share finds the queue full before all others do.
        """
        now = trio.current_time()
        full_at = max(self._full_at, now) + 1 / self.rate
        share = max(self._shares.get(client, now), now)
        patience = _PATIENCE if share <= now + _IMPATIENCE else _IMPATIENCE
        wait = full_at - _BURST - now
        if wait > patience:
            self.refused += 1
            return wait - patience
        self._full_at = full_at
        self._remember(client, min(share + 1 / (_SHARE * self.rate), now + _PATIENCE), now)
        if wait > 0:
            await trio.sleep(wait)
        return None

    def _remember(self, client: Hashable, share: float, now: float) -> None:
        self._shares.pop(client, None)
        self._shares[client] = share
        while self._shares[first := next(iter(self._shares))] <= now:
            del self._shares[first]
