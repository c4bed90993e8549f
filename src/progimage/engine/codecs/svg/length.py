"""Lengths of CSS."""

import math
import re

FONT_SIZE = 16.0
UNITS = {
    "": 1.0, "px": 1.0, "in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4, "q": 96 / 101.6, "pt": 96 / 72, "pc": 16.0,
}  # fmt: skip
"""How many pixels each has."""
OF_THE_FONT = {"em": 1.0, "rem": 1.0, "ex": 0.5, "ch": 0.5}
"""How many sizes of the font each has."""
_LENGTH = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*|%)\s*", re.IGNORECASE)


def pixels(text: str, whole: float | None = None, font_size: float = FONT_SIZE, *, bare: bool = False) -> float | None:
    """Return a length in pixels; None: it is none.

    Args:
        text: What is written.
        whole: What a percentage is of; None: it is not known, and a percentage is no length.
        font_size: What `em` and its like are of.
        bare: It needs no unit, as in an attribute.
    """
    found = _LENGTH.fullmatch(text)
    if found is None:
        return None
    value, unit = float(found[1]), found[2].lower()
    if unit == "%":
        scale = None if whole is None else whole / 100
    elif unit == "" and value and not bare:
        return None
    else:
        scale = UNITS.get(unit) or (OF_THE_FONT[unit] * font_size if unit in OF_THE_FONT else None)
    return value * scale if scale is not None and math.isfinite(value * scale) else None
