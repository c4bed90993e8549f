"""Kinds of pixels: which one an image has, and which one of a format's comes nearest to it."""

import pyvips

MODES = ("1", "P", "PA", "L", "LA", "RGB", "RGBA", "L16", "LA16", "RGB16", "RGBA16", "F", "CMYK")
"""The kinds of pixels, named as in Pillow: 1-bit, palette, grey, colour; ``A`` has alpha (``PA``: the
palette has alpha), ``16`` is 16 bits a channel (else 8), ``F`` is grey in 32-bit floating point."""
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
"""For each kind of pixels, the others by how much of it they keep: first alpha, then colour, then depth."""


def mode_of(image: pyvips.Image) -> str:
    """Return the kind of an image's pixels, as its bands and its sample format tell it.

    Args:
        image: As `decode` makes it: grey, RGB or CMYK, with or without alpha; unsigned char, unsigned short, or (grey
            only) float.
    """
    if image.format in ("float", "double"):
        return "F"
    if image.interpretation == "cmyk":
        return "CMYK"
    depth = "16" if image.format == "ushort" else ""
    return {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[image.bands] + depth


def nearest(mode: str, available: tuple[str, ...]) -> str:
    """Return the mode, out of those that a format can be written with, that keeps most of `mode`.

    Raises:
        KeyError: `available` has none of the modes.
    """
    for candidate in NEAREST[mode]:
        if candidate in available:
            return candidate
    raise KeyError(mode)


def has_alpha(mode: str) -> bool:
    """Return whether pixels of that kind can be transparent."""
    return mode in ("PA", "LA", "RGBA", "LA16", "RGBA16")


def is_grey(mode: str) -> bool:
    """Return whether pixels of that kind have no colour."""
    return mode in ("1", "L", "LA", "L16", "LA16", "F")


def is_deep(mode: str) -> bool:
    """Return whether pixels of that kind have 16 bits a channel."""
    return mode.endswith("16")
