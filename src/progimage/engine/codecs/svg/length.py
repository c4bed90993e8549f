"""CSS lengths."""

import math
import re

FONT_SIZE = 16.0
UNITS = {
    "": 1.0, "px": 1.0, "in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4, "q": 96 / 101.6, "pt": 96 / 72, "pc": 16.0,
}  # fmt: skip
"""Pixels per unit."""
OF_THE_FONT = {"em": 1.0, "rem": 1.0, "ex": 0.5, "ch": 0.5}
"""Font sizes per unit."""
_LENGTH = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*|%)\s*", re.IGNORECASE)


def pixels(text: str, whole: float | None = None, font_size: float = FONT_SIZE, *, bare: bool = False) -> float | None:
    """Return a length in pixels; None if it is invalid.

    Args:
        text: The length as written.
        whole: Length of 100 %; None if it is unknown, which makes percentages invalid.
        font_size: Font size for `em` and similar units.
        bare: Whether the unit can be missing, as in attributes.
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
