"""Bitmaps of early Windows versions and of DOS."""

from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec

_MAXIMUM = 65_535

CODECS = (
    PillowCodec(
        Format(name="DCX", extensions=("dcx",), media_type="image/x-dcx", description="Multi-page PCX", pages=True)
    ),
    PillowCodec(
        Format(
            name="MSP",
            extensions=("msp",),
            media_type="image/x-msp",
            description="Windows Paint",
            modes=("1",),
            max_side=_MAXIMUM,
        )
    ),
)
