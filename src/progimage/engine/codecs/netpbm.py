"""Netpbm's formats, and the float map that is like them."""

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
    """One of the family, which are told apart by their second byte."""

    def __init__(self, format: Format, magic: tuple[bytes, ...]) -> None:
        """Take Pillow's plugin for all of them."""
        super().__init__(format, "PPM")
        accepts = self.recognises or (lambda head: True)

        def recognises(head: bytes) -> bool:
            known = accepts(head) or head.startswith(_COLOURS)
            return known and (head.startswith(magic) if magic else not head.startswith(_KNOWN))

        self.recognises: Callable[[bytes], bool] | None = recognises

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write 16-bit colour past Pillow, which has none: raw samples, the more significant byte first."""
        if not is_deep(first.mode) or is_grey(first.mode):
            super().encode(first, rest, plan, target)
            return
        pixels = first.pixels
        header = f"P6\n{pixels.width} {pixels.height}\n65535\n".encode()
        with target.file() as file:
            file.write(header + bytes(pixels.byteswap().write_to_memory()))


class _FloatMap(_Netpbm):
    """Grey by Pillow; colour, which Pillow does not know, by ourselves. It is read only."""

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header; see `Codec`."""
        if file.data[:2] != _COLOURS:
            return super().describe(file, limits, dpi)
        found = _FLOAT_HEADER.match(bytes(file.data[:_LONGEST_HEADER]))
        if not found:
            raise CorruptImage("The header of the float map is broken.")
        width, height = int(found[1]), int(found[2])
        limits.check(width, height)
        page = Page(width, height, native=found)
        return Description(format=self.format, pages=(page,), mode="RGB16", depth=32, floating=True)

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return Pillow for grey."""
        return super().decoders(description) if description.mode == "F" else (Decoder(_floats),)


def _floats(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    page = source.description.first
    header: re.Match[bytes] = page.native
    data = bytes(source.file.data[header.end() :][: page.width * page.height * 12])
    if len(data) < page.width * page.height * 12:
        raise CorruptImage("The float map ends before its last pixel.")
    pixels = pyvips.Image.new_from_memory(data, page.width, page.height, 3, "float")
    if not header[3].startswith(b"-"):  # a negative scale says that the least significant byte is first
        pixels = pixels.byteswap()
    pixels = normalise(pixels.flip("vertical").copy(interpretation="rgb"))
    yield Frame(pixels, mode_of(pixels))


class _Pam:
    """The arbitrary map, of any channels and of any largest sample."""

    def __init__(self, format: Format) -> None:
        """Recognise it by its first line."""
        self.format = format
        self.recognises: Callable[[bytes], bool] | None = lambda head: head.startswith(_ARBITRARY)

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the lines before the samples; see `Codec`."""
        header = _pam_header(bytes(file.data[:_LONGEST_PAM_HEADER]))
        limits.check(header.width, header.height)
        bits = header.most.bit_length()
        mode = header.mode if header.mode in ("1", "CMYK") else header.mode + "16" * (bits > 8)
        page = Page(header.width, header.height, native=header)
        return Description(format=self.format, pages=(page,), mode=mode, depth=bits)

    def exif(self, file: InputFile) -> None:
        """Return None: there is none."""

    def stripped(self, source: Source, kept: Kept) -> None:
        """Return None: it is encoded again, which loses nothing; see `Codec`."""

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return the only one."""
        return (Decoder(_pam_frames),)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write the samples as they are; see `Codec`."""
        pixels, most = first.pixels, 65535 if is_deep(first.mode) else 255
        if first.mode == "1":
            data, most = to_pillow(first).convert("L").tobytes().translate(_TO_BITS), 1
        else:
            data = bytes((pixels.byteswap() if most > 255 else pixels).write_to_memory())
        kind = "BLACKANDWHITE" if most == 1 else _PAM_KINDS[pixels.bands - 1]
        header = (
            f"P7\nWIDTH {pixels.width}\nHEIGHT {pixels.height}\nDEPTH {pixels.bands}\nMAXVAL {most}\n"
            f"TUPLTYPE {kind}\nENDHDR\n"
        )
        with target.file() as file:
            file.write(header.encode() + data)


