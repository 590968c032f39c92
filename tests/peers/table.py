"""The table of peers: what each configuration was expected to be found as, and was. `PEERS_TABLE=FILE` keeps it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_FILE = os.environ.get("PEERS_TABLE", "")

_HEAD = """# Real servers that the scanner was proven against

Written by `make test-peers PEERS_TABLE=docs/peers.md`: servers of Debian's and PyPI's, which we didn't write, each on
an address of its own on loopback. Every other protocol was asked for too, and relayed nothing. "Then" is what became
of the listing after its owner had changed the configuration, or had not, and had asked for removal. "Got" is what
`check` found in the end; a mail server that greylists or queues first was listed by the daemon, when its letter came.

- Traffic leaves from the listed address, but for ssh, privoxy and proxy.py, which can't choose theirs: the kernel
  takes 127.0.0.1, and the exit is told so. The upstream chain's exit is the second tinyproxy.
- A listing stays where its owner's repair is no clear refusal. Privoxy's ACL, and pproxy's password for SOCKS, close
  the connection without a word, as a proxy does that hides from us; nginx as a web server answers a request for
  another machine's page with 200 and its own, as a proxy's block page does. Closing the port or answering 403 shows it.
- The mail servers run in mount namespaces of their own, and are told where the canary's domain is instead of asking a
  name server. The forms that they fall for are the ones that are tried in every visit, but for the bang path, which
  only a thorough check tries, and finds. What discards has taken the letter, and it never came: that is no proof.
- Not in the table, as they take networks of their own: Exim that hands a stranger's mail to Postfix with another
  address (test_two_hops.py: the first is listed, the second recorded), and squid behind a NAT that intercepts
  (test_intercept.py: closed, since it asks the address that was dialled).
- With today's OpenSSL every TLS handshake of Debian 12's OpenSMTPD fails: what it relays it relays in the clear.
- Not here: 3proxy, which Debian 12 does not package.
"""
_COLUMNS = ("peer", "version", "configuration", "expected", "got", "then")


@dataclass
class Row:
    """One peer and configuration."""

    name: str
    version: str
    configuration: str
    expected: str
    got: str = "not looked at"
    then: str = ""


ROWS: dict[str, Row] = {}


def markdown() -> str:
    """The rows as a table that people read and Markdown understands."""
    rows = [_COLUMNS] + [
        (row.name, row.version, row.configuration, row.expected, row.got, row.then) for row in ROWS.values()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def keep() -> None:
    """Write the table where the run was told to."""
    if _FILE and ROWS:
        Path(_FILE).write_text(f"{_HEAD}\n{markdown()}", "utf-8")
