"""Cut out the requested part of the image: `crop`, then `trim`."""

from dataclasses import replace

import pyvips

from progimage.engine.colourspace import white_of
from progimage.engine.frame import Frame
from progimage.engine.geometry import Box, crop_box
from progimage.engine.operations import Operations
from progimage.engine.paint import alpha_band, opaque_bands
from progimage.engine.plan import Plan
from progimage.engine.pyramid import part_of_level, scale_of
from progimage.engine.steps.resize import cut


def crop(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Apply `crop` and `trim`. If the frame is a level of a pyramid, the box is scaled to the level."""
    pixels, stands_for = frame.pixels, frame.stands_for
    here = pixels.width, pixels.height
    box = crop_box(stands_for or here, operations)
    if isinstance(box, Box):
        if stands_for:
            stands_for = box.width, box.height
            box = part_of_level(box, scale_of(frame.stands_for or here, here))
        # A level can lack the last row and column.
        right, bottom = min(here[0], box.left + box.width), min(here[1], box.top + box.height)
        left, top = min(box.left, here[0] - 1), min(box.top, here[1] - 1)
        pixels = pixels.crop(left, top, max(1, right - left), max(1, bottom - top))
    elif box:
        if operations.gravity == "face":
            pixels = pixels.copy_memory()  # they are read twice
        pixels = cut(pixels, box, operations, plan, "crop", replace(frame, pixels=pixels))
    if operations.trim is not None:
        pixels = pixels.copy_memory()  # they are read twice
        found = plan.settle("trim", operations, pixels, lambda: _edges(pixels, operations.trim or 0))
        if found:
            pixels = pixels.crop(found.left, found.top, found.width, found.height)
    return replace(frame, pixels=pixels, stands_for=stands_for)


def _edges(pixels: pyvips.Image, threshold: float) -> Box | None:
    """Return the box inside the edges, or None if nothing is inside."""
    looked_at = pixels
    if pixels.hasalpha():
        transparent = pixels.getpoint(0, 0)[-1] == 0
        looked_at = alpha_band(pixels) if transparent else opaque_bands(pixels)
    scale = (looked_at.max() - looked_at.min() or 1) if looked_at.format == "float" else white_of(looked_at)
    left, top, width, height = looked_at.find_trim(
        threshold=threshold * scale / 255, background=looked_at.getpoint(0, 0), line_art=True
    )
    return Box(left, top, width, height) if width and height else None
