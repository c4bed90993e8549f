"""Truevision TGA. Pillow writes it, and unpacks run-length encoding; everything else is read here.

Source: Truevision TGA file format specification, version 2.0. There is no signature, so the header is checked strictly.
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
from progimage.engine.errors import CorruptImage, NotAnImage
from progimage.engine.files import InputFile
from progimage.engine.frame import Frame
from progimage.engine.limits import Limits
from progimage.engine.modes import OF_8_BITS

_HEADER = struct.Struct("<BBBHHBHHHHBB")
_FOOTER = struct.Struct("<II18s")
_SIGNATURE = b"TRUEVISION-XFILE.\0"
_ATTRIBUTES = 494
"""Offset of the attributes type in the extension area."""
_USEFUL, _PREMULTIPLIED = 3, 4
_MAPPED, _COLOUR, _GREY = 1, 2, 3
_RUNS = 8
_DEPTHS = {_MAPPED: (8, 15, 16), _COLOUR: (15, 16, 24, 32), _GREY: (1, 8, 16)}
_ENTRIES = (15, 16, 24, 32)
_FIVE_BITS = (0x7C00, 0x03E0, 0x001F)
_ATTRIBUTE = 0x8000
_RIGHT, _TOP, _INTERLEAVED = 0x10, 0x20, 0xC0
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_MAXIMUM = 65_535


@dataclass(frozen=True, slots=True)
class _Header:
    """The header of a TGA file.

    Attributes:
        kind: Image type: colour-mapped, true colour or grey.
        runs: Whether the image is run-length encoded.
        first: Index of the first entry of the colour map.
        count: Number of entries of the colour map.
        entry: Bits per entry of the colour map.
        width: Width in pixels.
        height: Height in pixels.
        depth: Bits per pixel.
        right: Whether rows are stored from right to left.
        top: Whether the first row is the top one.
        alpha: Whether the attribute bits are an alpha channel.
        map: Offset of the colour map in bytes.
        pixels: Offset of the pixels.
    """

    kind: int
    runs: bool
    first: int
    count: int
    entry: int
    width: int
    height: int
    depth: int
    right: bool
    top: bool
    alpha: bool
    map: int
    pixels: int

    @property
    def stored(self) -> int:
        """Number of bytes per pixel."""
        return (self.depth + 7) // 8


class _Tga(PillowCodec):
    """Uses our own decoder: Pillow doesn't support 15-bit pixels or maps, and treats any fourth byte as alpha."""

    def __init__(self, format: Format) -> None:
        super().__init__(format)
        self.recognises = None

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header; see `Codec`."""
        header = _read(file.data)
        limits.check(header.width, header.height)
        return Description(
            format=self.format,
            pages=(Page(header.width, header.height, native=header),),
            mode=_mode(header),
            depth=1 if header.depth == 1 else 8,
            premultiplied=header.alpha and _attributes(file.data) == _PREMULTIPLIED,
        )

    def exif(self, file: InputFile) -> None:
        """Return None, since the format has no EXIF."""

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return our own decoders."""
        return Decoder(_frames), Decoder(partial(_frames, lenient=True), lenient=True)


