"""Field types of the models that outside text enters through, with errors in our words."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator
from pydantic_core import PydanticCustomError

from sweepd.spec.words import show, text_of

__all__ = ["Argument", "Flag", "Real", "Text", "Whole", "at_least", "refuse"]

Number = int | float


def refuse(words: str) -> PydanticCustomError:
    """Return the error that carries `words` through pydantic unchanged."""
    return PydanticCustomError("words", "{words}", {"words": words})


def _text(value: Any) -> str:
    if isinstance(value, (str, int, float, bool)):
        return text_of(value)
    raise refuse(f"must be text, not {show(value)}")


def _argument(value: Any) -> str:
    """Return an item of `command` as W&B's agent writes it: `True`, not `true`."""
    return str(value) if isinstance(value, bool) else _text(value)


def _real(value: Any) -> Number:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        hint = ": remove the quotes" if isinstance(value, str) and _is_numeric(value) else ""
        raise refuse(f"must be a number, not {show(value)}{hint}")
    try:
        is_finite = math.isfinite(value)
    except OverflowError:
        is_finite = False
    if not is_finite:
        raise refuse(f"must be a finite number, not {show(value)}")
    return value


def _whole(value: Any) -> int:
    number = _real(value)
    if number != int(number):
        raise refuse(f"must be a whole number, not {show(value)}")
    if abs(number) > 2**53:
        raise refuse(f"must be within ±2^53, not {show(value)}")
    return int(number)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise refuse(f"must be true or false, not {show(value)}")
    return value


def _is_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def at_most(bound: int) -> AfterValidator:
    """Return the check that a number is not above `bound`."""

    def check(value: Any) -> Any:
        if value > bound:
            raise refuse(f"must be at most {bound}, not {show(value)}")
        return value

    return AfterValidator(check)


def at_least(bound: int, *, exclusive: bool = False) -> AfterValidator:
    """Return the check that a number, or a text's length, is not below `bound`."""

    def check(value: Any) -> Any:
        if isinstance(value, str):
            if len(value) < bound:
                raise refuse("must not be empty")
        elif value < bound or (exclusive and value == bound):
            relation = "above" if exclusive else "at least"
            raise refuse(f"must be {relation} {bound}, not {show(value)}")
        return value

    return AfterValidator(check)


Text = Annotated[str, BeforeValidator(_text)]
Argument = Annotated[str, BeforeValidator(_argument)]
Real = Annotated[int | float, PlainValidator(_real)]
Whole = Annotated[int, PlainValidator(_whole)]
Flag = Annotated[bool, PlainValidator(_flag)]
