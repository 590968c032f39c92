"""What ARCHITECTURE.md promises about the shape of the repository, held to."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from scanner.version import __version__

ROOT = Path(__file__).parent.parent
SCANNER = sorted((ROOT / "scanner").rglob("*.py"))
_IO = {"trio", "socket", "time", "random", "secrets", "logging", "structlog", "os", "subprocess", "sqlite3", "httpx"}
_PURE = [
    *(
        "model.py",
        "proof.py",
        "receipt.py",
        "lists.py",
        "agenda.py",
        "verdict.py",
        "listing.py",
        "rules.py",
        "exits.py",
        "ranking.py",
    ),
    *("appeal.py", "software.py", "special_use.py", "protocols"),
]


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, those for type checkers included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def within(place: str) -> list[Path]:
    path = ROOT / "scanner" / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


@pytest.mark.parametrize("place", _PURE)
def test_what_decides_does_no_io(place: str) -> None:
    for path in within(place):
        tops = {name.partition(".")[0] for name in imports(path)}
        assert not tops & _IO, f"{path} imports {tops & _IO}"


@pytest.mark.parametrize("place", _PURE)
def test_what_decides_imports_nothing_that_does_io(place: str) -> None:
    allowed = {
        "scanner.model",
        "scanner.proof",
        "scanner.receipt",
        "scanner.verdict",
        "scanner.ranking",
        "scanner.version",
    } | {"scanner.rules", "scanner.exits", "scanner.lists"}
    for path in within(place):
        ours = {name for name in imports(path) if name.startswith("scanner")}
        modules = {".".join(name.split(".")[:2]) for name in ours}
        assert modules <= allowed | {"scanner.protocols"}, f"{path} imports {modules}"


def test_core_stands_alone() -> None:
    for path in [*(ROOT / "core").glob("*.py*"), *(ROOT / "core").glob("*.px*")]:
        if path.suffix in {".py", ".pyi", ".pyx", ".pxd", ".pxi"}:
            assert not re.search(r"^\s*(from|import|cimport)\s+scanner", path.read_text("utf-8"), re.M), path


def test_the_native_core_is_the_one_that_runs() -> None:
    import core.cidr
    import core.quads
    import core.sweep
    import core.words

    for module in (core.cidr, core.quads, core.sweep, core.words):
        assert str(module.__file__).endswith(".so"), "no silent fallback: the extension itself is under test"


def test_each_core_module_has_a_plain_twin() -> None:
    modules = {path.stem for path in (ROOT / "core").glob("*.pyi")}
    twins = {path.stem for path in (ROOT / "tests" / "oracle").glob("*.py")}
    assert modules <= twins


# Rooms without a test file of their own name, and the table or the scenario that goes through them.
_TESTED_BY = {
    "commands/demo.py": "test_readme.py",
    "fields.py": "scanner/test_config.py",
    "settings.py": "scanner/test_config.py",
    "publish/settings.py": "scanner/test_config.py",
    "rules.py": "scanner/test_listing.py",
    "start.py": "scanner/test_daemon.py",
    "lab/http.py": "scanner/lab/test_kinds.py",
    "lab/liars.py": "scanner/lab/test_kinds.py",
    "lab/machine.py": "scanner/lab/test_network.py",
    "lab/mail.py": "scanner/test_post.py",
    "lab/mixed.py": "scanner/lab/test_kinds.py",
    "lab/rules.py": "scanner/lab/test_truth.py",
    "lab/services.py": "scanner/lab/test_kinds.py",
    "lab/socks.py": "scanner/lab/test_kinds.py",
    "store/schema.py": "scanner/store/test_migrate.py",
    "store/types.py": "scanner/store/test_reading.py",
}


def test_tests_mirror_the_source() -> None:
    missing = []
    for path in SCANNER:
        relative = path.relative_to(ROOT / "scanner")
        if path.name in {"__init__.py", "__main__.py", "version.py"} or "migrations" in relative.parts:
            continue
        if relative.parts[0] in {"protocols", "web"}:  # by protocol, as transcripts; by page and call, as requests
            continue
        place = ROOT / "tests" / _TESTED_BY.get(str(relative), f"scanner/{relative.with_name(f'test_{path.name}')}")
        if not place.exists():
            missing.append(str(relative))
    assert not missing


def test_no_room_is_excused_that_has_tests_or_is_gone() -> None:
    for relative in map(Path, _TESTED_BY):
        assert (ROOT / "scanner" / relative).exists(), relative
        assert not (ROOT / "tests" / "scanner" / relative.with_name(f"test_{relative.name}")).exists(), relative


@pytest.mark.parametrize("path", SCANNER, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert path.name != "utils.py"
    assert len(path.read_text("utf-8").splitlines()) <= 400


def test_protocol_names_are_written_in_one_place() -> None:
    """A protocol is a file and a row; everybody else reads the table. The ranking and the lab name ports and hosts."""
    from scanner.protocols import PROTOCOLS

    allowed = {"protocols", "lab", "ranking.py"}
    for path in SCANNER:
        if path.relative_to(ROOT / "scanner").parts[0] in allowed:
            continue
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        named = strings & set(PROTOCOLS)
        # The controls are proxies of one kind, and say which.
        assert not named or path.name == "controls.py", f"{path} names {named}"


def test_architecture_names_tests_that_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) >= 10, "each invariant names the test that holds it"
    for file, test in named:
        path = ROOT / file
        assert path.exists(), file
        assert not test or re.search(rf"def {test}\b", path.read_text("utf-8")), f"{file}::{test}"


def test_changelog_and_version_agree() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings[0] == __version__


def test_importing_a_command_does_not_import_the_others() -> None:
    """`check` is started often, by scripts: it pays for neither the web nor the store's migrations."""
    import subprocess

    others = ("fastapi", "alembic", "sqlalchemy")
    code = f"import scanner.commands.check, sys; print([name for name in {others} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
