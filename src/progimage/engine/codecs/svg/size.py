"""The natural size of a drawing, as in browsers, and scaling it to fill any other size exactly.

Lengths are those of CSS, with 96 pixels per inch. `width` and `height` take precedence over the `viewBox`, which gives
the ratio if one of them is missing, and the size if both are. Without any of these, the size is 300×150.
"""

import math
import re
from xml.etree.ElementTree import Element, SubElement

from progimage.engine.codecs.svg.document import SVG
from progimage.engine.codecs.svg.length import FONT_SIZE, pixels
from progimage.engine.errors import CorruptImage
from progimage.engine.geometry import Size

CSS_DPI = 96
_USUAL = 300.0, 150.0
_LONGEST_BY_VIEWBOX = 4096
"""Maximum side in pixels from a `viewBox` alone, since its units are arbitrary and can be tiny."""
_NEARLY = 1e-4


def intrinsic_size(root: Element) -> tuple[float, float]:
    """Return the width and height of a drawing in CSS pixels.

    Raises:
        CorruptImage: The width or height is 0.
    """
    width, height = (_length(root, name) for name in ("width", "height"))
    if width == 0 or height == 0:
        raise CorruptImage("The drawing has a width or a height of 0.")
    box = _view_box(root)
    if width and height:
        return width, height
    if box is None:
        return width or _USUAL[0], height or _USUAL[1]
    across, down = box[2:]
    if width:
        return width, width * down / across
    if height:
        return height * across / down, height
    shrink = max(1, max(across, down) / _LONGEST_BY_VIEWBOX)
    return across / shrink, down / shrink


def viewport(root: Element) -> tuple[float, float]:
    """Return the width and height for media queries of style sheets."""
    try:
        return intrinsic_size(root)
    except CorruptImage:  # style sheets can set another size
        return _USUAL


def pixel_size(root: Element, dpi: float) -> Size:
    """Return the width and height of a drawing in whole pixels for a resolution."""
    width, height = (max(1, math.floor(side * dpi / CSS_DPI + 0.5)) for side in intrinsic_size(root))
    return width, height


def fill(root: Element, size: Size) -> Element:
    """Return the drawing scaled to fill a size, with its edges at whole pixels.

    Args:
        root: Root of the drawing, which is modified.
        size: Width and height in pixels.
    """
    width, height = intrinsic_size(root)
    box = _view_box(root) or (0.0, 0.0, width, height)
    background, turn = (root.attrib.pop(name, "") for name in ("background-color", "transform"))
    if not turn and math.isclose(box[2] / box[3], width / height, rel_tol=_NEARLY):
        root.set("viewBox", " ".join(map(repr, box)))
        outer = root
        _paint_behind(root, box, background)
    else:  # according to `preserveAspectRatio`, inside a stretched frame
        root.set("width", repr(width))
        root.set("height", repr(height))
        outer = Element(f"{SVG}svg", {"viewBox": f"0 0 {width!r} {height!r}"})
        within = SubElement(outer, f"{SVG}g", {"transform": turn}) if turn else outer
        if not turn:
            root.set("overflow", "visible")  # the frame clips it at whole pixels
        within.append(root)
        _paint_behind(within, (0.0, 0.0, width, height), background)
    outer.set("width", str(size[0]))
    outer.set("height", str(size[1]))
    outer.set("preserveAspectRatio", "none")
    return outer


def _paint_behind(element: Element, box: tuple[float, float, float, float], colour: str) -> None:
    if colour:
        sides = dict(zip(("x", "y", "width", "height"), map(repr, box), strict=True))
        element.insert(0, Element(f"{SVG}rect", {**sides, "fill": colour, "fill-opacity": "1", "stroke": "none"}))


def _length(root: Element, name: str) -> float | None:
    """Return a length in pixels; None if it is missing or a percentage."""
    font_size = pixels(root.get("font-size", ""), FONT_SIZE, bare=True) or FONT_SIZE
    value = pixels(root.get(name, ""), font_size=font_size, bare=True)
    return value if value is not None and value >= 0 else None


def _view_box(root: Element) -> tuple[float, float, float, float] | None:
    try:
        left, top, width, height = map(float, re.split(r"[\s,]+", root.get("viewBox", "").strip()))
    except ValueError:
        return None
    usable = width > 0 and height > 0 and all(map(math.isfinite, (left, top, width, height)))
    return (left, top, width, height) if usable else None
