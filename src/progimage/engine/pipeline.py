"""Rendering: an ordered list of steps from the frames of a source to a file in the target format."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain

from progimage.engine.codecs import FORMATS
from progimage.engine.codecs.codec import Decoder, Source
from progimage.engine.copying import asks_for_copy, write_copy
from progimage.engine.cost_limits import check_cost, decoding
from progimage.engine.damage import explained
from progimage.engine.decode import decode, with_decoders
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
from progimage.engine.steps.adjust import adjust
from progimage.engine.steps.border import border
from progimage.engine.steps.colour import colour
from progimage.engine.steps.crop import crop
from progimage.engine.steps.filters import filters
from progimage.engine.steps.flatten import background, flatten
from progimage.engine.steps.orient import orient
from progimage.engine.steps.resize import resize
from progimage.engine.steps.rotate import rotate
from progimage.engine.steps.watermark import watermark
from progimage.engine.steps.working_space import working_space
from progimage.engine.transformations import added
from progimage.plugins import installed

Step = Callable[[Frame, Operations, Plan], Frame]


def _added_to(group: str) -> tuple[Step, ...]:
    return tuple(transformation.run for transformation in added() if transformation.group == group)


STAGE: tuple[Step, ...] = (
    orient,
    crop,
    working_space,
    resize, *_added_to("Size"),
    rotate, *_added_to("Turn"),
    adjust, *_added_to("Tone"),
    filters, *_added_to("Effects"),
    border, *_added_to("Frame and mask"),
    watermark, *_added_to("Watermark"),
    background,
)  # fmt: skip
"""The steps that every frame goes through, in this order: once, or once per stage of `ops`."""

OUTPUT: tuple[Step, ...] = (flatten, colour)
"""The final steps, which convert each frame to what the target format can hold."""

_CODECS = ("pillow", "pyvips-binary", "pillow-heif", "pillow-jxl-plugin", "resvg-py", "tinycss2", "cssselect2")
_ADDED = sorted({plugin.package for kind in ("codecs", "transformations") for plugin in installed(kind)})
ENGINE_VERSION = "-".join(["7", *(version(codec) for codec in _CODECS), *_ADDED])
"""Changes whenever the same spec could produce different bytes; part of the ETag of every rendition."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The properties of a rendition that was written.

    Attributes:
        width: Width of the first frame or page, in pixels.
        height: Height of the first frame or page, in pixels.
        frames: Number of frames or pages.
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
    """Render an image file according to a spec, and write the rendition to a file.

    For example, make a WebP that is 300 pixels wide::

        spec = RenditionSpec.parse("WEBP", [("width", "300")])
        render("photo.heic", spec, "photo.webp", Limits())

    Args:
        source: The image file.
        spec: Spec of the rendition.
        target: The file to write; it is overwritten if it exists.
        limits: Limits for the images to read and the rendition, and whether to accept a source that has lost pixels.
            The other images are stored ones, so damage in them was accepted before.
        images: Files of the other images that the spec needs, by reference; see `spec.references()`.
        stands_for: Upright width and height of the original, if `source` is a rung of its ladder.
        pyramid: Whether `source` is a pyramid of the original.
        sound: Whether `source` is known to be undamaged.

    Returns:
        Size and number of frames of the rendition.

    Raises:
        NotAnImage: `source` is not in a supported image format.
        CorruptImage: `source` is damaged.
        LimitExceeded: `source` exceeds a limit.
        InvalidParameter: There is no such page, or a parameter is invalid for this image.
        CannotRepresent: The target format can't hold the image.
        TooCostly: The estimated CPU time exceeds `limits.cost`.
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
    check_cost(opened, spec, last - first, limits, others)
    format = FORMATS[spec.format]
    found = opened.description
    plan = Plan(
        spec, format, limits, others, opened.vector, found.always_turned, several=last - first > 1, plays=found.plays
    )
    with OutputFile(target) as file:
        return with_decoders(opened, lambda decoder: _render_with(decoder, opened, plan, file, first, last))


def _chosen_pages(source: Source, spec: RenditionSpec) -> tuple[int, int]:
    """Return the range of pages to render: the requested one, all if the target format holds them, or the first."""
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
    maximum = plan.format.max_side
    if maximum and max(width, height) > maximum:
        raise CannotRepresent(
            f"{plan.format.name} allows at most {maximum} pixels a side; the image has {width}×{height}."
        )
    encode(shown, finished, plan, target)
    return Rendered(width, height, last - first)


def _staged(frame: Frame, plan: Plan) -> Frame:
    staged = _through_stages(frame, plan)
    if frame.gain_map is None:
        return staged
    # The gain map comes after the image, so that choices that depend on pixels are made from the image.
    gain = _through_stages(replace(frame, pixels=frame.gain_map, gain_map=None), plan)
    pixels = gain.pixels.extract_band(0, n=frame.gain_map.bands)
    return replace(staged, gain_map=pixels.copy_memory())


def _through_stages(frame: Frame, plan: Plan) -> Frame:
    for number, operations in enumerate(plan.spec.stages):
        if number:  # otherwise a stage that reads pixels several times would recompute the previous stage as often
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
    """Return the modes to choose from: those of the requested depth that all frames of one file can share."""
    modes, format = plan.format.modes, plan.format
    if plan.spec.depth:
        deep = plan.spec.depth != "8"
        modes = tuple(mode for mode in modes if is_deep(mode) == deep)
        if not is_grey(opening.mode) and all(map(is_grey, modes)) and not all(map(is_grey, format.modes)):
            raise InvalidParameter(
                "depth", plan.spec.depth, f"8 for colour images; {format.name} supports more only for grey"
            )
    if opening.hdr:
        modes = tuple(mode for mode in modes if is_deep(mode))
        if plan.several or not modes:
            raise InvalidParameter("hdr", "keep", "only sdr for several frames or pages")
    if plan.spec.palette and "P" in modes:
        modes = ("P", "PA") if "PA" in modes else ("P",)
    if not plan.several:
        return modes
    # Pillow writes multiple frames. It doesn't support 16-bit colour, nor 16-bit grey or float in animations.
    unfit = ("LA16", "RGB16", "RGBA16", *(("L16", "F") if format.writes_animations else ()))
    modes = tuple(mode for mode in modes if mode not in unfit)
    if plan.spec.depth and not any(is_grey(mode) <= is_grey(opening.mode) for mode in modes):
        raise InvalidParameter("depth", plan.spec.depth, "8 for several frames or pages")
    if format.writes_animations:
        with_alpha = tuple(mode for mode in modes if has_alpha(mode) and mode != "LA")
        modes = with_alpha if opening.pixels.hasalpha() else tuple(mode for mode in modes if mode in ("P", "RGB"))
        if not format.only_palettes and not plan.spec.palette:
            modes = tuple(mode for mode in modes if mode not in ("P", "PA"))
    return modes
