"""Put transparent pixels on a background, where the target can't hold them."""

from dataclasses import replace

from progimage.engine.frame import Frame
from progimage.engine.modes import has_alpha, mode_of
from progimage.engine.plan import Plan
from progimage.engine.steps.colour import target_mode

BACKGROUND = 255
"""White, in every band of 8 bits."""


def flatten(frame: Frame, plan: Plan) -> Frame:
    """Blend with the background if the pixels have alpha and the target mode has none."""
    pixels = frame.pixels
    if not pixels.hasalpha() or has_alpha(target_mode(frame, plan)):
        return frame
    deep = pixels.format == "ushort"
    white = BACKGROUND * 257 if deep else BACKGROUND
    flat = pixels.flatten(background=[white] * (pixels.bands - 1), max_alpha=65535 if deep else 255)
    return replace(frame, pixels=flat, mode=mode_of(flat))
