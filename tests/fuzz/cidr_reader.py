"""Fuzz CidrSet.from_file: any bytes are read as the plain twin reads them, or refused with a line number.

Run by hand: `python tests/fuzz/cidr_reader.py -max_total_time=300` (needs atheris). What it finds becomes a
row of tests/core/test_cidr.py.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core import cidr

# libFuzzer sees no branches of the extension: the twin's and these words stand in for them.
with atheris.instrument_imports():
    from tests.oracle import cidr as oracle

FOLDER = tempfile.TemporaryDirectory(prefix="cidr", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
PATH = Path(FOLDER.name) / "nets.txt"

WORDS = [b"192.0.2.1", b"/24", b"/0", b"-", b"::", b":", b"2001:db8::", b"ffff", b"255", b"0", b".", b"#",
         b"\n", b"\r\n", b" ", b"\t", b"%", b"/128", b"/32", b"00", b"10.0.0.0/8", b"::ffff:1.2.3.4", b"\0",
         b"\xff"]  # fmt: skip


def read(module):
    try:
        return list(module.CidrSet.from_file(PATH).ranges())
    except ValueError as error:
        return str(error).split(": ")[0]


def one(data):
    provider = atheris.FuzzedDataProvider(data)
    text = bytearray()
    while provider.remaining_bytes():
        if provider.ConsumeProbability() < 0.8:
            text += WORDS[provider.ConsumeIntInRange(0, len(WORDS) - 1)]
        else:
            text += provider.ConsumeBytes(provider.ConsumeIntInRange(0, 4))
    PATH.write_bytes(bytes(text))
    mine = read(cidr)
    assert isinstance(mine, list) or mine.startswith(f"{PATH}:"), mine
    assert mine == read(oracle), bytes(text)


atheris.Setup(sys.argv, one)
atheris.Fuzz()
