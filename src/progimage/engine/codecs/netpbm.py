"""Netpbm's formats, and the float map that is like them."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyvips

from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame, normalise
from progimage.engine.limits import Limits
from progimage.engine.modes import is_deep, is_grey, mode_of

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


_COLOURS, _LONGEST_HEADER = b"PF", 100
_FLOAT_HEADER = re.compile(rb"PF\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s")
_BITMAP, _GREYMAP, _PIXMAP, _FLOATMAP = (b"P1", b"P4"), (b"P2", b"P5"), (b"P3", b"P6"), (b"Pf", b"PF")
_KNOWN = (*_BITMAP, *_GREYMAP, *_PIXMAP, *_FLOATMAP)


def _format(name: str, media_type: str, description: str, modes: tuple[str, ...]) -> Format:
    return Format(
        name=name, extensions=(name.lower(),), media_type=f"image/{media_type}", description=description, modes=modes
    )


CODECS = (
    _Netpbm(_format("PBM", "x-portable-bitmap", "Portable bitmap", ("1",)), _BITMAP),
    _FloatMap(_format("PFM", "x-portable-floatmap", "Portable float map", ("F",)), _FLOATMAP),
    _Netpbm(_format("PGM", "x-portable-graymap", "Portable grey map", ("L", "L16")), _GREYMAP),
    _Netpbm(_format("PNM", "x-portable-anymap", "Portable any map", ("1", "L", "L16", "RGB", "RGB16")), ()),
    _Netpbm(_format("PPM", "x-portable-pixmap", "Portable pixel map", ("RGB", "RGB16")), _PIXMAP),
)
