"""Painting: colours in an image's own colour space, operations with correct transparency, and compositing."""

from collections.abc import Callable

import pyvips

from progimage.engine.colourspace import from_srgb, space_of, to_rgb, white_of
from progimage.engine.frame import icc_profile
from progimage.engine.values import Colour

TRANSPARENT = Colour(0, 0, 0, 0)
_FAR = 0.01
"""Minimum amplitude of a Gaussian mask relative to its peak: smaller, so wider, than those that the steps use."""


def is_neutral(colour: Colour) -> bool:
    """Return whether a colour is a grey."""
    return colour.red == colour.green == colour.blue


def ready_for(pixels: pyvips.Image, colour: Colour) -> pyvips.Image:
    """Convert the pixels so that they can hold a colour: to RGB unless it is grey, and with alpha unless opaque."""
    if not is_neutral(colour):
        pixels = to_rgb(pixels)
    return pixels.addalpha() if colour.alpha < 255 and not pixels.hasalpha() else pixels


def ink(colour: Colour, pixels: pyvips.Image) -> list[float]:
    """Return a colour as a pixel value in the colour space and range of an image that is `ready_for` it."""
    if is_neutral(colour) and space_of(pixels) == "grey":
        bands: list[float] = [colour.red]
    else:
        dot = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb") + list(colour[:3])
        dot = dot.cast("uchar").copy(interpretation="srgb")
        bands = from_srgb(dot, icc_profile(pixels)).getpoint(0, 0)
    if pixels.hasalpha():
        bands = [*bands, colour.alpha]
    return [band * white_of(pixels) / 255 for band in bands]


def with_alpha(pixels: pyvips.Image) -> pyvips.Image:
    """Return the pixels with an alpha channel; if they have none, an opaque one is added."""
    return pixels if pixels.hasalpha() else pixels.addalpha()


def opaque_bands(pixels: pyvips.Image) -> pyvips.Image:
    """Return the pixels without their alpha channel, which reveals the hidden colours of transparent pixels."""
    return pixels.extract_band(0, n=pixels.bands - 1) if pixels.hasalpha() else pixels


def alpha_band(pixels: pyvips.Image) -> pyvips.Image:
    """Return the alpha channel of pixels that have one."""
    return pixels.extract_band(pixels.bands - 1)


def keeping_alpha(pixels: pyvips.Image, change: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    """Apply a change to the colours and leave the alpha channel unchanged."""
    if not pixels.hasalpha():
        return change(pixels)
    changed = change(opaque_bands(pixels))
    return changed.bandjoin(alpha_band(pixels))


def premultiplied(pixels: pyvips.Image, change: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    """Apply a change that mixes neighbouring pixels, without mixing in hidden colours of transparent pixels."""
    if not pixels.hasalpha():
        return change(pixels)
    white, kind, interpretation = white_of(pixels), pixels.format, pixels.interpretation
    mixed = change(pixels.premultiply(max_alpha=white)).unpremultiply(max_alpha=white)
    return (mixed + 0.5).cast(kind).copy(interpretation=interpretation)


def with_hidden_colours_filled(pixels: pyvips.Image, sigma: float) -> pyvips.Image:
    """Replace hidden colours of transparent pixels by the visible colours around them, in proportion to transparency.

    Operations that read neighbouring pixels but don't change alpha then see only visible colours.

    Args:
        pixels: Grey or RGB. Without alpha they are returned unchanged.
        sigma: Reach of the operation, as the standard deviation of a Gaussian, in pixels.
    """
    if not pixels.hasalpha():
        return pixels
    pixels = pixels.copy_memory()  # it is read more than once
    if alpha_band(pixels).min() == white_of(pixels):
        return pixels
    around = premultiplied(pixels, lambda image: image.gaussblur(sigma, min_ampl=_FAR, precision="float"))
    share = alpha_band(pixels) / white_of(pixels)
    mixed = opaque_bands(pixels) * share + opaque_bands(around) * (share * -1 + 1)
    filled = (mixed + 0.5).cast(pixels.format).bandjoin(alpha_band(pixels))
    return filled.copy(interpretation=pixels.interpretation).copy_memory()  # the operation reads it more than once


def straightened(pixels: pyvips.Image) -> pyvips.Image:
    """Convert premultiplied colours to straight alpha. For floats, an alpha of 1 is opaque."""
    if pixels.format == "float":
        return pixels.unpremultiply(max_alpha=1).cast("float").copy(interpretation=pixels.interpretation)
    straight = pixels.unpremultiply(max_alpha=white_of(pixels)) + 0.5
    return straight.cast(pixels.format).copy(interpretation=pixels.interpretation)


def times_alpha(pixels: pyvips.Image, factor: pyvips.Image | float) -> pyvips.Image:
    """Multiply the alpha channel by a factor from 0 to 1, or by an image of such factors."""
    pixels = with_alpha(pixels)
    alpha = (alpha_band(pixels) * factor + 0.5).cast(pixels.format)
    return opaque_bands(pixels).bandjoin(alpha).copy(interpretation=pixels.interpretation)


def over(base: pyvips.Image, layer: pyvips.Image, left: int = 0, top: int = 0) -> pyvips.Image:
    """Draw a layer over an image ("source over", W3C Compositing and Blending Level 1, section 9.1.4).

    Args:
        base: Grey or RGB. The result has the same mode, but is RGB if only the base is grey.
        layer: sRGB or grey, 8 bits, with alpha. Parts outside the base are cut off.
        left: Position of the layer's left edge.
        top: Position of the layer's top edge.
    """
    if left >= base.width or top >= base.height or left + layer.width <= 0 or top + layer.height <= 0:
        return base  # the layer lies completely outside
    if space_of(layer) == "rgb":
        base = to_rgb(base)
    elif space_of(base) == "rgb":
        layer = layer.colourspace("srgb")
    if space_of(base) == "rgb":
        layer = from_srgb(layer, icc_profile(base))
    layer = layer.embed(left, top, base.width, base.height, extend="black")
    above = alpha_band(layer) / 255
    ink_above = opaque_bands(layer) * (white_of(base) / 255)
    if not base.hasalpha():
        mixed = ink_above * above + base * (above * -1 + 1)
    else:
        below = alpha_band(base) / white_of(base) * (above * -1 + 1)
        together = above + below
        colours = (ink_above * above + opaque_bands(base) * below) / (together + (together == 0) / 255)
        mixed = colours.bandjoin(together * white_of(base))
    return (mixed + 0.5).cast(base.format).copy(interpretation=base.interpretation)
