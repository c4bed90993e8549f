"""From a file to frames: finds out the format, holds the header against the limits, decodes.

Nothing of what a file claims is believed before `Limits.check` has seen it, and only the formats of our table are
ever tried, so that no file can wake a codec that is not one of them (Ghostscript, for example).
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pillow_heif
import pillow_jxl.JpegXLImagePlugin as jxl_plugin
import pyvips
from PIL import AvifImagePlugin, Image, ImageFile, UnidentifiedImageError

from progimage.engine.errors import CorruptImage, EngineError, LimitExceeded, NotAnImage
from progimage.engine.formats import FORMATS, Format
from progimage.engine.frame import METADATA, ORIENTATION, PROFILE, Frame, from_pillow, normalise, with_metadata
from progimage.engine.jxl_header import is_jxl, jxl_size
from progimage.engine.limits import Limits
from progimage.engine.modes import mode_of

# One worker a core: threads inside a codec would only take cores from the other workers.
pillow_heif.register_heif_opener(decode_threads=1)
jxl_plugin.DECODE_THREADS = 0
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
ImageFile.LOAD_TRUNCATED_IMAGES = False
# Nothing is cached from one image to the next: libvips goes by the name of a file, which another may have by now.
pyvips.cache_set_max(0)
Image.init()

_T = TypeVar("_T")
_PILLOW_READS = sorted({f.pillow for f in FORMATS.values() if f.reader and f.pillow} & set(Image.OPEN))
_VIPS_LOADERS = {
    "AVIF": "heifload",
    "JPEG": "jpegload",
    "MPO": "jpegload",
    "PNG": "pngload",
    "TIFF": "tiffload",
    "WEBP": "webpload",
}
_ROW_BY_MAGIC = {
    b"P1": "PBM",
    b"P4": "PBM",
    b"P2": "PGM",
    b"P5": "PGM",
    b"P3": "PPM",
    b"P6": "PPM",
    b"Pf": "PFM",
}
_SVG_SNIFFED = 64 * 1024
ORIENTATION_TAG = 0x0112
DEEP_AVIF = "RGB;16"
_NUMBER = re.compile(r"\d+")
# A thread needs address space for its stack.
_NO_MEMORY = re.compile("out of memory|unable to allocate|creating thread", re.IGNORECASE)
_PATH = re.compile(r"/[^\s\"']*/[^\s\"']+")


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to decode.

    Attributes:
        shrink: Into how many parts a side of a JPEG is divided: 1, 2, 4 or 8.
        draw: By how much a drawing is drawn larger than it says.
        metadata: Which metadata to take along: exif, xmp.
    """

    shrink: int = 1
    draw: float = 1
    metadata: frozenset[str] = frozenset()

    @property
    def scaled(self) -> bool:
        """The pixels are of another size than the image."""
        return self.shrink > 1 or self.draw != 1


