"""Check a request against the limits before any pixel is decoded, and decide how little has to be decoded."""

import math
from collections.abc import Mapping

from progimage.engine.codecs import FORMATS
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.cost import Facts, costliest, rendition_cost
from progimage.engine.errors import InvalidParameter
from progimage.engine.faces import LOOKED_AT
from progimage.engine.files import InputFile
from progimage.engine.geometry import Box, Size, crop_box, sizes_on_the_way
from progimage.engine.ladder import resampled_to, suffices
from progimage.engine.limits import Limits
from progimage.engine.operations import Operations
from progimage.engine.parameters import by_name
from progimage.engine.pyramid import level_for
from progimage.engine.source import open_source
from progimage.engine.spec import RenditionSpec, changes_pixels, keeps_gain_map

_SHIFT = 0.1
"""Maximum shift of an edge, in pixels of the result, if the shrink factor doesn't divide the size evenly."""
_MEDIAN_PIXELS = 100_000_000
"""Maximum number of pixels in all frames for `median`: 12 megapixels take a second, for any side."""


def check_cost(
    source: Source, spec: RenditionSpec, frames: int, limits: Limits, images: Mapping[str, InputFile]
) -> None:
    """Check a rendition against the limits.

    Args:
        source: The image.
        spec: Spec of the rendition.
        frames: Number of frames or pages to render.
        limits: The limits for size, memory and cost.
        images: Files of the other images that the spec needs, by reference.

    Raises:
        InvalidParameter: A parameter makes the image too large, or needs too much memory or CPU time.
        TooCostly: The task has to run as a heavy task.
    """
    size = _upright(source, spec)
    maximum = size[0] * size[1]
    for number, operations in enumerate(spec.stages, 1):
        where = f"ops {number}: " if spec.ops else ""
        for name, reached in sizes_on_the_way(size, operations, vector=source.vector and number == 1):
            size = reached
            pixels = size[0] * size[1]
            maximum = max(maximum, pixels)
            if pixels > limits.pixels or pixels * frames > limits.total_pixels:
                minimum = min(limits.pixels, limits.total_pixels // frames)
                raise InvalidParameter(
                    f"{where}{name}",
                    _given(operations, name),
                    f"values that result in at most {minimum} pixels{' per frame' * (frames > 1)}; this results in"
                    f" {size[0]}×{size[1]}",
                )
        if operations.median and maximum * frames > _MEDIAN_PIXELS:
            raise InvalidParameter(
                f"{where}median",
                str(operations.median),
                f"only for at most {_MEDIAN_PIXELS} pixels in all frames together; here there are {maximum * frames}",
            )
    _check_memory(source, spec, frames, maximum, limits)
    others = {reference: Facts.of(open_source(file, limits)) for reference, file in images.items()}
    _check_cost(Facts.of(source, spec.autorotate), spec, others, limits)


def _check_memory(source: Source, spec: RenditionSpec, frames: int, maximum: int, limits: Limits) -> None:
    if not limits.memory or not any(changes_pixels(operations) for operations in spec.stages):
        return
    # One decoded frame, plus the largest intermediate image with an alpha channel, before and after a step that needs
    # the whole image at once. An encoder that makes two passes keeps all frames.
    sample = 2 if source.description.depth > 8 else 1
    target = FORMATS[spec.format]
    collects = target.collects_frames or (target.writes_animations and spec.max_bytes)
    kept = frames if collects else min(frames, target.frames_at_once)
    read = math.prod(_read(source, spec) if source.levels else source.size)
    needed = (read * 4 + maximum * 4 * (1 + kept)) * sample
    if needed > limits.memory:
        raise InvalidParameter(
            "width",
            _given(spec, "width"),
            f"values that need at most {limits.memory} bytes of memory; this needs {needed}",
        )


def _check_cost(facts: Facts, spec: RenditionSpec, others: Mapping[str, Facts], limits: Limits) -> None:
    cost = rendition_cost(facts, spec, others) if limits.most_cost else 0
    if cost > limits.most_cost:
        where, name = costliest(facts, spec, others)
        given = by_name(RenditionSpec)[name].kind.write(getattr(spec.stages[where - 1] if where else spec, name))
        raise InvalidParameter(
            f"ops {where}: {name}" if where else name,
            given,
            f"values that, together with the other parameters, need at most {limits.most_cost:g} seconds of CPU time;"
            f" this needs about {cost:.0f}",
        )
    drawing = any(one.is_drawing for one in (facts, *others.values()))
    limits.check_cost(lambda: cost or rendition_cost(facts, spec, others), drawing=drawing)


def decoding(source: Source, spec: RenditionSpec, decoder: Decoder) -> Decoding:
    """Return how to decode: the smallest size that suffices for the rendition, or the exact size for a drawing.

    Args:
        source: The image.
        spec: Spec of the rendition.
        decoder: The decoder to use.
    """
    if source.levels:
        return level_for(source, spec.stages[0])
    metadata = spec.kept - {"icc"}
    hdr = spec.hdr == "keep"
    gain_map = source.description.gain_map and keeps_gain_map(spec)
    size = _upright(source, spec)
    target = resampled_to(size, spec.stages[0], vector=source.vector)
    if target is None:
        return Decoding(metadata=metadata, hdr=hdr, gain_map=gain_map)
    if decoder.draws:
        return Decoding(draw=target, metadata=metadata)
    here = _turned(source, spec)
    minimum = LOOKED_AT if spec.stages[0].gravity == "face" else 1
    fractions = (fraction for fraction in decoder.shrinks if max(here) >= minimum * fraction)
    shrink = next((fraction for fraction in fractions if _may_shrink(here, target, fraction)), 1)
    if hdr and source.description.gain_map:
        return Decoding(metadata=metadata, hdr=hdr)
    return Decoding(shrink, metadata=metadata, hdr=hdr, gain_map=gain_map)


def _may_shrink(size: Size, target: Size, shrink: int) -> bool:
    # If a side isn't a multiple of the factor, libvips drops the remainder that doesn't fill a whole pixel.
    whole = size[0] // shrink, size[1] // shrink
    shifts = (wanted - wanted * part * shrink / side for side, part, wanted in zip(size, whole, target, strict=True))
    return suffices(whole, target) and max(shifts) < _SHIFT


def _upright(source: Source, spec: RenditionSpec) -> Size:
    return source.stands_for or _turned(source, spec)


def _read(source: Source, spec: RenditionSpec) -> Size:
    """Return the size of the part to read: the crop box of a pyramid, or the whole image."""
    box = crop_box(_upright(source, spec), spec.stages[0]) if source.levels else None
    return (box.width, box.height) if isinstance(box, Box) else _upright(source, spec)


def _turned(source: Source, spec: RenditionSpec) -> Size:
    return source.upright if spec.autorotate or source.description.always_turned else source.size


def _given(operations: Operations, name: str) -> str:
    value = getattr(operations, name)
    return "" if value is None else by_name(RenditionSpec)[name].kind.write(value)
