"""PCX, the format of ZSoft's Paintbrush.

Source: ZSoft, "PCX Technical Reference Manual", 1991, which also describes the header of CGA images.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.codecs.samples import imagecodecs, whole_numbers
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, UnreadKind
from progimage.engine.files import InputFile
from progimage.engine.frame import Frame
from progimage.engine.limits import Limits
from progimage.engine.modes import mode_of

if TYPE_CHECKING:
    import numpy

_HEADER = struct.Struct("<BBBBHHHHHH48sBBH")
_PIXELS = 128
_BY_PILLOW = ((1, 1), (8, 1), (8, 3))
_FEW_COLOURS = ((1, 2), (1, 3), (1, 4), (2, 1), (4, 1))
"""Bits and planes of images with up to 16 colours."""
_USUAL = (
    (0, 0, 0), (0, 0, 170), (0, 170, 0), (0, 170, 170), (170, 0, 0), (170, 0, 170), (170, 85, 0), (170, 170, 170),
    (85, 85, 85), (85, 85, 255), (85, 255, 85), (85, 255, 255), (255, 85, 85), (255, 85, 255), (255, 255, 85),
    (255, 255, 255),
)  # fmt: skip
"""The colours of CGA, and of EGA if the file has no palette."""
_CGA_SETS = ((2, 4, 6), (3, 5, 7))
_BRIGHTER = 8
_RUN = 0xC0
_MAKER, _VERSIONS, _BITS = 10, (0, 2, 3, 4, 5), (1, 2, 4, 8)
_SLACK = 1024
"""Maximum number of extra bytes in a line beyond those that its pixels need."""


@dataclass(frozen=True, slots=True)
class _Header:
    """The header before the pixels.

    Attributes:
        packed: Whether pixels are run-length encoded.
        bits: Bits per pixel in each plane.
        planes: Number of planes, which follow each other in each line.
        width: Width in pixels.
        height: Height in pixels.
        line: Number of bytes of a plane's line.
        palette: The stored palette.
    """

    packed: bool
    bits: int
    planes: int
    width: int
    height: int
    line: int
    palette: bytes

    @property
    def colours(self) -> list[tuple[int, ...]]:
        """The colours by index."""
        palette = self.palette
        if self.bits == 2 and self.planes == 1 and not any(palette[1:3] + palette[4:12]):
            # These bytes aren't four colours, but settings of CGA: background, colour set and brightness.
            choice, brighter = palette[3] >> 6 & 1, _BRIGHTER * (palette[3] >> 5 & 1)
            return [_USUAL[palette[0] >> 4], *(_USUAL[index + brighter] for index in _CGA_SETS[choice])]
        if not any(palette):
            return list(_USUAL)
        return [tuple(palette[at : at + 3]) for at in range(0, 48, 3)]


class _Pcx(PillowCodec):
    """Uses Pillow except for few colours, of which it supports only some variants and misinterprets those of CGA."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether the file starts with a header of a known version. A TGA can have the same first byte."""
        return len(head) >= _PIXELS and head[0] == _MAKER and head[1] in _VERSIONS and head[2] <= 1 and head[3] in _BITS

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header; see `Codec`."""
        header = _header(file)
        if header is None:
            return super().describe(file, limits, dpi)
        limits.check(header.width, header.height)
        page = Page(header.width, header.height, native=header)
        return Description(format=self.format, pages=(page,), mode="P")

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return None, since the format has no EXIF."""
        return None

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return Pillow, or our own decoder for few colours."""
        return (Decoder(_frames if isinstance(description.first.native, _Header) else self.frames),)


def _header(file: InputFile) -> _Header | None:
    """Return the header of an image with few colours; None for others."""
    if len(file.data) < _PIXELS:
        raise CorruptImage("The header of the PCX file is too short.")
    _, _, packed, bits, left, top, right, bottom, _, _, palette, _, planes, line = _HEADER.unpack_from(file.data)
    if (bits, planes) in _BY_PILLOW:
        return None
    if (bits, planes) not in _FEW_COLOURS:
        raise UnreadKind(f"PCX files with {planes} planes of {bits} bits aren't supported.")
    width, height = right - left + 1, bottom - top + 1
    needed = (width * bits + 7) // 8
    if width < 1 or height < 1 or not needed <= line <= needed + _SLACK:
        raise CorruptImage("The header of the PCX file is invalid.")
    return _Header(packed == 1, bits, planes, width, height, line, palette)


def _frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    imagecodecs()  # also makes numpy available
    import numpy

    header: _Header = source.description.first.native
    count = header.height * header.planes * header.line
    data = numpy.frombuffer(source.file.data[_PIXELS:], numpy.uint8)
    data = _unpacked(data, count) if header.packed else data[:count]
    if data.size < count:
        raise CorruptImage("The PCX file ends before its last pixel.")
    bits = numpy.unpackbits(data.reshape(header.height, header.planes, header.line), axis=2)
    pixels = bits[:, :, : header.width * header.bits].reshape(header.height, header.planes, header.width, header.bits)
    indices = numpy.zeros((header.height, header.width), numpy.uint8)
    for plane in range(header.planes):
        for bit in range(header.bits):
            indices |= pixels[:, plane, :, bit] << (header.bits * plane + header.bits - 1 - bit)
    colours = numpy.array(header.colours, numpy.uint8)
    image = whole_numbers(colours[indices % len(colours)], 8)
    yield Frame(image, "P" if mode_of(image) == "RGB" else mode_of(image))


def _unpacked(data: "numpy.ndarray[Any, Any]", count: int) -> "numpy.ndarray[Any, Any]":
    """Return up to `count` unpacked bytes. A byte with its two highest bits set is a repeat count for the next."""
    import numpy

    places = numpy.arange(data.size)
    high = data >= _RUN
    # The byte after a count is a value even if it is high; so in a series of high bytes, every other is a count.
    since = places - numpy.maximum.accumulate(numpy.where(high, -1, places))
    lengths = high & (since % 2 == 1)
    times: numpy.ndarray[Any, Any] = numpy.ones(data.size, numpy.int64)
    times[1:][lengths[:-1]] = data[:-1][lengths[:-1]] & ~numpy.uint8(_RUN)
    values, times = data[~lengths], times[~lengths]
    ends = numpy.minimum(times.cumsum(), count)
    found: numpy.ndarray[Any, Any] = values.repeat(numpy.diff(ends, prepend=0))
    return found


CODECS = (
    _Pcx(
        Format(
            name="PCX",
            extensions=("pcx",),
            media_type="image/x-pcx",
            description="Paintbrush",
            modes=("1", "P", "L", "RGB"),
            max_side=65_535,
        )
    ),
)
