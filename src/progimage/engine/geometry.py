"""The arithmetic of sizes: how operations change width and height, computed without any pixels."""

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
        left: Position of the left edge.
        top: Position of the top edge.
        width: Width of the rectangle.
        height: Height of the rectangle.
    """

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Fitting:
    """How an image is brought to the requested size.

    Attributes:
        resized: Size to resample to.
        canvas: Size of the result; the resampled image is cropped or padded to it.
    """

    resized: Size
    canvas: Size


def crop_box(size: Size, operations: Operations) -> Box | Size | None:
    """Return the part that `crop` keeps: a box, or only a size if gravity positions it.

    Args:
        size: Width and height of the image, upright.
        operations: The operations of the stage.

    Raises:
        InvalidParameter: The box doesn't overlap the image.
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
        raise InvalidParameter("crop", given, f"a box that overlaps the image, which has {width}×{height} pixels")
    return Box(box_left, box_top, right - box_left, bottom - box_top)


def fitting(size: Size, operations: Operations, *, vector: bool = False) -> Fitting:
    """Return the size that results from `width`, `height` and related parameters.

    Args:
        size: Width and height of the image.
        operations: The operations of the stage.
        vector: Whether the image is a drawing, which can be drawn at any size without `enlarge`.
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
    """Return the position of the top left corner of a smaller rectangle inside a larger one.

    A compass point stands for fractions of width and height; that point of `inner` is aligned with the same point of
    `outer`. A focal point, given as fractions, is moved as close to the centre of `inner` as possible.

    Args:
        gravity: A compass point, or x and y as fractions.
        outer: Size of the larger rectangle.
        inner: Size of the smaller rectangle.
    """
    if isinstance(gravity, str):
        x, y = COMPASS[gravity]
        return round((outer[0] - inner[0]) * x), round((outer[1] - inner[1]) * y)
    left, top = (
        round(whole * fraction - part / 2) for whole, fraction, part in zip(outer, gravity, inner, strict=True)
    )
    return max(0, min(outer[0] - inner[0], left)), max(0, min(outer[1] - inner[1], top))


def turned(size: Size, degrees: float) -> Size:
    """Return the size of the bounding box of a rotated image."""
    if degrees % 90 == 0:
        return size if degrees % 180 == 0 else (size[1], size[0])
    angle = math.radians(degrees)
    across, down = abs(math.cos(angle)), abs(math.sin(angle))
    return math.ceil(size[0] * across + size[1] * down), math.ceil(size[0] * down + size[1] * across)


def sides(lengths: tuple[float, ...] | None, scale: float) -> tuple[int, int, int, int]:
    """Return four scaled lengths in whole pixels: top, right, bottom, left."""
    top, right, bottom, left = (round(length * scale) for length in lengths or (0, 0, 0, 0))
    return top, right, bottom, left


def extended(size: Size, lengths: tuple[float, ...] | None, scale: float) -> Size:
    """Return a size plus scaled lengths on all four sides."""
    top, right, bottom, left = sides(lengths, scale)
    return size[0] + left + right, size[1] + top + bottom


def sizes_on_the_way(size: Size, operations: Operations, *, vector: bool = False) -> Iterator[tuple[str, Size]]:
    """Yield the intermediate sizes of an image in one stage, each with the name of the parameter that causes it.

    Args:
        size: Width and height at the start of the stage. `trim` is assumed to remove nothing.
        operations: The operations of the stage.
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
