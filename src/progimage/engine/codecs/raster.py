"""Raster formats that Pillow reads and writes, without any special handling."""

from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec

_MAXIMUM = 65_535

CODECS = (
    PillowCodec(
        Format(
            name="FLI",
            extensions=("fli", "flc"),
            media_type="video/x-flic",
            description="Autodesk animation",
            animated=True,
        )
    ),
    PillowCodec(Format(name="GBR", extensions=("gbr",), media_type="image/x-gimp-gbr", description="GIMP brush")),
    PillowCodec(
        Format(
            name="IM",
            extensions=("im",),
            media_type="image/x-im",
            description="IFUNC image memory",
            modes=("1", "P", "L", "LA", "RGB", "RGBA", "L16", "F", "CMYK"),
        )
    ),
    PillowCodec(Format(name="IMT", extensions=(), media_type="image/x-imt", description="IM Tools")),
    PillowCodec(Format(name="IPTC", extensions=("iim",), media_type="image/x-iptc", description="IPTC/NAA")),
    PillowCodec(
        Format(
            name="PALM",
            extensions=("palm",),
            media_type="image/x-palm",
            description="Palm pixmap",
            can_read=False,
            modes=("1", "P"),
            max_side=_MAXIMUM,
        )
    ),
    PillowCodec(Format(name="PCD", extensions=("pcd",), media_type="image/x-photo-cd", description="Kodak Photo CD")),
    PillowCodec(Format(name="PIXAR", extensions=("pxr",), media_type="image/x-pixar", description="Pixar raster")),
    PillowCodec(
        Format(
            name="QOI",
            extensions=("qoi",),
            media_type="image/x-qoi",
            description="Quite OK Image",
            modes=("RGB", "RGBA"),
        )
    ),
)
