"""A still picture that can be worked with at once, of any image file: its first frame, upright, in sRGB."""

from pathlib import Path

import pyvips

from progimage.engine.colourspace import drop_unfit_profile, space_of, to_grey, to_integers, to_srgb
from progimage.engine.decode import Source, open_source, say
from progimage.engine.errors import CorruptImage
from progimage.engine.frame import Frame
from progimage.engine.limits import Limits


def open_picture(path: Path, limits: Limits) -> pyvips.Image:
    """Decode the first frame or page of an image file.

    Args:
        path: The file.
        limits: The largest image to accept.

    Returns:
        Grey or sRGB of 8 bits, with alpha if it has one, upright, in memory.

    Raises:
        NotAnImage: It is in no format that can be read.
        CorruptImage: It is broken.
        LimitExceeded: It is too large.
    """
    source = open_source(path, limits)
    readers = source.readers()
    for reader in readers:
        try:
            return _decoded(source, reader)
        except (CorruptImage, pyvips.Error) as error:
            if reader == readers[-1]:
                raise error if isinstance(error, CorruptImage) else CorruptImage(say(error)) from error
    raise AssertionError("a source has at least one reader")


def _decoded(source: Source, reader: str) -> pyvips.Image:
    return as_picture(next(source.frames(reader, 0, 1)))


def as_picture(frame: Frame) -> pyvips.Image:
    """Make such a picture of a decoded frame."""
    pixels = drop_unfit_profile(frame.pixels).copy_memory().autorot()
    if pixels.format in ("float", "double"):
        pixels = to_integers(pixels, deep=False)
    pixels = to_grey(to_srgb(pixels)) if space_of(pixels) == "grey" else to_srgb(pixels)
    if pixels.format == "ushort":
        pixels = pixels.colourspace("b-w" if pixels.bands < 3 else "srgb")
    bands, interpretation = pixels.bands, pixels.interpretation
    # Anew, so that no metadata of its own comes along into another picture.
    bare = pyvips.Image.new_from_memory(pixels.write_to_memory(), pixels.width, pixels.height, bands, "uchar")
    return bare.copy(interpretation=interpretation)
