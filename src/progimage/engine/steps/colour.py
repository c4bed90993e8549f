"""Convert pixels to the mode of the target format: colour space, ICC profile, depth."""

from dataclasses import replace

import pyvips

from progimage.engine.colourspace import (
    drop_unfit_profile,
    space_of,
    to_8_bits,
    to_grey,
    to_integers,
    to_srgb,
    without_profile,
)
from progimage.engine.frame import Frame, icc_profile
from progimage.engine.modes import has_alpha, is_deep, is_grey, nearest
from progimage.engine.operations import Operations
from progimage.engine.plan import Plan


def target_mode(frame: Frame, plan: Plan) -> str:
    """Return the pixel mode that a frame will be written with."""
    mode = frame.mode
    if mode == "CMYK" and icc_profile(frame.pixels) and not _keeps_profile(plan):
        mode = "RGB"  # without its profile, CMYK would show other colours
    return nearest(mode, plan.modes)


def colour(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Convert the pixels to the target mode, except for dithering.

    The modes `1`, `P` and `PA` become `L`, `RGB` and `RGBA` here; the encoder dithers.
    """
    mode = target_mode(frame, plan)
    pixels = drop_unfit_profile(frame.pixels)
    if pixels.format in ("float", "double"):
        if mode == "F":
            return replace(frame, pixels=pixels.cast("float"), mode=mode)
        pixels = to_integers(pixels, deep=is_deep(mode))
    pixels = _to_space(pixels, mode, _keeps_profile(plan))
    if not is_deep(mode) and mode != "F":
        pixels = to_8_bits(pixels)
    if pixels.format == "uchar" and is_deep(mode):
        pixels = _deepened(pixels)
    if mode == "F":
        white = 65535 if pixels.format == "ushort" else 255
        pixels = (pixels / white).cast("float").copy(interpretation="b-w")
    if has_alpha(mode) and not pixels.hasalpha():
        pixels = pixels.addalpha()
    return replace(frame, pixels=pixels, mode=mode)


def _keeps_profile(plan: Plan) -> bool:
    return plan.format.icc and "icc" in plan.spec.kept


def _to_space(pixels: pyvips.Image, mode: str, keep_profile: bool) -> pyvips.Image:
    """Convert between grey, RGB and CMYK via sRGB, and keep or apply the profile."""
    here = space_of(pixels)
    there = "cmyk" if mode == "CMYK" else "grey" if is_grey(mode) else "rgb"
    profile = icc_profile(pixels)
    if here == there and (keep_profile or not profile):
        return pixels
    if there == here == "grey":
        return without_profile(pixels)
    return to_grey(pixels) if there == "grey" else to_srgb(pixels)


def _deepened(pixels: pyvips.Image) -> pyvips.Image:
    # libvips' `colourspace` shifts bits, which wouldn't keep white as white.
    return (pixels * 257).cast("ushort").copy(interpretation="grey16" if pixels.bands < 3 else "rgb16")
