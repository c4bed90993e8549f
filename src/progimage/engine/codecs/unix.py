"""Formats of Unix workstations and the X Window System."""

from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec

CODECS = (
    PillowCodec(
        Format(
            name="SGI",
            extensions=("sgi", "rgb", "rgba", "bw"),
            media_type="image/sgi",
            description="SGI image",
            modes=("L", "RGB", "RGBA"),
            max_side=65_535,
        )
    ),
    PillowCodec(Format(name="SUN", extensions=("ras",), media_type="image/x-sun-raster", description="Sun raster")),
    PillowCodec(
        Format(name="XBM", extensions=("xbm",), media_type="image/x-xbitmap", description="X bitmap", modes=("1",))
    ),
    PillowCodec(Format(name="XPM", extensions=("xpm",), media_type="image/x-xpixmap", description="X pixmap")),
    PillowCodec(Format(name="XVTHUMB", extensions=(), media_type="image/x-xv-thumbnail", description="XV thumbnail")),
)
