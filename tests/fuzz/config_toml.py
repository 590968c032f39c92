"""Fuzz the configuration: any TOML is settings, or mistakes in one line each.

python tests/fuzz/config_toml.py -max_total_time=600 [-- see harness.py]. What it finds becomes a row of
tests/scanner/test_config.py.
"""

import os
import tempfile
from pathlib import Path

import atheris
from harness import fuzz, mixture

with atheris.instrument_imports():
    from scanner.config import ConfigError, leaves, load, reference_file
    from scanner.settings import Settings

FOLDER = tempfile.TemporaryDirectory(prefix="config", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
FILE = Path(FOLDER.name) / "proxywarden.toml"
for variable in [name for name in os.environ if name.startswith("PROXYWARDEN_")]:
    del os.environ[variable]
KEYS = sorted({key for key, _ in leaves(Settings())})
SECTIONS = sorted({key.rpartition(".")[0] for key in KEYS} - {""})
VALUES = ["0", "1", "-1", "1e308", "nan", "inf", "-inf", "99999999999999999999", "true", '""', '"x"', '"127.0.0.1:25"',
          '"[::1]:80"', '"0.0.0.0:0"', "[]", '["127.0.0.1:1"]', "[1]", "[[]]", "{}", "{a=1}", "1979-05-27",
          '"socks5:1080"',
          '["socks5:1080"]', '["socks5:0"]', '"sqlite:///x"', '"postgresql://x"', '["10.0.0.0/8"]', '["10.0.0.1/8"]',
          '"\\u0000"', '"\\n"', '"é"', "0x10", "07:32:00", '[{name="a"}]', '[{name="a", source="::1"}]',
          '"any"']  # fmt: skip
REFERENCE = [
    line.encode() + b"\n" for line in reference_file("proxywarden.toml").read_text().splitlines() if "=" in line
]
WORDS = (
    [f"\n[{section}]\n".encode() for section in SECTIONS]
    + [f"{key.rpartition('.')[2]} = {value}\n".encode() for key in KEYS for value in VALUES[::7]]
    + [f"{key} = ".encode() for key in KEYS]
    + [value.encode() + b"\n" for value in VALUES]
    + REFERENCE
    + [b"\n[[vantage]]\n", b"\n[[publish.webhooks]]\n", b"\n[[canary.targets]]\n", b"\n[nothing]\n", b"x = 1\n", b"#"]
)


def mistakes():
    """What is wrong with the file, as an operator reads it."""
    try:
        load(FILE)
    except ConfigError as error:
        return str(error).splitlines() or [""]
    return []


def one(data):
    FILE.write_bytes(b"".join(mixture(atheris.FuzzedDataProvider(data), WORDS))[:20_000])
    assert all(line.startswith(str(FILE)) for line in mistakes()), mistakes()


fuzz(one)
