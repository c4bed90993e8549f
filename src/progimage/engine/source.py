"""From a file to what its header says: finds out the format, and holds the size against the limits.

Nothing of what a file claims is believed before `Limits.check` has seen it, and only the formats of our table are
ever tried, so that no file can wake a codec that is not one of them (Ghostscript, for example).
"""

import re
import warnings
from dataclasses import dataclass
from typing import Any

import pillow_heif
import pillow_jxl.JpegXLImagePlugin as jxl_plugin
import pyvips
from PIL import AvifImagePlugin, Image, ImageFile, UnidentifiedImageError

from progimage.engine.errors import CorruptImage, EngineError, NotAnImage
from progimage.engine.files import InputFile
from progimage.engine.formats import FORMATS, Format
from progimage.engine.jxl_header import is_jxl, jxl_size
from progimage.engine.limits import Limits

if not pyvips.at_least_libvips(8, 18):
    raise ImportError(
        f"pyvips has found libvips {pyvips.version(0)}.{pyvips.version(1)} of this system instead of the one of"
        " pyvips-binary. Install again with `make clean install`."
    )
# One worker a core: threads inside a codec would only take cores from the other workers.
pillow_heif.register_heif_opener(decode_threads=1)
jxl_plugin.DECODE_THREADS = 0
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
ImageFile.LOAD_TRUNCATED_IMAGES = False
# Nothing is cached from one image to the next: libvips goes by the name of a file, which another may have by now.
pyvips.cache_set_max(0)
Image.init()

_PILLOW_READS = sorted({f.pillow for f in FORMATS.values() if f.reader and f.pillow} & set(Image.OPEN))
_ROW_BY_MAGIC = {
    b"P1": "PBM",
    b"P4": "PBM",
    b"P2": "PGM",
    b"P5": "PGM",
    b"P3": "PPM",
    b"P6": "PPM",
    b"Pf": "PFM",
}
_WEBP_AT_ONCE = 25_000_000
"""Up to so many pixels a still WebP is read by Pillow."""
_SVG_SNIFFED = 64 * 1024
ORIENTATION_TAG = 0x0112
_BITS_PER_SAMPLE = 258
TURNED_BY_CODEC = ("HEIC", "JXL")
"""libheif and libjxl turn the picture themselves; what its EXIF says is to be ignored (ISO/IEC 18181-2)."""
DEEP_AVIF = "RGB;16"
_PATH = re.compile(r"/[^\s\"']*/[^\s\"']+")


@dataclass(frozen=True, slots=True)
class Source:
    """An image file whose header was read and kept to the limits.

    Attributes:
        file: The image file.
        format: The row of the table of formats.
        limits: What it was held against.
        width: Of the first frame or page as it is stored, in pixels.
        height: Of the first frame or page as it is stored, in pixels.
        count: How many frames or pages it has.
        mode: The Pillow mode of the first one, or "VIPS": only libvips knows it.
        deep: It has more than 8 bits a channel.
        clear: It may have transparent pixels.
        plays: How often an animation is played; 0 is without end.
        orientation: The EXIF orientation that is still to be applied, 1 to 8.
        dpi: How finely a drawing is drawn.
        stands_for: The width and height, upright, of the image that it is a smaller copy of, if it is one.
        levels: How many levels it has, if it is a pyramid, of which any part can be read by itself.
    """

    file: InputFile
    format: Format
    limits: Limits
    width: int
    height: int
    count: int
    mode: str
    deep: bool = False
    clear: bool = False
    plays: int = 0
    orientation: int = 1
    dpi: float = 72
    stands_for: tuple[int, int] | None = None
    levels: int = 0

    @property
    def animated(self) -> bool:
        """It has frames that are shown one after the other."""
        return self.count > 1 and self.format.animated

    @property
    def vector(self) -> bool:
        """It is a drawing, which can be drawn at any size."""
        return self.format.name == "SVG"

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the orientation is applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)

    @property
    def shrinks(self) -> tuple[int, ...]:
        """Into how many parts a side can be divided while libvips decodes it: libjpeg's scaled inverse DCT."""
        return (8, 4, 2) if self.format.name in ("JPEG", "MPO") else ()

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
        if self.format.name == "WEBP" and not self.animated and self.width * self.height <= _WEBP_AT_ONCE:
            return ["pillow", "vips"]  # in two thirds of the time, but with all pixels several times in memory
        if self.format.name == "WEBP" or (self.format.reader == "vips" and not self.animated):
            return ["vips", "pillow"]
        return ["pillow"]


def open_source(file: InputFile, limits: Limits, dpi: float = 72) -> Source:
    """Read the header of an image file.

    Args:
        file: The image file.
        limits: The largest image to accept.
        dpi: How finely a drawing is to be drawn; 72 is one pixel for each of its units.

    Raises:
        NotAnImage: It is in no format that can be read.
        CorruptImage: The header is broken.
        LimitExceeded: The image is too large.
    """
    head = bytes(file.data[:_SVG_SNIFFED])
    if not head:
        raise NotAnImage("The file is empty.")
    if is_jxl(head):
        try:
            limits.check(*jxl_size(head))
        except ValueError as error:
            raise CorruptImage(f"The JPEG XL header is broken: {error}.") from error
    if _looks_like_svg(head):
        return _open_svg(file, limits, dpi)
    Image.MAX_IMAGE_PIXELS = None  # `_describe` holds the size against our own limit
    try:
        with open_pillow(file) as image:
            return _describe(file, image, head, limits)
    except NotAnImage:
        if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            return _open_vips_tiff(file, limits)
        raise


