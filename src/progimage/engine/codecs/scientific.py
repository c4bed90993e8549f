"""Scientific formats."""

from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec

CODECS = (
    PillowCodec(
        Format(
            name="FITS",
            extensions=("fits", "fit"),
            media_type="image/fits",
            description="Flexible Image Transport System",
        )
    ),
    PillowCodec(Format(name="MCIDAS", extensions=(), media_type="image/x-mcidas", description="McIdas area")),
    PillowCodec(
        Format(
            name="SPIDER",
            extensions=("spider", "spi"),
            media_type="image/x-spider",
            description="SPIDER image",
            modes=("F",),
        )
    ),
)
