"""JPEG XL, read by our own header parser and libjxl (imagecodecs), and written by Pillow's plugin.

docs/decisions/0016-jpeg-xl.md explains why.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pillow_jxl.JpegXLImagePlugin as jxl_plugin
import pyvips
from PIL import Image

from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.jxl.decode import jxl_decode, jxl_is_cmyk, jxl_metadata, jxl_pixel_colour
from progimage.engine.codecs.jxl.frames import JxlFrames, jxl_frames
from progimage.engine.codecs.jxl.header import JxlColour, JxlHeader, is_jxl, jxl_header
from progimage.engine.codecs.jxl.icc import icc_profile
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.codecs.stripping.jxl import stripped_jxl
from progimage.engine.colorimetry import Calibrated, Chromaticities, Cicp, ColourSpace, Light, is_linear, primaries_near
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage
from progimage.engine.files import InputFile
from progimage.engine.frame import METADATA, Frame, with_metadata
from progimage.engine.limits import Limits
from progimage.engine.metadata import Buffer, Kept, loaded_exif
from progimage.engine.modes import mode_of

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

# There is one worker per core, so threads inside a codec would only take cores from other workers.
jxl_plugin.DECODE_THREADS = 0
_BEST = 100
_CUT_OFF = "The JPEG XL file is truncated: only its first frames are there."


@dataclass(frozen=True, slots=True)
class _Native:
    header: JxlHeader
    frames: JxlFrames


class _Jxl(PillowCodec):
    """libjxl rotates the image according to its header; the orientation in EXIF has to be ignored (ISO/IEC 18181-2)."""

    recognises = staticmethod(is_jxl)

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header and the frame headers; see `Codec`."""
        try:
            header = jxl_header(file.data)
            limits.check(header.width, header.height)
            frames = jxl_frames(file.data, header, limits.frames + 1)
            limits.check(header.width, header.height, max(1, len(frames.durations)))
            colour = _space(jxl_pixel_colour(header), file, header)
        except ValueError as error:
            raise CorruptImage(f"The JPEG XL header is invalid: {error}.") from error
        if not frames.durations:
            raise CorruptImage("The JPEG XL file ends within its first frame.")
        count = len(frames.durations)
        page = Page(header.width, header.height, orientation=header.orientation, native=_Native(header, frames))
        return Description(
            format=self.format,
            pages=(page,) * (count if frames.pages else 1),
            mode=_mode(header),
            depth=header.bits,
            floating=header.exponent_bits > 0,
            colour=colour,
            light=Light(header.intensity if header.colour.hdr else None),
            frames=1 if frames.pages else count,
            plays=header.plays if count > 1 else 0,
            always_turned=True,
            premultiplied=header.alpha_associated,
            gain_map=header.gain_map,
            lost="" if frames.whole else _CUT_OFF,
        )

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return the EXIF of a file, even if its box is compressed."""
        data = jxl_metadata(file.data).get("exif")
        return None if data is None else loaded_exif(data)

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return libjxl; see `Codec`."""
        return (Decoder(_frames, turns=True, divides=True),)

    def stripped(self, source: Source, kept: Kept) -> list[Buffer]:
        """Return the codestream; see `Codec`."""
        return stripped_jxl(source.file.data, kept)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return the options for the spec. The encoder treats a quality of 100 as lossless."""
        lossless = plan.spec.lossless or plan.quality == _BEST
        options: dict[str, Any] = {"lossless": True, "quality": None} if lossless else {}
        return options | ({"effort": plan.spec.effort} if plan.spec.effort else {})


def _mode(header: JxlHeader) -> str:
    if jxl_is_cmyk(header):
        return "CMYK"
    colours = "L" if header.colour.space == "grey" else "RGB"
    return colours + "A" * (header.alpha_bits > 0) + "16" * (header.deep or header.exponent_bits > 0)


def _space(colour: JxlColour, file: InputFile, header: JxlHeader) -> ColourSpace:
    """Return the colour space of the pixels."""
    if colour.icc:
        return icc_profile(file.data, header)
    if colour.srgb:
        return None
    if colour.gamma:
        primaries = Chromaticities(colour.white, colour.red, colour.green, colour.blue)
        return Calibrated(colour.gamma, primaries)
    primaries = Chromaticities(colour.white, colour.red, colour.green, colour.blue)
    space = Cicp(primaries_near(primaries) or colour.primaries, colour.transfer)
    return space if space.known else None


def _frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    native: _Native = source.description.first.native
    header = native.header
    blobs = {METADATA[kind]: data for kind, data in jxl_metadata(source.file.data).items() if kind in how.metadata}
    for decoded in jxl_decode(source.file.data, header, native.frames, first, last):
        samples = decoded.samples
        pixels = pyvips.Image.new_from_array(samples)
        colours = pixels.bands - (header.alpha_bits > 0)
        if pixels.format == "float" and not is_linear(source.description.colour):  # with 1 as white
            pixels = (pixels.clamp() * 65535 + 0.5).cast("ushort")
        if jxl_is_cmyk(header):
            pixels = pixels.extract_band(0, n=4)
            inks = (pixels / 257 + 0.5).cast("uchar") if pixels.format == "ushort" else pixels
            pixels = inks.copy(interpretation="cmyk")
        else:
            deep = pixels.format == "ushort"
            grey, rgb = ("grey16", "rgb16") if deep else ("b-w", "srgb")
            pixels = pixels.copy(interpretation=grey if colours == 1 else rgb)
        duration = decoded.duration if source.description.animated else 0
        yield Frame(with_metadata(pixels, blobs), mode_of(pixels), duration)


CODECS = (
    _Jxl(
        Format(
            name="JXL",
            extensions=("jxl",),
            media_type="image/jxl",
            description="JPEG XL",
            modes=("L", "LA", "RGB", "RGBA", "L16"),
            animated=True,
            metadata=("exif", "xmp"),
            options=("quality", "effort"),
            usual_quality=80,
        ),
        save={"quality": 80, "effort": 5, "num_threads": 0},
    ),
)
