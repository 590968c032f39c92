"""log verify: is what was published still what was said? Needs the files only: no store, no configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from scanner.commands import Refusal, print_json


def verify(path: Path, /, *, checkpoint: str = "", json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Check the chain of hashes of a sealed log, and say up to where it is whole.

    Exit code: 0 whole, 1 not.

    Parameters
    ----------
    path
        A log's directory, or one of its files.
    checkpoint
        A hash that you kept, of any line: the log must still have it.
    json
        One JSON object.

    """
    from scanner.publish.log_check import check

    if checkpoint and not re.fullmatch(r"[0-9a-f]{64}", checkpoint):
        raise Refusal(f"--checkpoint {checkpoint}: expected a SHA-256, 64 digits of 0 to 9 and a to f")
    try:
        found = check(path, checkpoint)
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise Refusal(str(error)) from None
    if json:
        told = {"first": found.first, "last": found.last, "hash": found.hash, "problem": found.problem or None}
        print_json({"path": str(path), "whole": not found.problem} | told)
    else:
        print(found)
    return 1 if found.problem else 0
