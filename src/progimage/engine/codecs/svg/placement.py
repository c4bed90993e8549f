"""The geometry of an element: its viewport, its transform, and the geometry properties that CSS can set."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree.ElementTree import Element

from progimage.engine.codecs.svg.document import local_name
from progimage.engine.codecs.svg.length import pixels
from progimage.engine.codecs.svg.properties import UNSET
from progimage.engine.codecs.svg.transform import Affine, Reference, about, origin, single, transform
from progimage.engine.codecs.svg.values import SUM

_ACROSS, _DOWN = frozenset({"x", "width", "cx", "rx"}), frozenset({"y", "height", "cy", "ry"})
_PLACED = frozenset({"x", "y"})
_SIZED = _PLACED | {"width", "height"}
_SIDES: Mapping[str, frozenset[str]] = {
    "svg": _SIZED, "rect": _SIZED | {"rx", "ry"}, "image": _SIZED, "foreignObject": _SIZED, "use": _PLACED,
    "circle": frozenset({"cx", "cy", "r"}), "ellipse": frozenset({"cx", "cy", "rx", "ry"}), "path": frozenset({"d"}),
}  # fmt: skip
_ATTRIBUTES = {
    "linearGradient": "gradientTransform", "radialGradient": "gradientTransform", "pattern": "patternTransform",
}  # fmt: skip
_OWN_BOXES = ("fill-box", "content-box", "stroke-box", "border-box")
_NOT_MOVED = {"", "none", UNSET}


class Place(NamedTuple):
    """The viewport of an element.

    Attributes:
        width: Width of the viewport in user units.
        height: Height of the viewport in user units.
        outermost: Whether the element is the root of the drawing.
    """

    width: float
    height: float
    outermost: bool = False

    @staticmethod
    def of_root(size: tuple[float, float]) -> "Place":
        """Return the place of the root of a drawing with a size."""
        return Place(*size, outermost=True)

    def inside(self, element: Element) -> "Place":
        """Return the place of the children of an element."""
        if local_name(element) not in ("svg", "symbol"):
            return self if not self.outermost else self._replace(outermost=False)
        box = re.split(r"[\s,]+", element.get("viewBox", "").strip())
        sides = box[2:] if len(box) == 4 else (element.get("width", "100%"), element.get("height", "100%"))
        width, height = (
            pixels(side, whole, bare=True) for side, whole in zip(sides, (self.width, self.height), strict=True)
        )
        return Place(width or self.width, height or self.height)

    def summed(self, name: str, value: str) -> str:
        """Return a length that renderers support for one that can be a sum, which they don't support."""
        if not value.startswith(SUM):
            return value
        whole = self.width if name in _ACROSS else self.height if name in _DOWN else self.diagonal
        terms = (pixels(term, whole, bare=True) or 0.0 for term in value.removeprefix(SUM).split())
        return f"{sum(terms):.9g}"

    @property
    def diagonal(self) -> float:
        """Reference length of percentages that are neither horizontal nor vertical."""
        return math.hypot(self.width, self.height) / math.sqrt(2)

    def geometry(self, element: Element) -> frozenset[str]:
        """Return the names of an element's geometry properties that CSS can set."""
        sides = _SIDES.get(local_name(element), frozenset())
        return sides - _PLACED if self.outermost else sides


def move(element: Element, values: Mapping[str, str], place: Place) -> None:
    """Write the transform of an element as an attribute.

    Args:
        element: The element, which is modified.
        values: The element's CSS values.
        place: The element's place.
    """
    name = _ATTRIBUTES.get(local_name(element), "transform")
    given = element.get(name, "")
    said = values.get("transform", given if "transform" not in values else "none")
    around = values.get("transform-origin", element.get("transform-origin", ""))
    steps = {
        part: values[part] for part in ("translate", "rotate", "scale") if values.get(part, UNSET) not in _NOT_MOVED
    }
    element.attrib.pop("transform-origin", None)
    if said in _NOT_MOVED and not steps:
        element.attrib.pop(name, None)
        return
    reference = _reference(element, values.get("transform-box", element.get("transform-box", "")), place)
    if "transform" in values:
        matrix = Affine() if said in _NOT_MOVED else transform(said, reference)
        said = str(matrix) if matrix else ""
    before = Affine()
    for part, value in steps.items():
        before = before.after(single(part, value, reference) or Affine())
    inner = " ".join(filter(None, (str(before) if steps else "", said)))
    point = origin(around, reference) if around not in ("", UNSET) else None
    if point is None and place.outermost:
        point = (place.width / 2, place.height / 2)
    element.set(name, about(point or (0.0, 0.0), inner))


def _reference(element: Element, box: str, place: Place) -> Reference:
    own = _box(element, place) if box in _OWN_BOXES else None
    return own or Reference(0.0, 0.0, place.width, place.height)


def _box(element: Element, place: Place) -> Reference | None:
    """Return the bounding box of a simple shape."""

    def side(name: str, whole: float) -> float:
        return pixels(element.get(name, "0"), whole, bare=True) or 0.0

    kind = local_name(element)
    wide, high = place.width, place.height
    if kind in ("rect", "image", "use", "svg", "foreignObject"):
        return Reference(side("x", wide), side("y", high), side("width", wide), side("height", high))
    if kind in ("circle", "ellipse"):
        across = side("r", place.diagonal) if kind == "circle" else side("rx", wide)
        down = across if kind == "circle" else side("ry", high)
        return Reference(side("cx", wide) - across, side("cy", high) - down, 2 * across, 2 * down)
    if kind == "line":
        xs, ys = [side("x1", wide), side("x2", wide)], [side("y1", high), side("y2", high)]
    elif kind in ("polygon", "polyline"):
        numbers = [float(number) for number in re.findall(r"[+-]?(?:\d+\.?\d*|\.\d+)", element.get("points", ""))]
        xs, ys = numbers[::2], numbers[1::2]
    else:
        return None
    return Reference(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)) if xs and ys else None
