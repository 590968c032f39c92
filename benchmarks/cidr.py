"""How fast are core.cidr's sets and maps, next to what no lookup can beat and to the peers that are
installed?

`python benchmarks/cidr.py [--quick]` prints the table; results are kept as results/cidr-DATE-MACHINE.txt.
The limits are measured in the same run: compare within one table only.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import ipaddress
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import cidr_tables  # noqa: E402
from core import cidr  # noqa: E402


def load_limits():
    """Compile limits.pyx with the flags of setup.py, in a directory of its own."""
    import pyximport

    os.environ["CFLAGS"] = "-O3 -fno-strict-aliasing"
    pyximport.install(language_level=3, build_dir=tempfile.mkdtemp(prefix="limits"))
    return importlib.import_module("benchmarks.limits")


def peer(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def race(tasks, rounds=7):
    """Seconds of the fastest round of each task. They take turns, so that what disturbs one disturbs all.

    The fastest, because the machine is shared: noise only adds. Each runs twice a turn, the second time
    counts: the first brings its table back into the caches.
    """
    times = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            task()
            start = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - start)
    return {name: min(taken) for name, taken in times.items()}


def best(task, rounds=7):
    return race({"": task}, rounds)[""]


def say(what, value, unit, note=""):
    digits = 3 if unit == "s" else 1
    print(f"  {what:<58}{value:>10,.{digits}f} {unit:<9}{note}".rstrip(), flush=True)


def texts(table):
    pairs = zip(table.first.tolist(), table.length.tolist(), strict=True)
    return [f"{ipaddress.IPv4Address(first)}/{length}" for first, length in pairs]


def ask_each(inside, questions):
    for question in questions:
        question in inside  # noqa: B015


def single(table, limits, count):
    """Nanoseconds for one `in`, in a for loop over different addresses."""
    ours = cidr.CidrSet.from_arrays(table.first, length=table.length)
    numbers = table.real[:count].tolist()
    addresses = [ipaddress.IPv4Address(n) for n in numbers]
    forms = {
        "int": numbers,
        "str": [str(a) for a in addresses],
        "bytes": [a.packed for a in addresses],
        "IPv4Address": addresses,
    }
    peers = single_peers(texts(table))
    print(f"\nx in s, {table.name}, {len(table.first):,} networks (ns, for loop included)")
    for form, asked in forms.items():
        inside = {"empty __contains__ (the limit)": limits.Empty(), "core.cidr": ours}
        inside |= {name: made for name, made, takes in peers if form in takes}
        tasks = {name: functools.partial(ask_each, made, asked) for name, made in inside.items()}
        nanoseconds = {name: seconds / len(asked) * 1e9 for name, seconds in race(tasks).items()}
        empty, mine = list(nanoseconds.values())[:2]
        for name, value in nanoseconds.items():
            note = f"{value / empty:.1f} x the empty call" if value == mine else f"{value / mine:.1f} x ours"
            say(f"{form}: {name}", value, "ns", note if value != empty else "")


class Radix:
    """py-radix with `in` for an address, as a radix lookup: search_best."""

    def __init__(self, radix, networks):
        self.tree = radix.Radix()
        for network in networks:
            self.tree.add(network)

    def __contains__(self, address):
        return self.tree.search_best(address) is not None


def single_peers(networks):
    peers = []
    if pytricia := peer("pytricia"):
        tree = pytricia.PyTricia(32)
        for network in networks:
            tree[network] = True
        peers.append(("pytricia", tree, ("int", "str", "bytes", "IPv4Address")))
    if radix := peer("radix"):
        peers.append(("py-radix", Radix(radix, networks), ("str",)))
    if ipset_c := peer("ipset_c"):
        made = ipset_c.IPSet(networks)
        peers.append(("ipset_c", made, ("str",)))
    return peers


def load_task(limits, megabytes, questions):
    table = np.random.default_rng(1).integers(0, 256, megabytes << 20, dtype="uint8")
    return functools.partial(limits.random_loads, table, questions, np.zeros(len(questions), "uint8"))


def forms_of(ask, *arguments, **options):
    """Tasks for the form that every machine runs and, where there is one, for the other."""

    def run(wide):
        cidr._use_wide(wide)
        ask(*arguments, **options)

    wides = [False, True] if cidr._use_wide(True) else [False]
    return {"AVX-512" if wide else "plain": functools.partial(run, wide) for wide in wides}


def say_rates(name, tasks, count):
    """Million questions a second; how many random loads from the last table of limits, how many numpy."""
    rates = {what: count / seconds / 1e6 for what, seconds in race(tasks).items()}
    limit = [what for what in rates if "(limit)" in what][-1]
    for what, rate in rates.items():
        note = f"{rate / rates[limit]:.2f} x {limit.removesuffix(' (limit)')}" if "core.cidr" in what else ""
        say(f"{name}: {what}", rate, "M/s", note)


def search(edges, questions):
    return np.searchsorted(edges, questions, "right") & 1


def bulk4(table, limits):
    ours = cidr.CidrSet.from_arrays(table.first, length=table.length)
    size = len(ours.__reduce__()[1][0])
    edges = np.array([int(a) + i for run in ours.ranges() for i, a in enumerate(run)], "uint64")
    print(f"\nbulk, uint32 -> bytes, {table.name}, {size / 1e6:.1f} MB (M questions/s)")
    for name, asked in (("uniform", table.uniform), ("realistic", table.real)):
        out = np.zeros(len(asked), "uint8")
        tasks = {f"a random load from {n} MB (limit)": load_task(limits, n, asked) for n in (1, 8)}
        for form, task in forms_of(ours.contains_many, asked, out).items():
            tasks[f"core.cidr, {form}"] = task
        for form, task in forms_of(ours.contains_many, asked, bits=True).items():
            tasks[f"core.cidr, {form}, to bits"] = task
        say_rates(name, tasks, len(asked))
        some = asked[:1_000_000].astype("uint64")
        rate = len(some) / best(functools.partial(search, edges, some), 3) / 1e6
        say(f"{name}: numpy.searchsorted of the ranges", rate, "M/s")
    numbers = table.real[:500_000].tolist()
    addresses = [str(ipaddress.IPv4Address(n)) for n in numbers]
    for form, items in (("int", numbers), ("str", addresses)):
        rate = len(items) / best(functools.partial(ours.contains_many, items)) / 1e6
        say(f"realistic: core.cidr, list of {form}", rate, "M/s")


def bulk6(table, limits):
    packed = np.frombuffer(cidr_tables.packed6(table.first), "uint8").reshape(-1, 16).copy()
    packed[:, 8:] = 0
    ours = cidr.CidrSet.from_arrays(packed, length=table.length)
    high = np.array([int(a) + i >> 64 for run in ours.ranges() for i, a in enumerate(run)], "uint64")
    print(f"\nbulk, 16 bytes -> bytes, {table.name}, {len(table.first):,} networks, {len(high):,} edges (M/s)")
    for name, asked in (("uniform", table.uniform), ("realistic", table.real)):
        out = np.zeros(len(asked), "uint8")
        tasks = {"a random load from 1 MB (limit)": load_task(limits, 1, asked.astype("uint32"))}
        for form, task in forms_of(ours.contains_many, cidr_tables.packed6(asked), out).items():
            tasks[f"core.cidr, {form}"] = task
        say_rates(name, tasks, len(asked))
        some = asked[:500_000]
        rate = len(some) / best(functools.partial(search, high, some), 3) / 1e6
        say(f"{name}: numpy.searchsorted of the upper halves", rate, "M/s")


def map4(table, limits):
    numbers = zip(table.first.tolist(), table.length.tolist(), strict=True)
    start = time.perf_counter()
    ours = cidr.CidrMap((ipaddress.IPv4Network(pair), None) for pair in numbers)
    print(f"\nlongest prefix, {table.name}, {len(ours):,} distinct networks, each its own value (M questions/s)")
    say("core.cidr: build from ipaddress networks", time.perf_counter() - start, "s")
    for name, asked in (("uniform", table.uniform), ("realistic", table.real)):
        tasks = {"a random load from 8 MB (limit)": load_task(limits, 8, asked)}
        for form, task in forms_of(ours.index_many, asked, np.zeros(len(asked), "uint32")).items():
            tasks[f"core.cidr, {form}"] = task
        say_rates(name, tasks, len(asked))
    numbers = table.real[:300_000].tolist()
    say(
        "realistic: core.cidr, m.get(int)",
        best(lambda: [ours.get(n) for n in numbers]) / len(numbers) * 1e9,
        "ns",
    )


# Each build runs in a process of its own, so that its memory can be seen. Bytes are of RSS, beyond the input.
BUILD = """
import gc, json, sys, time, resource
sys.path.insert(0, {root!r})
import numpy as np
from core import cidr
def rss(key):
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(key))) * 1024
first, length = np.load({first!r}), np.load({length!r})
tasks = dict(
    arrays=lambda: cidr.CidrSet.from_arrays(first, length=length),
    text=lambda: cidr.CidrSet.from_file({text!r}),
    strings=lambda: cidr.CidrSet(strings),
)
if {what!r} == "strings":
    strings = open({text!r}).read().split()
