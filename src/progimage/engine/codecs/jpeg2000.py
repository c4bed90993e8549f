"""JPEG 2000: files (JP2) and bare codestreams (J2K)."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.frame import Frame

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

_UNTILED, _TILE = 16_000_000, (2048, 2048)
"""From how many pixels on, and into what tiles, it is cut: one of 99 megapixels was too much for 4 GiB."""
_CODESTREAM = b"\xff\x4f\xff\x51"


class _Jpeg2000(PillowCodec):
    """Always lossless: OpenJPEG's quality in dB gets even colours wrong."""

    def __init__(self, format: Format, starts: bytes, save: dict[str, Any] | None = None) -> None:
        """Tell the two apart by their first bytes."""
        super().__init__(format, "JPEG2000", save)
        self.recognises: Callable[[bytes], bool] | None = lambda head: head.startswith(starts)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return the tiles of a large one."""
        return {"tile_size": _TILE} if frame.pixels.width * frame.pixels.height > _UNTILED else {}


_JP2 = Format(
    name="JP2",
    extensions=("jp2", "jpf", "jpx"),
    media_type="image/jp2",
    description="JPEG 2000",
    modes=("L", "LA", "RGB", "RGBA", "L16"),
    max_side=60_000,
)
_J2K = replace(
    _JP2,
    name="J2K",
    extensions=("j2k", "j2c", "jpc"),
    media_type="image/x-jp2-codestream",
    description="JPEG 2000 codestream",
)
CODECS = (_Jpeg2000(_J2K, _CODESTREAM, save={"no_jp2": True}), _Jpeg2000(_JP2, b"\0\0\0\x0cjP  \r\n\x87\n"))
