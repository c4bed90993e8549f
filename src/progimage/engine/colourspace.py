"""Colour spaces and ICC profiles: determine the space of pixels, and convert them to other spaces."""

import pyvips

from progimage.engine.frame import PROFILE, icc_profile, to_range, with_profile

# Bytes 16 to 19 of an ICC profile contain the colour space that it describes (ICC.1:2022, table 14).
_PROFILE_SPACE = slice(16, 20)


def space_of(pixels: pyvips.Image) -> str:
    """Return "grey", "rgb" or "cmyk"."""
    return "cmyk" if pixels.interpretation == "cmyk" else "grey" if pixels.bands < 3 else "rgb"


def white_of(pixels: pyvips.Image) -> int:
    """Return the maximum sample value: 255 or 65535."""
    return 65535 if pixels.format == "ushort" else 255


def to_srgb(pixels: pyvips.Image, profile: str = "srgb") -> pyvips.Image:
    """Convert to sRGB or Display P3 by the pixels' profile; CMYK without one is converted by a common profile.

    Args:
        pixels: Grey, RGB or CMYK; integers.
        profile: "srgb", whose profile isn't attached because it is the default everywhere; or "p3" for Display P3,
            whose profile is attached to the pixels.
    """
    here = space_of(pixels)
    deep = pixels.format == "ushort"
    if profile == "srgb" and here != "cmyk" and not icc_profile(pixels):
        return pixels if here == "rgb" else pixels.colourspace("rgb16" if deep else "srgb")
    if here == "grey" and not icc_profile(pixels):
        pixels = pixels.colourspace("rgb16" if deep else "srgb")
        here = "rgb"
    options = {"embedded": True, "intent": "relative", "black_point_compensation": True, "depth": 16 if deep else 8}
    if here != "grey":  # the profile to assume if none is embedded
        options["input_profile"] = "cmyk" if here == "cmyk" else "srgb"
    converted = pixels.icc_transform(profile, **options).copy()
    if profile == "srgb":
        converted.remove(PROFILE)
    return converted


def to_rgb(pixels: pyvips.Image) -> pyvips.Image:
    """Convert grey to RGB; other pixels are returned unchanged."""
    return to_srgb(pixels) if space_of(pixels) == "grey" else pixels


def to_grey(pixels: pyvips.Image) -> pyvips.Image:
    """Convert to grey; grey pixels are returned unchanged."""
    if space_of(pixels) == "grey":
        return pixels
    return to_srgb(pixels).colourspace("grey16" if pixels.format == "ushort" else "b-w")


def without_profile(pixels: pyvips.Image) -> pyvips.Image:
    """Apply the profile, if there is one: grey stays grey, and everything else becomes sRGB."""
    if space_of(pixels) != "grey":
        return to_srgb(pixels)
    return to_grey(to_srgb(pixels)) if icc_profile(pixels) else pixels


def to_8_bits(pixels: pyvips.Image) -> pyvips.Image:
    """Convert grey or RGB integers to 8 bits per channel."""
    return pixels.colourspace("b-w" if pixels.bands < 3 else "srgb") if pixels.format == "ushort" else pixels


def to_integers(pixels: pyvips.Image, *, deep: bool) -> pyvips.Image:
    """Convert grey floats of unknown range to 8 or 16 bits; see `frame.to_range`."""
    pixels = to_range(pixels, 65535 if deep else 255)
    return (pixels + 0.5).cast("ushort" if deep else "uchar").copy(interpretation="grey16" if deep else "b-w")


def from_srgb(layer: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """Convert 8-bit sRGB pixels, with or without alpha, to 8-bit pixels in the RGB space of a profile."""
    if not profile:
        return layer
    # libvips exports by the profile that is attached to the pixels.
    lab = with_profile(layer.colourspace("lab"), profile)
    converted = lab.icc_export(intent="relative", black_point_compensation=True, depth=8).copy()
    converted.remove(PROFILE)
    return converted


def drop_unfit_profile(pixels: pyvips.Image) -> pyvips.Image:
    """Remove a profile that can't be read or is for another colour space, since it doesn't apply to these pixels."""
    profile = icc_profile(pixels)
    if profile is None:
        return pixels
    described = {b"RGB ": "rgb", b"GRAY": "grey", b"CMYK": "cmyk"}.get(profile[_PROFILE_SPACE])
    if described == space_of(pixels) and _usable(profile, pixels):
        return pixels
    bare = pixels.copy()
    bare.remove(PROFILE)
    return bare


def _usable(profile: bytes, pixels: pyvips.Image) -> bool:
    swatch = pyvips.Image.black(1, 1, bands=pixels.bands - pixels.hasalpha()).copy(
        interpretation={"cmyk": "cmyk", "grey": "b-w", "rgb": "srgb"}[space_of(pixels)]
    )
    try:
        with_profile(swatch, profile).icc_transform("srgb", embedded=True).avg()
    except pyvips.Error:
        return False
    return True
