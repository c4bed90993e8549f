"""The arithmetic of sizes: what becomes of a width and a height, before and without any pixel."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from progimage.engine.errors import InvalidParameter
from progimage.engine.operations import Operations
from progimage.engine.values import COMPASS

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels.

    Attributes:
        left: Its left edge.
        top: Its top edge.
        width: Its width.
        height: Its height.
    """

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Fitting:
    """How an image is brought to the size that was asked for.

    Attributes:
        resized: The size that it is resampled to.
        canvas: The size of the result, where what is larger is cut off and what is smaller gets space around it.
    """

    resized: Size
    canvas: Size


def crop_box(size: Size, operations: Operations) -> Box | Size | None:
    """Return the part that `crop` keeps: a box, or only a size if gravity is to place it.

    Args:
        size: Width and height of the image, upright.
        operations: What is asked for.

    Raises:
        InvalidParameter: The box lies outside of the image.
    """
    if operations.crop is None:
        return None
    width, height = size
    lengths = [length.pixels(whole) for length, whole in zip(operations.crop[-2:], size, strict=True)]
    if len(operations.crop) == 2:
        return max(1, min(width, round(lengths[0]))), max(1, min(height, round(lengths[1])))
    left, top = (length.pixels(whole) for length, whole in zip(operations.crop[:2], size, strict=True))
    box_left, box_top = round(left), round(top)
    right, bottom = min(width, round(left + lengths[0])), min(height, round(top + lengths[1]))
    if box_left >= right or box_top >= bottom:
        given = ",".join(f"{length.value:g}{'%' * length.percent}" for length in operations.crop)
        raise InvalidParameter("crop", given, f"a box that touches the image, which has {width}×{height} pixels")
    return Box(box_left, box_top, right - box_left, bottom - box_top)


def fitting(size: Size, operations: Operations, *, vector: bool = False) -> Fitting:
    """Return the size that `width`, `height` and all that goes with them ask for.

    Args:
        size: Width and height of the image.
        operations: What is asked for.
        vector: It is a drawing, which has no size that it could be enlarged beyond.
    """
    width, height = size
    box = _asked_box(size, operations)
    resized = canvas = (float(width), float(height))
    if box:
        resized, canvas = _fit(size, box, operations.fit, operations.enlarge or vector)
    whole_canvas = _whole(canvas, operations.zoom)
    if resized == canvas:
        return Fitting(whole_canvas, whole_canvas)
    limit = max if operations.fit == "cover" else min
    whole_resized = _whole(resized, operations.zoom)
    return Fitting((limit(whole_resized[0], whole_canvas[0]), limit(whole_resized[1], whole_canvas[1])), whole_canvas)


def _asked_box(size: Size, operations: Operations) -> tuple[float, float] | None:
    width, height = operations.width, operations.height
    across, down = width and width * operations.dpr, height and height * operations.dpr
    if operations.aspect:
        ratio = float(operations.aspect)
        if across:
            down = across / ratio
        elif down:
            across = down * ratio
        else:
            limit = max if operations.fit == "contain" else min
            across, down = limit(size[0], size[1] * ratio), limit(size[1], size[0] / ratio)
    if down is None and across:
        down = across / size[0] * size[1]
    elif across is None and down:
        across = down / size[1] * size[0]
    return (max(1, across), max(1, down)) if across and down else None


def _fit(size: Size, box: tuple[float, float], fit: str, enlarge: bool) -> tuple[tuple[float, float], ...]:
    across, down = box[0] / size[0], box[1] / size[1]
    if fit == "fill":
        beyond = 1 if enlarge else max(1, across, down)
        stretched = box[0] / beyond, box[1] / beyond
        return stretched, stretched
    scale = max(across, down) if fit in ("cover", "outside") else min(across, down)
    beyond = 1 if enlarge else max(1, scale)
    scale /= beyond
    resized = size[0] * scale, size[1] * scale
    if fit == "cover":
        return resized, (box[0] / beyond, box[1] / beyond)
    return resized, (box if fit == "contain" else resized)


def _whole(size: tuple[float, float], zoom: float) -> Size:
    # Rounded a little down at .5 and just above, where the excess is only that of floating point.
    return max(1, math.floor(size[0] * zoom + 0.5 - 1e-9)), max(1, math.floor(size[1] * zoom + 0.5 - 1e-9))


def place(gravity: str | tuple[float, float], outer: Size, inner: Size) -> tuple[int, int]:
    """Return where the left top corner of something goes.

    The point at the fractions of `inner` comes to lie on the one at the same fractions of `outer` if the gravity is a
    compass point. A focal point, given as fractions, comes as near to the middle as it can.

    Args:
        gravity: A compass point, or x and y as fractions.
        outer: Of the larger.
        inner: Of the smaller, which moves.
    """
    if isinstance(gravity, str):
        x, y = COMPASS[gravity]
        return round((outer[0] - inner[0]) * x), round((outer[1] - inner[1]) * y)
    left, top = (
        round(whole * fraction - part / 2) for whole, fraction, part in zip(outer, gravity, inner, strict=True)
    )
    return max(0, min(outer[0] - inner[0], left)), max(0, min(outer[1] - inner[1], top))


def turned(size: Size, degrees: float) -> Size:
    """Return the size of the upright box around an image that is turned."""
    if degrees % 90 == 0:
        return size if degrees % 180 == 0 else (size[1], size[0])
    angle = math.radians(degrees)
    across, down = abs(math.cos(angle)), abs(math.sin(angle))
    return math.ceil(size[0] * across + size[1] * down), math.ceil(size[0] * down + size[1] * across)


def sides(lengths: tuple[float, ...] | None, scale: float) -> tuple[int, int, int, int]:
    """Return four lengths in whole pixels: top, right, bottom, left."""
    top, right, bottom, left = (round(length * scale) for length in lengths or (0, 0, 0, 0))
    return top, right, bottom, left


def extended(size: Size, lengths: tuple[float, ...] | None, scale: float) -> Size:
    """Return a size with four sides added."""
    top, right, bottom, left = sides(lengths, scale)
    return size[0] + left + right, size[1] + top + bottom


def sizes_on_the_way(size: Size, operations: Operations, *, vector: bool = False) -> Iterator[tuple[str, Size]]:
    """Go through the sizes that an image takes in one stage of the pipeline, each with the parameter that makes it.

    Args:
        size: Width and height at the beginning. `trim` counts as cutting nothing off.
        operations: What is asked for.
        vector: See `fitting`.
    """
    box = crop_box(size, operations)
    if box:
        size = (box.width, box.height) if isinstance(box, Box) else box
    fitted = fitting(size, operations, vector=vector)
    name = "zoom" if operations.zoom > 1 else "width" if operations.width else "height"
    yield name, fitted.resized
    yield name, fitted.canvas
    size = turned(fitted.canvas, operations.rotate)
    yield "rotate", size
    size = extended(size, operations.extend, operations.dpr)
    yield "extend", size
    yield "border", extended(size, operations.border, operations.dpr)
