"""Runs a real rbldnsd on loopback, or only its reader."""

import os
import socket
import subprocess
import time
from contextlib import contextmanager, suppress

import dns.exception
import dns.message
import dns.query

from tests.peers.programs import environment, needed


def dump(path, kind):
    """Names that rbldnsd would list with the file, as it tells them itself, and what it complains of."""
    ended = _dumped(path, kind)
    names, name = set(), ""
    for line in ended.stdout.decode("ascii").splitlines():
        owner, _, rest = line.partition("\t")
        name = owner or name
        if rest.startswith("A\t"):
            names.add(name)
    return names, ended.stderr.decode()


def records(path, kind):
    """How many names with A records it tells of the file."""
    ended = _dumped(path, kind)
    assert ended.stderr == b""
    return ended.stdout.count(b"\tA\t")


def _dumped(path, kind):
    command = [needed("rbldnsd"), "-d", f"t:{kind}:{path.name}"]
    return subprocess.run(command, cwd=path.parent, env=environment(), capture_output=True, timeout=60, check=False)


@contextmanager
def serving(directory, specs, pid_file=None, host="127.0.0.1", port=0):
    """A server of zone files on loopback; asks it. pid_file: it is told to reload, often, which `-f` has a race for."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((host, port))
        port = free.getsockname()[1]
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = [
        str(needed("rbldnsd")),
        "-n",
        *(() if pid_file else ("-f",)),
        "-a",
        *user,
        "-b",
        f"{host}/{port}",
        "-c",
        "60s",
    ]
    if pid_file:
        command += ["-p", str(pid_file)]
    server = subprocess.Popen([*command, "-w", str(directory), *specs], stdout=subprocess.DEVNULL)

    def ask(name, kind):
        question = dns.message.make_query(name, kind)
        for _ in range(50):
            assert server.poll() is None
            with suppress(OSError, dns.exception.Timeout):
                return dns.query.udp(question, host, timeout=1, port=port)
            time.sleep(0.05)
        raise AssertionError(f"no answer for {name}")

    try:
        yield ask
    finally:
        server.terminate()
        server.wait(20)
