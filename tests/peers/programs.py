"""Where the peers' programs are: on this machine, or unpacked under .peers/ by install.sh.

Servers run as nobody where the tests run as root, so what they need must be readable to nobody.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
PEERS = Path(os.environ.get("PEERS_DIR") or ROOT / ".peers")
REQUIRED = os.environ.get("PEERS_REQUIRED") == "1"
NOBODY = 65534
AS_ROOT = os.geteuid() == 0
ABSENT: set[str] = set()  # told at the end of the run
_SYSTEM = Path("/")
_BINARIES = ("usr/sbin", "usr/bin", "bin", "sbin", "usr/lib/postgresql/*/bin")


@cache
def peers() -> Path:
    """The folder of peers, copied where nobody can't reach it."""
    if not PEERS.is_dir() or not AS_ROOT or all(folder.stat().st_mode & 1 for folder in (PEERS, *PEERS.parents)):
        return PEERS
    copy = Path(tempfile.mkdtemp(prefix="peers-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    copy.chmod(0o755)
    # Not the browser, which is most of it and runs as whoever runs the tests.
    others = shutil.ignore_patterns("chromium")
    shutil.copytree(PEERS, copy, symlinks=True, dirs_exist_ok=True, ignore=others)
    return copy


def find(path: str, folder: str = "root") -> Path | None:
    """A file of a package by its path without the leading slash, of which a part may be `*`: the latest of these.

    The machine's, else the unpacked one.
    """
    for root in (_SYSTEM, peers() / folder):
        for found in sorted(root.glob(path), reverse=True) if "*" in path else (root / path,):
            if found.exists():
                return found
    return None


def program(name: str, folder: str = "root") -> Path | None:
    """A program by its name, or a Python module of .peers/venv by `python -m NAME`."""
    if name.startswith("python -m "):
        python = peers() / "venv/bin/python"
        module = name.removeprefix("python -m ")
        return python if any(peers().glob(f"venv/lib/*/site-packages/{module}")) else None
    return next((found for place in _BINARIES if (found := find(f"{place}/{name}", folder))), None)


def needed(name: str, folder: str = "root") -> Path:
    """The program; the test is skipped where it is absent, and fails where peers are required."""
    found = program(name, folder)
    if found is None:
        absent(name)
    return found


def absent(name: str) -> NoReturn:
    """End the test for want of it, as needed() does."""
    ABSENT.add(name)
    lacking(f"peer {name} is absent")


def lacking(what: str) -> NoReturn:
    """The same for want of a privilege, or of something of the kernel's."""
    if REQUIRED:
        pytest.fail(f"{what}: `make test-peers` needs root on Debian, and unpacks every peer")
    pytest.skip(what)


def environment(folder: str = "root") -> dict[str, str]:
    """What a peer's program is started with: libraries that the machine lacks, and nothing of ours."""
    libraries = [*peers().glob(f"{folder}/usr/lib/*-linux-gnu*"), *peers().glob(f"{folder}/lib/*-linux-gnu*")]
    libraries += peers().glob(f"{folder}/usr/lib/postfix")
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
    }


@cache
def version(package: str, folder: str = "root") -> str:
    """The version of a package of Debian's or PyPI's, without Debian's revision; ? where nobody knows."""
    found = ""
    if shutil.which("dpkg-query"):
        asked = ("dpkg-query", "-W", "-f", "${Version}", package)
        found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    file = PEERS / folder / "versions"
    if not found and file.exists():
        found = dict(line.split("\t") for line in file.read_text("utf-8").splitlines()).get(package, "")
    if not found:
        name = package.replace("-", "_")
        for info in PEERS.glob(f"venv/lib/*/site-packages/{name}-*.dist-info"):
            found = info.name.removeprefix(f"{name}-").removesuffix(".dist-info")
    return re.sub(r"^\d+:|[-+].*$", "", found) or "?"
