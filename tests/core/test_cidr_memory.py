"""core.cidr against what can happen to the memory it looks at: the garbage collector, other threads, odd addresses."""

import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from core.cidr import CidrMap, CidrSet

START = "import gc, sys, threading, time\nfrom array import array\nfrom core.cidr import CidrMap, CidrSet\n"

COLLECTED = """
nets = CidrSet.open(sys.argv[1])
class Holder: pass
holder = Holder()
holder.itself, holder.nets = holder, nets
del holder, nets
assert gc.collect()
"""

# What one thread writes is no index of the other's map, which has far fewer entries.
SHARED = """
large = CidrMap({f"10.{n & 255}.{n >> 8}.{n & 127}": n for n in range(60_000)})
small = CidrMap({"10.0.0.1": 0})
nets = CidrSet([f"10.{n & 255}.{n >> 8}.{n & 127}" for n in range(60_000)])
asked = array("I", [(10 << 24) + 251 * n for n in range(60_000)])
indices, answers = array("I", bytes(240_000)), bytearray(60_000)
until = time.monotonic() + 1.5

def go_on(step):
    while time.monotonic() < until:
        step()

def scribble():
    memoryview(answers)[:] = b"\\xff" * 60_000
    memoryview(indices).cast("B")[:] = b"\\xff" * 240_000

steps = [lambda: large.index_many(asked, indices), lambda: small.index_many(asked, indices),
         lambda: nets.contains_many(asked, answers), scribble]
threads = [threading.Thread(target=go_on, args=(step,)) for step in steps]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("script", [COLLECTED, SHARED], ids=["collected", "shared"])
def test_in_a_process_that_must_survive_it(tmp_path, script):
    CidrSet(["10.0.0.0/9", "10.200.0.1"]).save(tmp_path / "nets")
    result = subprocess.run(
        [sys.executable, "-c", START + script, tmp_path / "nets"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_buffers_may_begin_at_any_byte(offset):
    nets = CidrSet(["10.0.0.0/9", "10.200.0.1"])
    nets_by_number = CidrMap({"10.0.0.0/9": 0, "10.200.0.1": 1})
    asked = array("I", [(10 << 24) + (n << 16) + 1 for n in range(256)])
    odd = memoryview(bytes(offset) + asked.tobytes())[offset:].cast("I")
    out = bytearray(offset + 1024)
    assert nets.contains_many(odd) == nets.contains_many(asked)
    assert CidrSet.from_arrays(odd) == CidrSet.from_arrays(asked)
    nets_by_number.index_many(odd, memoryview(out)[offset:])
    assert out[offset:] == nets_by_number.index_many(asked).tobytes()
