"""What a rendition will cost, reckoned from sizes alone before any pixel is decoded, and how little need be decoded."""

from progimage.engine.decode import Decoding
from progimage.engine.errors import InvalidParameter
from progimage.engine.formats import FORMATS
from progimage.engine.geometry import Size, fitting, sizes_on_the_way
from progimage.engine.limits import Limits
from progimage.engine.operations import Operations
from progimage.engine.parameters import by_name
from progimage.engine.source import Source
from progimage.engine.spec import RenditionSpec, changes_pixels

_SPARE = 2
"""A shrunken picture has at least so many times the pixels a side that are asked for, so that resampling decides."""
_SHIFT = 0.1
"""How far, in pixels of the result, an edge may be off for a size that the fraction does not divide."""
_MEDIAN_PIXELS = 100_000_000
"""The most pixels in all frames that a median is taken of: 12 megapixels take a second, whatever its side."""


def check_demand(source: Source, spec: RenditionSpec, frames: int, limits: Limits) -> None:
    """Hold what is asked for against the limits.

    Args:
        source: The image.
        spec: What is asked for.
        frames: How many frames or pages are rendered.
        limits: The largest picture to make, and the memory that there is for it.

    Raises:
        InvalidParameter: A parameter makes the picture, or the work on it, too large.
    """
    size = _upright(source, spec)
    most = size[0] * size[1]
    for number, operations in enumerate(spec.stages, 1):
        where = f"ops {number}: " if spec.ops else ""
        for name, reached in sizes_on_the_way(size, operations, vector=source.vector and number == 1):
            size = reached
            pixels = size[0] * size[1]
            most = max(most, pixels)
            if pixels > limits.pixels or pixels * frames > limits.total_pixels:
                least = min(limits.pixels, limits.total_pixels // frames)
                raise InvalidParameter(
                    f"{where}{name}",
                    _given(operations, name),
                    f"what gives at most {least} pixels{' a frame' * (frames > 1)}; this gives {size[0]}×{size[1]}",
                )
        if operations.median and most * frames > _MEDIAN_PIXELS:
            raise InvalidParameter(
                f"{where}median",
                str(operations.median),
                f"only where there are at most {_MEDIAN_PIXELS} pixels in all frames; here are {most * frames}",
            )
    _check_memory(source, spec, frames, most, limits)


def _check_memory(source: Source, spec: RenditionSpec, frames: int, most: int, limits: Limits) -> None:
    if not limits.memory or not any(changes_pixels(operations) for operations in spec.stages):
        return
    # A frame whole as it is decoded, and the largest of its results whole with an alpha channel, before and after a
    # step that needs all of it at once. An encoder that goes over the frames twice keeps all of them.
    sample = 2 if source.mode.endswith("16") else 1
    kept = frames if FORMATS[spec.format].animated and (spec.format == "PNG" or spec.max_bytes) else 1
    needed = (source.width * source.height * 4 + most * 4 * (1 + kept)) * sample
    if needed > limits.memory:
        raise InvalidParameter(
            "width", _given(spec, "width"), f"what needs at most {limits.memory} bytes of memory; this needs {needed}"
        )


def decoding(source: Source, spec: RenditionSpec, reader: str) -> Decoding:
    """Return how to decode: a JPEG as small, and a drawing as large, as the rendition can use.

    Args:
        source: The image.
        spec: What is asked for.
        reader: The codec.
    """
    first = spec.stages[0]
    size = _upright(source, spec)
    metadata = spec.kept - {"icc"}
    if first.crop or first.trim is not None or reader != "vips":
        return Decoding(metadata=metadata)
    target = fitting(size, first, vector=source.vector).resized
    if source.vector:
        return Decoding(draw=max(target[0] / size[0], target[1] / size[1]), metadata=metadata)
    for shrink in source.shrinks:
        if all(_may_shrink(side, wanted, shrink) for side, wanted in zip(size, target, strict=True)):
            return Decoding(shrink, metadata=metadata)
    return Decoding(metadata=metadata)


def _may_shrink(side: int, wanted: int, shrink: int) -> bool:
    # Of a side that is no multiple of the fraction, libvips leaves out what does not fill a pixel.
    missing = side / shrink - side // shrink
    return side >= wanted * shrink * _SPARE and missing * wanted / (side / shrink) < _SHIFT


def _upright(source: Source, spec: RenditionSpec) -> Size:
    turned = spec.autorotate and source.orientation >= 5
    return (source.height, source.width) if turned else (source.width, source.height)


def _given(operations: Operations, name: str) -> str:
    value = getattr(operations, name)
    return "" if value is None else by_name(RenditionSpec)[name].kind.write(value)
