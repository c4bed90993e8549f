"""JPEG XL."""

from typing import TYPE_CHECKING, Any

import pillow_jxl.JpegXLImagePlugin as jxl_plugin

from progimage.engine.codecs.codec import Decoder
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.jxl_header import is_jxl, jxl_size
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.description import Description
from progimage.engine.errors import CorruptImage
from progimage.engine.files import InputFile
from progimage.engine.frame import Frame
from progimage.engine.limits import Limits

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

# One worker a core: threads inside a codec would only take cores from the other workers.
jxl_plugin.DECODE_THREADS = 0
_BEST = 100
_HEADER = 64 * 1024


class _Jxl(PillowCodec):
    """The header is read before Pillow's plugin, which decodes all pixels when it opens a file."""

    recognises = staticmethod(is_jxl)

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Hold the size against the limits before anything is decoded."""
        try:
            limits.check(*jxl_size(bytes(file.data[:_HEADER])))
        except ValueError as error:
            raise CorruptImage(f"The JPEG XL header is broken: {error}.") from error
        return super().describe(file, limits, dpi)

    def orientation(self, image: Any) -> int:
        """Return 1: libjxl turns the picture itself; what EXIF says is to be ignored (ISO/IEC 18181-2)."""
        return 1

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return Pillow."""
        return (Decoder(self.frames, turns=True),)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return what the spec asks for; its encoder takes no quality of 100 but the lossless one."""
        lossless = plan.spec.lossless or plan.quality == _BEST
        options: dict[str, Any] = {"lossless": True, "quality": None} if lossless else {}
        return options | ({"effort": plan.spec.effort} if plan.spec.effort else {})


CODECS = (
    _Jxl(
        Format(
            name="JXL",
            extensions=("jxl",),
            media_type="image/jxl",
            description="JPEG XL",
            modes=("L", "LA", "RGB", "RGBA", "L16"),
            metadata=("exif", "xmp"),
            options=("quality", "effort"),
            usual_quality=80,
        ),
        save={"quality": 80, "effort": 5, "num_threads": 0},
    ),
)
