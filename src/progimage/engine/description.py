"""What an image file is, read from its header before any pixel is decoded."""

from dataclasses import dataclass
from typing import Any

from progimage.engine.codecs.format import Format
from progimage.engine.colorimetry import UNKNOWN_LIGHT, Cicp, ColourSpace, Light, is_linear
from progimage.engine.files import InputFile
from progimage.engine.geometry import Box, Size


@dataclass(frozen=True, slots=True)
class Page:
    """One picture of a file: a page, or the canvas of an animation.

    Attributes:
        width: As it is stored, in pixels.
        height: Likewise.
        crop: The part of it that is to be seen, if the container says so, in pixels as they are stored.
        orientation: How the pixels, cropped, are to be turned upright: 1 to 8, as EXIF (JEITA CP-3451, tag 274) counts.
        native: What the codec needs to know of it, such as Pillow's name for its kind of pixels.
    """

    width: int
    height: int
    crop: Box | None = None
    orientation: int = 1
    native: Any = None

    @property
    def size(self) -> Size:
        """Width and height of what is to be seen, before it is turned."""
        return (self.crop.width, self.crop.height) if self.crop else (self.width, self.height)

    @property
    def upright(self) -> Size:
        """Width and height once it is turned upright."""
        return turned_size(self.size, self.orientation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What an image file is.

    Attributes:
        format: Its format.
        pages: Its pictures, the first of which stands for it; for an animation the canvas alone.
        mode: The kind of pixels of the first one, see `modes.MODES`.
        depth: Bits a sample, of the first one.
        floating: Its samples are floating point numbers.
        premultiplied: Its colours are multiplied by their alpha.
        colour: What its numbers mean: an ICC profile, code points, gamma and primaries; or None: sRGB, or unknown.
        light: How bright it gets, if it is HDR.
        frames: How many frames an animation has; 1 for a still.
        plays: How often an animation is played; 0 is without end.
        always_turned: The container turns it, which is a part of decoding; else EXIF says so, which can be left undone.
        gain_map: It has a gain map, by which a display with headroom shows it brighter (ISO 21496-1).
        gain_map_read: Its gain map is of a kind that is read here.
        warnings: What a client has to know of a picture that is not all that the file holds, or of a damaged file.
        lost: What pixels of it are lost, if that is known already and no decoder would say so; a sentence.
        mended: The file without the damage that costs no pixel, to be read in its place; None: there is none.
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
        """The picture that stands for the file."""
        return self.pages[0]

    @property
    def is_hdr(self) -> bool:
        """Whether it reaches beyond the white of a page: PQ, HLG, or floats of linear light."""
        return (isinstance(self.colour, Cicp) and self.colour.hdr) or (self.floating and is_linear(self.colour))

    @property
    def count(self) -> int:
        """How many frames or pages there are."""
        return max(self.frames, len(self.pages))

    @property
    def animated(self) -> bool:
        """Whether it has frames that are shown one after the other."""
        return self.frames > 1

    def page(self, index: int) -> Page:
        """Return the page, or of an animation the canvas, that a frame or page counted from 0 is on."""
        return self.pages[0 if self.animated else index]


def turned_size(size: Size, orientation: int) -> Size:
    """Return the width and height that a size has once an orientation of 1 to 8 is applied."""
    return (size[1], size[0]) if orientation >= 5 else size
