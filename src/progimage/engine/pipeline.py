"""Rendering: one ordered list of steps, from a source's frames to a file in the target format."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain

from progimage.engine.codecs import ADDED, FORMATS
from progimage.engine.codecs.codec import Decoder, Source
from progimage.engine.copying import asks_for_copy, write_copy
from progimage.engine.damage import explained
from progimage.engine.decode import decode, with_decoders
from progimage.engine.demand import check_demand, decoding
from progimage.engine.encode import encode
from progimage.engine.errors import CannotRepresent, CorruptImage, InvalidParameter
from progimage.engine.files import AnyFile, InputFile, OutputFile
from progimage.engine.frame import Frame
from progimage.engine.geometry import Size
from progimage.engine.limits import Limits
from progimage.engine.modes import has_alpha, is_deep, is_grey
from progimage.engine.operations import Operations
from progimage.engine.plan import Plan
from progimage.engine.pyramid import open_pyramid
from progimage.engine.source import open_source
from progimage.engine.spec import RenditionSpec
from progimage.engine.steps.colour import colour
from progimage.engine.steps.effects import effects
from progimage.engine.steps.flatten import background, flatten
from progimage.engine.steps.framing import framing
from progimage.engine.steps.orient import orient
from progimage.engine.steps.region import region
from progimage.engine.steps.size import size
from progimage.engine.steps.tone import tone
from progimage.engine.steps.turn import turn
from progimage.engine.steps.watermark import watermark
from progimage.engine.steps.working_space import working_space

Step = Callable[[Frame, Operations, Plan], Frame]

STAGE: tuple[Step, ...] = (
    orient,
    region,
    working_space,
    size,
    turn,
    tone,
    effects,
    framing,
    watermark,
    background,
)
"""The steps that every frame goes through, in this order: once, or with `ops` once for each of its stages."""

OUTPUT: tuple[Step, ...] = (flatten, colour)
"""The steps that make it what the target format can hold."""

_CODECS = ("pillow", "pyvips-binary", "pillow-heif", "pillow-jxl-plugin", "resvg-py", "tinycss2", "cssselect2")
ENGINE_VERSION = "-".join(["7", *(version(codec) for codec in _CODECS), *ADDED])
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


def render(
    source: AnyFile,
    spec: RenditionSpec,
    target: AnyFile,
    limits: Limits,
    images: Mapping[str, AnyFile] | None = None,
    stands_for: Size | None = None,
    pyramid: bool = False,
    sound: bool = False,
) -> Rendered:
    """Write the rendition of an image file that a spec asks for.

    Args:
        source: The image.
        spec: What is asked for.
        target: The file to write; what is there is written over.
        limits: The largest image to accept, and to make; and whether one that has lost pixels is accepted. The other
            images are stored ones, which have been.
        images: The files of the other images that the spec needs, by their references; see `spec.references()`.
        stands_for: Where `source` is a step of an image's ladder: the image's width and height, upright.
        pyramid: `source` is an image's pyramid.
        sound: It is known of `source` that it is not damaged.

    Raises:
        NotAnImage: `source` is in no format that can be read.
        CorruptImage: It is broken.
        LimitExceeded: It is too large.
        InvalidParameter: It has no such page, or a parameter can't be met for this image.
        CannotRepresent: The target format can't hold it.
    """
    file = InputFile(source)
    try:
        if pyramid:
            return _render(open_pyramid(file, limits), spec, target, limits, images or {})
        opened = open_source(file, limits, dpi=spec.dpi)
        opened = replace(opened, stands_for=stands_for)
        return _render(opened, spec, target, limits, images or {}, sound=sound)
    except CorruptImage as error:
        if limits.damaged:
            raise
        raise explained(error, file, limits) from None


def _render(
    opened: Source,
    spec: RenditionSpec,
    target: AnyFile,
    limits: Limits,
    images: Mapping[str, AnyFile],
    *,
    sound: bool = False,
) -> Rendered:
    part = opened.stands_for or opened.levels
    if not part and asks_for_copy(spec, opened.description.format.name):
        with OutputFile(target) as file:
            if write_copy(opened, spec, file, sound=sound):
                return Rendered(*opened.upright, opened.description.count)
    first, last = _chosen_pages(opened, spec)
    limits = replace(limits, damaged=True)
    others = {reference: InputFile(file) for reference, file in images.items()}
    check_demand(opened, spec, last - first, limits, others)
    format = FORMATS[spec.format]
    found = opened.description
    plan = Plan(
        spec, format, limits, others, opened.vector, found.always_turned, several=last - first > 1, plays=found.plays
    )
    with OutputFile(target) as file:
        return with_decoders(opened, lambda decoder: _render_with(decoder, opened, plan, file, first, last))


def _chosen_pages(source: Source, spec: RenditionSpec) -> tuple[int, int]:
    """Return the range of pages to render: the one asked for, all where the target holds them, or the first."""
    found = source.description
    if spec.page is not None:
        if spec.page > found.count:
            raise InvalidParameter("page", str(spec.page), f"1 to {found.count} for this image")
        return spec.page - 1, spec.page
    target = FORMATS[spec.format]
    keeps_all = target.writes_animations if found.animated else target.writes_pages
    return 0, found.count if keeps_all else 1


def _render_with(decoder: Decoder, source: Source, plan: Plan, target: OutputFile, first: int, last: int) -> Rendered:
    plan = plan.afresh()
    frames = decode(source, decoder, first, last, decoding(source, plan.spec, decoder))
    staged = (_staged(frame, plan) for frame in frames)
    opening = next(staged)
    plan = replace(plan, modes=_modes(plan, opening))
    finished = _finished(chain([opening], staged), plan)
    shown = next(finished)
    width, height = shown.pixels.width, shown.pixels.height
    most = plan.format.max_side
    if most and max(width, height) > most:
        raise CannotRepresent(f"{plan.format.name} holds at most {most} pixels a side; the image has {width}×{height}.")
    encode(shown, finished, plan, target)
    return Rendered(width, height, last - first)


def _staged(frame: Frame, plan: Plan) -> Frame:
    staged = _through_stages(frame, plan)
    if frame.gain_map is None:
        return staged
    # After the picture, so that what depends on pixels is chosen by those.
    gain = _through_stages(replace(frame, pixels=frame.gain_map, gain_map=None), plan)
    pixels = gain.pixels.extract_band(0, n=frame.gain_map.bands)
    return replace(staged, gain_map=pixels.copy_memory())


def _through_stages(frame: Frame, plan: Plan) -> Frame:
    for number, operations in enumerate(plan.spec.stages):
        if number:  # else a stage that reads a pixel several times has the one before make it as often
            frame = replace(frame, pixels=frame.pixels.copy_memory())
        for step in STAGE:
            frame = step(frame, operations, plan)
    return frame


def _finished(frames: Iterator[Frame], plan: Plan) -> Iterator[Frame]:
    for frame in frames:
        for step in OUTPUT:
            frame = step(frame, plan.spec, plan)
        yield frame


def _modes(plan: Plan, opening: Frame) -> tuple[str, ...]:
    """Return the modes to choose from: of the depth asked for, and such that all frames of one file go together."""
    modes, format = plan.format.modes, plan.format
    if plan.spec.depth:
        deep = plan.spec.depth != "8"
        modes = tuple(mode for mode in modes if is_deep(mode) == deep)
        if not is_grey(opening.mode) and all(map(is_grey, modes)) and not all(map(is_grey, format.modes)):
            raise InvalidParameter("depth", plan.spec.depth, f"8 for colours; {format.name} holds more of grey only")
    if opening.hdr:
        modes = tuple(mode for mode in modes if is_deep(mode))
        if plan.several or not modes:
            raise InvalidParameter("hdr", "keep", "sdr where several frames or pages are written")
    if plan.spec.palette and "P" in modes:
        modes = ("P", "PA") if "PA" in modes else ("P",)
    if not plan.several:
        return modes
    # Several frames are written by Pillow, which has no 16-bit colour, and none of an animation.
    unfit = ("LA16", "RGB16", "RGBA16", *(("L16", "F") if format.writes_animations else ()))
    modes = tuple(mode for mode in modes if mode not in unfit)
    if plan.spec.depth and not any(is_grey(mode) <= is_grey(opening.mode) for mode in modes):
        raise InvalidParameter("depth", plan.spec.depth, "8 where several frames or pages are written")
    if format.writes_animations:
        with_alpha = tuple(mode for mode in modes if has_alpha(mode) and mode != "LA")
        modes = with_alpha if opening.pixels.hasalpha() else tuple(mode for mode in modes if mode in ("P", "RGB"))
        if not format.only_palettes and not plan.spec.palette:
            modes = tuple(mode for mode in modes if mode not in ("P", "PA"))
    return modes
