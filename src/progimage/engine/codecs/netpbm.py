"""Netpbm's formats, and the related float map."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyvips

from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, UnreadKind
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame, normalise, to_pillow
from progimage.engine.limits import Limits
from progimage.engine.metadata import Kept
from progimage.engine.modes import OF_8_BITS, OF_16_BITS, is_deep, is_grey, mode_of

if TYPE_CHECKING:
    from progimage.engine.plan import Plan


class _Netpbm(PillowCodec):
    """One of the formats, which are distinguished by their second byte."""

    def __init__(self, format: Format, magic: tuple[bytes, ...]) -> None:
        super().__init__(format, "PPM")
        accepts = self.recognises or (lambda head: True)

        def recognises(head: bytes) -> bool:
            known = accepts(head) or head.startswith(_COLOURS)
            return known and (head.startswith(magic) if magic else not head.startswith(_KNOWN))

        self.recognises: Callable[[bytes], bool] | None = recognises

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write 16-bit colour, which Pillow doesn't support, as raw big-endian samples."""
        if not is_deep(first.mode) or is_grey(first.mode):
            super().encode(first, rest, plan, target)
            return
        pixels = first.pixels
        header = f"P6\n{pixels.width} {pixels.height}\n65535\n".encode()
        with target.file() as file:
            file.write(header + bytes(pixels.byteswap().write_to_memory()))


class _FloatMap(_Netpbm):
    """Reads grey with Pillow, and colour, which Pillow doesn't support, with our own code. It can't be written."""

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header; see `Codec`."""
        if file.data[:2] != _COLOURS:
            return super().describe(file, limits, dpi)
        found = _FLOAT_HEADER.match(bytes(file.data[:_LONGEST_HEADER]))
        if not found:
            raise CorruptImage("The header of the float map is invalid.")
        width, height = int(found[1]), int(found[2])
        limits.check(width, height)
        page = Page(width, height, native=found)
        return Description(format=self.format, pages=(page,), mode="RGB16", depth=32, floating=True)

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return Pillow for grey, and our own decoder for colour."""
        return super().decoders(description) if description.mode == "F" else (Decoder(_floats),)


