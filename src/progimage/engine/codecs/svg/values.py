"""Conversion of CSS values to SVG attribute values."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from progimage.engine.codecs.svg.colour import colour
from progimage.engine.codecs.svg.length import OF_THE_FONT, UNITS, pixels

SUM = "+ "
"""Prefix of a length that is a sum of lengths with different units."""
Tokens = Sequence[Any]
"""Component values of tinycss2, without comments and white space."""
Reader = Callable[[Tokens], str | None]
"""Returns a value, or None if it is invalid."""


def one_colour(tokens: Tokens) -> str | None:
    """Read a single colour."""
    return colour(tokens[0]) if len(tokens) == 1 else None


def paint(tokens: Tokens) -> str | None:
    """Read a paint: the fill or stroke of a shape."""
    first, *rest = tokens
    if first.type == "ident" and first.lower_value in ("none", "context-fill", "context-stroke"):
        return None if rest else str(first.lower_value)
    if (target := _url(first)) is not None:
        fallback = paint(rest) if rest else ""
        return None if fallback is None else f"url({target}) {fallback}".rstrip()
    return None if rest else colour(first)


def _url(token: Any) -> str | None:
    if token.type == "url":
        return str(token.value)
    if token.type == "function" and token.lower_name == "url":
        return next((str(part.value) for part in token.arguments if part.type == "string"), None)
    return None


def opacity(tokens: Tokens) -> str | None:
    """Read an opacity, as a number or a percentage."""
    (token, *rest) = tokens
    if rest or token.type not in ("number", "percentage"):
        return None
    return f"{min(1.0, max(0.0, token.value / (100 if token.type == 'percentage' else 1))):g}"


def number(tokens: Tokens) -> str | None:
    """Read a number."""
    return f"{tokens[0].value:g}" if len(tokens) == 1 and tokens[0].type == "number" else None


def one_of(words: str) -> Reader:
    """Return a reader for one of several keywords."""
    allowed = {word.lower(): word for word in words.split()}

    def read(tokens: Tokens) -> str | None:
        return allowed.get(tokens[0].lower_value) if len(tokens) == 1 and tokens[0].type == "ident" else None

    return read


def _one_length(token: Any, bare: bool) -> str | None:
    if token.type == "number" and (bare or token.value == 0):
        return f"{token.value:.9g}"
    if token.type == "percentage":
        return f"{token.value:.9g}%"
    if token.type == "dimension":
        if token.lower_unit in ("em", "ex"):
            return f"{token.value:.9g}{token.lower_unit}"
        length = pixels(token.serialize())
        return None if length is None else f"{length:.9g}"
    if token.type == "function" and token.lower_name == "calc":
        return _calc(token.arguments)
    return None


def length(*words: str, bare: bool = False) -> Reader:
    """Return a reader for a length.

    Args:
        words: Keywords that are also allowed.
        bare: Whether the unit can be missing.
    """

    def read(tokens: Tokens) -> str | None:
        if len(tokens) != 1:
            return None
        if tokens[0].type == "ident":
            return tokens[0].lower_value if tokens[0].lower_value in words else None
        return _one_length(tokens[0], bare)

    return read


def dashes(tokens: Tokens) -> str | None:
    """Read the lengths of dashes and gaps."""
    if len(tokens) == 1 and tokens[0].type == "ident":
        return "none" if tokens[0].lower_value == "none" else None
    lengths = [_one_length(part, bare=True) for part in tokens if part != ","]
    return None if None in lengths else " ".join(map(str, lengths))


def _calc(arguments: Tokens) -> str | None:
    """Return the value of a sum of products of lengths with the same unit."""
    total: dict[str, float] = {}
    sign, factor, unit, divide = 1.0, None, "", False
    for part in (*(part for part in arguments if part.type not in ("whitespace", "comment")), None):
        if part is None or part in ("+", "-"):
            if factor is None:
                return None
            total[unit] = total.get(unit, 0.0) + sign * factor
            sign, factor, unit, divide = (-1.0 if part == "-" else 1.0), None, "", False
        elif part in ("*", "/"):
            divide = part == "/"
        elif (amount := _amount(part)) is None or (divide and amount[0] == 0):
            return None
        else:
            factor = amount[0] if factor is None else factor / amount[0] if divide else factor * amount[0]
            unit = amount[1] or unit
    said = {unit: value for unit, value in total.items() if value} or {"": 0.0}
    if not all(map(math.isfinite, said.values())):
        return None
    terms = [f"{value:.9g}{unit.removesuffix('px')}" for unit, value in said.items()]
    return terms[0] if len(terms) == 1 else SUM + " ".join(terms)


def _amount(token: Any) -> tuple[float, str] | None:
    if token.type == "number":
        return token.value, ""
    if token.type == "percentage":
        return token.value, "%"
    if token.type == "dimension":
        unit = token.lower_unit
        return (
            (token.value, unit) if unit in OF_THE_FONT else (token.value * UNITS[unit], "px") if unit in UNITS else None
        )
    return None


def anything(tokens: Tokens) -> str | None:
    """Read any value, and leave its validation to renderers; URLs and colours are converted to supported ones."""
    if any(token.type == "error" for token in tokens):
        return None
    return " ".join(map(_written, tokens)).replace(" ,", ",")


def _written(token: Any) -> str:
    if (target := _url(token)) is not None:
        return f"url({target})"
    if token.type == "function" and token.lower_name == "drop-shadow":
        parts = [part for part in token.arguments if part.type not in ("whitespace", "comment")]
        return f"drop-shadow({' '.join(colour(part) or str(part.serialize()) for part in parts)})"
    return str(token.serialize())


def path(tokens: Tokens) -> str | None:
    """Read `path("…")`."""
    function = tokens[0]
    if function.type != "function" or function.lower_name != "path" or len(tokens) != 1:
        return None
    return next((str(part.value) for part in function.arguments if part.type == "string"), None)
