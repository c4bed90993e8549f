"""The operations on pixels: every parameter that changes what a picture looks like, each declared once.

The order of the groups is the order in which the pipeline applies them, and within a group that of the parameters.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from progimage.engine.parameters import parameter
from progimage.engine.values import (
    Choice,
    Colour,
    CssColour,
    Flag,
    Four,
    Length,
    Lengths,
    Number,
    OrWord,
    Place,
    Ratio,
    Reference,
    Text,
    whole,
)

MAX_SIDE = 65_535
FONTS = (
    "sans", "sans-bold", "sans-italic", "sans-bold-italic",
    "serif", "serif-bold", "serif-italic", "serif-bold-italic",
    "mono", "mono-bold", "mono-italic", "mono-bold-italic",
)  # fmt: skip
_FOUND = ("smart", "entropy", "face")
_FITS = ("cover", "contain", "fill", "inside", "outside")
_KERNELS = ("nearest", "linear", "cubic", "mitchell", "lanczos2", "lanczos3")
_MARK_PLACE = "Where it is put."
_OFFSET = Lengths("x,y in pixels or, with a %, in percent of the picture; they may be negative", (2,), "10,5%", True)
_OFFSET_DOC = "How far from there: away from an edge, or right of and below the centre. Between tiles, it is the space."


@dataclass(frozen=True, kw_only=True)
class Operations:
    """What is to be done to the pixels; see each parameter's line."""

    # Region
    crop: tuple[Length, ...] | None = parameter(
        Lengths(
            "x,y,width,height or width,height, each in pixels or, with a %, in percent; it has to touch the image",
            (2, 4), "10%,10%,80%,80%", positive=True,
        ),
        "The part of the upright image to keep, before anything else is done. Without x and y, `gravity` places it.",
        "Region", unit="px or %",
    )  # fmt: skip
    trim: float | None = parameter(
        Number(0, 255, 10),
        "Cut off the edges that have the colour of the top left corner, up to this difference.",
        "Region", unit="levels of 255",
    )  # fmt: skip
    # Size
    width: int | None = parameter(
        whole(1, MAX_SIDE), "The width. Without a height, the height follows.", "Size", unit="px", aliases=("w",)
    )
    height: int | None = parameter(
        whole(1, MAX_SIDE), "The height. Without a width, the width follows.", "Size", unit="px", aliases=("h",)
    )
    fit: str = parameter(
        Choice(_FITS),
        "How the image goes into width and height: `cover` fills them and cuts off the rest, `contain` shows all of it"
        " on a canvas of that size, `fill` stretches it, `inside` is the largest that does not go beyond either,"
        " `outside` the smallest that goes below neither.",
        "Size", default="cover",
    )  # fmt: skip
    enlarge: bool = parameter(
        Flag(),
        "Enlarge what is smaller than asked for. Otherwise it stays as large as it is, cut to the shape that was asked"
        " for if `fit` is `cover`, or on a canvas of that size if it is `contain`.",
        "Size", default=False,
    )  # fmt: skip
    aspect: Fraction | None = parameter(
        Ratio(),
        "The ratio of width to height: gives the one that is missing, or cuts to that shape if both are.",
        "Size",
    )
    dpr: float = parameter(
        Number(0.1, 10), "Device pixels to a pixel: multiplies every length that is given in pixels.", "Size", default=1
    )
    zoom: float = parameter(
        Number(0.01, 100), "Multiplies the size that comes out of all of these, and enlarges, too.", "Size", default=1
    )
    gravity: str | tuple[float, float] = parameter(
        Place(_FOUND),
        "What to keep where something is cut off, and where to put the image on a larger canvas. `smart` looks for"
        " skin, colour and edges, `entropy` for the most detail, `face` for faces: the largest is kept, and each next"
        " largest for which there is room; where there is none, it is `smart`. A server without a face detector"
        " refuses it.",
        "Size", default="centre",
    )  # fmt: skip
    background: Colour | None = parameter(
        CssColour(),
        "What fills a canvas, borders of `extend`, the corners of a turned image, and lies under a transparent one."
        " Without it these are transparent where the format has transparency, and else white.",
        "Size",
    )
    extend_mode: str = parameter(
        Choice(("background", "copy", "repeat", "mirror")),
        "What fills a canvas and `extend`: the background, the outermost pixels, the image again, or its mirror image.",
        "Size", default="background",
    )  # fmt: skip
    kernel: str = parameter(Choice(_KERNELS), "The kernel of the resampling.", "Size", default="lanczos3")
    # Turn
    flip: bool = parameter(Flag(), "Mirror top to bottom.", "Turn", default=False)
    flop: bool = parameter(Flag(), "Mirror left to right.", "Turn", default=False)
    rotate: float = parameter(
        Number(-360, 360),
        "Turn clockwise, after flip and flop. Quarter turns are exact; others enlarge the canvas to hold all of it.",
        "Turn", unit="degrees", default=0,
    )  # fmt: skip
    # Tone
    normalize: bool = parameter(
        Flag(), "Stretch the luminance, so that 1 % of it is black and 1 % white.", "Tone", aliases=("normalise",),
        default=False,
    )  # fmt: skip
    gamma: float = parameter(
        Number(0.1, 10, 2.2), "Raise to the power of 1/gamma: above 1 lightens the middle.", "Tone", default=1
    )
    brightness: float = parameter(
        Number(0, 10), "Multiply all colours; 0 is black, 1 as it is. As in CSS.", "Tone", default=1
    )
    contrast: float = parameter(
        Number(0, 10), "Move away from middle grey; 0 is grey, 1 as it is. As in CSS.", "Tone", default=1
    )
    saturation: float = parameter(Number(0, 10), "0 has no colour, 1 is as it is. As in CSS.", "Tone", default=1)
    hue: float = parameter(Number(-360, 360), "Turn the hue. As in CSS.", "Tone", unit="degrees", default=0)
    sepia: float = parameter(Number(0, 1, 1), "0 is as it is, 1 wholly sepia. As in CSS.", "Tone", default=0)
    tint: Colour | None = parameter(
        CssColour(), "Keep the lightness, and give everything the chroma of this colour.", "Tone"
    )
    grayscale: bool = parameter(Flag(), "Only the light remains.", "Tone", aliases=("greyscale",), default=False)
    negate: bool = parameter(
        Flag(), "Turn dark to light and every colour to its opposite.", "Tone", aliases=("invert",), default=False
    )
    threshold: int | None = parameter(
        whole(0, 255, 128), "White from this luminance on, else black.", "Tone", unit="levels of 255"
    )
    # Effects
    median: int | None = parameter(
        whole(3, 31, 3, odd=True), "Replace each pixel by the median of a square: removes specks.", "Effects", unit="px"
    )
    blur: float | None = parameter(
        Number(0.3, 250, 5), "Gaussian blur, by the sigma of the bell curve.", "Effects", unit="px"
    )
    sharpen: float | None = parameter(
        Number(0.3, 10, 1), "Sharpen the lightness, by the sigma of what counts as an edge.", "Effects", unit="px"
    )
    pixelate: int | None = parameter(whole(2, 1000, 10), "Squares of one colour, of this side.", "Effects", unit="px")
    # Frame and mask
    extend: tuple[float, ...] | None = parameter(
        Four("top, right, bottom, left", 10_000),
        "Add space at the sides.", "Frame and mask", unit="px", aliases=("padding",),
    )  # fmt: skip
    border: tuple[float, ...] | None = parameter(
        Four("top, right, bottom, left", 10_000), "Add a border outside of the picture.", "Frame and mask", unit="px"
    )
    border_color: Colour = parameter(
        CssColour(), "The colour of the border.", "Frame and mask", default=Colour(0, 0, 0), needs="border"
    )
    radius: str | tuple[float, ...] | None = parameter(
        OrWord(("max",), Four("top left, top right, bottom right, bottom left", MAX_SIDE)),
        "Round the corners; `max` makes a circle of a square, and else the ends of it half circles.",
        "Frame and mask", unit="px",
    )  # fmt: skip
    mask: str | None = parameter(
        Reference(),
        "Another stored image, stretched over this one: its alpha, or its luminance if it has none, says how opaque"
        " each pixel is.",
        "Frame and mask",
    )
    # Watermark
    watermark: str | None = parameter(Reference(), "Another stored image, put on this one.", "Watermark")
    watermark_gravity: str | tuple[float, float] = parameter(
        Place(), _MARK_PLACE, "Watermark", default="southeast", needs="watermark"
    )
    watermark_offset: tuple[Length, ...] | None = parameter(
        _OFFSET, _OFFSET_DOC, "Watermark", unit="px or %", needs="watermark"
    )
    watermark_scale: float | None = parameter(
        Number(0.01, 10),
        "Its width as a part of the picture's width. Without it, it has its own size, or less if that is too large.",
        "Watermark", needs="watermark",
    )  # fmt: skip
    watermark_opacity: float = parameter(Number(0, 1), "0 is invisible.", "Watermark", default=1, needs="watermark")
    watermark_tile: bool = parameter(
        Flag(), "Repeat it over the whole picture.", "Watermark", default=False, needs="watermark"
    )
    text: str | None = parameter(
        Text(500), "A text to draw, in any script; lines end at %0A. Right-to-left is set as such.", "Watermark"
    )
    text_font: str = parameter(Choice(FONTS), "The font.", "Watermark", default="sans", needs="text")
    text_size: float | None = parameter(
        Number(4, 2000), "The size of the font. Without it, a twentieth of the longer side, at least 12.",
        "Watermark", unit="px", needs="text",
    )  # fmt: skip
    text_color: Colour = parameter(
        CssColour(), "The colour of the text.", "Watermark", default=Colour(255, 255, 255), needs="text"
    )
    text_opacity: float = parameter(Number(0, 1), "0 is invisible.", "Watermark", default=1, needs="text")
    text_gravity: str | tuple[float, float] = parameter(
        Place(), _MARK_PLACE, "Watermark", default="south", needs="text"
    )
    text_offset: tuple[Length, ...] | None = parameter(
        _OFFSET, f"{_OFFSET_DOC} Without it, half the size of the text from an edge.", "Watermark", unit="px or %",
        needs="text",
    )  # fmt: skip
    text_width: tuple[Length, ...] | None = parameter(
        Lengths("a width in pixels, or in percent of the picture with a %", (1,), "80%", positive=True),
        "Where lines are broken. Without it, at the width of the picture.",
        "Watermark", unit="px or %", needs="text",
    )  # fmt: skip
    text_tile: bool = parameter(Flag(), "Repeat it over the whole picture.", "Watermark", default=False, needs="text")

    def references(self) -> dict[str, str]:
        """Return the references of other images that are needed, by the name of the parameter."""
        named: dict[str, Any] = {"mask": self.mask, "watermark": self.watermark}
        return {name: reference for name, reference in named.items() if reference}
