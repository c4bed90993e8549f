"""From a source to frames: decodes, one frame or page at a time, with the codec that is best for the format."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pillow_heif
import pyvips
from PIL import Image

from progimage.engine.errors import CorruptImage, EngineError, LimitExceeded
from progimage.engine.frame import METADATA, ORIENTATION, PROFILE, Frame, from_pillow, normalise, with_metadata
from progimage.engine.modes import mode_of
from progimage.engine.source import (
    Source,
    default_image,
    heif_parts,
    ico_sizes,
    load_svg,
    open_pillow,
    orientation_of,
    say,
)

_T = TypeVar("_T")
_VIPS_LOADERS = {
    "AVIF": "heifload_source",
    "JPEG": "jpegload_source",
    "MPO": "jpegload_source",
    "PNG": "pngload_source",
    "TIFF": "tiffload_source",
    "WEBP": "webpload_source",
}
_GIF_AT_ONCE = 25_000_000
"""Up to so many pixels in all frames, an animated GIF is decoded only once."""
_NUMBER = re.compile(r"\d+")
# A thread needs address space for its stack.
_NO_MEMORY = re.compile("out of memory|unable to allocate|creating thread", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to decode.

    Attributes:
        shrink: Into how many parts a side of a JPEG is divided: 1, 2, 4 or 8.
        draw: By how much a drawing is drawn larger than it says.
        level: Of a pyramid; 0 is the whole size.
        metadata: Which metadata to take along: exif, xmp.
    """

    shrink: int = 1
    draw: float = 1
    level: int = 0
    metadata: frozenset[str] = frozenset()

    @property
    def scaled(self) -> bool:
        """The pixels are of another size than the image."""
        return self.shrink > 1 or self.draw != 1 or self.level > 0


def decode(source: Source, reader: str, first: int, last: int, how: Decoding = Decoding()) -> Iterator[Frame]:
    """Decode frames or pages, one at a time, as they are asked for.

    Args:
        source: The image.
        reader: One of the source's `readers`.
        first: The first one, counted from 0.
        last: The one after the last.
        how: At what size, and with what metadata.

    Raises:
        CorruptImage: It can't be decoded. With libvips, which is lazy, pyvips.Error can come later, when the pixels
            are used.
    """
    return (_vips_frames if reader == "vips" else _pillow_frames)(source, first, last, how)


def with_readers(source: Source, attempt: Callable[[str], _T]) -> _T:
    """Decode with one codec after the other, until one of them succeeds.

    Args:
        source: The image.
        attempt: Does all that is to be done with a codec.

    Raises:
        CorruptImage: None of them can decode it.
        MemoryError: There is not enough memory for it.
    """
    readers = source.readers()
    for reader in readers:
        try:
            return attempt(reader)
        except CorruptImage:
            if reader == readers[-1]:
                raise
        except pyvips.Error as error:
            if _NO_MEMORY.search(str(error)):
                raise MemoryError(say(error)) from None
            if reader == readers[-1]:
                raise CorruptImage(say(error)) from error
    raise AssertionError("a source has at least one reader")


def _vips_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    if source.animated:
        yield from _vips_animation(source, first, last)
        return
    for page in range(first, last):
        try:
            image = _load_vips(source, page, how)
            source.limits.check(image.width, image.height)
            if source.format.name == "TIFF" and source.mode == "RGBX":
                image = image.extract_band(0, n=3)  # the fourth sample means nothing, least of all alpha
            pixels = normalise(image)
        except pyvips.Error as error:
            raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error
        mode = mode_of(pixels)
        if (source.mode, mode) in (("1", "L"), ("P", "L"), ("P", "RGB")):
            mode = source.mode
        yield Frame(pixels, mode, stands_for=_full_size(source, pixels) if how.scaled else None)


def _full_size(source: Source, pixels: pyvips.Image) -> tuple[int, int]:
    turned = pixels.get_typeof(ORIENTATION) and pixels.get(ORIENTATION) >= 5
    return (source.height, source.width) if turned else (source.width, source.height)


def _vips_animation(source: Source, first: int, last: int) -> Iterator[Frame]:
    """Cut a WebP animation into frames: libvips gives it as one tall image, which is decoded from top to bottom."""
    try:
        tall = pyvips.Image.webpload_source(source.file.source(), n=last, access="sequential", fail_on="error")
        height, durations = tall.get("page-height"), tall.get("delay")
        for index in range(first, last):
            frame = tall.crop(0, index * height, tall.width, height).copy_memory()
            yield Frame(normalise(frame), mode_of(frame), durations[index])
    except pyvips.Error as error:
        raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error


