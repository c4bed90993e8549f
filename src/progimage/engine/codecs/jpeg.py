"""JPEG, and files of several JPEGs written by cameras (MPO)."""

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
"""Effort from which features of mozjpeg are used, which libvips is built with."""
_FAST_EFFORT = 2
"""Effort up to which the standard's Huffman tables are used instead of optimised ones."""
_FULL_CHROMA_QUALITY = 90
"""Quality from which chroma isn't subsampled, as in libvips."""
_SMALL_PIXELS = 1_000_000
_SHRINKS = (8, 4, 2)
"""The scales of libjpeg's inverse DCT."""
_MIDDLE_GREY = (127, 128)
"""Range of the samples that libjpeg uses for missing pixels."""
_PIXELS_LOST = re.compile(
    "premature end|bad (Huffman|arithmetic) code|instead of RST|extraneous bytes before marker", re.IGNORECASE
)
"""Warnings of libjpeg that mean that pixels are lost; its other warnings are harmless."""


class _Jpeg(PillowCodec):
    """Decoded by libvips, which can decode at a smaller size, or if that fails by Pillow.

    Neither supports more than 8 bits per sample or the lossless process; imagecodecs' libjpeg-turbo supports both.
    """

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether the file starts with a start marker. Junk between that and the next marker is accepted."""
        return head.startswith(b"\xff\xd8")

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header of the file, or of its repaired version; see `Codec`."""
        found = mended(file)
        file = found.file if found else file
        header = header_of(file)
        if header.process == LS:
            raise NotAnImage("The file is a JPEG-LS.")
        if header.hierarchical or header.process == LOSSLESS_ARITHMETIC:
            raise UnreadKind(f"JPEGs with the coding process SOF{header.process} aren't supported.")
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
        """Return the description. A file of several images is an MPO."""
        several, known = image.format == _MPO.format.name, has_gain_map(file.data)
        # For Pillow, a gain map is another image.
        gain_map = known or (several and has_other_gain_map(file.data))
        codec = _MPO if several and not gain_map else JPEG
        found = super(_Jpeg, codec).description_of(file, image, limits)
        return replace(found, gain_map=gain_map, gain_map_read=known)

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return libvips, stopping at every warning, since only the first is reported; then lenient decoders.

        For samples other than 8 bits, return the only decoder that supports them.
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
        """Return the segments that decoders need; None if viewers would show them incorrectly; see `Codec`."""
        description = source.description
        if isinstance(description.first.native, JpegHeader) or description.mode == "CMYK":
            return None
        others = gain_map_boosts(source) if description.gain_map and not description.gain_map_read else None
        return stripped_jpeg(source.file.data, kept, others)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write small images with Pillow, which is faster, but needs all pixels in memory and doesn't have effort."""
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
            # Optimised Huffman tables, then mozjpeg's features: trellis quantisation and optimised scans.
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
        """Return Pillow's options for the spec. Small JPEGs are progressive, which saves bytes."""
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
    """Handles the first image like a JPEG; only Pillow reads and writes the additional ones."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return False, since it starts like a JPEG; the JPEG codec detects it from the header."""
        return False

    def open(self, file: InputFile) -> Image.Image:
        """Open a file with Pillow's JPEG plugin."""
        return JPEG.open(file)

    def pages_of(self, image: Image.Image, limits: Limits) -> list[Page]:
        """Return the images up to the first invalid entry of the index; the photograph itself is intact."""
        pages = [self.page_of(image)]
        try:
            while True:
                image.seek(len(pages))
                pages.append(self.page_of(image))
                limits.check(*image.size, len(pages))
        except (EOFError, OSError, SyntaxError, ValueError):
            # Cameras and editors leave invalid indexes of additional images behind.
            return pages

    def stripped(self, source: Source, kept: Kept) -> list[Buffer] | None:
        """Return the segments of each image that decoders need; see `Codec`."""
        return stripped_mpo(source.file.data, kept)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write with Pillow."""
        PillowCodec.encode(self, first, rest, plan, target)

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return no options, since the format has none except the quality."""
        return {}


def _vips_frames(source: Source, first: int, last: int, how: Decoding, fail_on: str) -> Iterator[Frame]:
    def load(page: int) -> pyvips.Image:
        if page:
            raise CorruptImage("Only Pillow reads the additional images of this format.")
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
        costs_like="JPEG",
    ),
    save={"quality": 80},
)
CODECS = (JPEG, _MPO)
