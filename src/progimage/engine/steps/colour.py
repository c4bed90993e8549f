"""Bring the pixels to the kind that the target is written with: colour space, ICC profile, depth."""

from dataclasses import replace

import pyvips

from progimage.engine.frame import PROFILE, Frame, icc_profile, to_range, with_profile
from progimage.engine.modes import has_alpha, is_deep, is_grey, nearest
from progimage.engine.plan import Plan

# Bytes 16 to 20 of an ICC profile name the colour space that it describes (ICC.1:2022, table 14).
_PROFILE_SPACE = slice(16, 20)


def target_mode(frame: Frame, plan: Plan) -> str:
    """Return the kind of pixels that this frame is to be written with."""
    mode = frame.mode
    if mode == "CMYK" and icc_profile(frame.pixels) and not plan.format.icc:
        mode = "RGB"  # without its profile, CMYK would be other colours
    return nearest(mode, plan.modes)


def colour(frame: Frame, plan: Plan) -> Frame:
    """Bring the pixels to the target mode, without the last step for `1`, `P` and `PA`.

    Those are `L`, `RGB` and `RGBA` here; the encoder dithers.
    """
    mode = target_mode(frame, plan)
    pixels = _drop_unfit_profile(frame.pixels)
    if pixels.format in ("float", "double"):
        if mode == "F":
            return replace(frame, pixels=pixels.cast("float"), mode=mode)
        deep = is_deep(mode)
        pixels = to_range(pixels, 65535 if deep else 255)
        pixels = (pixels + 0.5).cast("ushort" if deep else "uchar").copy(interpretation="grey16" if deep else "b-w")
    pixels = _to_space(pixels, mode, plan.format.icc)
    if pixels.format == "ushort" and not is_deep(mode) and mode != "F":
        pixels = pixels.colourspace("b-w" if pixels.bands < 3 else "srgb")
    if mode == "F":
        white = 65535 if pixels.format == "ushort" else 255
        pixels = (pixels / white).cast("float").copy(interpretation="b-w")
    if has_alpha(mode) and not pixels.hasalpha():
        pixels = pixels.addalpha()
    return replace(frame, pixels=pixels, mode=mode)


def _to_space(pixels: pyvips.Image, mode: str, keep_profile: bool) -> pyvips.Image:
    """Convert between grey, RGB and CMYK, through sRGB, and keep or apply the profile."""
    here = "cmyk" if pixels.interpretation == "cmyk" else "grey" if pixels.bands < 3 else "rgb"
    there = "cmyk" if mode == "CMYK" else "grey" if is_grey(mode) else "rgb"
    profile = icc_profile(pixels)
    if here == there and (keep_profile or not profile):
        return pixels
    deep = pixels.format == "ushort"
    if profile or here == "cmyk":
        pixels = _to_srgb(pixels, here, deep)
    if there == "grey":
        return pixels.colourspace("grey16" if deep else "b-w")
    return pixels.colourspace("rgb16" if deep else "srgb")


def _to_srgb(pixels: pyvips.Image, here: str, deep: bool) -> pyvips.Image:
    options = {
        "embedded": True,
        "intent": "relative",
        "black_point_compensation": True,
        "depth": 16 if deep else 8,
    }
    if here == "cmyk":  # what to take where no profile is embedded
        options["input_profile"] = "cmyk"
    converted = pixels.icc_transform("srgb", **options).copy()
    converted.remove(PROFILE)
    return converted


def _drop_unfit_profile(pixels: pyvips.Image) -> pyvips.Image:
    """Take off a profile that is for another colour space, or that can't be read: it says nothing of these pixels."""
    profile = icc_profile(pixels)
    if profile is None:
        return pixels
    space = {b"RGB ": "rgb", b"GRAY": "grey", b"CMYK": "cmyk"}.get(profile[_PROFILE_SPACE])
    here = "cmyk" if pixels.interpretation == "cmyk" else "grey" if pixels.bands < 3 else "rgb"
    if space == here and _usable(profile, pixels):
        return pixels
    bare = pixels.copy()
    bare.remove(PROFILE)
    return bare


def _usable(profile: bytes, pixels: pyvips.Image) -> bool:
    swatch = pyvips.Image.black(1, 1, bands=pixels.bands - pixels.hasalpha()).copy(
        interpretation="cmyk" if pixels.interpretation == "cmyk" else "b-w" if pixels.bands < 3 else "srgb"
    )
    try:
        with_profile(swatch, profile).icc_transform("srgb", embedded=True).avg()
    except pyvips.Error:
        return False
    return True
