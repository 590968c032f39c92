"""The README's commands do what it says they do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def shape(line: str) -> str:
    """A line without its numbers: those are this machine's."""
    return re.sub(r"[\d,.]*\d", "#", line)


def transcript(command: str) -> list[str]:
    """What the README shows a command printing."""
    block = next(block for block in re.findall(r"```console\n(.*?)```", README, re.S) if command in block)
    return block.splitlines()[1:]


def test_the_first_screen_is_25_lines() -> None:
    """What it is, what it never does, one command with its output, how to get off a list."""
    screen = "\n".join(README.splitlines()[:25])
    for word in ("canary", "never", "$ make demo", "make test", "Listed?"):
        assert word in screen


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_prints_what_the_readme_shows() -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "demo", "ARGS=--exit"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "-m scanner demo --exit" in recipe.stdout
    done = subprocess.run(
        [sys.executable, "-m", "scanner", "demo", "--exit", "--hosts", "150"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    shown = transcript('make demo ARGS="--exit"')
    printed = done.stdout.splitlines()
    assert [shape(line) for line in printed] == [shape(line) for line in shown]
    found, expected, positives, negatives = map(int, re.findall(r"\d+", printed[0]))
    assert found == expected > 20
    assert positives == negatives == 0


def test_every_command_of_the_readme_exists() -> None:
    from scanner.cli import app

    for command in re.findall(r"\$ proxywarden (\w+)", README):
        assert command in app, command


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