@dataclass(frozen=True, slots=True)
class Source:
    """An image file whose header was read and kept to the limits.

    Attributes:
        path: Where the file is.
        format: The row of the table of formats.
        limits: What it was held against.
        width: Of the first frame or page as it is stored, in pixels.
        height: Of the first frame or page as it is stored, in pixels.
        count: How many frames or pages it has.
        mode: The Pillow mode of the first one, or "SVG".
        plays: How often an animation is played; 0 is without end.
        orientation: The EXIF orientation that is still to be applied, 1 to 8.
        dpi: How finely a drawing is drawn.
    """

    path: Path
    format: Format
    limits: Limits
    width: int
    height: int
    count: int
    mode: str
    plays: int = 0
    orientation: int = 1
    dpi: float = 72

    @property
    def animated(self) -> bool:
        """It has frames that are shown one after the other."""
        return self.count > 1 and self.format.animated

    @property
    def vector(self) -> bool:
        """It is a drawing, which can be drawn at any size."""
        return self.format.name == "SVG"

    def readers(self) -> list[str]:
        """Return the codecs to decode it with, in the order in which to try them.

        An animation is read by Pillow, one frame at a time; but for WebP, where Pillow loses transparency.
        """
        if self.format.name == "SVG" or self.mode == "VIPS":
            return ["vips"]
        if self.format.name == "TIFF" and self.mode in ("YCbCr", "LAB"):
            return ["pillow"]  # libvips takes raw YCbCr for RGB, and refuses 8-bit Lab
        if self.format.name == "AVIF" and self.mode != DEEP_AVIF:
            return ["pillow"]  # three times as fast, but of 8 bits
        if self.format.name == "WEBP" or (self.format.reader == "vips" and not self.animated):
            return ["vips", "pillow"]
        return ["pillow"]

    def frames(self, reader: str, first: int, last: int, how: Decoding = Decoding()) -> Iterator[Frame]:
        """Decode frames or pages, one at a time, as they are asked for.

        Args:
            reader: One of `readers`.
            first: The first one, counted from 0.
            last: The one after the last.
            how: At what size, and with what metadata.

        Raises:
            CorruptImage: It can't be decoded. With libvips, which is lazy, pyvips.Error can come later, when the
                pixels are used.
        """
        return (_vips_frames if reader == "vips" else _pillow_frames)(self, first, last, how)


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


def open_source(path: Path, limits: Limits, dpi: float = 72) -> Source:
    """Read the header of an image file.

    Args:
        path: The file; what it is called does not matter.
        limits: The largest image to accept.
        dpi: How finely a drawing is to be drawn; 72 is one pixel for each of its units.

    Raises:
        NotAnImage: It is in no format that can be read.
        CorruptImage: The header is broken.
        LimitExceeded: The image is too large.
    """
    with path.open("rb") as file:
        head = file.read(_SVG_SNIFFED)
    if not head:
        raise NotAnImage("The file is empty.")
    if is_jxl(head):
        try:
            limits.check(*jxl_size(head))
        except ValueError as error:
            raise CorruptImage(f"The JPEG XL header is broken: {error}.") from error
    if _looks_like_svg(head):
        return _open_svg(path, limits, dpi)
    Image.MAX_IMAGE_PIXELS = None  # `_describe` holds the size against our own limit
    try:
        with open_pillow(path) as image:
            return _describe(path, image, head, limits)
    except NotAnImage:
        if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            return _open_vips_tiff(path, limits)
        raise


def open_pillow(path: Path) -> Image.Image:
    """Open an image file with those of Pillow's plugins that are in the table of formats.

    Raises:
        NotAnImage: None of them knows it.
        CorruptImage: One of them does, and fails.
    """
    warnings.simplefilter("ignore")
    try:
        return Image.open(path, formats=_PILLOW_READS)
    except UnidentifiedImageError:
        raise NotAnImage("The file is in no image format that can be read here.") from None
    except MemoryError:
        raise
    except Exception as error:  # plugins raise whatever their parsing runs into
        raise CorruptImage(f"The header of the image is broken: {say(error)}.") from error


def _describe(path: Path, image: Image.Image, head: bytes, limits: Limits) -> Source:
    format = _row(image.format or "", head)
    limits.check(*image.size)
    try:
        sizes = _page_sizes(image, format, limits)
    except (EngineError, MemoryError):
        raise
    except Exception as error:
        raise CorruptImage(f"The frames of the image can't be counted: {say(error)}.") from error
    mode = DEEP_AVIF if format.name == "AVIF" and len(sizes) == 1 and _is_deep_avif(path) else image.mode
    plays = _plays(image, format) if len(sizes) > 1 and format.animated else 0
    width, height = sizes[0]
    return Source(path, format, limits, width, height, len(sizes), mode, plays, _orientation(image, format))


def _orientation(image: Image.Image, format: Format) -> int:
    # libheif and libjxl have already turned the picture; what its EXIF says is to be ignored (ISO/IEC 18181-2).
    if format.name in ("HEIC", "JXL"):
        return 1
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF counts as none, since the image may be whole
        return 1
    return orientation if orientation in range(1, 9) else 1


