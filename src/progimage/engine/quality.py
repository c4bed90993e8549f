"""Finding the quality to encode with: the lowest that looks the same, or the highest that fits a size."""

from collections.abc import Callable
from dataclasses import replace

import pyvips

from progimage.engine.errors import InvalidParameter
from progimage.engine.files import OutputFile
from progimage.engine.frame import Frame
from progimage.engine.geometry import place
from progimage.engine.limits import Limits
from progimage.engine.paint import opaque_bands
from progimage.engine.picture import as_picture, open_picture

_LEAST, _MAXIMUM = 30, 95
"""Range in which the automatic quality is searched."""
_SIMILAR = 0.95
"""Structural similarity from which two images count as visually equal. For typical photographs, our default qualities
give about this similarity."""
_NEAR_BEST = 0.005
"""How far the similarity can fall below that of the highest quality, if a format doesn't reach `_SIMILAR`."""
_SAMPLE_SIDE = 1024
"""Side in pixels of the central part that larger images are judged by, since encoding all of it takes too long."""
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW_SIGMA = 1.5


def automatic_quality(frame: Frame, write: Callable[[Frame, int], None], target: OutputFile) -> int:
    """Return the lowest quality at which the encoded frame looks the same as the original frame.

    Args:
        frame: The frame, after all steps, in memory.
        write: Encodes a frame with a quality, to `target`.
        target: The file that `write` encodes to.
    """
    size = frame.pixels.width, frame.pixels.height
    part = min(size[0], _SAMPLE_SIDE), min(size[1], _SAMPLE_SIDE)
    sample = replace(frame, pixels=frame.pixels.crop(*place("centre", size, part), *part).copy_memory())
    wanted = _luminance(as_picture(sample))

    def reached(quality: int) -> float:
        write(sample, quality)
        return similarity(wanted, _luminance(open_picture(target.written(), Limits()).pixels))

    enough = min(_SIMILAR, reached(_MAXIMUM) - _NEAR_BEST)
    return _first(_LEAST, _MAXIMUM, lambda quality: reached(quality) >= enough)


def highest_quality(write: Callable[[int], None], maximum: int, max_bytes: int, target: OutputFile) -> int:
    """Return the highest quality at which the file doesn't exceed a size.

    Args:
        write: Encodes the whole image with a quality, to `target`.
        maximum: The highest quality to try, 1 to 100.
        max_bytes: Maximum file size in bytes.
        target: The file that `write` encodes to.

    Raises:
        InvalidParameter: Even at the lowest quality the file is too large.
    """

    def too_large(quality: int) -> bool:
        write(quality)
        return target.size > max_bytes

    if not too_large(maximum):
        return maximum
    if too_large(1):
        minimum = target.size
        raise InvalidParameter("max_bytes", str(max_bytes), f"at least {minimum} for this image at these dimensions")
    return _first(1, maximum, too_large) - 1


def _first(minimum: int, maximum: int, holds: Callable[[int], bool]) -> int:
    """Return the first number for which `holds` is true, by bisection; `maximum` if there is none below it."""
    while minimum < maximum:
        middle = (minimum + maximum) // 2
        if holds(middle):
            maximum = middle
        else:
            minimum = middle + 1
    return minimum


def similarity(one: pyvips.Image, other: pyvips.Image) -> float:
    """Return the mean structural similarity (SSIM) of two images of equal size; identical images have 1.

    After Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", 2004, with their Gaussian window and constants.

    Args:
        one: The first image: one band, 0 to 255.
        other: The second image: one band, 0 to 255.
    """
    one, other = one.cast("float"), other.cast("float")

    def smooth(image: pyvips.Image) -> pyvips.Image:
        return image.gaussblur(_WINDOW_SIGMA, precision="float")

    mean_one, mean_other = smooth(one), smooth(other)
    variance_one = smooth(one * one) - mean_one * mean_one
    variance_other = smooth(other * other) - mean_other * mean_other
    covariance = smooth(one * other) - mean_one * mean_other
    above = (mean_one * mean_other * 2 + _C1) * (covariance * 2 + _C2)
    below = (mean_one * mean_one + mean_other * mean_other + _C1) * (variance_one + variance_other + _C2)
    return float((above / below).avg())


def _luminance(picture: pyvips.Image) -> pyvips.Image:
    return opaque_bands(picture).colourspace("b-w").copy_memory()
