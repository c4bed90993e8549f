"""The one table of formats: what each is called, what it can hold, and which codec serves it.

Codecs were chosen by measurement: `bench/codecs.py` times both candidates and compares sizes, and
docs/decisions/0002-codecs.md has the figures.
"""

from dataclasses import dataclass
from typing import Literal

Codec = Literal["pillow", "vips"]

MODES = ("1", "P", "PA", "L", "LA", "RGB", "RGBA", "L16", "LA16", "RGB16", "RGBA16", "F", "CMYK")
"""The kinds of pixels, named as in Pillow: 1-bit, palette, grey, colour; ``A`` has alpha (``PA``: one colour of the
palette is transparent), ``16`` is 16 bits a channel (else 8), ``F`` is grey in 32-bit floating point."""

_8BIT = ("L", "LA", "RGB", "RGBA")
_16BIT = ("L16", "LA16", "RGB16", "RGBA16")


@dataclass(frozen=True, slots=True)
class Format:
    """A container format.

    Attributes:
        name: Its name, the key of the table.
        extensions: The file name extensions that ask for it, without the dot; the first is the usual one.
        media_type: The media type that its files are delivered with.
        description: What it is, for people.
        reader: The codec that decodes it first ("vips" falls back to "pillow"), or None: it cannot be read.
        pillow: The name of the Pillow plugin that reads or writes it, if one does.
        modes: The kinds of pixels that it can be written with, empty if it cannot be written.
        icc: An ICC profile can be written into it.
        animated: A file of it can hold an animation.
        pages: A file of it can hold several pages.
        lossless: It has a way to keep every pixel as it was.
        max_side: The largest width or height that it can be written with, in pixels; 0 is no limit.
        metadata: Which other metadata can be written into it: exif, xmp.
        options: Which choices its encoder leaves: quality, effort, progressive, palette, chroma.
    """

    name: str
    extensions: tuple[str, ...]
    media_type: str
    description: str
    reader: Codec | None = "pillow"
    pillow: str | None = None
    modes: tuple[str, ...] = ()
    icc: bool = False
    animated: bool = False
    pages: bool = False
    lossless: bool = True
    max_side: int = 0
    metadata: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def can_read(self) -> bool:
        """Images in this format can be uploaded."""
        return self.reader is not None

    @property
    def can_write(self) -> bool:
        """Renditions can be made in this format."""
        return bool(self.modes)

    @property
    def keeps(self) -> tuple[str, ...]:
        """Which metadata can be written into it: exif, icc, xmp."""
        return (*self.metadata, "icc") if self.icc else self.metadata

    @property
    def depths(self) -> tuple[int, ...]:
        """How many bits a channel it can be written with."""
        deep = any(mode.endswith("16") for mode in self.modes)
        # AV1 and HEVC have 10 bits, or 12, which fewer decoders know.
        return (8, *((10,) if self.name in ("AVIF", "HEIC") else (16,) if deep else ()))

    def has(self, feature: str) -> bool:
        """Return whether its encoder leaves a choice; `options` has them, and `lossless` is one, too."""
        return self.lossless if feature == "lossless" else feature in self.options

    @property
    def alpha(self) -> bool:
        """It can be written with an alpha channel."""
        return any(mode.rstrip("16").endswith("A") for mode in self.modes)


