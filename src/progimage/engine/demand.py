"""Whether what is asked for keeps to the limits, before any pixel is decoded, and how little need be decoded."""

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
"""How far, in pixels of the result, an edge may be off for a size that the fraction does not divide."""
_MEDIAN_PIXELS = 100_000_000
"""The most pixels in all frames that a median is taken of: 12 megapixels take a second, whatever its side."""


def check_demand(
    source: Source, spec: RenditionSpec, frames: int, limits: Limits, images: Mapping[str, InputFile]
) -> None:
    """Hold what is asked for against the limits.

    Args:
        source: The image.
        spec: What is asked for.
        frames: How many frames or pages are rendered.
        limits: The largest picture to make, and the memory that there is for it.
        images: The files of the other images that are needed, by their references.

    Raises:
        InvalidParameter: A parameter makes the picture, or the work on it, too large.
        TooCostly: It is to be run as a heavy task.
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
    others = {reference: Facts.of(open_source(file, limits)) for reference, file in images.items()}
    _check_cost(Facts.of(source, spec.autorotate), spec, others, limits)


def _check_memory(source: Source, spec: RenditionSpec, frames: int, most: int, limits: Limits) -> None:
    if not limits.memory or not any(changes_pixels(operations) for operations in spec.stages):
        return
    # A frame whole as it is decoded, and the largest of its results whole with an alpha channel, before and after a
    # step that needs all of it at once. An encoder that goes over the frames twice keeps all of them.
    sample = 2 if source.description.depth > 8 else 1
    target = FORMATS[spec.format]
    collects = target.collects_frames or (target.writes_animations and spec.max_bytes)
    kept = frames if collects else min(frames, target.frames_at_once)
    read = math.prod(_read(source, spec) if source.levels else source.size)
    needed = (read * 4 + most * 4 * (1 + kept)) * sample
    if needed > limits.memory:
        raise InvalidParameter(
            "width", _given(spec, "width"), f"what needs at most {limits.memory} bytes of memory; this needs {needed}"
        )


def _check_cost(facts: Facts, spec: RenditionSpec, others: Mapping[str, Facts], limits: Limits) -> None:
    cost = rendition_cost(facts, spec, others) if limits.most_cost else 0
    if cost > limits.most_cost:
        where, name = costliest(facts, spec, others)
        given = by_name(RenditionSpec)[name].kind.write(getattr(spec.stages[where - 1] if where else spec, name))
        raise InvalidParameter(
            f"ops {where}: {name}" if where else name,
            given,
            f"what needs at most {limits.most_cost:g} seconds of CPU time, with all else that is asked for; this needs"
            f" about {cost:.0f}",
        )
    drawing = any(one.is_drawing for one in (facts, *others.values()))
    limits.check_cost(lambda: cost or rendition_cost(facts, spec, others), drawing=drawing)


def decoding(source: Source, spec: RenditionSpec, decoder: Decoder) -> Decoding:
    """Return how to decode: as small, or a drawing as large, as the rendition can use.

    Args:
        source: The image.
        spec: What is asked for.
        decoder: Decodes it.
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
    least = LOOKED_AT if spec.stages[0].gravity == "face" else 1
    fractions = (fraction for fraction in decoder.shrinks if max(here) >= least * fraction)
    shrink = next((fraction for fraction in fractions if _may_shrink(here, target, fraction)), 1)
    if hdr and source.description.gain_map:
        return Decoding(metadata=metadata, hdr=hdr)
    return Decoding(shrink, metadata=metadata, hdr=hdr, gain_map=gain_map)


def _may_shrink(size: Size, target: Size, shrink: int) -> bool:
    # Of a side that is no multiple of the fraction, libvips leaves out what does not fill a pixel.
    whole = size[0] // shrink, size[1] // shrink
    shifts = (wanted - wanted * part * shrink / side for side, part, wanted in zip(size, whole, target, strict=True))
    return suffices(whole, target) and max(shifts) < _SHIFT


def _upright(source: Source, spec: RenditionSpec) -> Size:
    return source.stands_for or _turned(source, spec)


def _read(source: Source, spec: RenditionSpec) -> Size:
    """Return the size of what has to be read: of a pyramid, only the part that is asked for."""
    box = crop_box(_upright(source, spec), spec.stages[0]) if source.levels else None
    return (box.width, box.height) if isinstance(box, Box) else _upright(source, spec)


def _turned(source: Source, spec: RenditionSpec) -> Size:
    return source.upright if spec.autorotate or source.description.always_turned else source.size


def _given(operations: Operations, name: str) -> str:
    value = getattr(operations, name)
    return "" if value is None else by_name(RenditionSpec)[name].kind.write(value)