def _is_deep_avif(path: Path) -> bool:
    try:
        return bool(pyvips.Image.heifload(str(path)).format == "ushort")
    except pyvips.Error:
        return False  # then Pillow has to cope with it


def _row(pillow_format: str, head: bytes) -> Format:
    if pillow_format == "PPM":
        return FORMATS[_ROW_BY_MAGIC.get(head[:2], "PNM")]
    if pillow_format == "JPEG2000":
        return FORMATS["J2K" if head.startswith(b"\xff\x4f\xff\x51") else "JP2"]
    return FORMATS["HEIC" if pillow_format == "HEIF" else pillow_format.upper()]


def _page_sizes(image: Image.Image, format: Format, limits: Limits) -> list[tuple[int, int]]:
    if format.name == "ICO":
        return _ico_sizes(image)
    if format.name == "HEIC":
        parts = _heif_parts(image._heif_file)  # type: ignore[attr-defined]
        for width, height in (part.size for part in parts):
            limits.check(width, height, len(parts))
        return [part.size for part in parts]
    if not (format.animated or format.pages):
        return [image.size]
    if format.animated and format.name != "GIF":  # these have their frame count in the header
        count = max(1, getattr(image, "n_frames", 1) - _default_image(image))
        limits.check(*image.size, count)
        return [image.size] * count
    sizes = [image.size]
    try:
        while True:
            image.seek(len(sizes))
            sizes.append(image.size if format.pages else sizes[0])
            limits.check(*sizes[-1], len(sizes))
    except EOFError:
        return sizes
    except (OSError, SyntaxError, ValueError):
        # Cameras and editors leave broken indexes of further pictures behind; the photograph itself is whole.
        if format.name == "MPO":
            return sizes
        raise


def _default_image(image: Image.Image) -> int:
    # The picture of an APNG for readers that know no animation, where it is not the animation's first frame.
    return int(bool(getattr(image, "default_image", False)))


def _ico_sizes(image: Image.Image) -> list[tuple[int, int]]:
    return sorted(image.info["sizes"], key=lambda size: size[0] * size[1], reverse=True)


def _heif_parts(heif: Any) -> list[Any]:
    # The primary picture first: it is the one that every viewer shows.
    primary = heif.primary_index
    return [heif[primary], *(heif[i] for i in range(len(heif)) if i != primary)]


def _plays(image: Image.Image, format: Format) -> int:
    loop = image.info.get("loop")
    if format.name == "GIF":  # its field counts the repeats after the first time, and 0 is without end
        return 1 if loop is None else 0 if loop == 0 else loop + 1
    return int(loop or 0)


