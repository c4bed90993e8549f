"""PNG, and animations in it (APNG)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from PIL import Image

from progimage.engine.codecs import vips
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.description import Description
from progimage.engine.errors import InvalidParameter
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame
from progimage.engine.modes import OF_8_BITS, OF_16_BITS

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

_PALETTES = ("P", "PA")
_BIT_DEPTH = 24
"""Where the header has the bits a sample (PNG third edition, section 11.2.1)."""


class _Png(PillowCodec):
    """Stills by libvips, but for palettes; animations by Pillow, one frame at a time."""

    def orientation(self, image: Image.Image) -> int:
        """Return the orientation; of an EXIF behind the pixels Pillow knows only after it has decoded all of them."""
        return super().orientation(image) if "exif" in image.info else 1

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return the EXIF of a file, if it is before the pixels."""
        with self.open(file) as image:
            return image.getexif() if "exif" in image.info else None

    def is_deep(self, file: InputFile, image: Image.Image) -> bool:
        """Return whether there are 16 bits a sample, which Pillow's mode does not tell of colours."""
        return file.data[_BIT_DEPTH] == 16

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return libvips, then Pillow; of an animation only Pillow."""
        by_pillow = Decoder(self.frames)
        return (by_pillow,) if description.animated else (Decoder(_vips_frames, lazy=True), by_pillow)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write a still without a palette with libvips; see `Codec`."""
        if plan.several or first.mode in _PALETTES:
            super().encode(first, rest, plan, target)
            return
        spec = plan.spec
        options: dict[str, Any] = {"compression": spec.effort or 6, "filter": "all"}
        if first.mode == "1":
            options |= {"bitdepth": 1, "filter": "none"}
        if spec.progressive:
            options["interlace"] = True
        vips.save("pngsave_target", first, plan, target, **options)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return what the spec asks for, as Pillow calls it."""
        if plan.spec.progressive:
            raise InvalidParameter("progressive", "true", "not for an animation")
        return {"compress_level": plan.spec.effort} if plan.spec.effort else {}


def _vips_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    return vips.still_frames(source, first, last, lambda page: vips.load("pngload_source", source))


CODECS = (
    _Png(
        Format(
            name="PNG",
            extensions=("png", "apng"),
            media_type="image/png",
            description="Portable Network Graphics",
            modes=("1", *_PALETTES, *OF_8_BITS, *OF_16_BITS),
            icc=True,
            animated=True,
            metadata=("exif", "xmp"),
            options=("effort", "progressive", "palette"),
            collects_frames=True,  # its writer goes through them twice
        ),
        save={"compress_level": 6},
    ),
)