# fmt: off
def _table() -> tuple[Format, ...]:
    f = Format
    return (
        f("AVIF", ("avif", "avifs"), "image/avif", "AV1 Image File Format", "vips", "AVIF",
          ("L", "RGB", "RGBA", "RGB16", "RGBA16"), icc=True, animated=True, max_side=65_536,
          metadata=("exif", "xmp"), options=("quality", "effort", "chroma")),
        f("BLP", ("blp",), "image/x-blp", "Blizzard texture", "pillow", "BLP", ("P",)),
        f("BMP", ("bmp",), "image/bmp", "Windows bitmap", "pillow", "BMP", ("1", "P", "L", "RGB")),
        f("CUR", ("cur",), "image/x-win-bitmap", "Windows cursor", "pillow", "CUR"),
        f("DCX", ("dcx",), "image/x-dcx", "Multi-page PCX", "pillow", "DCX", pages=True),
        f("DDS", ("dds",), "image/vnd.ms-dds", "DirectDraw surface", "pillow", "DDS", _8BIT),
        f("DIB", ("dib",), "image/x-ms-bmp", "Device-independent bitmap", "pillow", "DIB", ("1", "P", "L", "RGB")),
        f("EPS", ("eps", "ps"), "application/postscript", "Encapsulated PostScript", None, "EPS",
          ("L", "RGB", "CMYK")),
        f("FITS", ("fits", "fit"), "image/fits", "Flexible Image Transport System", "pillow", "FITS"),
        f("FLI", ("fli", "flc"), "video/x-flic", "Autodesk animation", "pillow", "FLI", animated=True),
        f("FTEX", ("ftc", "ftu"), "image/x-ftex", "Independence War 2 texture", "pillow", "FTEX"),
        f("GBR", ("gbr",), "image/x-gimp-gbr", "GIMP brush", "pillow", "GBR"),
        f("GIF", ("gif",), "image/gif", "Graphics Interchange Format", "pillow", "GIF", ("P", "PA"), animated=True,
          max_side=65_535, options=("palette",)),
        f("HEIC", ("heic", "heif", "heics", "heifs", "hif"), "image/heic", "High Efficiency Image File Format",
          "pillow", "HEIF", ("L", "RGB", "RGBA", "RGB16", "RGBA16"), icc=True, pages=True, max_side=16_384,
          metadata=("exif", "xmp"), options=("quality", "chroma")),
        f("ICNS", ("icns",), "image/x-icns", "macOS icon", "pillow", "ICNS", ("RGBA",)),
        f("ICO", ("ico",), "image/vnd.microsoft.icon", "Windows icon", "pillow", "ICO", _8BIT, pages=True),
        f("IM", ("im",), "image/x-im", "IFUNC image memory", "pillow", "IM",
          ("1", "P", "L", "LA", "RGB", "RGBA", "L16", "F", "CMYK")),
        f("IMT", (), "image/x-imt", "IM Tools", "pillow", "IMT"),
        f("IPTC", ("iim",), "image/x-iptc", "IPTC/NAA", "pillow", "IPTC"),
        f("J2K", ("j2k", "j2c", "jpc"), "image/x-jp2-codestream", "JPEG 2000 codestream", "pillow", "JPEG2000",
          ("L", "LA", "RGB", "RGBA", "L16"), max_side=60_000),
        f("JP2", ("jp2", "jpf", "jpx"), "image/jp2", "JPEG 2000", "pillow", "JPEG2000",
          ("L", "LA", "RGB", "RGBA", "L16"), max_side=60_000),
        f("JPEG", ("jpg", "jpeg", "jpe", "jfif"), "image/jpeg", "JPEG", "vips", "JPEG", ("L", "RGB"), icc=True,
          lossless=False, max_side=65_500, metadata=("exif", "xmp"),
          options=("quality", "effort", "progressive", "chroma")),
        f("JXL", ("jxl",), "image/jxl", "JPEG XL", "pillow", "JXL", ("L", "LA", "RGB", "RGBA", "L16"),
          metadata=("exif", "xmp"), options=("quality", "effort")),
        f("MCIDAS", (), "image/x-mcidas", "McIdas area", "pillow", "MCIDAS"),
        f("MPO", ("mpo",), "image/jpeg", "Multi-Picture Object", "vips", "MPO", ("L", "RGB"), icc=True,
          pages=True, lossless=False, max_side=65_500, options=("quality",)),
        f("MSP", ("msp",), "image/x-msp", "Windows Paint", "pillow", "MSP", ("1",), max_side=65_535),
        f("PALM", ("palm",), "image/x-palm", "Palm pixmap", None, "PALM", ("1", "P"), max_side=65_535),
        f("PBM", ("pbm",), "image/x-portable-bitmap", "Portable bitmap", "pillow", "PPM", ("1",)),
        f("PCD", ("pcd",), "image/x-photo-cd", "Kodak Photo CD", "pillow", "PCD"),
        f("PCX", ("pcx",), "image/x-pcx", "Paintbrush", "pillow", "PCX", ("1", "P", "L", "RGB"), max_side=65_535),
        f("PDF", ("pdf",), "application/pdf", "Portable Document Format", None, "PDF",
          ("1", "L", "RGB", "CMYK"), pages=True, lossless=False, max_side=60_000, options=("quality",)),
        f("PFM", ("pfm",), "image/x-portable-floatmap", "Portable float map", "pillow", "PPM", ("F",)),
        f("PGM", ("pgm",), "image/x-portable-graymap", "Portable grey map", "pillow", "PPM", ("L", "L16")),
        f("PIXAR", ("pxr",), "image/x-pixar", "Pixar raster", "pillow", "PIXAR"),
        f("PNG", ("png", "apng"), "image/png", "Portable Network Graphics", "vips", "PNG",
          ("1", "P", "PA", *_8BIT, *_16BIT), icc=True, animated=True, metadata=("exif", "xmp"),
          options=("effort", "progressive", "palette")),
        f("PNM", ("pnm",), "image/x-portable-anymap", "Portable any map", "pillow", "PPM",
          ("1", "L", "L16", "RGB", "RGB16")),
        f("PPM", ("ppm",), "image/x-portable-pixmap", "Portable pixel map", "pillow", "PPM", ("RGB", "RGB16")),
        f("PSD", ("psd",), "image/vnd.adobe.photoshop", "Photoshop", "pillow", "PSD"),
        f("QOI", ("qoi",), "image/x-qoi", "Quite OK Image", "pillow", "QOI", ("RGB", "RGBA")),
        f("SGI", ("sgi", "rgb", "rgba", "bw"), "image/sgi", "SGI image", "pillow", "SGI", ("L", "RGB", "RGBA"),
          max_side=65_535),
        f("SPIDER", ("spider", "spi"), "image/x-spider", "SPIDER image", "pillow", "SPIDER", ("F",)),
        f("SUN", ("ras",), "image/x-sun-raster", "Sun raster", "pillow", "SUN"),
        f("SVG", ("svg",), "image/svg+xml", "Scalable Vector Graphics", "vips"),
        f("TGA", ("tga", "icb", "vda", "vst"), "image/x-tga", "Truevision TGA", "pillow", "TGA",
          ("1", "P", *_8BIT), max_side=65_535),
        f("TIFF", ("tiff", "tif"), "image/tiff", "Tagged Image File Format", "vips", "TIFF",
          ("1", *_8BIT, *_16BIT, "F", "CMYK"), icc=True, pages=True, metadata=("xmp",)),
        f("WEBP", ("webp",), "image/webp", "WebP", "vips", "WEBP", ("RGB", "RGBA"), icc=True, animated=True,
          max_side=16_383, metadata=("exif", "xmp"), options=("quality", "effort")),
        f("XBM", ("xbm",), "image/x-xbitmap", "X bitmap", "pillow", "XBM", ("1",)),
        f("XPM", ("xpm",), "image/x-xpixmap", "X pixmap", "pillow", "XPM"),
        f("XVTHUMB", (), "image/x-xv-thumbnail", "XV thumbnail", "pillow", "XVTHUMB"),
    )
# fmt: on


FORMATS: dict[str, Format] = {format.name: format for format in _table()}
_BY_EXTENSION = {extension: format for format in FORMATS.values() for extension in format.extensions}


def by_extension(extension: str) -> Format | None:
    """Return the format that a file name extension (without the dot, in any case) stands for, if one does."""
    return _BY_EXTENSION.get(extension.lower())