def _looks_like_svg(head: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return text.startswith(b"<") and b"<svg" in text


def _open_svg(path: Path, limits: Limits, dpi: float) -> Source:
    try:
        image = _load_svg(path, dpi)
    except pyvips.Error as error:
        raise CorruptImage(f"The SVG can't be read: {say(error)}.") from error
    limits.check(image.width, image.height)
    return Source(path, FORMATS["SVG"], limits, image.width, image.height, 1, "RGBA", dpi=dpi)


def _load_svg(path: Path, dpi: float, scale: float = 1) -> pyvips.Image:
    # From a buffer: so the document has no address, and nothing that it refers to outside of itself is loaded.
    return pyvips.Image.svgload_buffer(path.read_bytes(), dpi=dpi, scale=scale)


def _open_vips_tiff(path: Path, limits: Limits) -> Source:
    # Some TIFFs (float RGB, for one) are unknown to Pillow but not to libvips.
    try:
        image = pyvips.Image.tiffload(str(path))
    except pyvips.Error:
        raise NotAnImage("The file is a TIFF of a kind that can't be read here.") from None
    count = image.get("n-pages") if image.get_typeof("n-pages") else 1
    limits.check(image.width, image.height, count)
    return Source(path, FORMATS["TIFF"], limits, image.width, image.height, count, "VIPS")


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
        tall = pyvips.Image.webpload(str(source.path), n=-1, access="sequential", fail_on="error")
        height, durations = tall.get("page-height"), tall.get("delay")
        for index in range(first, last):
            frame = tall.crop(0, index * height, tall.width, height).copy_memory()
            yield Frame(normalise(frame), mode_of(frame), durations[index])
    except pyvips.Error as error:
        raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error


def _load_vips(source: Source, page: int, how: Decoding) -> pyvips.Image:
    if source.format.name == "SVG":
        return _load_svg(source.path, source.dpi, how.draw)
    options: dict[str, Any] = {"access": "sequential", "fail_on": "error"}
    if source.format.name == "TIFF":
        options["page"] = page
    elif how.shrink > 1:
        options["shrink"] = how.shrink
    elif page:
        raise CorruptImage("Only Pillow reads the further pictures of this format.")
    return getattr(pyvips.Image, _VIPS_LOADERS[source.format.name])(str(source.path), **options)


def _pillow_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    try:
        if source.format.name == "HEIC":
            yield from _heif_frames(source, first, last, how)
            return
        with open_pillow(source.path) as image:
            # The bound for images inside of images (an ICO's PNG, for one), whose headers only the plugin sees;
            # Pillow refuses what is beyond twice this.
            Image.MAX_IMAGE_PIXELS = source.limits.pixels // 2
            keep_alpha = not (source.format.name == "GIF" and source.animated) or _has_transparency(image, last)
            for index in range(first, last):
                yield _pillow_frame(source, image, index, keep_alpha, how)
    except (EngineError, MemoryError, pyvips.Error):
        raise
    except Image.DecompressionBombError as error:
        given = int((_NUMBER.search(str(error)) or [0])[0])
        raise LimitExceeded("pixels in an image inside of it", given, source.limits.pixels) from error
    except Exception as error:  # plugins raise whatever their parsing runs into
        raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error


def _has_transparency(image: Image.Image, count: int) -> bool:
    # A GIF's frames use a transparent colour for "as before", so only the composed frames tell.
    for index in range(count):
        image.seek(index)
        image.load()
        if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:  # type: ignore[misc]
            return True
    return False


def _pillow_frame(source: Source, image: Image.Image, index: int, keep_alpha: bool, how: Decoding) -> Frame:
    if source.format.name == "ICO":
        image.size = _ico_sizes(image)[index]  # type: ignore[misc]
    elif index or source.animated:
        image.seek(index + _default_image(image))
    source.limits.check(*image.size)
    image.load()
    source.limits.check(*image.size)
    still = image if keep_alpha else image.convert("RGB")
    frame = from_pillow(still)
    pixels = with_metadata(frame.pixels, _metadata(image.info, how) | {PROFILE: image.info.get("icc_profile")})
    orientation = _orientation(image, source.format)
    if orientation > 1:
        pixels.set_type(pyvips.GValue.gint_type, ORIENTATION, orientation)
    duration = round(image.info.get("duration") or 0) if source.animated else 0
    return Frame(pixels, frame.mode, duration)


def _metadata(info: Mapping[Any, Any], how: Decoding) -> dict[str, bytes | None]:
    return {METADATA[kind]: info.get(kind) for kind in how.metadata if isinstance(info.get(kind), bytes)}


def _heif_frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    # Not through the Pillow plugin, which cuts 10 and 12 bits a channel down to 8.
    heif = pillow_heif.open_heif(source.path, convert_hdr_to_8bit=False)
    for part in _heif_parts(heif)[first:last]:
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


def say(error: Exception) -> str:
    """Say in one line what a codec said, without the paths that it may name."""
    text = str(error.detail) if isinstance(error, pyvips.Error) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _PATH.sub("the file", lines[0]).rstrip(".") if lines else type(error).__name__
