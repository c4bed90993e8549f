"""Effects that depend on neighbouring pixels: `median`, `blur`, `sharpen`, `pixelate`."""

from dataclasses import replace

import pyvips

from progimage.engine.frame import Frame
from progimage.engine.operations import Operations
from progimage.engine.paint import keeping_alpha, premultiplied, with_hidden_colours_filled
from progimage.engine.plan import Plan

_WIDE = 30
"""Sigma from which a blur reads each pixel so often that it is faster to copy all pixels to memory first."""


def filters(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Apply the effects in declaration order. Lengths are multiplied by `dpr`.

    Pixels are weighted by their alpha, so that hidden colours don't bleed in.

    These operations read each pixel many times, and libvips would recompute all previous operations each time: a wide
    blur after a rotation takes 180 seconds instead of 5. Therefore the pixels are copied to memory after slow
    operations.
    """
    pixels, scale = frame.pixels, operations.dpr
    takes_long = operations.rotate % 90 != 0
    if operations.median:
        side = max(3, round(operations.median * scale) | 1)
        pixels = premultiplied(pixels.copy_memory() if takes_long else pixels, lambda image: _median(image, side))
        takes_long = True
    if operations.blur:
        blurred = operations.blur * scale
        pixels = pixels.copy_memory() if takes_long or blurred > _WIDE else pixels
        pixels = premultiplied(pixels, lambda image: image.gaussblur(blurred))
        takes_long = True
    if operations.sharpen:
        sigma = min(10, operations.sharpen * scale)
        pixels = with_hidden_colours_filled(pixels.copy_memory() if takes_long else pixels, sigma)
        pixels = keeping_alpha(pixels, lambda image: _sharpened(image, sigma))
    if operations.pixelate:
        side = max(1, round(operations.pixelate * scale))
        pixels = premultiplied(pixels, lambda image: _pixelated(image, side))
    return frame if pixels is frame.pixels else replace(frame, pixels=pixels)


def _median(image: pyvips.Image, side: int) -> pyvips.Image:
    # Add a margin, since libvips rejects a square that is larger than the image.
    room = side // 2
    if image.format == "float":  # premultiplied; libvips is only fast for integers
        white = 65535 if image.interpretation in ("rgb16", "grey16") else 255
        image = (image + 0.5).cast("ushort" if white > 255 else "uchar")
    roomy = image.embed(room, room, image.width + 2 * room, image.height + 2 * room, extend="copy")
    return roomy.median(side).crop(room, room, image.width, image.height)


def _sharpened(image: pyvips.Image, sigma: float) -> pyvips.Image:
    return image.sharpen(sigma=sigma).colourspace(image.interpretation)


def _pixelated(image: pyvips.Image, side: int) -> pyvips.Image:
    # Squares at the right and bottom edge can be cut off; repeating the edge pixels completes them.
    across, down = -(-image.width // side) * side, -(-image.height // side) * side
    whole = image.embed(0, 0, across, down, extend="copy")
    return whole.shrink(side, side).zoom(side, side).crop(0, 0, image.width, image.height)
