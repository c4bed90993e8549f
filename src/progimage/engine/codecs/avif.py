"""AVIF: the AV1 Image File Format."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyvips
from PIL import AvifImagePlugin, Image

from progimage.engine.codecs import vips
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.description import Description
from progimage.engine.errors import InvalidParameter
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame
from progimage.engine.modes import is_deep

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

# One worker a core: threads inside a codec would only take cores from the other workers.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
_MOST_BITS = 10
"""The most that AV1's main profile has, so that every decoder reads it."""


class _Avif(PillowCodec):
    """Pillow is three times as fast as libvips, but has only 8 bits, and no lossless way."""

    def is_deep(self, file: InputFile, image: Image.Image) -> bool:
        """Return whether there are more than 8 bits a channel, of a still: of an animation 8 are read."""
        if getattr(image, "n_frames", 1) > 1:
            return False
        try:
            return bool(pyvips.Image.heifload_source(file.source()).format == "ushort")
        except pyvips.Error:
            return False  # then Pillow has to cope with it

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return libvips for more than 8 bits, else Pillow."""
        if description.depth > 8:
            return (Decoder(_vips_frames, lazy=True, crops=True, turns=True),)
        return (Decoder(self.frames),)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write with libvips what Pillow can't; see `Codec`."""
        if plan.several or not (plan.spec.lossless or is_deep(first.mode)):
            super().encode(first, rest, plan, target)
            return
        spec = plan.spec
        options: dict[str, Any] = {"compression": "av1", "effort": spec.effort or 2}
        if is_deep(first.mode):
            options["bitdepth"] = _MOST_BITS
        if spec.chroma:
            options["subsample_mode"] = "on" if spec.chroma == "4:2:0" else "off"
        options |= {"lossless": True} if spec.lossless else {"Q": plan.quality or self.format.usual_quality}
        vips.save("heifsave_target", first, plan, target, **options)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return what the spec asks for, as libavif calls it; its speed is the opposite of an effort."""
        spec = plan.spec
        if spec.lossless:
            raise InvalidParameter("lossless", "true", "not for an animation in AVIF")
        options: dict[str, Any] = {"subsampling": spec.chroma} if spec.chroma else {}
        return options | ({"speed": 10 - spec.effort} if spec.effort else {})


def _vips_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    return vips.still_frames(source, first, last, lambda page: vips.load("heifload_source", source))


CODECS = (
    _Avif(
        Format(
            name="AVIF",
            extensions=("avif", "avifs"),
            media_type="image/avif",
            description="AV1 Image File Format",
            modes=("L", "RGB", "RGBA", "RGB16", "RGBA16"),
            icc=True,
            animated=True,
            lossless_is_small=False,
            max_side=65_536,
            metadata=("exif", "xmp"),
            options=("quality", "effort", "chroma"),
            usual_quality=60,
            deep_bits=_MOST_BITS,
        ),
        save={"quality": 60, "speed": 7, "max_threads": 1, "autotiling": False, "advanced": {"tune": "ssim"}},
    ),
)
