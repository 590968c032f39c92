"""What is wrong with a configuration, in the operator's words: key, value, and what was expected. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

# pydantic's types of errors, where its own message speaks of Python.
_EXPECTED = {
    "tuple_type": "a list",
    "string_type": "text, in quotation marks",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "path_type": "a path, in quotation marks",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
    "too_short": "at least one",
    "missing": "a value: it has no default",
    "finite_number": "a finite number",
    "ip_v4_address": "an IPv4 address",
    "ip_v6_address": "an IPv6 address",
}


def mistyped(written: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key -> what pydantic would kindly convert: a number or a truth value written as something else.

    For files only. The environment has nothing but text, so the conversion stays on for it.
    """
    wrong = {}
    for key, value in written.items():
        default = defaults.get(key)
        if isinstance(default, bool):
            if not isinstance(value, bool):
                wrong[key] = f"{key} = {value!r}: expected true or false"
        elif isinstance(default, int | float) and isinstance(value, bool | str):
            wrong[key] = f"{key} = {value!r}: expected a number, without quotation marks"
    return wrong


def explained(errors: Iterable[Any], known: Sequence[str]) -> dict[str, str]:
    """Dotted key -> its mistake, from ValidationError.errors(). `known` are the keys that there are."""
    lines: dict[str, str] = {}
    for error in errors:
        key = ".".join(str(part) for part in error["loc"])
        if not any(name.startswith(f"{key}.") for name in lines):  # a list is too short when its items are wrong
            lines[key] = _line(key, error, known)
    return lines


def _line(key: str, error: Any, known: Sequence[str]) -> str:
    value, kind = error["input"], error["type"]
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
        return f"{key}: unknown key" + (f"; did you mean {near[0]}?" if near else "")
    shown = key if isinstance(value, dict | BaseModel) else f"{key} = {value!r}"
    if kind == "value_error":
        said = str(error["ctx"]["error"]).removeprefix(f"{value!r}: ")
        return f"{shown}: {said}" if key else said
    if kind == "string_pattern_mismatch":
        return f"{shown}: expected text of the form {error['ctx']['pattern']}"
    message = error["msg"].removeprefix("Input should be ").removeprefix("Input is ")
    return f"{shown}: expected {_EXPECTED.get(kind, message)}"
