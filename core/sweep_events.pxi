# What take() gives.

class Opened(NamedTuple):
    """A connection that was accepted. The receiver owns the descriptor `fd` (non-blocking) and closes it
    before it calls next(), again() or stop() for the host."""

    host: int
    index: int
    port: int
    fd: int
    micros: int


class Missed(NamedTuple):
    """What again() met where it was not an open port; the host is held as after an Opened."""

    host: int
    index: int
    port: int
    outcome: int


class Finished(NamedTuple):
    """The summary, exactly one for each host that add() took, after which its id is free."""

    host: int
    outcomes: bytes
