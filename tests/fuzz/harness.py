"""What the harnesses of this folder share: they run by hand, under atheris (PyPI), against libFuzzer.

    python -m venv fuzz && fuzz/bin/pip install atheris -e '.[test]'
    fuzz/bin/python tests/fuzz/protocols.py -max_total_time=600

Each takes libFuzzer's options; a folder among them keeps what it found interesting. What one finds becomes a row of
a table in the tests: the folder is no part of `make test`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
_LONG = (300, 3000, 70_000)  # bytes of what is repeated: past a line, past a buffer, past a limit


def mixture(provider: atheris.FuzzedDataProvider, words: Sequence[bytes]) -> list[bytes]:
    """Pieces: words of the language, garbage, and much of the same, as the input says."""
    pieces = []
    while provider.remaining_bytes():
        choice = provider.ConsumeIntInRange(0, 9)
        if choice < 7:
            pieces.append(words[provider.ConsumeIntInRange(0, len(words) - 1)])
        elif choice < 9:
            pieces.append(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 24)))
        else:
            word = words[provider.ConsumeIntInRange(0, len(words) - 1)] or b"\0"
            pieces.append(word * (_LONG[provider.ConsumeIntInRange(0, len(_LONG) - 1)] // len(word)))
    return pieces


def cut(provider: atheris.FuzzedDataProvider, data: bytes) -> list[bytes]:
    """The same bytes as they may arrive: glued, or in pieces of one size."""
    size = (len(data) or 1, 1, 7, 100)[provider.ConsumeIntInRange(0, 3)]
    return [data[at : at + size] for at in range(0, len(data), size)] if len(data) < 5000 else [data]


def fuzz(one: Callable[[bytes], None]) -> None:
    """Run until libFuzzer has enough."""
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
