"""Conversion of CSS transforms to SVG transform attributes."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tinycss2 import parse_component_value_list

from progimage.engine.codecs.svg.length import pixels

_DEGREES = {"deg": 1.0, "grad": 0.9, "rad": 180 / math.pi, "turn": 360.0}
_SIDES = {"left": "0%", "top": "0%", "center": "50%", "right": "100%", "bottom": "100%"}
_ACROSS, _DOWN = ("left", "right"), ("top", "bottom")


class Reference(NamedTuple):
    """Reference box for percentages in a transform and its origin, in user units."""

    x: float
    y: float
    width: float
    height: float


class Affine(NamedTuple):
    """A transform of the plane, in the order of SVG's `matrix()`."""

    a: float = 1
    b: float = 0
    c: float = 0
    d: float = 1
    e: float = 0
    f: float = 0

    def after(self, inner: "Affine") -> "Affine":
        """Return the composition of another transform followed by this one."""
        a, b, c, d, e, f = self
        k, l, m, n, o, p = inner  # noqa: E741
        return Affine(a * k + c * l, b * k + d * l, a * m + c * n, b * m + d * n, a * o + c * p + e, b * o + d * p + f)

    def __str__(self) -> str:
        """Return the transform as an attribute value."""
        return f"matrix({' '.join(f'{value:.9g}' for value in self)})"


def transform(text: str, reference: Reference) -> Affine | None:
    """Return the two-dimensional transform of a `transform` value; None if it is invalid."""
    whole = Affine()
    tokens = significant(text)
    if len(tokens) == 1 and tokens[0].type == "ident" and tokens[0].lower_value == "none":
        return whole
    for token in tokens:
        if token.type != "function" or (step := _step(token.lower_name, token.arguments, reference)) is None:
            return None
        whole = whole.after(step)
    return whole if tokens else None


def single(name: str, text: str, reference: Reference) -> Affine | None:
    """Return the transform of a value of `translate`, `rotate` or `scale`; None if it is invalid."""
    tokens = significant(text)
    if len(tokens) == 1 and tokens[0].type == "ident" and tokens[0].lower_value == "none":
        return Affine()
    return _call(name, tokens[:2], reference) if tokens else None


def origin(text: str, reference: Reference) -> tuple[float, float] | None:
    """Return the point of a value of `transform-origin`; None if it is invalid."""
    words = text.lower().split()[:2]
    if not words:
        return None
    if len(words) == 1:
        words = ["center", *words] if words[0] in _DOWN else [*words, "center"]
    elif words[0] in _DOWN or words[1] in _ACROSS:
        words.reverse()
    x, y = (pixels(_SIDES.get(word, word), side) for word, side in zip(words, reference[2:], strict=True))
    return None if x is None or y is None else (x + reference.x, y + reference.y)


def about(point: tuple[float, float], inner: str) -> str:
    """Return an attribute value for a transform about a point."""
    if point == (0, 0) or not inner:
        return inner
    x, y = (f"{value:.9g}" for value in point)
    return f"translate({x} {y}) {inner} translate({-point[0]:.9g} {-point[1]:.9g})"


def significant(text: str) -> list[Any]:
    """Return the component values of a text, without comments and white space."""
    return [token for token in parse_component_value_list(text, skip_comments=True) if token.type != "whitespace"]


def _step(name: str, arguments: Sequence[Any], reference: Reference) -> Affine | None:
    given = [token for token in arguments if token.type not in ("whitespace", "comment")]
    if any(comma != "," for comma in given[1::2]) or len(given) % 2 == 0:
        return None
    return _call(name, given[::2], reference)


def _call(name: str, given: Sequence[Any], reference: Reference) -> Affine | None:
    axes = {"x": (0,), "y": (1,), "z": (), "": (0, 1), "3d": (0, 1)}
    for family, make in _FAMILIES.items():
        if name.startswith(family) and (axis := name.removeprefix(family)) in axes:
            return make(axis, given, reference)
    numbers = [token.value for token in given if token.type == "number"]
    if name == "matrix" and len(numbers) == len(given) == 6:
        return Affine(*numbers)
    if name == "matrix3d" and len(numbers) == len(given) == 16:
        return Affine(*(numbers[index] for index in (0, 1, 4, 5, 12, 13)))
    return Affine() if name == "perspective" else None


def _translate(axis: str, given: Sequence[Any], reference: Reference) -> Affine | None:
    maximum = {"": 2, "3d": 3}.get(axis, 1)
    if not 1 <= len(given) <= maximum:
        return None
    sides = (reference.height,) if axis == "y" else (reference.width, reference.height, 0.0)
    moved = [pixels(token.serialize(), side) for token, side in zip(given, sides, strict=False)]
    if None in moved:
        return None
    x, y = {"y": (0.0, moved[0]), "z": (0.0, 0.0)}.get(axis, (*moved, 0.0)[:2])
    return Affine(e=x or 0.0, f=y or 0.0)


def _scale(axis: str, given: Sequence[Any], _: Reference) -> Affine | None:
    maximum = {"": 2, "3d": 3}.get(axis, 1)
    factors = [
        token.value / (100 if token.type == "percentage" else 1)
        for token in given
        if token.type in ("number", "percentage")
    ]
    if not 1 <= len(factors) == len(given) <= maximum:
        return None
    x = 1.0 if axis in ("y", "z") else factors[0]
    y = {"x": 1.0, "z": 1.0}.get(axis, factors[min(1, len(factors) - 1)])
    return Affine(a=x, d=y)


def _rotate(axis: str, given: Sequence[Any], _: Reference) -> Affine | None:
    if axis == "3d" or len(given) != 1 or (angle := _angle(given[0])) is None:
        return None
    cos, sin = math.cos(angle), math.sin(angle)
    if axis in ("x", "y"):  # rotation out of the plane: it appears narrower
        return Affine(d=cos) if axis == "x" else Affine(a=cos)
    return Affine(cos, sin, -sin, cos)


def _skew(axis: str, given: Sequence[Any], _: Reference) -> Affine | None:
    angles = [_angle(token) for token in given]
    if axis not in ("", "x", "y") or None in angles or not 1 <= len(angles) <= (1 if axis else 2):
        return None
    first, second = (math.tan(angle or 0.0) for angle in (*angles, 0.0)[:2])
    return Affine(b=first) if axis == "y" else Affine(b=second, c=first)


_FAMILIES: dict[str, Callable[[str, Sequence[Any], Reference], Affine | None]] = {
    "translate": _translate, "scale": _scale, "rotate": _rotate, "skew": _skew,
}  # fmt: skip


def _angle(token: Any) -> float | None:
    """Return an angle in radians."""
    if token.type == "number" and token.value == 0:
        return 0.0
    scale = _DEGREES.get(token.lower_unit) if token.type == "dimension" else None
    degrees = math.inf if scale is None else token.value * scale
    return math.radians(degrees) if math.isfinite(degrees) else None