def _load_vips(source: Source, page: int, how: Decoding) -> pyvips.Image:
    if source.format.name == "SVG":
        return load_svg(source.file, source.dpi, how.draw)
    if source.levels:
        return pyvips.Image.tiffload_source(source.file.source(), page=how.level, fail_on="error")
    options: dict[str, Any] = {"access": "sequential", "fail_on": "error"}
    if source.format.name == "TIFF":
        options["page"] = page
    elif how.shrink > 1:
        options["shrink"] = how.shrink
    elif page:
        raise CorruptImage("Only Pillow reads the further pictures of this format.")
    return getattr(pyvips.Image, _VIPS_LOADERS[source.format.name])(source.file.source(), **options)


def _pillow_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    try:
        if source.format.name == "HEIC":
            yield from _heif_frames(source, first, last, how)
            return
        with open_pillow(source.file) as image:
            # The bound for images inside of images (an ICO's PNG, for one), whose headers only the plugin sees;
            # Pillow refuses what is beyond twice this.
            Image.MAX_IMAGE_PIXELS = source.limits.pixels // 2
            if source.format.name == "GIF" and source.animated:
                yield from _gif_frames(source, image, first, last, how)
                return
            for index in range(first, last):
                yield _pillow_frame(source, image, index, how)
    except (EngineError, MemoryError, pyvips.Error):
        raise
    except Image.DecompressionBombError as error:
        given = int((_NUMBER.search(str(error)) or [0])[0])
        raise LimitExceeded("pixels in an image inside of it", given, source.limits.pixels) from error
    except Exception as error:  # plugins raise whatever their parsing runs into
        raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error


def _gif_frames(source: Source, image: Image.Image, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    # A GIF's frames use a transparent colour for "as before", so only the composed frames tell whether it has alpha.
    few = source.width * source.height * last <= _GIF_AT_ONCE
    kept, transparent = [], False
    for index in range(last):
        frame = _pillow_frame(source, image, index, how)
        if frame.pixels.hasalpha() and frame.pixels[-1].min() < 255:
            transparent = True
            break
        if few:
            kept.append(frame)
    frames = (
        kept[first:] if few and not transparent else (_pillow_frame(source, image, i, how) for i in range(first, last))
    )
    for frame in frames:
        opaque = not transparent and frame.pixels.hasalpha()
        pixels = frame.pixels.extract_band(0, n=frame.pixels.bands - 1) if opaque else frame.pixels
        yield replace(frame, pixels=pixels, mode=mode_of(pixels))


def _pillow_frame(source: Source, image: Image.Image, index: int, how: Decoding) -> Frame:
    if source.format.name == "ICO":
        image.size = ico_sizes(image)[index]  # type: ignore[misc]
    elif index or source.animated:
        image.seek(index + default_image(image))
    source.limits.check(*image.size)
    image.load()
    source.limits.check(*image.size)
    frame = from_pillow(image)
    pixels = with_metadata(frame.pixels, _metadata(image.info, how) | {PROFILE: image.info.get("icc_profile")})
    orientation = orientation_of(image, source.format)
    if orientation > 1:
        pixels.set_type(pyvips.GValue.gint_type, ORIENTATION, orientation)
    duration = round(image.info.get("duration") or 0) if source.animated else 0
    return Frame(pixels, frame.mode, duration)


def _metadata(info: Mapping[Any, Any], how: Decoding) -> dict[str, bytes | None]:
    return {METADATA[kind]: info.get(kind) for kind in how.metadata if isinstance(info.get(kind), bytes)}


def _heif_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    # Not through the Pillow plugin, which cuts 10 and 12 bits a channel down to 8.
    heif = pillow_heif.open_heif(source.file.reader(), convert_hdr_to_8bit=False)
    for part in heif_parts(heif)[first:last]:
        deep = part.mode.endswith(";16")
        bands = {"L": 1, "I": 1, "LA": 2, "RGB": 3, "RGBA": 4, "RGBa": 4}[part.mode.removesuffix(";16")]
        row = part.stride // (2 if deep else 1) // bands
        kind = "ushort" if deep else "uchar"
        pixels = pyvips.Image.new_from_memory(part.data, row, part.size[1], bands, kind)
        pixels = normalise(pixels.crop(0, 0, *part.size))
        if part.mode.startswith("RGBa"):
            pixels = pixels.unpremultiply(max_alpha=65535 if deep else 255).cast(kind)
            pixels = pixels.copy(interpretation="rgb16" if deep else "srgb")
        pixels = with_metadata(pixels, _metadata(part.info, how) | {PROFILE: part.info.get("icc_profile")})
        yield Frame(pixels, mode_of(pixels))