def _read(data: memoryview) -> _Header:
    if len(data) < _HEADER.size:
        raise NotAnImage("The file is too short for a TGA.")
    (
        id_length, mapped, kind, first, count, entry, _, _, width, height, depth, descriptor,
    ) = _HEADER.unpack_from(data)  # fmt: skip
    runs, kind = bool(kind & _RUNS), kind & ~_RUNS
    map_bytes = count * ((entry + 7) // 8) if mapped else 0
    start = _HEADER.size + id_length
    plausible = (
        mapped in (0, 1)
        and depth in _DEPTHS.get(kind, ())
        and (kind != _MAPPED or (mapped and count))
        and (not mapped or entry in _ENTRIES)
        and not descriptor & _INTERLEAVED
        and not (runs and depth == 1)
        and width
        and height
        and start + map_bytes < len(data)
    )
    if not plausible:
        raise NotAnImage("The file doesn't have the header of a supported TGA.")
    attributes = _attributes(data)
    return _Header(
        kind, runs, first, count, entry, width, height, depth,
        right=bool(descriptor & _RIGHT), top=bool(descriptor & _TOP),
        alpha=bool(descriptor & 0x0F) and attributes in (None, _USEFUL, _PREMULTIPLIED),
        map=start, pixels=start + map_bytes,
    )  # fmt: skip


def _attributes(data: memoryview) -> int | None:
    """Return the type of the attribute bits from the extension area; None if there is no such area."""
    if len(data) < _FOOTER.size:
        return None
    extension, _, signature = _FOOTER.unpack_from(data, len(data) - _FOOTER.size)
    if signature != _SIGNATURE or not extension or extension + _ATTRIBUTES >= len(data):
        return None
    return int(data[extension + _ATTRIBUTES])


def _has_alpha(header: _Header) -> bool:
    bits = header.entry if header.kind == _MAPPED else header.depth
    return header.alpha and bits in (16, 32)


def _mode(header: _Header) -> str:
    if header.depth == 1:
        return "1"
    if header.kind == _MAPPED and not _has_alpha(header):
        return "P"
    return ("L" if header.kind == _GREY else "RGB") + "A" * _has_alpha(header)


def _frames(source: Source, first: int, last: int, how: Decoding, *, lenient: bool = False) -> Iterator[Frame]:
    header: _Header = source.description.first.native
    data = source.file.data
    pixels = (
        _bit_pixels(data, header)
        if header.depth == 1
        else _colours(_stored(data, header, lenient=lenient), data, header)
    )
    if header.right:
        pixels = pixels.flip("horizontal")
    if not header.top:
        pixels = pixels.flip("vertical")
    pixels = pixels.copy(interpretation="b-w" if pixels.bands < 3 else "srgb")
    yield Frame(pixels, _mode(header))


def _bit_pixels(data: memoryview, header: _Header) -> pyvips.Image:
    """Return the pixels of a 1-bit image, which isn't in the specification, but which Pillow writes."""
    rows = Image.frombytes("1", (header.width, header.height), bytes(data[header.pixels :]), "raw", "1")
    return pyvips.Image.new_from_memory(rows.convert("L").tobytes(), header.width, header.height, 1, "uchar")


def _stored(data: memoryview, header: _Header, *, lenient: bool) -> pyvips.Image:
    """Return the stored pixels with one band per byte."""
    width, height, bands = header.width, header.height, header.stored
    part: bytes | memoryview
    if header.runs:
        # As a single row, since runs can cross rows.
        mode = _MODES[bands]
        row = Image.frombytes(mode, (width * height, 1), bytes(data[header.pixels :]), "tga_rle", mode, 1, 8 * bands)
        part = row.tobytes()
    else:
        size = width * height * bands
        part = data[header.pixels : header.pixels + size]
        if len(part) < size and not lenient:
            raise CorruptImage("The TGA file ends before its last pixel.")
        part = bytes(part).ljust(size, b"\0") if len(part) < size else part
    return pyvips.Image.new_from_memory(part, width, height, bands, "uchar")


def _colours(stored: pyvips.Image, data: memoryview, header: _Header) -> pyvips.Image:
    if header.kind == _MAPPED:
        index = stored if stored.bands == 1 else _words(stored)
        return index.maplut(_map(data, header))
    if header.kind == _GREY:
        return stored if _has_alpha(header) else stored.extract_band(0)
    return _true(stored, alpha=_has_alpha(header))


def _true(stored: pyvips.Image, *, alpha: bool) -> pyvips.Image:
    """Return colours of 15, 16, 24 or 32 bits, which are stored in the order blue, green, red."""
    if stored.bands == 2:
        return unpacked(_words(stored), (*_FIVE_BITS, _ATTRIBUTE) if alpha else _FIVE_BITS)
    blue, green, red, *rest = stored.bandsplit()
    return red.bandjoin([green, blue, *(rest if alpha else [])])


def _words(stored: pyvips.Image) -> pyvips.Image:
    """Return pairs of bytes as little-endian numbers."""
    return stored.copy(bands=1, format="ushort", coding="none")


def _map(data: memoryview, header: _Header) -> pyvips.Image:
    """Return the colour map, with black before its first colour, and its last colour after the end."""
    width = (header.entry + 7) // 8
    entries = pyvips.Image.new_from_memory(data[header.map : header.pixels], header.count, 1, width, "uchar")
    colours = _true(entries, alpha=_has_alpha(header))
    size = 256 if header.stored == 1 else 1 << 16
    room = min(header.count, max(0, size - header.first))
    if not room:
        raise CorruptImage("The colour map of the TGA file contains no colour that a pixel can refer to.")
    return colours.crop(0, 0, room, 1).embed(header.first, 0, header.first + room, 1).copy_memory()


CODECS = (
    _Tga(
        Format(
            name="TGA",
            extensions=("tga", "icb", "vda", "vst"),
            media_type="image/x-tga",
            description="Truevision TGA",
            modes=("1", "P", *OF_8_BITS),
            max_side=_MAXIMUM,
        )
    ),
)
