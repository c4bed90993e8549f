"""Inspecting an image once, when it is uploaded: check that it is intact, and read its properties."""

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pyvips
from PIL import ExifTags, ImageCms

from progimage.engine.analysis import is_line_art, perceptual_hash
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.colorimetry import Calibrated, Cicp
from progimage.engine.cost import Facts, inspection_cost
from progimage.engine.damage import explained, what_is_left
from progimage.engine.decode import decode, with_decoders
from progimage.engine.description import Description, turned_size
from progimage.engine.errors import CorruptImage
from progimage.engine.files import AnyFile, InputFile, OutputFile
from progimage.engine.frame import Frame, icc_profile
from progimage.engine.ladder import JUST_UNDER, SIDES, SPARE, Ladder, build, top_of
from progimage.engine.limits import Limits
from progimage.engine.picture import as_picture
from progimage.engine.source import open_source

_EXIF_FIELDS = (
    "Make", "Model", "LensMake", "LensModel", "Software", "Artist", "Copyright", "ImageDescription", "DateTime",
    "DateTimeOriginal", "OffsetTimeOriginal", "ExposureTime", "FNumber", "ISOSpeedRatings", "FocalLength",
    "FocalLengthIn35mmFilm", "ExposureBiasValue", "ExposureProgram", "MeteringMode", "Flash", "WhiteBalance",
    "ColorSpace",
)  # fmt: skip
_LONGEST_TEXT = 1000
_SMALL_SIDE = 256
_UNREADABLE = "unreadable"