def open_pillow(file: InputFile) -> Image.Image:
    """Open an image file with those of Pillow's plugins that are in the table of formats.

    Raises:
        NotAnImage: None of them knows it.
        CorruptImage: One of them does, and fails.
    """
    warnings.simplefilter("ignore")
    try:
        return Image.open(file.reader(), formats=_PILLOW_READS)
    except UnidentifiedImageError:
        raise NotAnImage("The file is in no image format that can be read here.") from None
    except MemoryError:
        raise
    except Exception as error:  # plugins raise whatever their parsing runs into
        raise CorruptImage(f"The header of the image is broken: {say(error)}.") from error


def _describe(file: InputFile, image: Image.Image, head: bytes, limits: Limits) -> Source:
    format = _row(image.format or "", head)
    limits.check(*image.size)
    try:
        sizes = _page_sizes(image, format, limits)
    except (EngineError, MemoryError):
        raise
    except Exception as error:
        raise CorruptImage(f"The frames of the image can't be counted: {say(error)}.") from error
    mode = DEEP_AVIF if format.name == "AVIF" and len(sizes) == 1 and _is_deep_avif(file) else image.mode
    plays = _plays(image, format) if len(sizes) > 1 and format.animated else 0
    width, height = sizes[0]
    deep, clear = _is_deep(image, format, head, mode), mode.upper().endswith("A") or "transparency" in image.info
    orientation = orientation_of(image, format)
    return Source(file, format, limits, width, height, len(sizes), mode, deep, clear, plays, orientation)


def orientation_of(image: Image.Image, format: Format) -> int:
    """Return the EXIF orientation that is still to be applied to what the codec gives, 1 to 8."""
    if format.name in TURNED_BY_CODEC:
        return 1
    if format.name == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode all of it, to look for an EXIF behind the pixels
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # a broken EXIF counts as none, since the image may be whole
        return 1
    return orientation if orientation in range(1, 9) else 1


def _is_deep(image: Image.Image, format: Format, head: bytes, mode: str) -> bool:
    """Return whether there are more than 8 bits a channel, which Pillow's mode does not tell of colours."""
    if format.name == "PNG":
        return head[24] == 16
    if format.name == "TIFF":
        return bool(max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) > 8)  # type: ignore[attr-defined]
    if format.name == "HEIC":
        return bool(image.info.get("bit_depth", 8) > 8)
    return mode[0] in "IF" or mode == DEEP_AVIF


def _is_deep_avif(file: InputFile) -> bool:
    try:
        return bool(pyvips.Image.heifload_source(file.source()).format == "ushort")
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
        return ico_sizes(image)
    if format.name == "HEIC":
        parts = heif_parts(image._heif_file)  # type: ignore[attr-defined]
        for width, height in (part.size for part in parts):
            limits.check(width, height, len(parts))
        return [part.size for part in parts]
    if not (format.animated or format.pages):
        return [image.size]
    if format.animated and format.name != "GIF":  # these have their frame count in the header
        count = max(1, getattr(image, "n_frames", 1) - default_image(image))
        limits.check(*image.size, count)
        return [image.size] * count
    sizes = [image.size]
    try:
        while True:
            image.seek(len(sizes))
            sizes.append(image.size if format.pages else sizes[0])
            # A GIF's frame that is larger than its canvas makes Pillow enlarge that, when it decodes the frame next.
            limits.check(*image.size, len(sizes))
    except EOFError:
        return sizes
    except (OSError, SyntaxError, ValueError):
        # Cameras and editors leave broken indexes of further pictures behind; the photograph itself is whole.
        if format.name == "MPO":
            return sizes
        raise


def default_image(image: Image.Image) -> int:
    """Return how many pictures come before the animation: 0 or 1."""
    # The picture of an APNG for readers that know no animation, where it is not the animation's first frame.
    return int(bool(getattr(image, "default_image", False)))


def ico_sizes(image: Image.Image) -> list[tuple[int, int]]:
    """Return the sizes of an icon's pictures, the largest first."""
    return sorted(image.info["sizes"], key=lambda size: size[0] * size[1], reverse=True)


def heif_parts(heif: Any) -> list[Any]:
    """Return the pictures of a HEIF file, the primary one first."""
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


def _open_svg(file: InputFile, limits: Limits, dpi: float) -> Source:
    try:
        image = load_svg(file, dpi)
    except pyvips.Error as error:
        raise CorruptImage(f"The SVG can't be read: {say(error)}.") from error
    limits.check(image.width, image.height)
    return Source(file, FORMATS["SVG"], limits, image.width, image.height, 1, "RGBA", clear=True, dpi=dpi)


def load_svg(file: InputFile, dpi: float, scale: float = 1) -> pyvips.Image:
    """Draw an SVG, `scale` times as large as it says."""
    # From a buffer: so the document has no address, and nothing that it refers to outside of itself is loaded.
    return pyvips.Image.svgload_buffer(bytes(file.data), dpi=dpi, scale=scale)


def _open_vips_tiff(file: InputFile, limits: Limits) -> Source:
    # Some TIFFs (float RGB, for one) are unknown to Pillow but not to libvips.
    try:
        image = pyvips.Image.tiffload_source(file.source())
    except pyvips.Error:
        raise NotAnImage("The file is a TIFF of a kind that can't be read here.") from None
    count = image.get("n-pages") if image.get_typeof("n-pages") else 1
    limits.check(image.width, image.height, count)
    return Source(file, FORMATS["TIFF"], limits, image.width, image.height, count, "VIPS", deep=image.format != "uchar")


def say(error: Exception) -> str:
    """Say in one line what a codec said, without the paths that it may name."""
    text = str(error.detail) if isinstance(error, pyvips.Error) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _PATH.sub("the file", lines[0]).rstrip(".") if lines else type(error).__name__
