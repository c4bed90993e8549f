"""Looking at an image once, when it arrives: is it whole, and what is it like?"""

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pyvips
from PIL import ExifTags, ImageCms

from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.colorimetry import Calibrated, Cicp
from progimage.engine.cost import Facts, survey_cost
from progimage.engine.damage import explained, what_is_left
from progimage.engine.decode import decode, with_decoders
from progimage.engine.description import Description, turned_size
from progimage.engine.errors import CorruptImage
from progimage.engine.files import AnyFile, InputFile, OutputFile
from progimage.engine.frame import Frame, icc_profile
from progimage.engine.ladder import JUST_UNDER, SIDES, SPARE, Ladder, build, top_of
from progimage.engine.limits import Limits
from progimage.engine.look import is_line_art, perceptual_hash
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


INSPECTION = 2
"""The version of the rules by which an image is described and its ladder made; what is of an older one is made anew."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an image is like.

    Attributes:
        format: The name of its format.
        media_type: Its media type.
        width: Of what is to be seen, before it is turned upright, in pixels; of the first frame or page.
        height: Likewise.
        frames: How many frames or pages it has.
        animated: Its frames are shown one after the other.
        duration: How long an animation takes to play once, in milliseconds; else 0.
        mode: The kind of its pixels, as the table of formats names them, such as RGB, L16 or CMYK.
        bit_depth: Bits a channel, as the file has them.
        alpha: It has transparency.
        icc: The name that its ICC profile gives itself, or None: it has none.
        orientation: How it is to be turned upright, 1 to 8 as EXIF counts, whatever part of the file says so.
        exif: The usual EXIF fields that it has, by their standard names.
        perceptual_hash: 32 hexadecimal digits, of which the fewer bits differ, the more two pictures look alike; None
            for an image that was stored before there were such hashes.
        line_art: It is drawn rather than photographed: it has even areas.
        upright_width: Once it is turned upright, in pixels.
        upright_height: Likewise.
        page_sizes: Width and height of each page once it is turned upright, where they are not all of one size.
        coded_width: Before the container crops it, in pixels.
        coded_height: Likewise.
        crop: What the container shows of that: left, top, width and height in pixels; or None: all of it.
        floating: Its samples are floating point numbers.
        premultiplied: In the file its colours are multiplied by their alpha.
        primaries: What its primaries are called, where the file tells them other than by an ICC profile.
        transfer: What its transfer function is called, likewise.
        hdr: It reaches beyond the white of a page (PQ, HLG, or floats of linear light).
        gain_map: It has a gain map, by which a display with headroom shows it brighter.
        plays: How often an animation is played; 0 is without end.
        durations: How long each frame of an animation is shown, in milliseconds.
        warnings: What is to be known of a picture that is not all that the file holds, or of a damaged file.
        damaged: It has lost pixels, and was accepted as it is.
        inspection: The version of the rules by which all this was found out.
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
        """Width and height once it is turned upright."""
        if self.upright_width:
            return self.upright_width, self.upright_height
        return turned_size((self.width, self.height), self.orientation)  # of before there were those

    def facts(self, *, upright: bool = True) -> Facts:
        """Return what a cost is reckoned from.

        Args:
            upright: The orientation is applied.
        """
        return Facts(self.format, *(self.upright if upright else (self.width, self.height)), self.mode, self.frames)


@dataclass(frozen=True, slots=True)
class Survey:
    """All that is learnt and made of an image when it arrives.

    Attributes:
        info: What it is like.
        ladder: Its smaller copies, if it has any.
    """

    info: ImageInfo
    ladder: Ladder | None


def inspect(file: AnyFile, limits: Limits) -> ImageInfo:
    """Decode an image file fully, and tell what it is like.

    Args:
        file: The file.
        limits: The largest image to accept, held against the header before anything is decoded.

    Raises:
        NotAnImage: It is in no format that can be read.
        CorruptImage: It is truncated or corrupt.
        LimitExceeded: It is too large.
    """
    return survey(file, limits, {}).info


def survey(file: AnyFile, limits: Limits, steps: Mapping[int, AnyFile]) -> Survey:
    """Decode an image file fully, once; tell what it is like, and make its ladder.

    Args:
        file: The file.
        limits: The largest image to accept, held against the header before anything is decoded; and whether one that
            has lost pixels is accepted.
        steps: The files for the steps of the ladder, by their sides; without any, there is none.

    Raises:
        NotAnImage: It is in no format that can be read.
        CorruptImage: It is truncated or corrupt, and that is not accepted, or nothing of it can be decoded.
        LimitExceeded: It is too large.
    """
    opened = InputFile(file)
    try:
        return _survey(opened, replace(limits, damaged=False), steps)
    except CorruptImage as error:
        if not limits.damaged:
            raise explained(error, opened, limits) from None
    return _survey(opened, limits, steps, what_is_left(opened, limits))


def _survey(file: InputFile, limits: Limits, steps: Mapping[int, AnyFile], damage: str = "") -> Survey:
    """Survey a file; `damage` says what is known to be missing, if it is accepted though it has lost pixels."""
    source = open_source(file, limits)
    facts = Facts.of(source)
    limits.check_cost(lambda: survey_cost(facts), drawing=facts.is_drawing)
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
        inspection=INSPECTION,
    )
    if top is None or not steps:
        return Survey(info, None)
    with ExitStack() as files:
        outputs = {side: files.enter_context(OutputFile(step)) for side, step in steps.items()}
        ladder = build(
            top, source.upright, outputs,
            orientation=first.orientation, turned=info.orientation > 1 and not found.always_turned, flat=info.line_art,
        )  # fmt: skip
    return Survey(info, ladder)


def _broken(exif: Mapping[str, object] | None, icc: str | None) -> Iterator[str]:
    """Say which metadata are broken."""
    if exif is None:
        yield "The EXIF is broken and can't be read."
    if icc == _UNREADABLE:
        yield "The ICC profile is broken and is ignored."


def _left_out(found: Description) -> Iterator[str]:
    """Say what renditions have not of what the file holds, unless they are asked for it."""
    if found.is_hdr:
        yield "The picture is HDR: renditions are mapped to SDR unless they are made with hdr=keep."
    if found.gain_map_read:
        yield "The picture has a gain map: only JPEG keeps it, and other formats are SDR unless made with hdr=keep."
    elif found.gain_map:
        yield "The picture has a gain map, which is left out of renditions."


def _decode_all(source: Source) -> tuple[Frame, pyvips.Image | None, pyvips.Image, tuple[int, ...]]:
    """Decode every pixel.

    Returns:
        The first frame, what the ladder is made of, a small picture, and the durations of all frames in milliseconds.
    """

    def attempt(decoder: Decoder) -> tuple[Frame, pyvips.Image | None, pyvips.Image, tuple[int, ...]]:
        count = source.description.count
        frames = decode(source, decoder, 0, count, _decoding(source, decoder))
        first = next(frames)
        # A lazy decoder decodes only when pixels are asked for, and these take all of them.
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
    """Return how to decode: smaller if the decoder can, since all that can be broken is read just the same."""
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
    """Read the usual EXIF fields, or return None where the EXIF is broken, which costs no pixel."""
    try:
        top = source.codec.exif(source.file)
        if top is None:
            return {}
        fields = {**top, **top.get_ifd(ExifTags.IFD.Exif)}
        place = top.get_ifd(ExifTags.IFD.GPSInfo)
    except Exception:  # Pillow trips over broken EXIF in many ways
        return None
    named = {name: _plain(fields.get(ExifTags.Base[name].value)) for name in _EXIF_FIELDS}
    return {name: value for name, value in named.items() if value not in (None, "")} | _coordinates(place)


def _plain(value: Any) -> str | int | float | None:
    """Make a JSON value of an EXIF value, or None of one that is no number and no text."""
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
    """Return latitude and longitude in degrees, north and east positive, if the GPS fields have them."""
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
