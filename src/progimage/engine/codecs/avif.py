"""AVIF: the AV1 Image File Format."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import pyvips
from PIL import AvifImagePlugin, Image

from progimage.engine.codecs import vips
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.isobmff import as_boxes_say
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.codecs.samples import imagecodecs
from progimage.engine.codecs.stripping.isobmff import stripped_isobmff
from progimage.engine.colorimetry import Cicp
from progimage.engine.description import Description, Page
from progimage.engine.errors import InvalidParameter, NotAnImage
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame, normalise, whole_range
from progimage.engine.limits import Limits
from progimage.engine.metadata import Buffer, Kept
from progimage.engine.modes import is_deep, mode_of

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

# There is one worker per core, so threads inside a codec would only take cores from other workers.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
_ONLY_VIPS = "VIPS"
_BT2020_MATRIX = 9
_FULL_CHROMA_QUALITY = 90
"""Quality from which chroma isn't subsampled, as in libvips."""
_MOST_SIDE = 16_384
"""AV1 allows four times as many, but libheif, which writes what Pillow can't, has this limit."""
_MOST_BITS = 10
"""Maximum of AV1's main profile, which every decoder supports."""


class _Avif(PillowCodec):
    """Uses Pillow, which is three times as fast as libvips, but supports only 8 bits and no lossless mode."""

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header with Pillow, or if that fails with libvips, which is less strict; see `Codec`."""
        try:
            return super().describe(file, limits, dpi)
        except NotAnImage:
            return _describe_by_vips(self.format, file, limits)

    def description_of(self, file: InputFile, image: Image.Image, limits: Limits) -> Description:
        """Return the description with the information from the boxes."""
        return as_boxes_say(super().description_of(file, image, limits), file)

    def orientation(self, image: Image.Image) -> int:
        """Return 1, since EXIF's orientation has to be ignored (ISO/IEC 23000-22, 7.3.9) in favour of the boxes."""
        return 1

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return libvips for still images of more than 8 bits and those that Pillow rejects, otherwise Pillow."""
        if (description.depth > 8 and not description.animated) or description.first.native == _ONLY_VIPS:
            return (Decoder(_vips_frames, lazy=True, crops=True, turns=True),)
        return (Decoder(self.frames, divides=True),)

    def stripped(self, source: Source, kept: Kept) -> list[Buffer]:
        """Return the visible image and its parts; see `Codec`."""
        return stripped_isobmff(source.file.data, kept, pages=False)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write with Pillow, or with libvips if Pillow can't; see `Codec`."""
        if plan.several or not (plan.spec.lossless or is_deep(first.mode)):
            super().encode(first, rest, plan, target)
            return
        spec = plan.spec
        if first.hdr:
            _write_hdr(first, plan, target)
            return
        options: dict[str, Any] = {"compression": "av1", "effort": spec.effort or 2}
        if is_deep(first.mode):
            options["bitdepth"] = _MOST_BITS
        if spec.chroma:
            options["subsample_mode"] = "on" if spec.chroma == "4:2:0" else "off"
        options |= {"lossless": True} if spec.lossless else {"Q": plan.quality or self.format.usual_quality}
        vips.save("heifsave_target", first, plan, target, **options)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return libavif's options for the spec. Its speed is the inverse of effort."""
        spec = plan.spec
        if spec.lossless:
            raise InvalidParameter("lossless", "true", "only for still images in AVIF")
        options: dict[str, Any] = {"subsampling": spec.chroma} if spec.chroma else {}
        return options | ({"speed": 10 - spec.effort} if spec.effort else {})


def _describe_by_vips(format: Format, file: InputFile, limits: Limits) -> Description:
    try:
        image = pyvips.Image.heifload_source(file.source())
    except pyvips.Error:
        raise NotAnImage("The file is an unsupported variant of AVIF.") from None
    limits.check(image.width, image.height)
    page = Page(image.width, image.height, native=_ONLY_VIPS)
    return as_boxes_say(Description(format=format, pages=(page,), mode=mode_of(normalise(image))), file)


def _vips_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    def load(page: int) -> pyvips.Image:
        return whole_range(vips.load("heifload_source", source), source.description.depth)

    return vips.still_frames(source, first, last, load)


def _write_hdr(frame: Frame, plan: "Plan", target: OutputFile) -> None:
    """Write PQ or HLG with imagecodecs, since libvips and Pillow would declare it as sRGB."""
    spec = plan.spec
    if kept := spec.kept - {"icc"}:
        raise InvalidParameter("keep", ",".join(sorted(kept)), "with icc together with hdr=keep for AVIF")
    space, quality = cast(Cicp, frame.hdr), 100 if spec.lossless else plan.quality or plan.format.usual_quality
    full = spec.chroma == "4:4:4" or (not spec.chroma and quality >= _FULL_CHROMA_QUALITY)
    samples = frame.pixels.numpy() >> (16 - _MOST_BITS)
    with target.file() as file:
        file.write(
            imagecodecs().avif_encode(
                samples,
                level=quality,
                speed=10 - (spec.effort or 3),
                bitspersample=_MOST_BITS,
                pixelformat="444" if full else "420",
                primaries=space.primaries,
                transfer=space.transfer,
                matrix=0 if spec.lossless else _BT2020_MATRIX if space.primaries == _BT2020_MATRIX else 1,
                numthreads=1,
            )
        )


CODECS = (
    _Avif(
        Format(
            name="AVIF",
            extensions=("avif", "avifs"),
            media_type="image/avif",
            description="AV1 Image File Format",
            modes=("L", "RGB", "RGBA", "RGB16", "RGBA16"),
            icc=True,
            cicp=True,
            animated=True,
            writes_animations=True,
            lossless_animations=False,
            lossless_is_small=False,
            max_side=_MOST_SIDE,
            metadata=("exif", "xmp"),
            options=("quality", "effort", "chroma"),
            usual_quality=60,
            deep_bits=_MOST_BITS,
        ),
        save={"quality": 60, "speed": 7, "max_threads": 1, "autotiling": False, "advanced": {"tune": "ssim"}},
    ),
)
