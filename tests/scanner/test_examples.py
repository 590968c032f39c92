"""What an operator copies from the reference and the documents holds as it stands there."""

import re
from pathlib import Path

from scanner.config import load

ROOT = Path(__file__).parents[2]


def examples():
    """Each example among the comments of the reference, with its section, and each TOML of the documents."""
    section, example = "", ""
    for line in [*(ROOT / "config" / "proxywarden.toml").read_text("utf-8").splitlines(), ""]:
        if line.startswith("#   ") and (example or re.match(r"#   (\w+ = |\[|\{)", line)):
            example += line[1:] + "\n"
        elif example:
            key = "webhooks = [" + example.strip() + "]" if example.strip().startswith("{") else example
            yield key if example.strip().startswith("[") else f"{section}\n{key}"
            example = ""
        if line.startswith("["):
            section = line
    for document in (ROOT / "docs").glob("*.md"):
        yield from re.findall(r"```toml\n(.*?)```", document.read_text("utf-8"), re.S)


def test_every_example_can_be_taken_as_it_is(tmp_path):
    found = list(examples())
    assert len(found) >= 8
    for text in found:
        (tmp_path / "proxywarden.toml").write_text(text, "utf-8")
        load(tmp_path / "proxywarden.toml")
