"""PCX, of ZSoft's Paintbrush.

Source: ZSoft, "PCX Technical Reference Manual", 1991, which also has the header of pictures for CGA.
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
"""Bits and planes of pixels that are numbers of up to 16 colours."""
_USUAL = (
    (0, 0, 0), (0, 0, 170), (0, 170, 0), (0, 170, 170), (170, 0, 0), (170, 0, 170), (170, 85, 0), (170, 170, 170),
    (85, 85, 85), (85, 85, 255), (85, 255, 85), (85, 255, 255), (255, 85, 85), (255, 85, 255), (255, 255, 85),
    (255, 255, 255),
)  # fmt: skip
"""The colours of CGA, and of EGA where the file has no palette."""
_CGA_SETS = ((2, 4, 6), (3, 5, 7))
_BRIGHTER = 8
_RUN = 0xC0
_MAKER, _VERSIONS, _BITS = 10, (0, 2, 3, 4, 5), (1, 2, 4, 8)
_SLACK = 1024
"""So many bytes a line may have beyond those that its pixels need."""


@dataclass(frozen=True, slots=True)
class _Header:
    """What stands before the pixels.

    Attributes:
        packed: They are coded in runs.
        bits: Of each plane, for a pixel.
        planes: How many there are, one after the other in each line.
        width: In pixels.
        height: In pixels.
        line: Bytes of a line of a plane.
        palette: As it is in the file.
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
        """What the numbers stand for."""
        palette = self.palette
        if self.bits == 2 and self.planes == 1 and not any(palette[1:3] + palette[4:12]):
            # Not four colours, but what CGA was set to: background, set and brightness.
            choice, brighter = palette[3] >> 6 & 1, _BRIGHTER * (palette[3] >> 5 & 1)
            return [_USUAL[palette[0] >> 4], *(_USUAL[index + brighter] for index in _CGA_SETS[choice])]
        if not any(palette):
            return list(_USUAL)
        return [tuple(palette[at : at + 3]) for at in range(0, 48, 3)]


class _Pcx(PillowCodec):
    """Read and written by Pillow, but for pixels of few colours: it knows only some, and takes CGA's for a palette."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether it begins with a header of a version that there was; a TGA may have the same first byte."""
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
        """Return None: there is none."""
        return None

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return Pillow, or our own for few colours."""
        return (Decoder(_frames if isinstance(description.first.native, _Header) else self.frames),)


def _header(file: InputFile) -> _Header | None:
    """Return the header of a picture of few colours; None of any other."""
    if len(file.data) < _PIXELS:
        raise CorruptImage("The header of the PCX file is too short.")
    _, _, packed, bits, left, top, right, bottom, _, _, palette, _, planes, line = _HEADER.unpack_from(file.data)
    if (bits, planes) in _BY_PILLOW:
        return None
    if (bits, planes) not in _FEW_COLOURS:
        raise UnreadKind(f"A PCX of {planes} planes of {bits} bits is not read here.")
    width, height = right - left + 1, bottom - top + 1
    needed = (width * bits + 7) // 8
    if width < 1 or height < 1 or not needed <= line <= needed + _SLACK:
        raise CorruptImage("The header of the PCX file is broken.")
    return _Header(packed == 1, bits, planes, width, height, line, palette)


def _frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    imagecodecs()  # and numpy with it
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
    """Return up to so many bytes of runs: one with its two highest bits set says how often the next comes."""
    import numpy

    places = numpy.arange(data.size)
    high = data >= _RUN
    # The byte behind a length is a value, even if it is high; so in a row of high ones, every other is a length.
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
