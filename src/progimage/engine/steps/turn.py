"""Mirror and turn the picture."""

from dataclasses import replace

import pyvips

from progimage.engine.frame import Frame
from progimage.engine.modes import mode_of
from progimage.engine.operations import Operations
from progimage.engine.paint import premultiplied, with_alpha
from progimage.engine.plan import Plan

_QUARTERS: dict[float, str] = {90: "d90", 180: "d180", 270: "d270"}


def turn(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Flip, flop, then rotate."""
    pixels = frame.pixels
    degrees = operations.rotate % 360
    if not (operations.flip or operations.flop or degrees):
        return frame
    if operations.flip or degrees:
        pixels = pixels.copy_memory()  # rows are needed in another order
    if operations.flip:
        pixels = pixels.flip("vertical")
    if operations.flop:
        pixels = pixels.flip("horizontal")
    if degrees in _QUARTERS:
        pixels = pixels.rot(_QUARTERS[degrees])
    elif degrees:
        pixels = premultiplied(with_alpha(pixels), lambda image: _rotated(image, degrees))
        return replace(frame, pixels=pixels, mode=mode_of(pixels))
    return replace(frame, pixels=pixels)


def _rotated(image: pyvips.Image, degrees: float) -> pyvips.Image:
    # The corners are transparent, and the edge is blended with them.
    return image.rotate(degrees, interpolate=pyvips.Interpolate.new("bicubic"), background=[0] * image.bands)
