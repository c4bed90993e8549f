"""JPEG, and the files of several JPEGs that cameras write (MPO)."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyvips
from PIL import Image

from progimage.engine.codecs import vips
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.gain_map import (
    gain_map_boosts,
    gain_map_of,
    has_gain_map,
    has_other_gain_map,
    with_gain_applied,
    write_with_gain_map,
)
from progimage.engine.codecs.jpeg_header import LOSSLESS_ARITHMETIC, LS, JpegHeader
from progimage.engine.codecs.jpeg_mending import LEFT_OVER, checked, goes_on, mended
from progimage.engine.codecs.jpeg_samples import describe_samples, exif_of, header_of
from progimage.engine.codecs.jpeg_samples import frames as sample_frames
from progimage.engine.codecs.pillow import PillowCodec, leniently
from progimage.engine.codecs.stripping.jpeg import stripped_jpeg, stripped_mpo
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, NotAnImage, UnreadKind
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame
from progimage.engine.limits import Limits
from progimage.engine.metadata import Buffer, Kept

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

_TRELLIS_EFFORT = 7
"""From this effort on a JPEG gets what only mozjpeg has, which libvips is built with."""
_FAST_EFFORT = 2
"""Up to this effort a JPEG has the standard's Huffman tables, rather than its own."""
_FULL_CHROMA_QUALITY = 90
"""From this quality on a JPEG keeps all of its colour, as libvips has it."""
_SMALL_PIXELS = 1_000_000
_SHRINKS = (8, 4, 2)
"""libjpeg's scaled inverse DCT."""
_MIDDLE_GREY = (127, 128)
"""What libjpeg puts where pixels are missing."""
_PIXELS_LOST = re.compile(
    "premature end|bad (Huffman|arithmetic) code|instead of RST|extraneous bytes before marker", re.IGNORECASE
)
"""What libjpeg warns of where pixels are lost; its other warnings are of what costs none."""


class _Jpeg(PillowCodec):
    """Decoded by libvips, which can do it at a smaller size, and if that fails by Pillow.

    Neither knows samples of more than 8 bits, nor the lossless process; imagecodecs has libjpeg-turbo with both.
    """

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether it begins with the marker of a start; between that and the next one there may be junk."""
        return head.startswith(b"\xff\xd8")

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header of the file, or of what is made of a damaged one; see `Codec`."""
        found = mended(file)
        file = found.file if found else file
        header = header_of(file)
        if header.process == LS:
            raise NotAnImage("It is a JPEG-LS.")
        if header.hierarchical or header.process == LOSSLESS_ARITHMETIC:
            raise UnreadKind(f"A JPEG of the process SOF{header.process} is not read here.")
        if header.by_samples:
            description = describe_samples(self.format, file, header, limits)
        else:
            description = super().describe(file, limits, dpi)
        if not limits.damaged and not header.by_samples:
            if goes_on(file):
                description = replace(description, lost=LEFT_OVER)
            elif found and found.unended:
                found = checked(found)
        return found.described(description) if found else description

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return the EXIF of a file; see `Codec`."""
        return exif_of(file) if header_of(file).by_samples else super().exif(file)

    def description_of(self, file: InputFile, image: Image.Image, limits: Limits) -> Description:
        """Describe it; a file of several pictures is an MPO."""
        several, known = image.format == _MPO.format.name, has_gain_map(file.data)
        # To Pillow a gain map is one more picture.
        gain_map = known or (several and has_other_gain_map(file.data))
        codec = _MPO if several and not gain_map else JPEG
        found = super(_Jpeg, codec).description_of(file, image, limits)
        return replace(found, gain_map=gain_map, gain_map_read=known)

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return libvips, which is stopped by every warning, since only the first is told; then those that are not.

        Of other samples than 8 bits, return what alone knows them.
        """
        if isinstance(description.first.native, JpegHeader):
            return (Decoder(sample_frames),)

        def by_vips(fail_on: str, *, lenient: bool = False, refuses: re.Pattern[str] | None = None) -> Decoder:
            frames = partial(_vips_frames, fail_on=fail_on)
            return Decoder(frames, lazy=True, shrinks=_SHRINKS, lenient=lenient, blank=_MIDDLE_GREY, refuses=refuses)

        strict = by_vips("warning", refuses=_PIXELS_LOST), by_vips("error", refuses=_PIXELS_LOST)
        by_pillow = Decoder(leniently(self.frames), lenient=True, blank=_MIDDLE_GREY)
        return *strict, Decoder(self.frames), by_vips("none", lenient=True), by_pillow

    def stripped(self, source: Source, kept: Kept) -> list[Buffer] | None:
        """Return the segments that decoders need; None for what viewers show wrongly, or not at all; see `Codec`."""
        description = source.description
        if isinstance(description.first.native, JpegHeader) or description.mode == "CMYK":
            return None
        others = gain_map_boosts(source) if description.gain_map and not description.gain_map_read else None
        return stripped_jpeg(source.file.data, kept, others)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write small ones with Pillow: it is faster, but needs all pixels at once, and has not what effort adds."""
        if first.gain_map is not None:
            write_with_gain_map(first, plan, target)
            return
        spec = plan.spec
        small = first.pixels.width * first.pixels.height <= _SMALL_PIXELS
        if small and (spec.effort or 0) < _TRELLIS_EFFORT:
            super().encode(first, rest, plan, target)
            return
        options: dict[str, Any] = {"Q": plan.quality or self.format.usual_quality, "optimize_coding": True}
        if spec.effort:
            # Huffman tables of its own, then what mozjpeg adds: quantisation that looks ahead, the best of many scans.
            hard = {
                "trellis_quant": spec.effort >= _TRELLIS_EFFORT,
                "overshoot_deringing": spec.effort >= _TRELLIS_EFFORT,
                "optimize_scans": spec.effort == 9,
            }
            options["optimize_coding"] = spec.effort > _FAST_EFFORT
            options |= {option: True for option, on in hard.items() if on}
        if spec.progressive:
            options["interlace"] = True
        if spec.chroma:
            options["subsample_mode"] = "on" if spec.chroma == "4:2:0" else "off"
        vips.save("jpegsave_target", first, plan, target, **options)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return what the spec asks for, as Pillow calls it; a small JPEG is progressive, which saves bytes."""
        spec = plan.spec
        thorough = (spec.effort or 5) > _FAST_EFFORT
        quality = plan.quality or self.format.usual_quality
        full = spec.chroma == "4:4:4" or (not spec.chroma and quality >= _FULL_CHROMA_QUALITY)
        return {
            "optimize": thorough,
            "progressive": thorough if spec.progressive is None else spec.progressive,
            "subsampling": "4:4:4" if full else "4:2:0",
        }


