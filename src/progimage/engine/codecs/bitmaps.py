"""Bitmaps of Windows and DOS."""

from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec

_MODES = ("1", "P", "L", "RGB")
_MOST = 65_535

CODECS = (
    PillowCodec(
        Format(name="BMP", extensions=("bmp",), media_type="image/bmp", description="Windows bitmap", modes=_MODES)
    ),
    PillowCodec(
        Format(name="DCX", extensions=("dcx",), media_type="image/x-dcx", description="Multi-page PCX", pages=True)
    ),
    PillowCodec(
        Format(
            name="DIB",
            extensions=("dib",),
            media_type="image/x-ms-bmp",
            description="Device-independent bitmap",
            modes=_MODES,
        )
    ),
    PillowCodec(
        Format(
            name="MSP",
            extensions=("msp",),
            media_type="image/x-msp",
            description="Windows Paint",
            modes=("1",),
            max_side=_MOST,
        )
    ),
)