@dataclass(frozen=True, slots=True)
class _PamHeader:
    """The lines before the samples.

    Attributes:
        width: In pixels.
        height: In pixels.
        depth: How many samples a pixel has.
        most: The largest sample.
        mode: What the first of them are, as a kind of pixels of 8 bits; those after them mean nothing.
        start: Where the samples begin.
    """

    width: int
    height: int
    depth: int
    most: int
    mode: str
    start: int


def _pam_header(head: bytes) -> _PamHeader:
    found = _PAM_END.search(head)
    if not found:
        raise CorruptImage("The header of the PAM file has no end.")
    numbers, kind = {}, b""
    for line in head[: found.start()].split(b"\n")[1:]:
        name, _, value = line.strip().partition(b" ")
        if name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"):
            if not _PAM_NUMBER.fullmatch(value.strip()):
                raise CorruptImage("The header of the PAM file is broken.")
            numbers[name] = int(value)
        elif name == b"TUPLTYPE":
            kind += value.strip()
    try:
        width, height, depth, most = (numbers[name] for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    except KeyError:
        raise CorruptImage("The header of the PAM file lacks a line.") from None
    if not 1 <= most <= 65535:
        raise CorruptImage(f"The largest sample of the PAM file is {most}; allowed: 1 to 65535.")
    return _PamHeader(width, height, depth, most, _pam_mode(kind.decode("latin-1").upper(), depth, most), found.end())


def _pam_mode(kind: str, depth: int, most: int) -> str:
    """Return what the samples are: by the type of the tuples, or if they have none, by how many there are."""
    if not kind:
        if depth not in _PAM_BY_DEPTH:
            raise UnreadKind(f"A PAM file of {depth} channels is not read here.")
        return _PAM_BY_DEPTH[depth]
    if kind not in _PAM_TYPES:
        raise UnreadKind(f"A PAM file of the tuple type {kind[:_LONGEST_TYPE]!r} is not read here.")
    mode, planes = _PAM_TYPES[kind]
    if depth < planes:
        raise CorruptImage(f"The PAM file has {depth} channels, but {kind} has {planes}.")
    return "1" if kind == _BLACK_AND_WHITE and (depth, most) == (1, 1) else mode


def _pam_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    header: _PamHeader = source.description.first.native
    deep = header.most > 255
    count = header.width * header.height * header.depth * (1 + deep)
    data = bytes(source.file.data[header.start : header.start + count])
    if len(data) < count:
        raise CorruptImage("The PAM file ends before its last pixel.")
    kind, white = ("ushort", 65535) if deep else ("uchar", 255)
    pixels = pyvips.Image.new_from_memory(data, header.width, header.height, header.depth, kind)
    if deep:
        pixels = pixels.byteswap()
    if header.mode == "CMYK":  # which is of 8 bits
        kind, white = "uchar", 255
    if header.most != white:
        pixels = (pixels * (white / header.most) + 0.5).cast(kind)
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
"""By the type of the tuples (netpbm's pam(5), and CMYK as Ghostscript writes it): 0 is no ink."""
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
            reckoned_as="PPM",
        )
    ),
    _Netpbm(_format("PBM", "x-portable-bitmap", "Portable bitmap", ("1",)), _BITMAP),
    _FloatMap(_format("PFM", "x-portable-floatmap", "Portable float map", ("F",)), _FLOATMAP),
    _Netpbm(_format("PGM", "x-portable-graymap", "Portable grey map", ("L", "L16")), _GREYMAP),
    _Netpbm(_format("PNM", "x-portable-anymap", "Portable any map", ("1", "L", "L16", "RGB", "RGB16")), ()),
    _Netpbm(_format("PPM", "x-portable-pixmap", "Portable pixel map", ("RGB", "RGB16")), _PIXMAP),
)