class _Mpo(_Jpeg):
    """The first picture as a JPEG; only Pillow reads and writes the further ones."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return False: it begins as a JPEG does, which tells once its header is read."""
        return False

    def open(self, file: InputFile) -> Image.Image:
        """Open it; Pillow's plugin for JPEG does."""
        return JPEG.open(file)

    def pages_of(self, image: Image.Image, limits: Limits) -> list[Page]:
        """Return the pictures, up to where the index is broken: the photograph itself is whole."""
        pages = [self.page_of(image)]
        try:
            while True:
                image.seek(len(pages))
                pages.append(self.page_of(image))
                limits.check(*image.size, len(pages))
        except (EOFError, OSError, SyntaxError, ValueError):
            # Cameras and editors leave broken indexes of further pictures behind.
            return pages

    def stripped(self, source: Source, kept: Kept) -> list[Buffer] | None:
        """Return the segments that decoders need, of each picture; see `Codec`."""
        return stripped_mpo(source.file.data, kept)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write with Pillow."""
        PillowCodec.encode(self, first, rest, plan, target)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return nothing: it has no choices but the quality."""
        return {}


def _vips_frames(source: Source, first: int, last: int, how: Decoding, fail_on: str) -> Iterator[Frame]:
    def load(page: int) -> pyvips.Image:
        if page:
            raise CorruptImage("Only Pillow reads the further pictures of this format.")
        return vips.load("jpegload_source", source, fail_on, **({"shrink": how.shrink} if how.shrink > 1 else {}))

    for frame in vips.still_frames(source, first, last, load):
        if how.hdr and source.description.gain_map:
            yield with_gain_applied(source, frame) or frame
        else:
            yield replace(frame, gain_map=gain_map_of(source, frame) if how.gain_map else None)


JPEG = _Jpeg(
    Format(
        name="JPEG",
        extensions=("jpg", "jpeg", "jpe", "jfif"),
        media_type="image/jpeg",
        description="JPEG",
        modes=("L", "RGB"),
        icc=True,
        gain_maps=True,
        lossless=False,
        max_side=65_500,
        metadata=("exif", "xmp"),
        options=("quality", "effort", "progressive", "chroma"),
        usual_quality=80,
        shrinks=_SHRINKS,
    ),
    save={"quality": 80},
)
_MPO = _Mpo(
    replace(
        JPEG.format,
        name="MPO",
        extensions=("mpo",),
        description="Multi-Picture Object",
        pages=True,
        writes_pages=True,
        gain_maps=False,
        metadata=(),
        options=("quality",),
        reckoned_as="JPEG",
    ),
    save={"quality": 80},
)
CODECS = (JPEG, _MPO)
