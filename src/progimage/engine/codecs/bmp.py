"""Windows bitmaps, with a file header (BMP) or without (DIB). Pillow writes them, and reads run-length encoded ones.

Sources: BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER of the Windows GDI; otherwise the behaviour of browsers.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pyvips
from PIL import Image

from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.packed import unpacked
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, UnreadKind
from progimage.engine.files import InputFile
from progimage.engine.frame import Frame
from progimage.engine.limits import Limits
from progimage.engine.modes import mode_of

_FILE_HEADER = 14
_CORE, _INFO, _MASKS, _MASKS_WITH_ALPHA, _V5 = 12, 40, 52, 56, 124
_SIZES = (_CORE, *range(16, 65), 108, _V5)
_INFO_FIELDS = struct.Struct("<iiHHIIiiII")
_OS2 = 64
_PLAIN, _RUNS, _FIELDS, _FIELDS_WITH_ALPHA = 0, (1, 2), 3, 6
_UNREAD = {4: "JPEG", 5: "PNG"}
_USUAL_MASKS = {16: (0x7C00, 0x03E0, 0x001F), 32: (0xFF0000, 0x00FF00, 0x0000FF)}
_ALPHA, _ALPHA_SAID = 0xFF000000, b"\0\0\0\xff"
_DEPTHS = (1, 2, 4, 8, 16, 24, 32)
_EMBEDDED = b"DEBM"
"""Colour space type of an embedded ICC profile, little-endian."""
_SPACE, _PROFILE = 56, 112
_BLACK_AND_WHITE = (b"\0\0\0", b"\xff\xff\xff")
_MOST_COLOURS = 256
_MODES = ("1", "P", "L", "RGB")


@dataclass(frozen=True, slots=True)
class _Header:
    """The header of a bitmap that isn't run-length encoded.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        depth: Bits per pixel.
        downwards: Whether the first row is the top one.
        masks: Bit masks of red, green, blue and possibly alpha, for pixels of 16 or 32 bits.
        palette: Palette for depths up to 8 bits, in the order red, green, blue.
        icc: ICC profile.
        pixels: Offset of the pixels in bytes.
    """

    width: int
    height: int
    depth: int
    downwards: bool
    masks: tuple[int, ...]
    palette: tuple[bytes, ...]
    icc: bytes | None
    pixels: int

    @property
    def row(self) -> int:
        """Number of bytes of a row."""
        return (self.width * self.depth + 31) // 32 * 4

    @property
    def is_deep(self) -> bool:
        """Whether a channel has more than 8 bits."""
        return any(mask.bit_count() > 8 for mask in self.masks)


class _Bmp(PillowCodec):
    """Uses our own decoder: Pillow supports only few layouts of 16 and 32 bits, and no alpha in 16 bits.

    Args:
        format: Description of the format.
        start: Number of bytes before the header.
    """

    def __init__(self, format: Format, start: int) -> None:
        super().__init__(format)
        self._start = start

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header; see `Codec`."""
        try:
            header = _read(file.data, self._start)
        except struct.error:
            raise CorruptImage("The bitmap ends within its header.") from None
        if header is None:
            return super().describe(file, limits, dpi)
        limits.check(header.width, header.height)
        return Description(
            format=self.format,
            pages=(Page(header.width, header.height, native=header),),
            mode=_mode(header),
            depth=1 if _mode(header) == "1" else max((8, *(mask.bit_count() for mask in header.masks))),
            colour=header.icc,
        )

    def exif(self, file: InputFile) -> None:
        """Return None, since the format has no EXIF."""

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return Pillow for run-length encoded bitmaps, and our own decoders for all others."""
        if not isinstance(description.first.native, _Header):
            return super().decoders(description)
        return Decoder(_frames), Decoder(partial(_frames, lenient=True), lenient=True)


def _read(data: memoryview, start: int) -> _Header | None:
    """Return the header of a bitmap; None if it is run-length encoded."""
    size = int.from_bytes(data[start : start + 4], "little")
    if size not in _SIZES:
        raise CorruptImage(f"The bitmap has a header of unknown size: {size} bytes.")
    width, height, depth, compression, count = _fields(data, start, size)
    if size == _OS2 and compression > max(_RUNS):
        raise UnreadKind("The file is an OS/2 bitmap with an unsupported compression.")
    if compression in _RUNS:
        return None
    if compression in _UNREAD:
        raise UnreadKind(f"The file is a bitmap that contains a {_UNREAD[compression]}, which isn't supported.")
    if compression not in (_PLAIN, _FIELDS, _FIELDS_WITH_ALPHA) or depth not in _DEPTHS:
        raise UnreadKind(
            f"The file is a bitmap of {depth} bits per pixel with compression {compression}, which isn't supported."
        )
    if width < 1 or height == 0:
        raise CorruptImage("According to its header, the bitmap has no pixels.")
    at = start + size
    masks, behind = _masks(data, at, size, depth, compression)
    pixels = int.from_bytes(data[10:14], "little") if start else 0
    palette = _palette(data, behind, pixels, 3 if size == _CORE else 4, count, depth)
    entries = count if depth > 8 else len(palette)
    return _Header(
        width, abs(height), depth, height < 0, masks, palette, _icc(data, start, size),
        pixels or behind + entries * (3 if size == _CORE else 4),
    )  # fmt: skip


def _fields(data: memoryview, start: int, size: int) -> tuple[int, int, int, int, int]:
    """Return width, height, bits per pixel, compression, and number of used colours, where 0 means all."""
    if size == _CORE:
        width, height, _, depth = struct.unpack_from("<HHHH", data, start + 4)
        return width, height, depth, _PLAIN, 0
    # In OS/2 headers, the rest can be missing and counts as 0.
    fields = bytes(data[start + 4 : start + min(size, _INFO)]).ljust(_INFO_FIELDS.size, b"\0")
    width, height, _, depth, compression, _, _, _, count, _ = _INFO_FIELDS.unpack(fields)
    return width, height, depth, compression, count


def _masks(data: memoryview, at: int, size: int, depth: int, compression: int) -> tuple[tuple[int, ...], int]:
    """Return the bit mask of each channel, and the offset after the masks."""
    if depth not in _USUAL_MASKS:
        return (), at
    if compression == _PLAIN:
        # Browsers use the alpha mask of the longer headers here, but not their colour masks.
        alpha = data[at - size + _MASKS : at - size + _MASKS_WITH_ALPHA] if size >= _MASKS_WITH_ALPHA else b""
        return _USUAL_MASKS[depth] + ((_ALPHA,) if depth == 32 and bytes(alpha) == _ALPHA_SAID else ()), at
    count = 4 if size >= _MASKS_WITH_ALPHA or compression == _FIELDS_WITH_ALPHA else 3
    inside = size >= _MASKS
    masks = struct.unpack_from(f"<{count}I", data, at - size + _INFO if inside else at)
    for mask in masks:
        lowest = mask & -mask
        if mask >> depth or (mask and (mask // lowest) & (mask // lowest + 1)):
            raise CorruptImage("The bits of a channel of the bitmap aren't contiguous or lie outside the pixel.")
    return masks if count == 3 or masks[3] else masks[:3], at if inside else at + 4 * count


def _palette(data: memoryview, at: int, end: int, width: int, count: int, depth: int) -> tuple[bytes, ...]:
    if depth > 8:
        return ()
    maximum = min(count or 1 << depth, _MOST_COLOURS)
    if end > at:
        maximum = min(maximum, (end - at) // width)
    entries = bytes(data[at : at + maximum * width])
    return tuple(entries[place : place + 3][::-1] for place in range(0, len(entries) - 2, width))


def _icc(data: memoryview, start: int, size: int) -> bytes | None:
    """Return the embedded profile, which only the longest header supports."""
    if size < _V5 or bytes(data[start + _SPACE : start + _SPACE + 4]) != _EMBEDDED:
        return None
    place, length = struct.unpack_from("<II", data, start + _PROFILE)
    return bytes(data[start + place : start + place + length]) or None


def _mode(header: _Header) -> str:
    if header.depth <= 8:
        return "1" if header.palette == _BLACK_AND_WHITE else "P"
    return "RGB" + "A" * (len(header.masks) == 4) + "16" * header.is_deep


def _frames(source: Source, first: int, last: int, how: Decoding, *, lenient: bool = False) -> Iterator[Frame]:
    header: _Header = source.description.first.native
    # The padding of the last row can be missing.
    whole = header.row * (header.height - 1) + (header.width * header.depth + 7) // 8
    data = source.file.data[header.pixels : header.pixels + header.row * header.height]
    if len(data) < whole and not lenient:
        raise CorruptImage("The bitmap ends before its last pixel.")
    if len(data) < header.row * header.height:
        data = memoryview(bytes(data).ljust(header.row * header.height, b"\0"))
    pixels = _indexed(data, header) if header.depth <= 8 else _direct(data, header)
    if not header.downwards:
        pixels = pixels.flip("vertical")
    deep = pixels.format == "ushort"
    kind = "b-w" if pixels.bands < 3 else "rgb16" if deep else "srgb"
    pixels = pixels.copy(interpretation=kind)
    yield Frame(pixels, _mode(header) if header.depth <= 8 else mode_of(pixels))


def _indexed(data: memoryview, header: _Header) -> pyvips.Image:
    rows = Image.frombytes(
        "P", (header.width, header.height), bytes(data), "raw", f"P;{header.depth}" if header.depth < 8 else "P",
        header.row, 1,
    )  # fmt: skip
    index = pyvips.Image.new_from_memory(rows.tobytes(), header.width, header.height, 1, "uchar")
    if _mode(header) == "1":
        return (index > 0).copy(interpretation="b-w")
    colours = b"".join(header.palette).ljust(3 * _MOST_COLOURS, b"\0")
    return index.maplut(pyvips.Image.new_from_memory(colours, _MOST_COLOURS, 1, 3, "uchar"))


def _direct(data: memoryview, header: _Header) -> pyvips.Image:
    if header.depth == 24:
        rows = Image.frombytes("RGB", (header.width, header.height), bytes(data), "raw", "BGR", header.row, 1)
        return pyvips.Image.new_from_memory(rows.tobytes(), header.width, header.height, 3, "uchar")
    bytes_, kind = (2, "ushort") if header.depth == 16 else (4, "uint")
    words = pyvips.Image.new_from_memory(data, header.row // bytes_, header.height, 1, kind)
    return unpacked(words.crop(0, 0, header.width, header.height), header.masks)


CODECS = (
    _Bmp(
        Format(name="BMP", extensions=("bmp",), media_type="image/bmp", description="Windows bitmap", modes=_MODES),
        _FILE_HEADER,
    ),
    _Bmp(
        Format(
            name="DIB",
            extensions=("dib",),
            media_type="image/x-ms-bmp",
            description="Device-independent bitmap",
            modes=_MODES,
        ),
        0,
    ),
)