INSPECTION_VERSION = 2
"""Version of the rules for describing images and building ladders. Results of older versions are made again."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Properties of an image.

    Attributes:
        format: Name of the format.
        media_type: Media type of the format.
        width: Width of the visible part of the first frame or page before it is turned upright, in pixels.
        height: Height of the visible part of the first frame or page before it is turned upright, in pixels.
        frames: Number of frames or pages.
        animated: Whether it is an animation.
        duration: Duration of one run of an animation in milliseconds; 0 for still images.
        mode: Pixel mode, as in the table of formats, such as RGB, L16 or CMYK.
        bit_depth: Bits per channel in the file.
        alpha: Whether it has an alpha channel.
        icc: Name of the ICC profile; None if there is no profile.
        orientation: Orientation, 1 to 8 as in EXIF, regardless of which part of the file specifies it.
        exif: The common EXIF fields that are present, by their standard names.
        perceptual_hash: 32 hexadecimal digits. The fewer bits differ, the more similar two images look. None for images
            that were stored before such hashes existed.
        line_art: Whether it looks drawn rather than photographed, with areas of uniform colour.
        upright_width: Width in pixels, upright.
        upright_height: Height in pixels, upright.
        page_sizes: Upright width and height of each page, unless all pages have the same size.
        coded_width: Width in pixels before the container crops the image.
        coded_height: Height in pixels before the container crops the image.
        crop: The part that the container shows: left, top, width and height in pixels; None if it shows everything.
        floating: Whether samples are floating-point numbers.
        premultiplied: Whether colours in the file are premultiplied by alpha.
        primaries: Name of the primaries, if the file specifies them by other means than an ICC profile.
        transfer: Name of the transfer function, if the file specifies it by other means than an ICC profile.
        hdr: Whether it is HDR, brighter than reference white (PQ, HLG, or linear floating point).
        gain_map: Whether it has a gain map, which displays with headroom use to show it brighter.
        plays: How often an animation is played; 0 means endlessly.
        durations: Duration of each frame of an animation in milliseconds.
        warnings: Sentences on content that isn't shown and on damage.
        damaged: Whether it has lost pixels and was accepted nevertheless.
        inspection: Version of the rules that these properties were determined with.
    """

    format: str
    media_type: str
    width: int
    height: int
    frames: int
    animated: bool
    duration: int
    mode: str
    bit_depth: int
    alpha: bool
    icc: str | None
    orientation: int
    exif: dict[str, str | int | float] = field(default_factory=dict)
    perceptual_hash: str | None = None
    line_art: bool = False
    upright_width: int = 0
    upright_height: int = 0
    page_sizes: tuple[tuple[int, int], ...] = ()
    coded_width: int = 0
    coded_height: int = 0
    crop: tuple[int, int, int, int] | None = None
    floating: bool = False
    premultiplied: bool = False
    primaries: str | None = None
    transfer: str | None = None
    hdr: bool = False
    gain_map: bool = False
    plays: int = 0
    durations: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    damaged: bool = False
    inspection: int = 0

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height, upright."""
        if self.upright_width:
            return self.upright_width, self.upright_height
        return turned_size((self.width, self.height), self.orientation)  # from before these fields existed

    def facts(self, *, upright: bool = True) -> Facts:
        """Return the facts that a cost is estimated from.

        Args:
            upright: Whether the orientation will be applied.
        """
        return Facts(self.format, *(self.upright if upright else (self.width, self.height)), self.mode, self.frames)


@dataclass(frozen=True, slots=True)
class Inspection:
    """The result of inspecting an upload.

    Attributes:
        info: Properties of the image.
        ladder: Its ladder, if it has one.
    """

    info: ImageInfo
    ladder: Ladder | None


def inspect(file: AnyFile, limits: Limits) -> ImageInfo:
    """Decode an image file completely, and return its properties.

    For example, read the size of a photograph::

        info = inspect("photo.heic", Limits())
        info.format, info.upright  # ("HEIC", (4032, 3024))

    Args:
        file: The file: a path or an open descriptor.
        limits: The largest image to accept, checked against the header before anything is decoded.

    Raises:
        NotAnImage: The file is not in a supported image format.
        CorruptImage: The file is truncated or corrupt.
        LimitExceeded: The image is too large.
    """
    return inspect_upload(file, limits, {}).info


def inspect_upload(file: AnyFile, limits: Limits, rungs: Mapping[int, AnyFile]) -> Inspection:
    """Decode an image file completely, but only once; return its properties and build its ladder.

    Args:
        file: The file.
        limits: The largest image to accept, checked against the header before anything is decoded, and whether to
            accept images that have lost pixels.
        rungs: Files for the rungs of the ladder, by side. If empty, no ladder is built.

    Raises:
        NotAnImage: The file is not in a supported image format.
        CorruptImage: The file is truncated or corrupt, and damage isn't accepted or nothing can be decoded.
        LimitExceeded: The image is too large.
    """
    opened = InputFile(file)
    try:
        return _inspect(opened, replace(limits, damaged=False), rungs)
    except CorruptImage as error:
        if not limits.damaged:
            raise explained(error, opened, limits) from None
    return _inspect(opened, limits, rungs, what_is_left(opened, limits))


def _inspect(file: InputFile, limits: Limits, rungs: Mapping[int, AnyFile], damage: str = "") -> Inspection:
    """Inspect a file. `damage` is the warning about lost pixels if the file was accepted nevertheless."""
    source = open_source(file, limits)
    facts = Facts.of(source)
    limits.check_cost(lambda: inspection_cost(facts), drawing=facts.is_drawing)
    first, top, small, durations = _decode_all(source)
    found, page = source.description, source.description.first
    sizes = tuple(one.upright for one in found.pages)
    space = found.colour if isinstance(found.colour, Cicp | Calibrated) else None
    exif, icc = _read_exif(source), None if space else _profile_name(first)
    info = ImageInfo(
        format=found.format.name,
        media_type=found.format.media_type,
        width=source.size[0],
        height=source.size[1],
        frames=found.count,
        animated=found.animated,
        duration=sum(durations),
        mode=first.mode,
        bit_depth=found.depth,
        alpha=bool(first.pixels.hasalpha()),
        icc=icc,
        orientation=found.first.orientation,
        exif=exif or {},
        perceptual_hash=perceptual_hash(small),
        line_art=first.mode == "1" or is_line_art(small),
        upright_width=source.upright[0],
        upright_height=source.upright[1],
        page_sizes=sizes if len(set(sizes)) > 1 else (),
        coded_width=page.width,
        coded_height=page.height,
        crop=(page.crop.left, page.crop.top, page.crop.width, page.crop.height) if page.crop else None,
        floating=found.floating,
        premultiplied=found.premultiplied,
        primaries=space.primaries_name if space else None,
        transfer=space.transfer_name if space else None,
        hdr=found.is_hdr,
        gain_map=found.gain_map,
        plays=found.plays,
        durations=durations if found.animated else (),
        warnings=(*((damage,) if damage else ()), *found.warnings, *_broken(exif, icc), *_left_out(found)),
        damaged=bool(damage),
        inspection=INSPECTION_VERSION,
    )
    if top is None or not rungs:
        return Inspection(info, None)
    with ExitStack() as files:
        outputs = {side: files.enter_context(OutputFile(rung)) for side, rung in rungs.items()}
        ladder = build(
            top, source.upright, outputs,
            orientation=first.orientation, turned=info.orientation > 1 and not found.always_turned, flat=info.line_art,
        )  # fmt: skip
    return Inspection(info, ladder)


def _broken(exif: Mapping[str, object] | None, icc: str | None) -> Iterator[str]:
    """Yield warnings about invalid metadata."""
    if exif is None:
        yield "The EXIF metadata is invalid and can't be read."
    if icc == _UNREADABLE:
        yield "The ICC profile is invalid and ignored."


def _left_out(found: Description) -> Iterator[str]:
    """Yield warnings about content of the file that renditions don't include by default."""
    if found.is_hdr:
        yield "The image is HDR: renditions are tone-mapped to SDR unless requested with hdr=keep."
    if found.gain_map_read:
        yield "The image has a gain map: only JPEG keeps it; other formats are SDR unless requested with hdr=keep."
    elif found.gain_map:
        yield "The image has a gain map, which renditions don't include."