open("/proc/self/clear_refs", "w").write("5")
before = rss("VmRSS")
start = time.perf_counter()
made = tasks[{what!r}]()
seconds = time.perf_counter() - start
peak = rss("VmHWM") - before
gc.collect()
print(json.dumps([seconds, peak, rss("VmRSS") - before, len(made.__reduce__()[1][0])]))
"""


def build(table):
    count = len(table.first)
    print(f"\nbuild, {table.name}, {count:,} networks")
    with tempfile.TemporaryDirectory() as folder:
        names = {
            "first": f"{folder}/first.npy",
            "length": f"{folder}/length.npy",
            "text": f"{folder}/nets.txt",
        }
        np.save(names["first"], table.first)
        np.save(names["length"], table.length)
        Path(names["text"]).write_text("\n".join(texts(table)) + "\n")
        for what in ("arrays", "text", "strings"):
            code = BUILD.format(root=str(HERE.parent), what=what, **names)
            command = [sys.executable, "-c", code]
            runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(3)]
            seconds, peak, kept, size = min(json.loads(run) for run in runs)
            note = f"peak {peak / count:.1f} B a network, kept {kept / count:.1f}, own arrays {size / count:.2f}"
            say(f"core.cidr from {what}", seconds, "s", note)
        strings = texts(table)
        if ipset_c := peer("ipset_c"):
            say("ipset_c from strings", best(lambda: ipset_c.IPSet(strings), 1), "s")
        if count < 2_000_000 and (pytricia := peer("pytricia")):
            tree = pytricia.PyTricia(32)
            start = time.perf_counter()
            for text in strings:
                tree[text] = True
            say("pytricia from strings", time.perf_counter() - start, "s")
        start = time.perf_counter()
        merge_numpy(table)
        say("numpy: sort and merge of arrays", time.perf_counter() - start, "s")


def merge_numpy(table):
    first = table.first.astype("uint64")
    last = first + (np.uint64(1) << (np.uint64(32) - table.length.astype("uint64")))
    order = np.argsort(first)
    first, last = first[order], np.maximum.accumulate(last[order])
    new = np.concatenate([[True], first[1:] > last[:-1]])
    return first[new], last[np.append(new[1:], True)]


def update(table):
    ours = cidr.CidrSet.from_arrays(table.first, length=table.length)
    rng = np.random.default_rng(7)
    add = cidr.CidrSet.from_arrays(rng.integers(0, 1 << 32, 3000, dtype="uint32"))
    gone = cidr.CidrSet.from_arrays(table.first[rng.integers(0, len(table.first), 3000)])
    print(f"\nupdate, {table.name}: 3,000 removed and 3,000 added anywhere, readers undisturbed")
    say("core.cidr: new = old - gone | add", best(lambda: ours - gone | add) * 1e3, "ms")
    with tempfile.TemporaryDirectory() as folder:
        ours.save(f"{folder}/set")
        say(
            "core.cidr: open(path), checked and mapped",
            best(lambda: cidr.CidrSet.open(f"{folder}/set")) * 1e3,
            "ms",
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small tables: does it run at all?")
    scale = 50 if parser.parse_args().quick else 1
    limits = load_limits()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())
    machine = f"{os.cpu_count()} x {model}, Python {platform.python_version()}"
    print(f"core.cidr, {time.strftime('%Y-%m-%d')}, {machine}")
    bgp4 = cidr_tables.bgp4(1_000_000 // scale, 10_000_000 // scale)
    blocklist = cidr_tables.blocklist4(5_000_000 // scale, 50_000 // scale, 10_000_000 // scale)
    bgp6 = cidr_tables.bgp6(200_000 // scale, 4_000_000 // scale)
    single(bgp4, limits, 300_000 // scale)
    bulk4(bgp4, limits)
    bulk4(blocklist, limits)
    bulk6(bgp6, limits)
    map4(bgp4, limits)
    build(bgp4)
    build(blocklist)
    update(blocklist)


if __name__ == "__main__":
    main()
