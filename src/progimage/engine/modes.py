"""Pixel modes: which mode an image has, and which mode of a format is nearest to it."""

import pyvips

MODES = ("1", "P", "PA", "L", "LA", "RGB", "RGBA", "L16", "LA16", "RGB16", "RGBA16", "F", "CMYK")
"""The pixel modes, named as in Pillow: 1-bit, palette, grey, colour; ``A`` means alpha (``PA``: the palette has alpha),
``16`` means 16 bits per channel (otherwise 8), ``F`` is grey in 32-bit floating point."""
OF_8_BITS = ("L", "LA", "RGB", "RGBA")
OF_16_BITS = ("L16", "LA16", "RGB16", "RGBA16")
NEAREST: dict[str, tuple[str, ...]] = {
    "1": ("1", "L", "P", "RGB", "LA", "RGBA", "L16", "LA16", "RGB16", "RGBA16", "F"),
    "P": ("P", "RGB", "RGBA", "PA", "RGB16", "RGBA16", "L", "L16", "F", "1"),
    "PA": ("PA", "RGBA", "RGBA16", "RGB", "P", "RGB16", "LA", "LA16", "L", "L16", "F", "1"),
    "L": ("L", "LA", "RGB", "RGBA", "P", "PA", "L16", "LA16", "RGB16", "RGBA16", "F", "1"),
    "LA": ("LA", "RGBA", "PA", "LA16", "RGBA16", "L", "RGB", "P", "L16", "RGB16", "F", "1"),
    "RGB": ("RGB", "RGBA", "P", "PA", "RGB16", "RGBA16", "L", "L16", "F", "1"),
    "RGBA": ("RGBA", "PA", "RGBA16", "RGB", "P", "RGB16", "LA", "LA16", "L", "L16", "F", "1"),
    "L16": ("L16", "LA16", "RGB16", "RGBA16", "F", "L", "RGB", "RGBA", "P", "PA", "1"),
    "LA16": ("LA16", "RGBA16", "LA", "RGBA", "PA", "L16", "RGB16", "F", "L", "RGB", "P", "1"),
    "RGB16": ("RGB16", "RGBA16", "RGB", "RGBA", "P", "PA", "L16", "L", "F", "1"),
    "RGBA16": ("RGBA16", "RGBA", "PA", "RGB16", "RGB", "P", "L16", "L", "F", "1"),
    "F": ("F", "L16", "RGB16", "L", "RGB", "RGBA", "P", "PA", "1"),
    "CMYK": ("CMYK", "RGB", "RGBA", "P", "PA", "RGB16", "RGBA16", "L", "L16", "F", "1"),
}
"""For each mode, all modes in order of how much they preserve: first alpha, then colour, then depth."""


def mode_of(image: pyvips.Image) -> str:
    """Return the pixel mode of an image from its bands and its sample format.

    Args:
        image: Pixels as `decode` yields them: grey, RGB or CMYK, with or without alpha; unsigned char, unsigned short,
            or (grey only) float.
    """
    if image.format in ("float", "double"):
        return "F"
    if image.interpretation == "cmyk":
        return "CMYK"
    depth = "16" if image.format == "ushort" else ""
    return {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[image.bands] + depth


def nearest(mode: str, available: tuple[str, ...]) -> str:
    """Return the available mode that preserves most of `mode`.

    Raises:
        KeyError: None of the available modes is suitable.
    """
    for candidate in NEAREST[mode]:
        if candidate in available:
            return candidate
    raise KeyError(mode)


def has_alpha(mode: str) -> bool:
    """Return whether a mode has alpha."""
    return mode in ("PA", "LA", "RGBA", "LA16", "RGBA16")


def is_grey(mode: str) -> bool:
    """Return whether a mode has no colour."""
    return mode in ("1", "L", "LA", "L16", "LA16", "F")


def is_deep(mode: str) -> bool:
    """Return whether a mode has 16 bits per channel."""
    return mode.endswith("16")
