"""Netpbm's formats, and the float map that is like them."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.files import OutputFile
from progimage.engine.frame import Frame
from progimage.engine.modes import is_deep, is_grey

if TYPE_CHECKING:
    from progimage.engine.plan import Plan


class _Netpbm(PillowCodec):
    """One of the family, which are told apart by their second byte."""

    def __init__(self, format: Format, magic: tuple[bytes, ...]) -> None:
        """Take Pillow's plugin for all of them."""
        super().__init__(format, "PPM")
        accepts = self.recognises or (lambda head: True)
        self.recognises: Callable[[bytes], bool] | None = lambda head: (
            accepts(head) and (head.startswith(magic) if magic else not head.startswith(_KNOWN))
        )

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write 16-bit colour past Pillow, which has none: raw samples, the more significant byte first."""
        if not is_deep(first.mode) or is_grey(first.mode):
            super().encode(first, rest, plan, target)
            return
        pixels = first.pixels
        header = f"P6\n{pixels.width} {pixels.height}\n65535\n".encode()
        with target.file() as file:
            file.write(header + bytes(pixels.byteswap().write_to_memory()))


_BITMAP, _GREYMAP, _PIXMAP, _FLOATMAP = (b"P1", b"P4"), (b"P2", b"P5"), (b"P3", b"P6"), (b"Pf",)
_KNOWN = (*_BITMAP, *_GREYMAP, *_PIXMAP, *_FLOATMAP)


def _format(name: str, media_type: str, description: str, modes: tuple[str, ...]) -> Format:
    return Format(
        name=name, extensions=(name.lower(),), media_type=f"image/{media_type}", description=description, modes=modes
    )


CODECS = (
    _Netpbm(_format("PBM", "x-portable-bitmap", "Portable bitmap", ("1",)), _BITMAP),
    _Netpbm(_format("PFM", "x-portable-floatmap", "Portable float map", ("F",)), _FLOATMAP),
    _Netpbm(_format("PGM", "x-portable-graymap", "Portable grey map", ("L", "L16")), _GREYMAP),
    _Netpbm(_format("PNM", "x-portable-anymap", "Portable any map", ("1", "L", "L16", "RGB", "RGB16")), ()),
    _Netpbm(_format("PPM", "x-portable-pixmap", "Portable pixel map", ("RGB", "RGB16")), _PIXMAP),
)
