"""Convert the pixels to the working colour space: sRGB or Display P3 if requested, otherwise the image's own."""

from dataclasses import replace

from progimage.engine.colourspace import drop_unfit_profile, space_of, to_integers, to_srgb
from progimage.engine.frame import Frame, icc_profile
from progimage.engine.modes import mode_of
from progimage.engine.operations import Operations
from progimage.engine.plan import Plan
from progimage.engine.spec import changes_pixels


def working_space(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Convert by ICC profile. CMYK and floating point are converted only if operations change the pixels."""
    pixels = drop_unfit_profile(frame.pixels)
    changing = changes_pixels(operations)
    if pixels.format in ("float", "double"):
        if not changing:
            return replace(frame, pixels=pixels)
        pixels = to_integers(pixels, deep=True)
    wanted = plan.spec.profile
    foreign = icc_profile(pixels) if wanted == "srgb" else None
    if wanted == "p3":
        pixels = to_srgb(pixels, "p3")
    elif foreign or (space_of(pixels) == "cmyk" and (changing or wanted == "srgb")):
        pixels = to_srgb(pixels)
    mode = frame.mode if frame.mode in ("1", "P") and pixels.bands == frame.pixels.bands else mode_of(pixels)
    return replace(frame, pixels=pixels, mode=mode)
