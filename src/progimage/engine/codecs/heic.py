"""HEIC: the High Efficiency Image File Format with HEVC."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pillow_heif
import pyvips
from PIL import Image

from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.isobmff import as_boxes_say
from progimage.engine.codecs.pillow import PillowCodec, metadata_in
from progimage.engine.codecs.stripping.isobmff import stripped_isobmff
from progimage.engine.description import Description, Page
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import PROFILE, Frame, normalise, whole_range, with_metadata
from progimage.engine.limits import Limits
from progimage.engine.metadata import Buffer, Kept
from progimage.engine.modes import is_deep, mode_of

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

# There is one worker per core, so threads inside a codec would only take cores from other workers.
pillow_heif.register_heif_opener(decode_threads=1)
_BANDS = {"L": 1, "I": 1, "LA": 2, "RGB": 3, "RGBA": 4, "RGBa": 4}


class _Heic(PillowCodec):
    """libheif crops and rotates; the orientation in EXIF has to be ignored (ISO/IEC 23008-12, A.2.1)."""

    def description_of(self, file: InputFile, image: Image.Image, limits: Limits) -> Description:
        """Return the description with the information from the boxes."""
        return as_boxes_say(super().description_of(file, image, limits), file)

    def pages_of(self, image: Image.Image, limits: Limits) -> list[Page]:
        """Return the images of a file, the primary one first."""
        parts = _parts(image._heif_file)  # type: ignore[attr-defined]
        for width, height in (part.size for part in parts):
            limits.check(width, height, len(parts))
        return [Page(width, height, native=image.mode) for width, height in (part.size for part in parts)]

    def is_deep(self, file: InputFile, image: Image.Image) -> bool:
        """Return whether there are more than 8 bits per channel."""
        return bool(image.info.get("bit_depth", 8) > 8)

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return libheif; see `Codec`."""
        return (Decoder(_frames, crops=True, turns=True, divides=True),)

    def stripped(self, source: Source, kept: Kept) -> list[Buffer]:
        """Return the visible images and their parts; see `Codec`."""
        return stripped_isobmff(source.file.data, kept, pages=True)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write more than 8 bits without the Pillow plugin, which doesn't support them; see `Codec`."""
        if not is_deep(first.mode):
            super().encode(first, rest, plan, target)
            return
        pixels = first.pixels
        mode = "RGBA;16" if first.mode == "RGBA16" else "RGB;16"
        heif = pillow_heif.from_bytes(mode, (pixels.width, pixels.height), bytes(pixels.write_to_memory()))
        options = self.options(first, plan)
        if first.hdr:
            options |= {
                "color_primaries": first.hdr.primaries,
                "transfer_characteristics": first.hdr.transfer,
                "matrix_coefficients": 0 if plan.spec.lossless else 9 if first.hdr.primaries == 9 else 1,
                "full_range_flag": 1,
            }
        for kind in ("icc_profile", "exif", "xmp"):
            if kind in options:
                heif[0].info[kind] = options.pop(kind)
        with target.file() as file:
            heif.save(file, **options)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return libheif's options for the spec."""
        if plan.spec.lossless:
            return {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
        return {"chroma": int(plan.spec.chroma.replace(":", ""))} if plan.spec.chroma else {}


def _parts(heif: Any) -> list[Any]:
    # The primary image comes first, since every viewer shows that one.
    primary = heif.primary_index
    return [heif[primary], *(heif[i] for i in range(len(heif)) if i != primary)]


def _frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    # Not with the Pillow plugin, which reduces 10 and 12 bits per channel to 8.
    heif = pillow_heif.open_heif(source.file.reader(), convert_hdr_to_8bit=False)
    for part in _parts(heif)[first:last]:
        deep = part.mode.endswith(";16")
        bands = _BANDS[part.mode.removesuffix(";16")]
        row = part.stride // (2 if deep else 1) // bands
        kind = "ushort" if deep else "uchar"
        pixels = pyvips.Image.new_from_memory(part.data, row, part.size[1], bands, kind)
        pixels = whole_range(normalise(pixels.crop(0, 0, *part.size)), part.info.get("bit_depth", 8))
        if part.mode.startswith("RGBa"):
            pixels = pixels.unpremultiply(max_alpha=65535 if deep else 255).cast(kind)
            pixels = pixels.copy(interpretation="rgb16" if deep else "srgb")
        pixels = with_metadata(pixels, {PROFILE: part.info.get("icc_profile"), **metadata_in(part.info, how)})
        yield Frame(pixels, mode_of(pixels))


CODECS = (
    _Heic(
        Format(
            name="HEIC",
            extensions=("heic", "heif", "heics", "heifs", "hif"),
            media_type="image/heic",
            description="High Efficiency Image File Format",
            modes=("L", "RGB", "RGBA", "RGB16", "RGBA16"),
            icc=True,
            cicp=True,
            pages=True,
            max_side=16_384,
            metadata=("exif", "xmp"),
            options=("quality", "chroma"),
            usual_quality=65,
            deep_bits=10,
        ),
        plugin="HEIF",
        save={"quality": 65},
    ),
)
