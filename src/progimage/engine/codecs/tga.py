"""Truevision TGA. Pillow writes it, and unpacks its runs; all else is read here.

Source: Truevision TGA file format specification, version 2.0. It has no signature, so the header is looked at closely.
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
"""Where the extension area says what the attribute bits are."""
_USEFUL, _PREMULTIPLIED = 3, 4
_MAPPED, _COLOUR, _GREY = 1, 2, 3
_RUNS = 8
_DEPTHS = {_MAPPED: (8, 15, 16), _COLOUR: (15, 16, 24, 32), _GREY: (1, 8, 16)}
_ENTRIES = (15, 16, 24, 32)
_FIVE_BITS = (0x7C00, 0x03E0, 0x001F)
_ATTRIBUTE = 0x8000
_RIGHT, _TOP, _INTERLEAVED = 0x10, 0x20, 0xC0
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_MOST = 65_535


@dataclass(frozen=True, slots=True)
class _Header:
    """The header of a TGA file.

    Attributes:
        kind: Mapped, colour or grey.
        runs: It is packed in runs.
        first: The number of the first colour of its map.
        count: How many colours its map has.
        entry: Of how many bits each of them is.
        width: In pixels.
        height: Likewise.
        depth: Bits a pixel.
        right: The first pixel of a row is the rightmost one.
        top: The first row is the topmost one.
        alpha: The attribute bits are an alpha channel.
        map: Where the colour map begins, in bytes.
        pixels: Where the pixels begin.
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
        """How many bytes a pixel has."""
        return (self.depth + 7) // 8


class _Tga(PillowCodec):
    """Pillow has no pixels of 15 bits, takes any fourth byte for alpha, and knows no colour maps of 15 bits."""

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
        """Return None: it has none."""

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return our own."""
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
        raise NotAnImage("The file has not the header of a TGA that can be read here.")
    attributes = _attributes(data)
    return _Header(
        kind, runs, first, count, entry, width, height, depth,
        right=bool(descriptor & _RIGHT), top=bool(descriptor & _TOP),
        alpha=bool(descriptor & 0x0F) and attributes in (None, _USEFUL, _PREMULTIPLIED),
        map=start, pixels=start + map_bytes,
    )  # fmt: skip


def _attributes(data: memoryview) -> int | None:
    """Return what the extension area says of the attribute bits; None if there is none."""
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
    """Return the pixels of a bitmap, which is beyond the specification, but which Pillow writes."""
    rows = Image.frombytes("1", (header.width, header.height), bytes(data[header.pixels :]), "raw", "1")
    return pyvips.Image.new_from_memory(rows.convert("L").tobytes(), header.width, header.height, 1, "uchar")


def _stored(data: memoryview, header: _Header, *, lenient: bool) -> pyvips.Image:
    """Return the pixels as they are stored, of as many bands as they have bytes."""
    width, height, bands = header.width, header.height, header.stored
    part: bytes | memoryview
    if header.runs:
        # As a single row, since runs may go from one row to the next.
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
    """Return colours of 15, 16, 24 or 32 bits, which are stored from blue to red."""
    if stored.bands == 2:
        return unpacked(_words(stored), (*_FIVE_BITS, _ATTRIBUTE) if alpha else _FIVE_BITS)
    blue, green, red, *rest = stored.bandsplit()
    return red.bandjoin([green, blue, *(rest if alpha else [])])


def _words(stored: pyvips.Image) -> pyvips.Image:
    """Return pairs of bytes as numbers, the less significant byte first."""
    return stored.copy(bands=1, format="ushort", coding="none")


def _map(data: memoryview, header: _Header) -> pyvips.Image:
    """Return the colour map, with black for what is before its first colour, and its last colour for what is behind."""
    width = (header.entry + 7) // 8
    entries = pyvips.Image.new_from_memory(data[header.map : header.pixels], header.count, 1, width, "uchar")
    colours = _true(entries, alpha=_has_alpha(header))
    size = 256 if header.stored == 1 else 1 << 16
    room = min(header.count, max(0, size - header.first))
    if not room:
        raise CorruptImage("The colour map of the TGA file has no colour that a pixel could have.")
    return colours.crop(0, 0, room, 1).embed(header.first, 0, header.first + room, 1).copy_memory()


CODECS = (
    _Tga(
        Format(
            name="TGA",
            extensions=("tga", "icb", "vda", "vst"),
            media_type="image/x-tga",
            description="Truevision TGA",
            modes=("1", "P", *OF_8_BITS),
            max_side=_MOST,
        )
    ),
)
