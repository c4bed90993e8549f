"""TIFF."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyvips
from PIL import Image

from progimage.engine.codecs import vips
from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec, leniently
from progimage.engine.codecs.raw import RAW
from progimage.engine.codecs.raw_header import raw_header
from progimage.engine.codecs.stripping.tiff import stripped_tiff
from progimage.engine.codecs.tiff_samples import Directory, check_rare, directories, rare_pixels
from progimage.engine.description import Description, Page
from progimage.engine.errors import NotAnImage, UnreadKind
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame, normalise
from progimage.engine.limits import Limits
from progimage.engine.metadata import Buffer, Kept
from progimage.engine.modes import OF_8_BITS, OF_16_BITS, mode_of

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

_BITS_PER_SAMPLE = 258
_TURNED = 5
_ONLY_VIPS = "VIPS"
_ONLY_PILLOW = ("YCbCr", "LAB", "old JPEG")
"""libvips treats raw YCbCr as RGB, rejects 8-bit Lab, and returns transparent black for the JPEG of TIFF 6.0."""
_COMPRESSION, _OLD_JPEG = 259, 6
_KNOWN_TO_LIBTIFF = (*range(1, 9), 32766, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000, 50001)
"""Compressions that libtiff in libvips or in Pillow supports."""
_UNREAD = {
    9: "JBIG", 10: "JBIG", 22610: "JPEG XR", 32909: "PixarLog", 33003: "JPEG 2000", 33004: "JPEG 2000",
    33005: "JPEG 2000", 34661: "JBIG", 34712: "JPEG 2000", 34715: "JBIG2", 34887: "LERC", 34892: "lossy JPEG of DNG",
    34933: "PNG", 34934: "JPEG XR", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
"""Names of compressions that aren't supported."""


class _Tiff(PillowCodec):
    """Read by libvips, or if that fails by Pillow; some variants are supported by only one of them, some by neither."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether the file starts like a TIFF or BigTIFF of either byte order."""
        return head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header with Pillow, or with libvips for variants that Pillow doesn't support, such as float RGB.

        Camera raw files, whose first image is a thumbnail, have codecs of their own.
        """
        if raw := raw_header(file.data):
            return RAW[raw.format].describe(file, limits, dpi)
        found = directories(file, limits)
        for page in found:
            _check_compression(page)
        if any(page.rare for page in found):
            return self._describe_rare(found, limits)
        try:
            return super().describe(file, limits, dpi)
        except NotAnImage:
            return self._describe_by_vips(file, limits)

    def _describe_rare(self, found: list[Directory], limits: Limits) -> Description:
        for page in found:
            if page.rare:
                check_rare(page, limits)
        first = found[0]
        return Description(
            format=self.format,
            pages=tuple(Page(one.width, one.height, orientation=one.orientation, native=one) for one in found),
            mode=first.mode,
            depth=first.bits,
            floating=first.floating,
            premultiplied=first.premultiplied,
            colour=first.icc,
        )

    def _describe_by_vips(self, file: InputFile, limits: Limits) -> Description:
        try:
            image = pyvips.Image.tiffload_source(file.source())
        except pyvips.Error:
            raise UnreadKind("This variant of TIFF isn't supported.") from None
        count = image.get("n-pages") if image.get_typeof("n-pages") else 1
        limits.check(image.width, image.height, count)
        page = Page(image.width, image.height, native=_ONLY_VIPS)
        depth = {"uchar": 8, "ushort": 16}.get(image.format, 32)
        mode, floating = mode_of(normalise(image)) if image.bands > 1 else "L", image.format in ("float", "double")
        return Description(format=self.format, pages=(page,) * count, mode=mode, depth=depth, floating=floating)

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return the EXIF of a file, read by Pillow."""
        try:
            return super().exif(file)
        except NotAnImage:
            return None

    def page_of(self, image: Image.Image) -> Page:
        """Return the current page of an opened image, with the information that determines its decoder."""
        page = super().page_of(image)
        if page.orientation >= _TURNED:  # Pillow reports the upright size
            page = replace(page, width=page.height, height=page.width)
        old = image.tag_v2.get(_COMPRESSION) == _OLD_JPEG  # type: ignore[attr-defined]
        return replace(page, native=_ONLY_PILLOW[-1]) if old else page

    def is_deep(self, file: InputFile, image: Image.Image) -> bool:
        """Return whether there are more than 8 bits per sample, which Pillow's mode doesn't show for colour images."""
        return bool(max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) > 8)  # type: ignore[attr-defined]

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return libvips, then Pillow, as far as they support the file."""
        if isinstance(description.first.native, Directory):
            return (Decoder(_rare_frames),)
        by_pillow = Decoder(self.frames, turns=True), Decoder(leniently(self.frames), turns=True, lenient=True)
        strict, anyhow = partial(_vips_frames, fail_on="error"), partial(_vips_frames, fail_on="none")
        by_vips = Decoder(strict, lazy=True), Decoder(anyhow, lazy=True, lenient=True)
        if description.first.native == _ONLY_VIPS:
            return by_vips
        if any(page.native in _ONLY_PILLOW for page in description.pages):
            return by_pillow
        return *by_vips, *by_pillow

    def stripped(self, source: Source, kept: Kept) -> list[Buffer]:
        """Return the pages with the fields that decoders need; see `Codec`."""
        return stripped_tiff(source.file.data, kept)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write single pages with libvips; see `Codec`."""
        if plan.several:
            super().encode(first, rest, plan, target)
            return
        options: dict[str, Any] = {"compression": "deflate", "predictor": "horizontal"}
        if first.mode == "1":
            options = {"compression": "ccittfax4", "predictor": "none", "bitdepth": 1}
        elif first.mode == "F":
            options["predictor"] = "float"
        vips.save("tiffsave_target", first, plan, target, **options)


def _check_compression(page: Directory) -> None:
    """Check that the compression of a page is supported.

    Raises:
        UnreadKind: The compression isn't supported.
    """
    compression = page.tags.get(_COMPRESSION, 1)
    if compression in _UNREAD:
        raise UnreadKind(f"TIFF files compressed with {_UNREAD[compression]} aren't supported.")
    if compression not in _KNOWN_TO_LIBTIFF:
        raise UnreadKind(f"TIFF files with compression {compression} aren't supported.")


def _vips_frames(source: Source, first: int, last: int, how: Decoding, fail_on: str) -> Iterator[Frame]:
    def load(index: int) -> pyvips.Image:
        if source.levels:  # a pyramid, which is read with random access
            return pyvips.Image.tiffload_source(source.file.source(), page=how.level, fail_on="error")
        image = vips.load("tiffload_source", source, fail_on, page=index)
        # The fourth sample has no meaning; it isn't alpha.
        return image.extract_band(0, n=3) if source.description.page(index).native == "RGBX" else image

    return vips.still_frames(source, first, last, load)


def _rare_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    for index in range(first, last):
        page: Directory = source.description.page(index).native
        if page.rare:
            pixels = rare_pixels(source.file, page)
            yield Frame(pixels, mode_of(pixels))
        else:
            yield from _vips_frames(source, index, index + 1, how, fail_on="error")


CODECS = (
    _Tiff(
        Format(
            name="TIFF",
            extensions=("tiff", "tif"),
            media_type="image/tiff",
            description="Tagged Image File Format",
            modes=("1", *OF_8_BITS, *OF_16_BITS, "F", "CMYK"),
            icc=True,
            pages=True,
            writes_pages=True,
            metadata=("xmp",),
        ),
        save={"compression": "tiff_adobe_deflate"},
    ),
)
