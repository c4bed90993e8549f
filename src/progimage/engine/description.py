"""Description of an image file, read from its header before any pixel is decoded."""

from dataclasses import dataclass
from typing import Any

from progimage.engine.codecs.format import Format
from progimage.engine.colorimetry import UNKNOWN_LIGHT, Cicp, ColourSpace, Light, is_linear
from progimage.engine.files import InputFile
from progimage.engine.geometry import Box, Size


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a file, or the canvas of an animation.

    Attributes:
        width: Stored width in pixels.
        height: Stored height in pixels.
        crop: Visible part, if the container crops the image, in stored pixels.
        orientation: Orientation of the cropped pixels, 1 to 8 as in EXIF (JEITA CP-3451, tag 274).
        native: Data for the codec's own use, such as Pillow's name of the pixel mode.
    """

    width: int
    height: int
    crop: Box | None = None
    orientation: int = 1
    native: Any = None

    @property
    def size(self) -> Size:
        """Width and height of the visible part, before it is turned upright."""
        return (self.crop.width, self.crop.height) if self.crop else (self.width, self.height)

    @property
    def upright(self) -> Size:
        """Width and height of the visible part, upright."""
        return turned_size(self.size, self.orientation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Description of an image file.

    Attributes:
        format: Format of the file.
        pages: The pages, the first of which represents the file; for an animation only its canvas.
        mode: Pixel mode of the first page, see `modes.MODES`.
        depth: Bits per sample of the first page.
        floating: Whether samples are floating-point numbers.
        premultiplied: Whether colours are premultiplied by alpha.
        colour: Colour space: an ICC profile, code points, or gamma and primaries; None means sRGB or unknown.
        light: Brightness of the content, if it is HDR.
        frames: Number of frames of an animation; 1 for a still image.
        plays: How often an animation is played; 0 means endlessly.
        always_turned: Whether the container rotates the image, which is part of decoding. Otherwise the orientation
            comes from EXIF and can be left unapplied.
        gain_map: Whether there is a gain map, which displays with headroom use to show the image brighter
            (ISO 21496-1).
        gain_map_read: Whether the gain map is of a supported kind.
        warnings: Sentences for the caller on content that isn't shown and on damage.
        lost: A sentence on lost pixels, if the header reveals the loss and no decoder would report it.
        mended: The file with repaired damage that costs no pixels, to be read instead; None if nothing was repaired.
    """

    format: Format
    pages: tuple[Page, ...]
    mode: str
    depth: int = 8
    floating: bool = False
    premultiplied: bool = False
    colour: ColourSpace = None
    light: Light = UNKNOWN_LIGHT
    frames: int = 1
    plays: int = 0
    always_turned: bool = False
    gain_map: bool = False
    gain_map_read: bool = False
    warnings: tuple[str, ...] = ()
    lost: str = ""
    mended: InputFile | None = None

    @property
    def first(self) -> Page:
        """The page that represents the file."""
        return self.pages[0]

    @property
    def is_hdr(self) -> bool:
        """Whether the image is HDR, brighter than reference white: PQ, HLG, or linear floating point."""
        return (isinstance(self.colour, Cicp) and self.colour.hdr) or (self.floating and is_linear(self.colour))

    @property
    def count(self) -> int:
        """Number of frames or pages."""
        return max(self.frames, len(self.pages))

    @property
    def animated(self) -> bool:
        """Whether the file is an animation."""
        return self.frames > 1

    def page(self, index: int) -> Page:
        """Return the page with an index from 0; for any frame of an animation, its canvas."""
        return self.pages[0 if self.animated else index]


def turned_size(size: Size, orientation: int) -> Size:
    """Return a size (width and height) after an orientation of 1 to 8 is applied."""
    return (size[1], size[0]) if orientation >= 5 else size
