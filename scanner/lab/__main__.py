"""python -m scanner.lab: what LabProcess starts, and `proxywarden lab` without the rest of the program."""

from __future__ import annotations

import argparse
import json
import sys
from ipaddress import IPv4Network

import trio

from scanner.lab.control import main
from scanner.lab.internet import Internet, LabError
from scanner.lab.plan import PREFIX


def run() -> int:
    """Exit code 2 with one line on stderr where it can't be done."""
    parser = argparse.ArgumentParser(prog="python -m scanner.lab", description=__doc__)
    parser.add_argument("--hosts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--prefix", type=IPv4Network, default=PREFIX, help="where the addresses begin")
    parser.add_argument("--internet", type=json.loads, default={}, help="canaries, names and pace, as JSON")
    parser.add_argument("--list", action="store_true", help="print the truth instead, as JSON lines")
    parser.add_argument("--control", action="store_true", help="obey JSON lines on stdin")
    asked = parser.parse_args()
    try:
        internet = Internet.from_json(asked.internet)
        trio.run(main, asked.hosts, asked.seed, asked.list, asked.control, internet, asked.prefix)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away, as `| head` does
    return 0


if __name__ == "__main__":
    sys.exit(run())
