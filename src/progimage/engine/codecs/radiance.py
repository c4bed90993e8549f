"""Radiance HDR (RGBE), shown as exposed: EXPOSURE only documents the original light, and is ignored.

Source: Greg Ward, "Real Pixels", Graphics Gems II, and the reference manual of Radiance, "File Formats".
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from progimage.engine.codecs.codec import Decoder, Decoding, ReadOnly, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.samples import imagecodecs, light, of_size
from progimage.engine.colorimetry import BT709, Calibrated, Chromaticities, ColourSpace
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, UnreadKind
from progimage.engine.files import InputFile
from progimage.engine.frame import Frame
from progimage.engine.limits import Limits
from progimage.engine.modes import mode_of

if TYPE_CHECKING:
    import numpy


_SIGNATURES = (b"#?RADIANCE", b"#?RGBE")
_LONGEST_HEADER = 64 * 1024
_RESOLUTION = re.compile(rb"([-+])([XY]) (\d{1,9}) ([-+])([XY]) (\d{1,9})\n")
_ORIENTATIONS = {
    b"-Y+X": 1, b"-Y-X": 2, b"+Y-X": 3, b"+Y+X": 4, b"+X-Y": 5, b"-X-Y": 6, b"-X+Y": 7, b"+X+Y": 8,
}  # fmt: skip
"""Orientation by resolution string, whose first axis is that of the scanlines."""
_XYZ = Chromaticities((1 / 3, 1 / 3), (1, 0), (0, 1), (0, 0))
_NARROWEST, _WIDEST = 8, 0x7FFF
"""Scanlines of these widths are run-length encoded for each channel separately."""


@dataclass(frozen=True, slots=True)
class _Header:
    """The header before the pixels.

    Attributes:
        width: Length of a scanline.
        height: Number of scanlines.
        orientation: Orientation as in EXIF.
        space: Primaries of the pixels.
        start: Offset of the pixels.
    """

    width: int
    height: int
    orientation: int
    space: ColourSpace
    start: int


class _Radiance(ReadOnly):
    """Radiance HDR, read-only."""

    format = Format(
        name="HDR",
        extensions=("hdr", "pic"),
        media_type="image/vnd.radiance",
        description="Radiance HDR",
        costs_like="JXL",
    )

    def __init__(self) -> None:
        self.recognises: Callable[[bytes], bool] | None = lambda head: head.startswith(_SIGNATURES)

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header; see `Codec`."""
        header = _header(bytes(file.data[:_LONGEST_HEADER]))
        limits.check(header.width, header.height)
        page = Page(header.width, header.height, orientation=header.orientation, native=header)
        return Description(
            format=self.format,
            pages=(page,),
            mode="RGB16",
            depth=32,
            floating=True,
            colour=header.space,
            always_turned=True,
        )

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return imagecodecs; see `Codec`."""
        return (Decoder(_frames),)


def _header(head: bytes) -> _Header:
    end = head.find(b"\n\n")
    found = _RESOLUTION.match(head, end + 2) if end >= 0 else None
    orientation = _ORIENTATIONS.get(b"".join(found.group(1, 2, 4, 5))) if found else None
    if not found or not orientation:
        raise CorruptImage("The header of the Radiance HDR file is invalid.")
    said = dict(line.split(b"=", 1) for line in head[:end].split(b"\n")[1:] if b"=" in line and line[:1] != b"#")
    kind = said.get(b"FORMAT", b"32-bit_rle_rgbe").strip()
    if kind not in (b"32-bit_rle_rgbe", b"32-bit_rle_xyze"):
        raise UnreadKind("Radiance HDR files with this kind of pixels aren't supported.")
    space = _XYZ if kind.endswith(b"xyze") else _primaries(said.get(b"PRIMARIES"))
    return _Header(int(found[6]), int(found[3]), orientation, Calibrated(1, space), found.end())


def _primaries(said: bytes | None) -> Chromaticities:
    """Return the primaries of a file; the default ones if the line is invalid."""
    try:
        values = [float(value) for value in said.split()] if said else []
    except ValueError:
        return BT709
    if len(values) != 8 or not all(map(math.isfinite, values)):
        return BT709
    red, green, blue, white = zip(values[::2], values[1::2], strict=True)
    space = Chromaticities(white, red, green, blue)
    try:
        space.to_xyz()
    except ValueError:
        return BT709
    return space


def _frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    imagecodecs()  # also makes numpy available
    header: _Header = source.description.first.native
    data, size = source.file.data[header.start :], (header.width, header.height)
    begins_with_runs = bytes(data[:2]) == b"\2\2" and len(data) > 3 and data[2] < 128
    if begins_with_runs and _NARROWEST <= header.width <= _WIDEST:
        import numpy

        out = numpy.empty((header.height, header.width, 3), numpy.float32)
        samples = of_size(imagecodecs().rgbe_decode(bytes(data), header=False, rle=True, out=out), size)
    else:
        samples = _without_channels_apart(data, header)
    pixels = light(samples)
    yield Frame(pixels, mode_of(pixels))


def _without_channels_apart(data: memoryview, header: _Header) -> "numpy.ndarray[Any, Any]":
    """Decode interleaved pixels, where a pixel of 1, 1, 1 is a repeat count for the previous one."""
    import numpy

    count = header.width * header.height
    pixels = numpy.frombuffer(data[: min(count, len(data) // 4) * 4], numpy.uint8).reshape(-1, 4)
    again = (pixels[:, :3] == 1).all(axis=1)
    if again.any():
        times = _times(pixels[:, 3], again)
        pixels = pixels[~again]
        if times.sum() < count:
            raise CorruptImage("The Radiance HDR file ends before its last pixel.")
        ends = numpy.minimum(times.cumsum(), count)
        pixels = pixels.repeat(numpy.diff(ends, prepend=0), axis=0)
    if len(pixels) < count:
        raise CorruptImage("The Radiance HDR file ends before its last pixel.")
    scale = numpy.ldexp(numpy.float32(1), pixels[:, 3:].astype(numpy.int32) - 136) * (pixels[:, 3:] > 0)
    lit: numpy.ndarray[Any, Any] = pixels[:, :3] * scale
    return lit.reshape(header.height, header.width, 3)


def _times(lengths: "numpy.ndarray[Any, Any]", again: "numpy.ndarray[Any, Any]") -> "numpy.ndarray[Any, Any]":
    """Return how often each pixel occurs: once, plus the repeat counts after it.

    Each of several consecutive repeat counts has 256 times the weight of the previous one.
    """
    import numpy

    places = numpy.arange(len(again))
    before = numpy.maximum.accumulate(numpy.where(again, -1, places))  # the pixel to repeat
    if before[0] < 0:
        raise CorruptImage("The Radiance HDR file starts with a repetition of a missing pixel.")
    shifts = numpy.minimum(places - before - 1, 3)[again] * 8
    times: numpy.ndarray[Any, Any] = numpy.ones(len(again), numpy.int64)
    numpy.add.at(times, before[again], lengths[again].astype(numpy.int64) << shifts)
    whole: numpy.ndarray[Any, Any] = times[~again]
    return whole


CODECS = (_Radiance(),)
