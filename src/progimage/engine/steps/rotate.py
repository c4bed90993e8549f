"""Mirror and rotate the image."""

from dataclasses import replace

import pyvips

from progimage.engine.frame import Frame
from progimage.engine.modes import mode_of
from progimage.engine.operations import Operations
from progimage.engine.paint import with_alpha
from progimage.engine.plan import Plan

_QUARTERS: dict[float, str] = {90: "d90", 180: "d180", 270: "d270"}


def rotate(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Flip, flop, then rotate."""
    pixels = frame.pixels
    degrees = operations.rotate % 360
    if not (operations.flip or operations.flop or degrees):
        return frame
    if operations.flip or degrees:
        pixels = pixels.copy_memory()  # the rows are read in another order
    if operations.flip:
        pixels = pixels.flip("vertical")
    if operations.flop:
        pixels = pixels.flip("horizontal")
    if degrees in _QUARTERS:
        pixels = pixels.rot(_QUARTERS[degrees])
    elif degrees:
        # The corners are transparent, and the edges are blended with them; libvips weights colours by alpha here.
        pixels = with_alpha(pixels)
        bicubic = pyvips.Interpolate.new("bicubic")
        pixels = pixels.rotate(degrees, interpolate=bicubic, background=[0] * pixels.bands)
        return replace(frame, pixels=pixels, mode=mode_of(pixels))
    return replace(frame, pixels=pixels)
