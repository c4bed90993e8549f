"""Put transparent pixels on a background."""

from dataclasses import replace

from progimage.engine.colourspace import white_of
from progimage.engine.frame import Frame
from progimage.engine.modes import has_alpha, mode_of
from progimage.engine.operations import Operations
from progimage.engine.paint import TRANSPARENT, ink, premultiplied, ready_for
from progimage.engine.plan import Plan
from progimage.engine.steps.colour import target_mode

WHITE = 255
"""Background for formats without transparency, in each band of 8 bits."""


def background(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Put the requested background behind the image, if any of it would be visible."""
    colour, pixels = operations.background, frame.pixels
    if colour is None or colour == TRANSPARENT or not pixels.hasalpha():
        return frame
    pixels = ready_for(pixels, colour)
    under = ink(colour, pixels)
    white = white_of(pixels)
    if colour.alpha == WHITE:
        flat = pixels.flatten(background=under[:-1], max_alpha=white)
        return replace(frame, pixels=flat, mode=mode_of(flat))
    share = under[-1] / white
    # Premultiplied, "source over" is a plain sum (W3C Compositing and Blending Level 1, section 5.1).
    ground = [band * share for band in under[:-1]] + [under[-1]]
    mixed = premultiplied(pixels, lambda image: image + (image[-1] / -white + 1) * ground)
    return replace(frame, pixels=mixed, mode=mode_of(mixed))


def flatten(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Put the image on white if it has alpha and the target mode has none."""
    pixels = frame.pixels
    if not pixels.hasalpha() or has_alpha(target_mode(frame, plan)):
        return frame
    white = white_of(pixels)
    flat = pixels.flatten(background=[white] * (pixels.bands - 1), max_alpha=white)
    return replace(frame, pixels=flat, mode=mode_of(flat))
