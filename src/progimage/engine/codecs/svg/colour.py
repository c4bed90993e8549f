"""Conversion of CSS colours to hexadecimal sRGB, which every renderer supports."""

import math
from collections.abc import Sequence
from typing import Any

from tinycss2 import color5

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
# CSS Color 4, section 10: from linear light to XYZ, relative to D65 except for ProPhoto.
_TO_XYZ: dict[str, Matrix] = {
    "display-p3": (
        (0.4865709486, 0.2656676932, 0.1982172852),
        (0.2289745641, 0.6917385218, 0.0792869141),
        (0.0, 0.0451133819, 1.0439443689),
    ),
    "a98-rgb": (
        (0.5766690429, 0.1855582379, 0.1882286462),
        (0.2973449753, 0.6273635663, 0.0752914585),
        (0.0270313614, 0.0706888525, 0.9913375368),
    ),
    "rec2020": (
        (0.6369580483, 0.1446169036, 0.1688809752),
        (0.2627002120, 0.6779980715, 0.0593017165),
        (0.0, 0.0280726930, 1.0609850577),
    ),
    "prophoto-rgb": (
        (0.7977666449, 0.1351812974, 0.0313477341),
        (0.2880748288, 0.7118352343, 0.0000899369),
        (0.0, 0.0, 0.8251046025),
    ),
}
_D50_TO_D65: Matrix = (
    (0.9554734215, -0.0230984549, 0.0632592432),
    (-0.0283697093, 1.0099953980, 0.0210414411),
    (0.0123140148, -0.0205076493, 1.3303659009),
)
_XYZ_TO_SRGB: Matrix = (
    (3.2409699419, -1.5373831776, -0.4986107603),
    (-0.9692436363, 1.8759675015, 0.0415550574),
    (0.0556300797, -0.2039769589, 1.0569715142),
)
_EXPONENTS = {"a98-rgb": 563 / 256, "prophoto-rgb": 1.8, "rec2020": 2.4}
_KEPT = {"currentcolor": "currentColor"}
_OF_THE_SYSTEM = {
    "canvas": "#ffffff", "canvastext": "#000000", "linktext": "#0000ee", "buttonface": "#efefef",
    "buttontext": "#000000", "field": "#ffffff", "fieldtext": "#000000", "graytext": "#808080",
}  # fmt: skip


def colour(token: Any) -> str | None:
    """Return a colour as `#rrggbb`, or `#rrggbbaa` if translucent; `currentColor` is kept. None if it isn't a colour.

    Args:
        token: A component value of tinycss2.
    """
    if token.type == "ident" and token.lower_value in _OF_THE_SYSTEM:
        return _OF_THE_SYSTEM[token.lower_value]
    try:
        parsed = color5.parse_color(token)
        if parsed is None or isinstance(parsed, str):
            return _KEPT.get(parsed or "")
        values = (*_srgb(parsed), parsed.alpha)
        digits = bytes(max(0, min(255, int(value * 255 + 0.5))) for value in values).hex()
    except (ValueError, TypeError, NotImplementedError, OverflowError):  # such as color() without a space
        return None
    return f"#{digits.removesuffix('ff') if len(digits) == 8 and digits.endswith('ff') else digits}"


def _srgb(given: Any) -> Sequence[float]:
    space, coordinates = given.space, [value or 0.0 for value in given.coordinates]
    if space == "hsl":  # the maximum saturation
        given = color5.Color(space, (coordinates[0], min(100.0, max(0.0, coordinates[1])), coordinates[2]), given.alpha)
    if space in ("srgb", "hsl", "hwb"):
        return tuple(given.to("srgb").coordinates)
    if space == "srgb-linear":
        return [_encoded(value) for value in coordinates]
    if space in ("lab", "lch"):
        coordinates = given.to("xyz-d50").coordinates
    elif space in ("oklab", "oklch"):
        coordinates = given.to("xyz-d65").coordinates
    elif space in _TO_XYZ:
        coordinates = _times(_TO_XYZ[space], [_decoded(space, value) for value in coordinates])
    elif space not in ("xyz-d65", "xyz-d50"):
        raise NotImplementedError(space)
    if space in ("prophoto-rgb", "xyz-d50", "lab", "lch"):
        coordinates = _times(_D50_TO_D65, coordinates)
    return [_encoded(value) for value in _times(_XYZ_TO_SRGB, coordinates)]


def _times(matrix: Matrix, vector: Sequence[float]) -> list[float]:
    return [sum(factor * value for factor, value in zip(row, vector, strict=True)) for row in matrix]


def _decoded(space: str, value: float) -> float:
    if exponent := _EXPONENTS.get(space):
        return math.copysign(abs(value) ** exponent, value)
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _encoded(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * min(value, 1.0) ** (1 / 2.4) - 0.055