def _decode_all(source: Source) -> tuple[Frame, pyvips.Image | None, pyvips.Image, tuple[int, ...]]:
    """Decode every pixel.

    Returns:
        The first frame, the pixels to build the ladder from, a small copy, and the duration of each frame in
        milliseconds.
    """

    def attempt(decoder: Decoder) -> tuple[Frame, pyvips.Image | None, pyvips.Image, tuple[int, ...]]:
        count = source.description.count
        frames = decode(source, decoder, 0, count, _decoding(source, decoder))
        first = next(frames)
        # A lazy decoder decodes pixels only when they are used; both of these use all of them.
        top = top_of(first, source.size) if count == 1 and not source.vector else None
        small = _small_picture(first if top is None else replace(first, pixels=top))
        durations = [first.duration]
        for frame in frames:
            if decoder.lazy:
                frame.pixels.avg()
            durations.append(frame.duration)
        return first, top, small, tuple(durations)

    return with_decoders(source, attempt)


def _decoding(source: Source, decoder: Decoder) -> Decoding:
    """Return how to decode: shrunk if the decoder can, since that reads the same data and detects the same damage."""
    if source.description.count > 1:
        return Decoding()
    width, height = source.size
    longest = max(width, height)
    for shrink in decoder.shrinks:
        just_under = SIDES[0] * JUST_UNDER <= longest / shrink <= SIDES[0]
        if width % shrink == height % shrink == 0 and (just_under or longest / shrink >= SIDES[0] * SPARE):
            return Decoding(shrink)
    return Decoding()


def _small_picture(frame: Frame) -> pyvips.Image:
    pixels = frame.pixels
    factor = -(-max(pixels.width, pixels.height) // _SMALL_SIDE)
    shrunken = pixels.shrink(min(factor, pixels.width), min(factor, pixels.height), ceil=True)
    return as_picture(replace(frame, pixels=shrunken))


def _profile_name(frame: Frame) -> str | None:
    data = icc_profile(frame.pixels)
    if data is None:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        return _text(profile.profile.profile_description) or "unnamed"
    except (OSError, ValueError):
        return _UNREADABLE


def _read_exif(source: Source) -> dict[str, str | int | float] | None:
    """Read the common EXIF fields; return None if the EXIF is invalid, which doesn't affect pixels."""
    try:
        top = source.codec.exif(source.file)
        if top is None:
            return {}
        fields = {**top, **top.get_ifd(ExifTags.IFD.Exif)}
        place = top.get_ifd(ExifTags.IFD.GPSInfo)
    except Exception:  # Pillow fails on invalid EXIF in many ways
        return None
    named = {name: _plain(fields.get(ExifTags.Base[name].value)) for name in _EXIF_FIELDS}
    return {name: value for name, value in named.items() if value not in (None, "")} | _coordinates(place)


def _plain(value: Any) -> str | int | float | None:
    """Convert an EXIF value to a JSON value; return None if it is neither a number nor text."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, tuple):
        value = value[0] if value else None
    if isinstance(value, int):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return round(number, 6) if math.isfinite(number) else None


def _coordinates(place: dict[int, Any]) -> dict[str, str | int | float]:
    """Return latitude and longitude in degrees, positive north and east, if the GPS fields contain them."""
    found: dict[str, str | int | float] = {}
    for name, tag, negative in (("GPSLatitude", 2, "S"), ("GPSLongitude", 4, "W")):
        try:
            degrees, minutes, seconds = (float(part) for part in place[tag])
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            continue
        value = degrees + minutes / 60 + seconds / 3600
        if math.isfinite(value):
            found[name] = round(-value if place.get(tag - 1) == negative else value, 6)
    return found


def _text(raw: str | None) -> str:
    return "".join(character for character in (raw or "") if character.isprintable()).strip()[:_LONGEST_TEXT]