def _floats(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    page = source.description.first
    header: re.Match[bytes] = page.native
    data = bytes(source.file.data[header.end() :][: page.width * page.height * 12])
    if len(data) < page.width * page.height * 12:
        raise CorruptImage("The float map ends before its last pixel.")
    pixels = pyvips.Image.new_from_memory(data, page.width, page.height, 3, "float")
    if not header[3].startswith(b"-"):  # a negative scale means little-endian
        pixels = pixels.byteswap()
    pixels = normalise(pixels.flip("vertical").copy(interpretation="rgb"))
    yield Frame(pixels, mode_of(pixels))


class _Pam:
    """The arbitrary map (PAM), with any number of channels and any maximum sample value."""

    def __init__(self, format: Format) -> None:
        self.format = format
        self.recognises: Callable[[bytes], bool] | None = lambda head: head.startswith(_ARBITRARY)

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header; see `Codec`."""
        header = _pam_header(bytes(file.data[:_LONGEST_PAM_HEADER]))
        limits.check(header.width, header.height)
        bits = header.maximum.bit_length()
        mode = header.mode if header.mode in ("1", "CMYK") else header.mode + "16" * (bits > 8)
        page = Page(header.width, header.height, native=header)
        return Description(format=self.format, pages=(page,), mode=mode, depth=bits)

    def exif(self, file: InputFile) -> None:
        """Return None, since the format has no EXIF."""

    def stripped(self, source: Source, kept: Kept) -> None:
        """Return None, since encoding again loses nothing; see `Codec`."""

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return the only decoder."""
        return (Decoder(_pam_frames),)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write the samples unchanged; see `Codec`."""
        pixels, maximum = first.pixels, 65535 if is_deep(first.mode) else 255
        if first.mode == "1":
            data, maximum = to_pillow(first).convert("L").tobytes().translate(_TO_BITS), 1
        else:
            data = bytes((pixels.byteswap() if maximum > 255 else pixels).write_to_memory())
        kind = "BLACKANDWHITE" if maximum == 1 else _PAM_KINDS[pixels.bands - 1]
        header = (
            f"P7\nWIDTH {pixels.width}\nHEIGHT {pixels.height}\nDEPTH {pixels.bands}\nMAXVAL {maximum}\n"
            f"TUPLTYPE {kind}\nENDHDR\n"
        )
        with target.file() as file:
            file.write(header.encode() + data)


@dataclass(frozen=True, slots=True)
class _PamHeader:
    """The header of a PAM file.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        depth: Samples per pixel.
        maximum: Maximum sample value.
        mode: Pixel mode of the first samples of each pixel, for 8 bits; further samples are ignored.
        start: Offset of the samples.
    """

    width: int
    height: int
    depth: int
    maximum: int
    mode: str
    start: int


def _pam_header(head: bytes) -> _PamHeader:
    found = _PAM_END.search(head)
    if not found:
        raise CorruptImage("The header of the PAM file has no end marker.")
    numbers, kind = {}, b""
    for line in head[: found.start()].split(b"\n")[1:]:
        name, _, value = line.strip().partition(b" ")
        if name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"):
            if not _PAM_NUMBER.fullmatch(value.strip()):
                raise CorruptImage("The header of the PAM file is invalid.")
            numbers[name] = int(value)
        elif name == b"TUPLTYPE":
            kind += value.strip()
    try:
        width, height, depth, maximum = (numbers[name] for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    except KeyError:
        raise CorruptImage("A line is missing in the header of the PAM file.") from None
    if not 1 <= maximum <= 65535:
        raise CorruptImage(f"The maximum sample value of the PAM file is {maximum}; allowed: 1 to 65535.")
    return _PamHeader(
        width, height, depth, maximum, _pam_mode(kind.decode("latin-1").upper(), depth, maximum), found.end()
    )


def _pam_mode(kind: str, depth: int, maximum: int) -> str:
    """Return the pixel mode by tuple type, or by the number of samples if there is no tuple type."""
    if not kind:
        if depth not in _PAM_BY_DEPTH:
            raise UnreadKind(f"PAM files with {depth} channels aren't supported.")
        return _PAM_BY_DEPTH[depth]
    if kind not in _PAM_TYPES:
        raise UnreadKind(f"PAM files with the tuple type {kind[:_LONGEST_TYPE]!r} aren't supported.")
    mode, planes = _PAM_TYPES[kind]
    if depth < planes:
        raise CorruptImage(f"The PAM file has {depth} channels, but {kind} has {planes}.")
    return "1" if kind == _BLACK_AND_WHITE and (depth, maximum) == (1, 1) else mode


def _pam_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    header: _PamHeader = source.description.first.native
    deep = header.maximum > 255
    count = header.width * header.height * header.depth * (1 + deep)
    data = bytes(source.file.data[header.start : header.start + count])
    if len(data) < count:
        raise CorruptImage("The PAM file ends before its last pixel.")
    kind, white = ("ushort", 65535) if deep else ("uchar", 255)
    pixels = pyvips.Image.new_from_memory(data, header.width, header.height, header.depth, kind)
    if deep:
        pixels = pixels.byteswap()
    if header.mode == "CMYK":  # which has 8 bits
        kind, white = "uchar", 255
    if header.maximum != white:
        pixels = (pixels * (white / header.maximum) + 0.5).cast(kind)
    planes = _PAM_PLANES[header.mode]
    if planes < header.depth:
        pixels = pixels.extract_band(0, n=planes)
    pixels = pixels.copy(interpretation="cmyk") if header.mode == "CMYK" else normalise(pixels)
    yield Frame(pixels, "1" if header.mode == "1" else mode_of(pixels))


_ARBITRARY, _LONGEST_PAM_HEADER = b"P7\n", 64 * 1024
_PAM_END, _PAM_NUMBER = re.compile(rb"\nENDHDR[ \t]*\n"), re.compile(rb"\d{1,9}")
_PAM_KINDS = ("GRAYSCALE", "GRAYSCALE_ALPHA", "RGB", "RGB_ALPHA")
_BLACK_AND_WHITE, _LONGEST_TYPE = "BLACKANDWHITE", 40
_PAM_PLANES = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
_PAM_BY_DEPTH = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_PAM_TYPES = {
    kind: (mode, _PAM_PLANES[mode])
    for kind, mode in (
        (_BLACK_AND_WHITE, "L"), ("BLACKANDWHITE_ALPHA", "LA"), *zip(_PAM_KINDS, _PAM_BY_DEPTH.values(), strict=True),
        ("CMYK", "CMYK"),
    )
}  # fmt: skip
"""Pixel modes by tuple type (netpbm's pam(5), and CMYK as Ghostscript writes it, where 0 is no ink)."""
_TO_BITS = bytes([0] * 128 + [1] * 128)
_COLOURS, _LONGEST_HEADER = b"PF", 100
_FLOAT_HEADER = re.compile(rb"PF\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s")
_BITMAP, _GREYMAP, _PIXMAP, _FLOATMAP = (b"P1", b"P4"), (b"P2", b"P5"), (b"P3", b"P6"), (b"Pf", b"PF")
_KNOWN = (*_BITMAP, *_GREYMAP, *_PIXMAP, *_FLOATMAP)


def _format(name: str, media_type: str, description: str, modes: tuple[str, ...]) -> Format:
    return Format(
        name=name, extensions=(name.lower(),), media_type=f"image/{media_type}", description=description, modes=modes
    )


CODECS = (
    _Pam(
        Format(
            name="PAM",
            extensions=("pam",),
            media_type="image/x-portable-arbitrarymap",
            description="Portable arbitrary map",
            modes=("1", *OF_8_BITS, *OF_16_BITS),
            costs_like="PPM",
        )
    ),
    _Netpbm(_format("PBM", "x-portable-bitmap", "Portable bitmap", ("1",)), _BITMAP),
    _FloatMap(_format("PFM", "x-portable-floatmap", "Portable float map", ("F",)), _FLOATMAP),
    _Netpbm(_format("PGM", "x-portable-graymap", "Portable grey map", ("L", "L16")), _GREYMAP),
    _Netpbm(_format("PNM", "x-portable-anymap", "Portable any map", ("1", "L", "L16", "RGB", "RGB16")), ()),
    _Netpbm(_format("PPM", "x-portable-pixmap", "Portable pixel map", ("RGB", "RGB16")), _PIXMAP),
)
