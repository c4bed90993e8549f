"""The operations on pixels: every parameter that changes how an image looks, each declared once.

The pipeline applies the groups in this order, and the parameters within a group in their order.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from progimage.engine.parameters import parameter
from progimage.engine.transformations import with_added
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
_MARK_PLACE = "Position on the image."
_OFFSET = Lengths("x,y in pixels, or in percent of the image with a %; can be negative", (2,), "10,5%", True)
_OFFSET_DOC = (
    "Distance from that position: away from an edge, or to the right of and below the centre. With tiles, the space"
    " between them."
)


@dataclass(frozen=True, kw_only=True)
@with_added
class Operations:
    """The operations to apply to the pixels; each parameter is documented where it is declared."""

    # Region
    crop: tuple[Length, ...] | None = parameter(
        Lengths(
            "x,y,width,height or width,height, each in pixels, or in percent with a %; must overlap the image",
            (2, 4), "10%,10%,80%,80%", positive=True,
        ),
        "Part of the upright image to keep; applied before everything else. Without x and y, `gravity` positions it.",
        "Region", unit="px or %",
    )  # fmt: skip
    trim: float | None = parameter(
        Number(0, 255, 10),
        "Trim edges whose colour differs from the top left corner by at most this much.",
        "Region", unit="levels out of 255",
    )  # fmt: skip
    # Size
    width: int | None = parameter(
        whole(1, MAX_SIDE), "Width. Without `height`, the height follows from it.", "Size", unit="px", aliases=("w",)
    )
    height: int | None = parameter(
        whole(1, MAX_SIDE), "Height. Without `width`, the width follows from it.", "Size", unit="px", aliases=("h",)
    )
    fit: str = parameter(
        Choice(_FITS),
        "How the image fits `width` and `height`: `cover` fills them and crops the rest, `contain` shows the whole"
        " image on a canvas of that size, `fill` stretches it, `inside` makes it as large as possible without exceeding"
        " either, `outside` as small as possible without falling below either.",
        "Size", default="cover",
    )  # fmt: skip
    enlarge: bool = parameter(
        Flag(),
        "Enlarge images that are smaller than requested. Otherwise they keep their size; with `fit=cover` they are"
        " cropped to the requested shape, with `fit=contain` they are put on a canvas of the requested size.",
        "Size", default=False,
    )  # fmt: skip
    aspect: Fraction | None = parameter(
        Ratio(),
        "Ratio of width to height. With `width` or `height`, it sets the other; without both, the image is cropped to"
        " that shape.",
        "Size",
    )
    dpr: float = parameter(
        Number(0.1, 10), "Device pixel ratio: multiplies every length given in pixels.", "Size", default=1
    )
    zoom: float = parameter(
        Number(0.01, 100), "Multiplies the size that results from the other size parameters; can enlarge the image.",
        "Size", default=1,
    )  # fmt: skip
    gravity: str | tuple[float, float] = parameter(
        Place(_FOUND),
        "Which part to keep when cropping, and where to put the image on a larger canvas. `smart` looks for skin,"
        " colour and edges, `entropy` for the most detail. `face` keeps the largest face, and further faces by size as"
        " long as they fit; without any face it works like `smart`. Servers without a face detector reject `face`.",
        "Size", default="centre",
    )  # fmt: skip
    background: Colour | None = parameter(
        CssColour(),
        "Colour of the canvas, of the space that `extend` adds, of the corners of a rotated image, and behind"
        " transparent pixels. Without it they are transparent if the format supports that, and white otherwise.",
        "Size",
    )
    extend_mode: str = parameter(
        Choice(("background", "copy", "repeat", "mirror")),
        "What fills the canvas and the space that `extend` adds: the background, the outermost pixels, the image"
        " repeated, or the image mirrored.",
        "Size", default="background",
    )  # fmt: skip
    kernel: str = parameter(Choice(_KERNELS), "Resampling kernel.", "Size", default="lanczos3")
    # Turn
    flip: bool = parameter(Flag(), "Mirror top to bottom.", "Turn", default=False)
    flop: bool = parameter(Flag(), "Mirror left to right.", "Turn", default=False)
    rotate: float = parameter(
        Number(-360, 360),
        "Rotate clockwise, after `flip` and `flop`. Multiples of 90 are exact; other angles enlarge the canvas so that"
        " the whole image fits.",
        "Turn", unit="degrees", default=0,
    )  # fmt: skip
    # Tone
    normalize: bool = parameter(
        Flag(), "Stretch the luminance so that 1 % of it is black and 1 % white.", "Tone", aliases=("normalise",),
        default=False,
    )  # fmt: skip
    gamma: float = parameter(
        Number(0.1, 10, 2.2), "Raise to the power of 1/gamma: values above 1 lighten the midtones.", "Tone", default=1
    )
    brightness: float = parameter(
        Number(0, 10), "Multiply all colours, as in CSS: 0 is black, 1 leaves them unchanged.", "Tone", default=1
    )
    contrast: float = parameter(
        Number(0, 10), "Contrast, as in CSS: 0 is uniform grey, 1 leaves it unchanged.", "Tone", default=1
    )
    saturation: float = parameter(
        Number(0, 10), "Saturation, as in CSS: 0 removes all colour, 1 leaves it unchanged.", "Tone", default=1
    )
    hue: float = parameter(Number(-360, 360), "Rotate the hue, as in CSS.", "Tone", unit="degrees", default=0)
    sepia: float = parameter(
        Number(0, 1, 1), "Sepia, as in CSS: 0 leaves the image unchanged, 1 is completely sepia.", "Tone", default=0
    )
    tint: Colour | None = parameter(
        CssColour(), "Keep the lightness of each pixel and give it the chroma of this colour.", "Tone"
    )
    grayscale: bool = parameter(Flag(), "Convert to grey levels.", "Tone", aliases=("greyscale",), default=False)
    negate: bool = parameter(Flag(), "Invert all colours.", "Tone", aliases=("invert",), default=False)
    threshold: int | None = parameter(
        whole(0, 255, 128), "Make pixels of at least this luminance white and all others black.", "Tone",
        unit="levels out of 255",
    )  # fmt: skip
    # Effects
    median: int | None = parameter(
        whole(3, 31, 3, odd=True),
        "Replace each pixel by the median of a square with this side, which removes specks.",
        "Effects", unit="px",
    )  # fmt: skip
    blur: float | None = parameter(Number(0.3, 250, 5), "Sigma of a Gaussian blur.", "Effects", unit="px")
    sharpen: float | None = parameter(
        Number(0.3, 10, 1), "Sharpen the lightness: sigma of the Gaussian that detects edges.", "Effects", unit="px"
    )
    pixelate: int | None = parameter(
        whole(2, 1000, 10), "Divide the image into single-coloured squares with this side.", "Effects", unit="px"
    )
    # Frame and mask
    extend: tuple[float, ...] | None = parameter(
        Four("top, right, bottom, left", 10_000),
        "Add space around the image.", "Frame and mask", unit="px", aliases=("padding",),
    )  # fmt: skip
    border: tuple[float, ...] | None = parameter(
        Four("top, right, bottom, left", 10_000), "Add a border around the image.", "Frame and mask", unit="px"
    )
    border_color: Colour = parameter(
        CssColour(), "Colour of the border.", "Frame and mask", default=Colour(0, 0, 0), needs="border"
    )
    radius: str | tuple[float, ...] | None = parameter(
        OrWord(("max",), Four("top left, top right, bottom right, bottom left", MAX_SIDE)),
        "Radius of the rounded corners. `max` turns a square into a circle and gives other images semicircular ends.",
        "Frame and mask", unit="px",
    )  # fmt: skip
    mask: str | None = parameter(
        Reference(),
        "Another stored image, stretched over this one. Its alpha channel, or its luminance if it has no alpha, sets"
        " the opacity of each pixel.",
        "Frame and mask",
    )
    # Watermark
    watermark: str | None = parameter(Reference(), "Another stored image to draw on this one.", "Watermark")
    watermark_gravity: str | tuple[float, float] = parameter(
        Place(), _MARK_PLACE, "Watermark", default="southeast", needs="watermark"
    )
    watermark_offset: tuple[Length, ...] | None = parameter(
        _OFFSET, _OFFSET_DOC, "Watermark", unit="px or %", needs="watermark"
    )
    watermark_scale: float | None = parameter(
        Number(0.01, 10),
        "Width of the watermark as a fraction of the image's width. Without it, the watermark keeps its own size, or is"
        " shrunk if that is too large.",
        "Watermark", needs="watermark",
    )  # fmt: skip
    watermark_opacity: float = parameter(
        Number(0, 1), "Opacity of the watermark: 0 is invisible.", "Watermark", default=1, needs="watermark"
    )
    watermark_tile: bool = parameter(
        Flag(), "Repeat the watermark over the whole image.", "Watermark", default=False, needs="watermark"
    )
    text: str | None = parameter(
        Text(500), "Text to draw, in any script, including right-to-left; `%0A` starts a new line.", "Watermark"
    )
    text_font: str = parameter(Choice(FONTS), "Font of the text.", "Watermark", default="sans", needs="text")
    text_size: float | None = parameter(
        Number(4, 2000), "Font size. Without it, a twentieth of the longer side, but at least 12.",
        "Watermark", unit="px", needs="text",
    )  # fmt: skip
    text_color: Colour = parameter(
        CssColour(), "Colour of the text.", "Watermark", default=Colour(255, 255, 255), needs="text"
    )
    text_opacity: float = parameter(
        Number(0, 1), "Opacity of the text: 0 is invisible.", "Watermark", default=1, needs="text"
    )
    text_gravity: str | tuple[float, float] = parameter(
        Place(), _MARK_PLACE, "Watermark", default="south", needs="text"
    )
    text_offset: tuple[Length, ...] | None = parameter(
        _OFFSET, f"{_OFFSET_DOC} Without it, half the font size from an edge.", "Watermark", unit="px or %",
        needs="text",
    )  # fmt: skip
    text_width: tuple[Length, ...] | None = parameter(
        Lengths("a width in pixels, or in percent of the image's width with a %", (1,), "80%", positive=True),
        "Width at which lines wrap. Without it, the width of the image.",
        "Watermark", unit="px or %", needs="text",
    )  # fmt: skip
    text_tile: bool = parameter(
        Flag(), "Repeat the text over the whole image.", "Watermark", default=False, needs="text"
    )

    def references(self) -> dict[str, str]:
        """Return the references of the other images that the operations need, by parameter name."""
        named: dict[str, Any] = {"mask": self.mask, "watermark": self.watermark}
        return {name: reference for name, reference in named.items() if reference}
