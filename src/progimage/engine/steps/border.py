"""Frame the image and cut it to a shape: `extend`, `border`, `radius`, `mask`."""

from dataclasses import replace

import pyvips

from progimage.engine.colourspace import to_grey
from progimage.engine.frame import Frame
from progimage.engine.geometry import extended, sides
from progimage.engine.modes import mode_of
from progimage.engine.operations import Operations
from progimage.engine.paint import alpha_band, ink, ready_for, times_alpha
from progimage.engine.picture import open_picture
from progimage.engine.plan import Plan
from progimage.engine.steps.resize import on_canvas, resized


def border(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Apply frame and mask operations in declaration order."""
    pixels, scale = frame.pixels, operations.dpr
    if operations.extend:
        top, _, _, left = sides(operations.extend, scale)
        canvas = extended((pixels.width, pixels.height), operations.extend, scale)
        pixels = on_canvas(pixels, left, top, canvas, operations)
    if operations.border:
        pixels = _bordered(pixels, operations)
    if operations.radius:
        pixels = times_alpha(pixels, _rounded_box(pixels.width, pixels.height, operations))
    if operations.mask:
        opacity = plan.settle("mask", operations, pixels, lambda: _opacity(operations, plan))
        pixels = times_alpha(pixels, resized(opacity, (pixels.width, pixels.height), operations.kernel) / 255)
    return frame if pixels is frame.pixels else replace(frame, pixels=pixels, mode=mode_of(pixels))


def _opacity(operations: Operations, plan: Plan) -> pyvips.Image:
    mask = open_picture(plan.images[operations.mask or ""], plan.limits).pixels
    return alpha_band(mask) if mask.hasalpha() else to_grey(mask)


def _bordered(pixels: pyvips.Image, operations: Operations) -> pyvips.Image:
    top, _, _, left = sides(operations.border, operations.dpr)
    canvas = extended((pixels.width, pixels.height), operations.border, operations.dpr)
    pixels = ready_for(pixels, operations.border_color)
    return pixels.embed(left, top, *canvas, extend="background", background=ink(operations.border_color, pixels))


def _rounded_box(width: int, height: int, operations: Operations) -> pyvips.Image:
    """Return the fraction of each pixel that lies inside a box with rounded corners, 0 to 1."""
    if operations.radius == "max":
        radii = [min(width, height) / 2] * 4
    else:
        radii = [float(radius) * operations.dpr for radius in operations.radius or ()]
    top_left, top_right, bottom_right, bottom_left = radii
    # If two radii exceed a side, all shrink by the same factor (CSS Backgrounds and Borders Level 3, section 4.5).
    sums = (
        (top_left + top_right, width),
        (bottom_left + bottom_right, width),
        (top_left + bottom_left, height),
        (top_right + bottom_right, height),
    )
    shrink = min([1.0, *(side / total for total, side in sums if total > side)])
    # libvips expects top right, bottom right, top left, bottom left.
    corners = [radius * shrink for radius in (top_right, bottom_right, top_left, bottom_left)]
    distance = pyvips.Image.sdf(
        width, height, "rounded-box", a=[-0.5, -0.5], b=[width - 0.5, height - 0.5], corners=corners
    )
    return (distance * -1 + 0.5).clamp()
