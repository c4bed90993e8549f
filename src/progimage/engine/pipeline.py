"""Rendering: one ordered list of steps, from a source's frames to a file in the target format."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pyvips

from progimage.engine.decode import Source, open_source, say
from progimage.engine.encode import encode
from progimage.engine.errors import CannotRepresent, CorruptImage, InvalidParameter
from progimage.engine.formats import FORMATS, Format
from progimage.engine.frame import Frame
from progimage.engine.limits import Limits
from progimage.engine.modes import has_alpha
from progimage.engine.plan import Plan
from progimage.engine.spec import RenditionSpec
from progimage.engine.steps.colour import colour
from progimage.engine.steps.flatten import flatten
from progimage.engine.steps.orient import orient

_WRITES_PAGES = ("MPO", "PDF", "TIFF")

PIPELINE: tuple[Callable[[Frame, Plan], Frame], ...] = (orient, flatten, colour)
"""The steps, in the order in which every frame goes through them."""

_CODECS = ("pillow", "pyvips-binary", "pillow-heif", "pillow-jxl-plugin")
ENGINE_VERSION = "-".join(["1", *(version(codec) for codec in _CODECS)])
"""Changes whenever the same spec could give other bytes; a part of every rendition's ETag."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What was written.

    Attributes:
        width: Of the first frame or page, in pixels.
        height: Of the first frame or page, in pixels.
        frames: How many frames or pages.
    """

    width: int
    height: int
    frames: int


def render(source: str | Path, spec: RenditionSpec, target: str | Path, limits: Limits) -> Rendered:
    """Write the rendition of an image file that a spec asks for.

    Args:
        source: The image.
        spec: What is asked for.
        target: The file to write; it must not exist, or is written over.
        limits: The largest image to accept.

    Raises:
        NotAnImage: `source` is in no format that can be read.
        CorruptImage: It is broken.
        LimitExceeded: It is too large.
        InvalidParameter: It has no such page.
        CannotRepresent: The target format can't hold it.
    """
    opened = open_source(Path(source), limits)
    first, last = _chosen_pages(opened, spec)
    readers = opened.readers()
    for reader in readers:
        try:
            return _render_with(reader, opened, spec, Path(target), first, last)
        except (CorruptImage, pyvips.Error) as error:
            if reader == readers[-1]:
                raise error if isinstance(error, CorruptImage) else CorruptImage(say(error)) from error
    raise AssertionError("a source has at least one reader")


def _chosen_pages(source: Source, spec: RenditionSpec) -> tuple[int, int]:
    """Return the range of pages to render: the one asked for, all where the target holds them, or the first."""
    if spec.page is not None:
        if spec.page > source.count:
            raise InvalidParameter("page", str(spec.page), f"1 to {source.count} for this image")
        return spec.page - 1, spec.page
    target = FORMATS[spec.format]
    keeps_all = target.animated if source.animated else target.pages and target.name in _WRITES_PAGES
    return 0, source.count if keeps_all else 1


def _render_with(reader: str, source: Source, spec: RenditionSpec, target: Path, first: int, last: int) -> Rendered:
    frames = source.frames(reader, first, last)
    opening = next(frames)
    format = FORMATS[spec.format]
    several = last - first > 1
    plan = Plan(spec, format, _modes(format, several, opening), several, source.plays)
    finished = (_run(frame, plan) for frame in chain([opening], frames))
    shown = next(finished)
    width, height = shown.pixels.width, shown.pixels.height
    if format.max_side and max(width, height) > format.max_side:
        raise CannotRepresent(
            f"{format.name} holds at most {format.max_side} pixels a side; the image has {width}×{height}."
        )
    encode(shown, finished, plan, target)
    return Rendered(width, height, last - first)


def _modes(format: Format, several: bool, opening: Frame) -> tuple[str, ...]:
    """Return the modes to choose from, so that all frames of one file come out in modes that go together."""
    if not several:
        return format.modes
    # Several frames are written by Pillow, which has no 16-bit colour.
    modes = tuple(mode for mode in format.modes if mode not in ("LA16", "RGB16", "RGBA16", "L16", "F"))
    if format.animated:
        with_alpha = tuple(mode for mode in modes if has_alpha(mode) and mode != "LA")
        modes = with_alpha if opening.pixels.hasalpha() else tuple(mode for mode in modes if mode in ("P", "RGB"))
        modes = tuple(mode for mode in modes if format.name == "GIF" or mode not in ("P", "PA"))
    return modes


def _run(frame: Frame, plan: Plan) -> Frame:
    for step in PIPELINE:
        frame = step(frame, plan)
    return frame
