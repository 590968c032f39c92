"""A mount namespace of a server's own: its package lies where it belongs, its users exist, and what it writes is gone
with it. The mail servers' packages conflict with one another, and have their paths and users built in.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from tests.peers.programs import peers

SURROUNDINGS = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
UNSHARE = "unshare"
_FIRST_ID = 7100  # of users and groups that the machine lacks
_EMPTY = ("/run", "/var/spool", "/var/lib")


@dataclass(frozen=True)
class Enclosure:
    """folder: of .peers. users: names that are each a user and a group. prepare: shell lines to run inside before."""

    folder: str
    users: tuple[str, ...] = ()
    prepare: str = ""

    def command(self, words: Sequence[object]) -> list[str]:
        """The command as root in there. Its processes all end with the one that this starts."""
        program = " ".join(shlex.quote(str(word)) for word in words)
        lines = ["set -e", "mount -t tmpfs -o mode=755 tmpfs /mnt", "mkdir /mnt/etc /mnt/work"]
        unpacked = peers() / self.folder
        if (unpacked / "usr").is_dir():  # else the machine has it all
            lines.append(f"mount -t overlay -o lowerdir={unpacked}/usr:/usr overlay /usr")
        below = f"{unpacked}/etc:/etc" if (unpacked / "etc").is_dir() else "/etc"
        lines.append(f"mount -t overlay -o lowerdir={below},upperdir=/mnt/etc,workdir=/mnt/work overlay /etc")
        lines += [f"mount -t tmpfs -o mode=755 tmpfs {path}" for path in _EMPTY]
        for number, name in enumerate(self.users, _FIRST_ID):
            lines += [
                f"grep -q ^{name}: /etc/group || echo {name}:x:{number}: >> /etc/group",
                f"grep -q ^{name}: /etc/passwd || echo {name}:x:{number}:$(grep ^{name}: /etc/group | cut -d: -f3)"
                "::/:/bin/false >> /etc/passwd",
            ]
        # Not the last command: the shell stays, so that the server is not process 1, which some behave otherwise as.
        lines += [self.prepare, f"{program} || exit $?", "exit 0"]
        return [UNSHARE, "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", "\n".join(lines)]
