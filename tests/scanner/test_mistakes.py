"""A mistake of the operator's is one line: key, value, what was expected."""

from pydantic import BaseModel, ConfigDict, ValidationError

from scanner.mistakes import explained, mistyped

DEFAULTS = {"a.number": 1.5, "a.count": 3, "a.truth": True, "a.text": "x", "a.list": []}


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: float = 1.0
    words: tuple[str, ...] = ()
    needed: int


def errors(**values):
    try:
        Table(**values)
    except ValidationError as error:
        return error.errors()
    raise AssertionError


def test_what_pydantic_would_convert():
    written = {"a.number": "1", "a.count": True, "a.truth": 1, "a.text": "1", "a.list": "x", "b": "1"}
    assert mistyped(written, DEFAULTS) == {
        "a.number": "a.number = '1': expected a number, without quotation marks",
        "a.count": "a.count = True: expected a number, without quotation marks",
        "a.truth": "a.truth = 1: expected true or false",
    }


def test_what_is_written_right():
    assert mistyped({"a.number": 1, "a.count": 2, "a.truth": False, "a.text": "y"}, DEFAULTS) == {}


def test_a_line_for_each_key():
    found = explained(errors(number="x", words=[1], numbr=2), ["number", "words", "needed"])
    assert found == {
        "number": "number = 'x': expected a number",
        "words.0": "words.0 = 1: expected text, in quotation marks",
        "needed": "needed: expected a value: it has no default",
        "numbr": "numbr: unknown key; did you mean number?",
    }


def test_an_unknown_key_that_resembles_nothing():
    assert explained(errors(needed=1, zzz=2), ["number"]) == {"zzz": "zzz: unknown key"}
