"""Invariant 1: conversations and proof do no I/O, read no clock, draw no random numbers and write no log."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import scanner

SCANNER = Path(scanner.__file__).parent
PURE = [*sorted((SCANNER / "protocols").glob("*.py")), SCANNER / "proof.py"]
# What they may use: by name, so that whatever is not named is asked about here first.
ALLOWED = {
    "__future__",
    "base64",
    "collections.abc",
    "dataclasses",
    "datetime",
    "email.utils",
    "enum",
    "hashlib",
    "hmac",
    "ipaddress",
    "re",
    "socksio",
    "socksio.socks4",
    "socksio.socks5",
    "struct",
    "typing",
    "scanner.model",
    "scanner.proof",
}
DOING = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}


def imports(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.name)
def test_pure(path):
    source = path.read_text()
    outside = {name for name in imports(source) if not name.startswith("scanner.protocols")}
    assert outside <= ALLOWED
    called = {
        n.func.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert not called & DOING


def test_every_protocol_file_is_looked_at():
    assert {"conversation.py", "exchange.py", "socks5.py", "proof.py"} <= {path.name for path in PURE}


@pytest.mark.parametrize(
    "source", ["import time", "def f():\n    import os.path", "from socket import socket", "import trio as t"]
)
def test_an_import_anywhere_is_found(source):
    assert imports(source) - ALLOWED
